"""Stage one: descriptions of identities are learned against frozen towers (4.2, Eqs. 3, 5)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip

from reid_adapters import IDPromptLearner, LossConfig, VSLAObjective, attach, detach
from reid_core.data.datasets import collate
from reid_core.data.samplers import RandomBatches
from reid_core.models.features import valid_path
from reid_core.processes import ranks, share
from reid_core.recipe import Job
from reid_core.training.loop import fit
from vsla_clip.clip import build_prompts, load_clip, read_weights
from vsla_clip.config import CLIPConfig, Size, Stage1Config
from vsla_clip.data import FeatureRows, even_clips, extract_clips, training_rows

FEATURES_FILE = "features.npy"


@dataclass(frozen=True)
class Describing:
    """What the stage gets; its fields are explained in `vsla_clip.config`."""

    clip: CLIPConfig
    stage1: Stage1Config
    scale: float | None
    size: Size
    frames: int
    seed: int


def learn_prompts(job: Job) -> dict[str, Any]:
    """Learn the prompts of the training identities, on features that the frozen encoder makes once.

    Features are extracted by rank 0; every process trains on them.

    Args:
        job: its section is a `Describing`; its folder gets features.npy and final.pt.

    Returns:
        Numbers of identities, of clips, and of those that couldn't be read.
    """
    section: Describing = job.section
    rows, clip = training_rows(job), load_clip(job)
    pids = np.unique(rows.pids).tolist()
    prompts = build_prompts(section.stage1, clip, len(pids), section.seed)
    clips = even_clips(rows, section.size, section.frames)
    path = job.folder / FEATURES_FILE

    def extract_once() -> None:
        extract_clips(job, attach(clip.visual, None, image_size=section.size), clips, path)
        detach(clip.visual)

    share(extract_once)
    readable = np.load(valid_path(path))
    known = FeatureRows(np.load(path, mmap_mode="r")[readable], clips.pids[readable])
    objective = VSLAObjective(None, pids, prompts, stage=1, config=LossConfig(scale=section.scale))
    rank, world = ranks(job.runtime)
    batch = min(section.stage1.batch, len(known) // world * world)
    train = section.stage1.train.resolve(-(-len(known) // batch), job.runtime)
    batches = RandomBatches(len(known), batch, train.steps * train.accumulate, section.seed, rank, world)
    fit(objective, known, batches, collate, train, job.folder, section.seed, job.logger, job.digest)
    return {"identities": len(pids), "clips": len(clips), "unreadable": int((~readable).sum())}


def load_prompts(config: Stage1Config, clip: open_clip.CLIP, folder: Path) -> IDPromptLearner:
    """Prompts as stage one left them.

    Args:
        config: numbers of tokens.
        clip: open_clip's, with the weights that they were learned with.
        folder: of the stage.
    """
    state = read_weights(folder, "prompts")
    prompts = build_prompts(config, clip, len(state["id_prompts"]))
    prompts.load_state_dict(state)
    return prompts
