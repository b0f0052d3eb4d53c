"""Stage two: adapters, or the whole image encoder, are trained against the descriptions (4.2-4.4, Eq. 10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from reid_adapters import VSLAObjective, count_parameters, save_pretrained
from reid_core.data.datasets import collate, seed_torch
from reid_core.data.samplers import PKBatches
from reid_core.processes import process_rank, ranks
from reid_core.recipe import Job
from reid_core.training.loop import fit
from vsla_clip.clip import adapt, build_prompts, load_clip, read_weights
from vsla_clip.config import Adaptation, CLIPConfig, Preprocessing, Stage1Config, Stage2Config
from vsla_clip.data import PlatformClips, training_clips, training_rows
from vsla_clip.sampler import GroupBatches

ADAPTER_FOLDER = "adapter"


@dataclass(frozen=True)
class Adapting:
    """What the stage gets; its fields are explained in `vsla_clip.config`."""

    clip: CLIPConfig
    change: Adaptation
    prompts: Stage1Config | None
    stage2: Stage2Config
    prepared: Preprocessing
    frames: int
    padding: int
    erasing: float
    seed: int


def train_encoder(job: Job) -> dict[str, Any]:
    """Train what a method attaches to the image encoder.

    Args:
        job: its section is an `Adapting`; its folder gets final.pt, and adapter/ where the base stays as it
            is.

    Returns:
        Parameters, trainable and all, of the encoder and, as "tunable" and "overall", with the prompts of
        stage one and the text tower behind them: what Table 3 counts.
    """
    section: Adapting = job.section
    settings, change = section.stage2, section.change
    rows, clip = training_rows(job), load_clip(job)
    prompts = None
    if section.prompts is not None:
        state = read_weights(job.inputs["stage1"], "prompts")
        prompts = build_prompts(section.prompts, clip, len(state["id_prompts"]))
        prompts.load_state_dict(state)
    with seed_torch(section.seed):
        encoder = adapt(clip.visual, change, section.prepared.size)
        pids = np.unique(rows.pids).tolist()
        objective = VSLAObjective(encoder, pids, prompts, config=settings.losses)
    clips = training_clips(rows, section.prepared, section.frames, section.padding, section.erasing)
    dataset = PlatformClips(clips, change.pbp.platforms if change.pbp else ())
    train = settings.train.resolve(epoch_steps(clips.pids, settings), job.runtime)
    batches = {"tracklets": PKBatches, "sampler": GroupBatches}[settings.epoch](
        clips.pids,
        settings.identities,
        settings.instances,
        train.steps * train.accumulate,
        section.seed,
        *ranks(job.runtime),
    )
    fit(objective, dataset, batches, collate, train, job.folder, section.seed, job.logger, job.digest)
    if process_rank() == 0 and change.adapters is not None:
        base = " ".join(filter(None, (section.clip.name, section.clip.pretrained)))
        save_pretrained(encoder, job.folder / ADAPTER_FOLDER, base)
    return count(encoder, prompts)


def epoch_steps(pids: np.ndarray, settings: Stage2Config) -> int:
    """Batches of an epoch: of a pass over the tracklets, or of the release's over groups of K of a person.

    Args:
        pids: int64 [n], of the training tracklets.
        settings: its `epoch` says which; P and K.

    Example:
        >>> pids = np.repeat(np.arange(930), 2)  # G2A-VReID: a tracklet from the ground, one from the air
        >>> [120 * epoch_steps(pids, Stage2Config(epoch=epoch)) for epoch in ("tracklets", "sampler")]
        [7080, 13920]
    """
    if settings.epoch == "tracklets":
        return -(-len(pids) // (settings.identities * settings.instances))
    return GroupBatches(pids, settings.identities, settings.instances, steps=0).steps_per_epoch


def count(encoder: Any, prompts: Any | None) -> dict[str, int]:
    """Parameters of an encoder alone, and with its prompts and their text tower.

    Args:
        encoder: from `adapt`.
        prompts: of stage one; None without alignment.

    Returns:
        "trainable" and "total" of the encoder; "tunable" and "overall" of all. The losses' heads are not
        counted, and the text tower counts as it is used, without the vocabulary's embedding.
    """
    found = count_parameters(encoder)
    result = {"trainable": found.trainable, "total": found.total}
    if prompts is None:
        return {**result, "tunable": found.trainable, "overall": found.total}
    texts = count_parameters(prompts)
    return {**result, "tunable": found.trainable + texts.trainable, "overall": found.total + texts.total}
