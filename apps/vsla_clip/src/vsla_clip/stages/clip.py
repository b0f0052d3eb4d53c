"""The clip stage: a small CLIP is trained on captioned synthetic people, where there are no weights."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import pandas as pd
from torch import Tensor, nn

from reid_core.data.datasets import ImageDataset, collate
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import PKBatches
from reid_core.data.transforms import train_transform
from reid_core.processes import ranks, share
from reid_core.recipe import Job
from reid_core.synthetic import World, write_folder
from reid_core.training.loop import fit
from vsla_clip.captions import CONTEXT, caption
from vsla_clip.clip import build_clip
from vsla_clip.config import CLIP_MEAN, CLIP_STD, Captioned, CLIPConfig, Size

PEOPLE = "people"
MAX_SCALE = math.log(100)
"""Where CLIP stops its learnt logarithm of the scale (Radford et al., ICML 2021)."""


@dataclass(frozen=True)
class Captioning:
    """What the stage gets; its fields are explained in `vsla_clip.config`."""

    clip: CLIPConfig
    captioned: Captioned
    size: Size
    padding: int
    seed: int


class CaptionObjective(nn.Module):
    """Contrast of images and the captions of who is in them (Radford et al., ICML 2021).

    Args:
        clip: open_clip's.
        tokens: int64 [people context], each person's caption.
        rank: of this process.
        world_size: number of processes; the contrast is over the images of all.
    """

    tokens: Tensor

    def __init__(self, clip: open_clip.CLIP, tokens: Tensor, rank: int = 0, world_size: int = 1) -> None:
        super().__init__()
        self.clip = clip
        self.contrast = open_clip.ClipLoss(gather_with_grad=True, rank=rank, world_size=world_size)
        self.register_buffer("tokens", tokens, persistent=False)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Images [b 3 h w] and pid [b], rows of the captions -> the loss."""
        return {"loss": self.contrast(*self.clip(batch["image"], self.tokens[batch["pid"]]))}

    def after_step(self, step: int) -> None:
        """Keep the scale where CLIP keeps it."""
        self.clip.logit_scale.clamp_(0, MAX_SCALE)


def train_clip(job: Job) -> dict[str, Any]:
    """Draw captioned people and train a CLIP on them from random weights.

    Args:
        job: its section is a `Captioning`; its folder gets people/ and final.pt.

    Returns:
        Numbers of people and images.
    """
    section: Captioning = job.section
    settings, size = section.captioned, section.size
    world = World(**{"height": size[0], "width": size[1], **settings.world})
    workers = job.runtime.threads or os.cpu_count() or 1
    people = draw_people(world, settings.images, job.folder / PEOPLE, workers)
    assert section.clip.small is not None
    context = section.clip.small.get("text_cfg", {}).get("context_length", CONTEXT)
    tokens = open_clip.SimpleTokenizer(context_length=context)(
        [caption(world.seed, identity) for identity in range(world.identities)]
    )
    transform = train_transform(size, padding=section.padding, erasing=0.0, mean=CLIP_MEAN, std=CLIP_STD)
    train = settings.train.resolve(-(-len(people) // settings.batch), job.runtime)
    rank, world_size = ranks(job.runtime)
    batches = PKBatches(
        people.pids, settings.batch, 1, train.steps * train.accumulate, section.seed, rank, world_size
    )
    clip = build_clip(section.clip, size, job.files.get("checkpoint"), section.seed)
    objective = CaptionObjective(clip, tokens, rank, world_size)
    dataset = ImageDataset(people, transform)
    fit(objective, dataset, batches, collate, train, job.folder, section.seed, job.logger, job.digest)
    return {"people": world.identities, "images": len(people)}


def draw_people(world: World, images: int, root: Path, workers: int) -> Manifest:
    """Write images of all people of a world, unless they are there, in rank 0.

    Args:
        world: what to draw.
        images: number per person and camera.
        root: folder; it appears only when it is whole.
        workers: processes that draw.

    Returns:
        Their manifest; pid is the number of the person in the world.
    """

    def draw() -> None:
        if not root.exists():
            write_folder(world, root, tracklets_per_camera=0, images_per_camera=images, workers=workers)

    share(draw)
    truth = pd.read_parquet(root / "truth.parquet")
    table = pd.DataFrame({"path": truth["path"], "pid": truth["identity"], "split": "train"})
    return Manifest(table, root, "captioned people")
