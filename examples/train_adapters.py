"""VSLA-CLIP on tracklets of one's own: from TRACKLETS/PERSON/PLATFORM/*.jpg to an adapter of some megabytes.

    python examples/train_adapters.py TRACKLETS OUT --pretrained openai

Both stages without a framework; `vsla-clip run` adds augmentation, schedules, checkpoints and evaluation.
"""

import argparse
import random
from pathlib import Path

import open_clip
import torch
from PIL import Image

import reid_adapters as adapters

SIZE, FRAMES = (256, 128), 8
"""Height and width of frames, and frames of a clip (VSLA-CLIP 5.2)."""
PEOPLE, CLIPS = 8, 4
"""People in a batch, and clips of each (5.2)."""
PREPARE = open_clip.image_transform(SIZE, is_train=False, resize_mode="squash")


class Tracklets:
    """Folders of frames, one per person and platform."""

    def __init__(self, root: Path) -> None:
        self.people = sorted(path for path in root.iterdir() if path.is_dir())
        self.platforms = sorted({path.name for path in root.glob("*/*") if path.is_dir()})

    def clip(self, folder: Path) -> torch.Tensor:
        """Frames [t 3 h w] of a folder, in random order: their order means nothing."""
        files = random.choices(sorted(folder.glob("*.jpg")), k=FRAMES)
        return torch.stack([PREPARE(Image.open(file)) for file in files])

    def batch(self) -> dict[str, torch.Tensor]:
        """CLIPS clips of each of PEOPLE people, or of all where there are fewer."""
        people = random.sample(self.people, min(PEOPLE, len(self.people)))
        folders = [each for person in people for each in random.choices(sorted(person.iterdir()), k=CLIPS)]
        return {
            "clip": torch.stack([self.clip(folder) for folder in folders]),
            "pid": torch.tensor([self.people.index(folder.parent) for folder in folders]),
            "platform": torch.tensor([self.platforms.index(folder.name) for folder in folders]),
        }


def fit(objective: torch.nn.Module, tracklets: Tracklets, steps: int, lr: float, device: str) -> None:
    """Train whatever an objective leaves trainable."""
    objective.to(device).train()
    optimizer = torch.optim.Adam([each for each in objective.parameters() if each.requires_grad], lr=lr)
    for step in range(steps):
        losses = objective({name: value.to(device) for name, value in tracklets.batch().items()})
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            print(step, {name: round(loss.item(), 3) for name, loss in losses.items()}, flush=True)


def train(clip: torch.nn.Module, tracklets: Tracklets, out: Path, steps: int, device: str) -> None:
    """Both stages, and the adapter in a folder."""
    pids = range(len(tracklets.people))

    # Stage one: a description of each person is learnt, both towers frozen (Eq. 3).
    prompts = adapters.IDPromptLearner(clip, identities=len(pids))
    encoder = adapters.attach(clip.visual, None, image_size=SIZE)
    fit(adapters.VSLAObjective(encoder, pids, prompts, stage=1), tracklets, steps, 3.5e-4, device)

    # Stage two: adapters are trained against the descriptions (Eq. 10).
    pbp = adapters.PBPConfig(tuple(tracklets.platforms))
    encoder = adapters.attach(adapters.detach(encoder), adapters.VSLAConfig(), pbp, image_size=SIZE)
    fit(adapters.VSLAObjective(encoder, pids, prompts, stage=2), tracklets, steps, 1e-4, device)
    adapters.save_pretrained(encoder, out)

    # Later: the same CLIP, and what was saved.
    encoder = adapters.load_pretrained(clip.visual, out).eval()
    batch = {name: value.to(device) for name, value in tracklets.batch().items()}
    with torch.no_grad():
        features = encoder(batch["clip"], batch["platform"])
    print(f"{len(features)} clips -> features of {features.shape[1]} channels")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tracklets", type=Path, help="folder with PERSON/PLATFORM/*.jpg")
    parser.add_argument("out", type=Path, help="folder for the adapter")
    parser.add_argument("--model", default="ViT-B-16-quickgelu", help="open_clip's name")
    parser.add_argument("--pretrained", help="open_clip's tag, such as openai; none for random weights")
    parser.add_argument("--steps", type=int, default=2000, help="of each stage")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    model = open_clip.create_model(given.model, pretrained=given.pretrained)
    train(model, Tracklets(given.tracklets), given.out, given.steps, given.device)
