"""VSLA-CLIP on tracklets of one's own: from TRACKLETS/PERSON/PLATFORM/*.jpg to an adapter of some megabytes.

    python examples/train_adapters.py TRACKLETS OUT --pretrained openai

Both stages without a framework; `vsla-clip run` adds augmentation, schedules, checkpoints and evaluation.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import open_clip
import torch
from PIL import Image
from torchvision.transforms import v2

from reid_adapters import (
    IDPromptLearner,
    PBPConfig,
    VSLAConfig,
    VSLAObjective,
    attach,
    count_parameters,
    detach,
    load_pretrained,
    save_pretrained,
)

SIZE, FRAMES = (256, 128), 8
"""Height and width of frames, and frames of a clip (VSLA-CLIP 5.2)."""

PEOPLE, CLIPS = 8, 4
"""People in a batch, and clips of each (5.2)."""


class Tracklets:
    """Folders of frames, one per person and platform."""

    def __init__(self, root: Path) -> None:
        self.folders = sorted(path for path in root.glob("*/*") if path.is_dir())
        self.people = sorted({folder.parent.name for folder in self.folders})
        self.platforms = tuple(sorted({folder.name for folder in self.folders}))
        self.prepare = v2.Compose([v2.Resize(SIZE), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
        self.normalize = v2.Normalize(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)

    def clip(self, folder: Path) -> torch.Tensor:
        """Frames [t 3 h w] of a folder, in random order: their order means nothing."""
        files = random.choices(sorted(folder.glob("*.jpg")), k=FRAMES)
        images = (self.prepare(Image.open(file).convert("RGB")) for file in files)
        return self.normalize(torch.stack(list(images)))

    def batch(self) -> dict[str, torch.Tensor]:
        """CLIPS clips of each of PEOPLE people, or of all where there are fewer."""
        people = random.sample(self.people, min(PEOPLE, len(self.people)))
        folders = [
            folder
            for person in people
            for folder in random.choices([f for f in self.folders if f.parent.name == person], k=CLIPS)
        ]
        pids = [self.people.index(folder.parent.name) for folder in folders]
        platforms = [self.platforms.index(folder.name) for folder in folders]
        clips = torch.stack([self.clip(folder) for folder in folders])
        return {"clip": clips, "pid": torch.tensor(pids), "platform": torch.tensor(platforms)}


def fit(objective: VSLAObjective, tracklets: Tracklets, steps: int, lr: float, device: str) -> None:
    """Train whatever an objective leaves trainable."""
    objective.to(device).train()
    trainable = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=lr)
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
    prompts = IDPromptLearner(clip, identities=len(pids))
    encoder = attach(clip.visual, None, image_size=SIZE)
    fit(VSLAObjective(encoder, pids, prompts, stage=1), tracklets, steps, 3.5e-4, device)

    # Stage two: adapters are trained against the descriptions (Eq. 10).
    encoder = attach(detach(encoder), VSLAConfig(), PBPConfig(tracklets.platforms), image_size=SIZE)
    print(count_parameters(encoder))
    fit(VSLAObjective(encoder, pids, prompts, stage=2), tracklets, steps, 1e-4, device)
    save_pretrained(encoder, out)

    # Later: the same CLIP, and what was saved.
    encoder = load_pretrained(clip.visual, out).eval()
    batch = tracklets.batch()
    with torch.no_grad():
        features = encoder(batch["clip"].to(device), batch["platform"].to(device))
    print(f"{len(features)} clips -> features of {features.shape[1]} channels")


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tracklets", type=Path, help="folder with PERSON/PLATFORM/*.jpg")
    parser.add_argument("out", type=Path, help="folder for the adapter")
    parser.add_argument("--model", default="ViT-B-16-quickgelu", help="open_clip's name")
    parser.add_argument("--pretrained", help="open_clip's tag, such as openai; none for random weights")
    parser.add_argument("--steps", type=int, default=2000, help="of each stage")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    clip = open_clip.create_model(options.model, pretrained=options.pretrained)
    train(clip, Tracklets(options.tracklets), options.out, options.steps, options.device)


if __name__ == "__main__":
    main()
