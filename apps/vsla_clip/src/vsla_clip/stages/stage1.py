"""Stage one: descriptions of identities are learned against frozen towers (4.2, Eqs. 3, 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from reid_adapters import LossConfig, VSLAObjective, attach, detach
from reid_core.data.datasets import collate
from reid_core.data.samplers import RandomBatches
from reid_core.processes import ranks
from reid_core.recipe import Job, extract_features
from reid_core.training.loop import fit
from vsla_clip.clip import build_prompts, load_clip
from vsla_clip.config import SOURCE, CLIPConfig, Preprocessing, Stage1Config
from vsla_clip.data import FeatureRows, test_clips, training_rows

FEATURES_FILE = "features.npy"


@dataclass(frozen=True)
class Describing:
    """What the stage gets; its fields are explained in `vsla_clip.config`."""

    clip: CLIPConfig
    stage1: Stage1Config
    scale: float | None
    prepared: Preprocessing
    frames: int
    seed: int


def learn_prompts(job: Job) -> dict[str, Any]:
    """Learn the prompts of the training identities, on features that the frozen encoder makes once.

    Args:
        job: its section is a `Describing`; its folder gets features.npy and final.pt.

    Returns:
        Numbers of identities, of clips, and of those that couldn't be read.
    """
    section: Describing = job.section
    rows, clip = training_rows(job), load_clip(job)
    pids = np.unique(rows.pids).tolist()
    prompts = build_prompts(section.stage1, clip, len(pids), section.seed)
    clips = test_clips(rows, section.prepared, section.frames)
    encoder = attach(clip.visual, None, image_size=section.prepared.size)
    features, _, readable = extract_features(job, encoder, clips, job.folder / FEATURES_FILE)
    detach(clip.visual)
    known = FeatureRows(features[readable], clips.pids[readable])
    objective = VSLAObjective(None, pids, prompts, stage=1, config=LossConfig(scale=section.scale))
    rank, world = ranks(job.runtime)
    batch = min(section.stage1.batch, len(known) // world * world)
    if not batch:
        raise ValueError(
            f"{SOURCE}: only {len(known)} of {len(clips)} training tracklets of {rows.root} can be read, by "
            f"{world} processes; features.unreadable.txt in {job.folder} names the others"
        )
    train = section.stage1.train.resolve(-(-len(known) // batch), job.runtime)
    batches = RandomBatches(len(known), batch, train.steps * train.accumulate, section.seed, rank, world)
    fit(objective, known, batches, collate, train, job.folder, section.seed, job.logger, job.digest)
    return {"identities": len(pids), "clips": len(clips), "unreadable": int((~readable).sum())}
