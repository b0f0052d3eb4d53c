"""Stage one: descriptions of identities are learned against frozen towers (4.2, Eqs. 3, 5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
from torch import nn

from reid_adapters import IDPromptLearner, VSLAObjective, attach, detach
from reid_core.data.datasets import collate, seeded
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import RandomBatches
from reid_core.models.features import extract, valid_path
from reid_core.training.checkpoints import read_checkpoint
from reid_core.training.loop import FINAL, fit
from reid_core.training.protocols import Logger
from vsla_clip.clips import FeatureRows, even_clips, training_rows
from vsla_clip.config import Config, train_config

FEATURES_FILE = "features.npy"


def learn_prompts(
    config: Config, manifest: Manifest, clip: open_clip.CLIP, folder: Path, logger: Logger | None = None
) -> dict[str, Any]:
    """Learn the prompts of the training identities, on features that the frozen encoder makes once.

    Args:
        config: the whole configuration.
        manifest: of the data set.
        clip: open_clip's, with nothing attached.
        folder: the stage's folder; gets features.npy and final.pt.
        logger: gets the metrics; None logs nothing.

    Returns:
        Numbers of identities, of clips, and of those that couldn't be read.

    Raises:
        ValueError: CLIP's text tower is of an unknown kind, or the prompt is longer than it takes.
    """
    rows = training_rows(manifest)
    prompts = build_prompts(config, clip, len(set(rows.pids.tolist())))
    dataset = even_clips(rows, config.data)
    features = extract_features(
        config, attach(clip.visual, None, image_size=config.data.size), dataset, folder
    )
    detach(clip.visual)
    readable = np.load(valid_path(folder / FEATURES_FILE))
    known = FeatureRows(features[readable], dataset.pids[readable])
    objective = VSLAObjective(None, rows.pids.tolist(), prompts, stage=1, config=config.stage2.losses)
    batch = min(config.stage1.batch, len(known))
    train = train_config(config.stage1.train, config.machine, -(-len(known) // batch))
    batches = RandomBatches(len(known), batch, train.steps, config.seed)
    fit(objective, known, batches, collate, train, folder, config.seed, logger)
    return {
        "identities": prompts.identities,
        "clips": len(dataset),
        "unreadable": int((~readable).sum()),
    }


def build_prompts(config: Config, clip: open_clip.CLIP, identities: int) -> IDPromptLearner:
    """Prompts as they begin, a function of the seed.

    Args:
        config: the whole configuration.
        clip: open_clip's.
        identities: how many.
    """
    about = config.stage1
    with seeded(config.seed):
        return IDPromptLearner(clip, identities, about.id_tokens, about.shared_tokens, about.words)


def load_prompts(config: Config, clip: open_clip.CLIP, folder: Path) -> IDPromptLearner:
    """Prompts as stage one left them.

    Args:
        config: the whole configuration.
        clip: open_clip's, with the weights that they were learned with.
        folder: of the stage.
    """
    prefix = "prompts."
    state = read_checkpoint(folder / FINAL)["state_dict"]
    state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    prompts = build_prompts(config, clip, len(state["id_prompts"]))
    prompts.load_state_dict(state)
    return prompts


def extract_features(config: Config, encoder: nn.Module, dataset: Any, folder: Path) -> np.ndarray:
    """Features [n e] of clips, in a file of the folder that a killed run goes on with.

    Args:
        config: the whole configuration.
        encoder: clips -> features.
        dataset: of clips.
        folder: gets features.npy.
    """
    return extract(
        encoder,
        dataset,
        folder / FEATURES_FILE,
        batch_size=config.evaluate.batch_size,
        workers=config.machine.workers,
        device="cpu" if config.machine.accelerator == "cpu" else "auto",
        fingerprint=repr((config.data.size, dataset.frames)),
    )
