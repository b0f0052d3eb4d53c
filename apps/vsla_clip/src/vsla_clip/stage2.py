"""Stage two: adapters, or the whole image encoder, are trained against the descriptions (4.2-4.4, Eq. 10)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip

from reid_adapters import SetEncoder, VSLAObjective, count_parameters, save_pretrained
from reid_core.data.datasets import collate, seeded
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import PKBatches
from reid_core.training.checkpoints import read_checkpoint
from reid_core.training.loop import FINAL, fit
from reid_core.training.protocols import Logger
from vsla_clip.clips import training_clips, training_rows
from vsla_clip.config import Config, train_config
from vsla_clip.methods import Method, attached
from vsla_clip.stage1 import load_prompts

ADAPTER_FOLDER = "adapter"


def train_encoder(
    config: Config,
    manifest: Manifest,
    clip: open_clip.CLIP,
    method: Method,
    stage1: Path | None,
    folder: Path,
    logger: Logger | None = None,
) -> dict[str, Any]:
    """Train what a method attaches to the image encoder.

    Args:
        config: the whole configuration.
        manifest: of the data set.
        clip: open_clip's, with nothing attached.
        method: what to train.
        stage1: folder of stage one, for methods that are aligned with its text features.
        folder: the stage's folder; gets final.pt, and adapter/ where the base stays as it is.
        logger: gets the metrics; None logs nothing.

    Returns:
        Trainable parameters of the encoder, and all of its parameters.

    Raises:
        ValueError: fewer identities than a batch needs.
    """
    rows, about = training_rows(manifest), config.stage2
    prompts = None if stage1 is None else load_prompts(config, clip, stage1)
    with seeded(config.seed):
        encoder = attached(config, clip.visual, method)
        objective = VSLAObjective(encoder, rows.pids.tolist(), prompts, config=about.losses)
    dataset = training_clips(rows, config.data, config.pbp.platforms if method.pbp else ())
    batch = about.identities * about.instances
    settings = replace(about.train, lr=about.full_lr) if method.tune == "all" else about.train
    train = train_config(settings, config.machine, -(-len(dataset) // batch))
    batches = PKBatches(dataset.clips.pids, about.identities, about.instances, train.steps, config.seed)
    fit(objective, dataset, batches, collate, train, folder, config.seed, logger)
    if method.tune != "all":
        save_pretrained(encoder, folder / ADAPTER_FOLDER, f"{config.clip.name} {config.clip.pretrained}")
    counts = count_parameters(encoder)
    return {"trainable": counts.trainable, "total": counts.total}


def load_encoder(config: Config, clip: open_clip.CLIP, method: Method, folder: Path | None) -> SetEncoder:
    """An encoder as stage two left it.

    Args:
        config: the whole configuration.
        clip: open_clip's, with nothing attached.
        method: what was trained.
        folder: of stage two; None for CLIP as it begins.

    Returns:
        The encoder, in eval mode.
    """
    encoder = attached(config, clip.visual, method)
    if folder is not None:
        prefix = "encoder."
        state = read_checkpoint(folder / FINAL)["state_dict"]
        encoder.load_state_dict(
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        )
    return encoder.eval()
