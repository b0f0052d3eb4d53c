"""The CLIP to begin with: published weights, or a small one trained on captioned synthetic people."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import open_clip
import pandas as pd
from torch import Tensor, nn

from reid_adapters import load_initial
from reid_core.data.datasets import ImageDataset, collate, seeded
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import PKBatches
from reid_core.data.transforms import train_transform
from reid_core.synthetic import World, write_folder
from reid_core.training.checkpoints import read_checkpoint
from reid_core.training.loop import FINAL, fit
from reid_core.training.protocols import Logger
from vsla_clip.captions import CONTEXT, caption
from vsla_clip.config import Captioned, Config, train_config

MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
"""Of the channels, as CLIP was trained with them."""
PEOPLE = "people"
MAX_SCALE = math.log(100)
"""Where CLIP stops its learnt logarithm of the scale (Radford et al., ICML 2021)."""


def build_clip(config: Config, trained: Path | None = None) -> open_clip.CLIP:
    """CLIP with the weights to begin with, on the CPU.

    Args:
        config: the whole configuration.
        trained: folder of the clip stage, where there is one.

    Returns:
        An open_clip CLIP.

    Raises:
        ValueError: an unknown name or tag, weights that can't be had, or a checkpoint of another shape.
    """
    base = config.clip
    with seeded(config.seed):
        if base.small is not None:
            vision = {**base.small.get("vision_cfg", {}), "image_size": tuple(config.data.size)}
            clip = open_clip.CLIP(**{**base.small, "vision_cfg": vision})
        else:
            clip = _published(base.name, base.pretrained)
    if base.checkpoint is not None:
        report = load_initial(clip, base.checkpoint)
        # Without a tag the rest would be random; ViFi-CLIP's holds no token embedding (and needs the tag).
        lacking = report.missing if base.pretrained is None else []
        if report.mismatched or lacking:
            raise ValueError(
                f"clip.checkpoint: {base.checkpoint} doesn't fit clip.name {base.name}: {report}"
            )
        print(f"{base.checkpoint}: {report}")
    if trained is not None:
        state = read_checkpoint(trained / FINAL)["state_dict"]
        clip.load_state_dict({name.removeprefix("clip."): value for name, value in state.items()
                              if name.startswith("clip.")})  # fmt: skip
    return clip.eval()


def _published(name: str, tag: str | None) -> open_clip.CLIP:
    tags = open_clip.list_pretrained_tags_by_model(name)
    if name not in open_clip.list_models():
        raise ValueError(f"clip.name: open_clip has no {name!r}; see open_clip.list_models()")
    if tag is not None and tag not in tags:
        raise ValueError(f"clip.pretrained: open_clip has no {tag!r} of {name}; there are {', '.join(tags)}")
    try:
        return open_clip.create_model(name, pretrained=tag)
    except Exception as error:  # a download fails in as many ways as there are libraries below
        raise ValueError(
            f"clip.pretrained: {tag!r} of {name} can't be loaded ({error}); without network, put it into "
            "Hugging Face's cache, or give a file as clip.checkpoint"
        ) from error


class CaptionObjective(nn.Module):
    """Contrast of images and the captions of who is in them (Radford et al., ICML 2021).

    Args:
        clip: open_clip's.
        tokens: int64 [people context], each person's caption.
    """

    tokens: Tensor

    def __init__(self, clip: open_clip.CLIP, tokens: Tensor) -> None:
        super().__init__()
        self.clip, self.contrast = clip, open_clip.ClipLoss()
        self.register_buffer("tokens", tokens, persistent=False)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Images [b 3 h w] and pid [b], rows of the captions -> the loss."""
        return {"loss": self.contrast(*self.clip(batch["image"], self.tokens[batch["pid"]]))}

    def after_step(self, step: int) -> None:
        """Keep the scale where CLIP keeps it."""
        self.clip.logit_scale.clamp_(0, MAX_SCALE)


def train_clip(
    config: Config, settings: Captioned, folder: Path, logger: Logger | None = None
) -> dict[str, Any]:
    """The clip stage: draw captioned people and train a CLIP on them from random weights.

    Args:
        config: the whole configuration.
        settings: its clip.captioned.
        folder: the stage's folder; gets people/ and final.pt.
        logger: gets the metrics; None logs nothing.

    Returns:
        Numbers of people and images.
    """
    world = World(**{"height": config.data.size[0], "width": config.data.size[1], **settings.world})
    people = draw_people(
        world, settings.images, folder / PEOPLE, config.machine.threads or os.cpu_count() or 1
    )
    tokens = open_clip.SimpleTokenizer(context_length=_context(config))(
        [caption(world.seed, identity) for identity in range(world.identities)]
    )
    transform = train_transform(
        config.data.size, padding=config.data.padding, erasing=0.0, mean=MEAN, std=STD
    )
    train = train_config(settings.train, config.machine, -(-len(people) // settings.batch))
    batches = PKBatches(people.pids, settings.batch, 1, train.steps, config.seed)
    objective = CaptionObjective(build_clip(config), tokens)
    fit(objective, ImageDataset(people, transform), batches, collate, train, folder, config.seed, logger)
    return {"people": world.identities, "images": len(people)}


def draw_people(world: World, images: int, root: Path, workers: int) -> Manifest:
    """Write images of all people of a world, or read what was written.

    Args:
        world: what to draw.
        images: of a person before a camera.
        root: folder; it appears only when it is whole.
        workers: processes that draw.

    Returns:
        Their manifest; pid is the number of the person in the world.
    """
    if not root.exists():
        write_folder(world, root, tracklets_per_camera=0, images_per_camera=images, workers=workers)
    truth = pd.read_parquet(root / "truth.parquet")
    table = pd.DataFrame({"path": truth["path"], "pid": truth["identity"], "split": "train"})
    return Manifest(table, root, "captioned people")


def _context(config: Config) -> int:
    assert config.clip.small is not None
    return config.clip.small.get("text_cfg", {}).get("context_length", CONTEXT)
