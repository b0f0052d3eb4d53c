"""The evaluate stage: the target's test people are searched for with each model of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from cion.config import TEST_SPLITS, EvaluateConfig
from cion.networks import MODEL_FOLDER, read_network
from reid_core.data.datasets import ImageDataset, read_pictures
from reid_core.files import write_atomically
from reid_core.models.features import retrieval_arguments
from reid_core.processes import process_rank
from reid_core.recipe import Job, extract_features, flatten_results
from reid_eval import evaluate as score
from reid_eval import find_protocol
from reid_eval.pages import write_pages
from reid_eval.retrieval import Retrieval

RESULTS_FILE = "results.json"
RANKS = (1, 5, 10)
"""Ranks of the paper's tables."""
TASK = "image"
"""What is looked for, in the figures of a run with one target."""
NAMES = {
    "initial": "as it began",
    "source": "source alone",
    "target": "Cluster Contrast",
    "none": "no pre-training",
    "dino": "DINO",
    "raw": "CION, raw tracklets",
    "identities": "CION, given identities",
    "tracklet": "CION, tracklet",
    "video": "CION, video",
    "cross_video": "CION, denoised",
}
"""What a run's models are called."""


class Scored(NamedTuple):
    """A model, and what it is scored on.

    Attributes:
        stage: that made it.
        source: name of the target.
        protocol: gallery rows that count.
        folder: the model's, below the stage's.
    """

    stage: str
    source: str
    protocol: str
    folder: str = MODEL_FOLDER


@dataclass(frozen=True)
class Evaluation:
    """What the stage gets: how to evaluate, and the models by name, TARGET/NAME where targets are several."""

    evaluate: EvaluateConfig
    models: Mapping[str, Scored]


def protocol_name(config: EvaluateConfig, reader: str) -> str:
    """The configured protocol, else the data set's own.

    Args:
        config: of the evaluation.
        reader: of the target.

    Raises:
        ValueError: no protocol of that name.

    Example:
        >>> protocol_name(EvaluateConfig(), "pku_reid")
        'pku_reid'
    """
    name = config.protocol or reader
    find_protocol(name)
    return name


def evaluate(job: Job) -> dict[str, Any]:
    """Score models on the target's queries and gallery.

    Args:
        job: its section is an `Evaluation`; its folder gets features, results.json, report.html and figures/.

    Returns:
        Model, with its target's name in front where targets are several -> mAP, rank_1, rank_5, rank_10 and
        more, rates in 0..1.
    """
    models: Mapping[str, Scored] = job.section.models
    scored = {name: _score(job, name, model) for name, model in models.items()}
    found = {name: one.result.summary() for name, one in scored.items() if one is not None}
    if process_rank() == 0:
        write_atomically(job.folder / RESULTS_FILE, json.dumps(found, indent=2) + "\n")
        job.logger.metrics(flatten_results(found), step=0)
        tasks: dict[str, dict[str, Retrieval]] = {}
        for name, one in scored.items():
            if one is not None:
                target, _, variant = name.rpartition("/")
                tasks.setdefault(target or TASK, {})[title(variant)] = one
        about = {job.title(model.source): f"protocol {model.protocol}" for model in models.values()}
        write_pages(job.folder, tasks, title="CION: image retrieval", details=about)
    return found


def _score(job: Job, name: str, scored: Scored) -> Retrieval | None:
    settings: EvaluateConfig = job.section.evaluate
    model, transform = read_network(job.inputs[scored.stage] / scored.folder)
    images = [
        ImageDataset(job.manifest(scored.source, split), transform, replace=False) for split in TEST_SPLITS
    ]
    sides = [
        extract_features(job, model, side, job.folder / name / f"{split}.npy", settings.flip)
        for split, side in zip(TEST_SPLITS, images, strict=True)
    ]
    if process_rank() > 0:
        return None
    arguments = retrieval_arguments(*sides) | {"protocol": find_protocol(scored.protocol)}
    return Retrieval(score(**arguments, ranks=RANKS), arguments, *(partial(read_pictures, s) for s in images))


def title(name: str) -> str:
    """What a model is called.

    Args:
        name: as in an `Evaluation`.

    Example:
        >>> title("msmt17/dino")
        'DINO (msmt17)'
    """
    target, _, variant = name.rpartition("/")
    return NAMES.get(variant, variant) + (f" ({target})" if target else "")


def format_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Results in per cent, one line per model.

    Args:
        found: model -> name -> value.

    Example:
        >>> print(format_table({"initial": {"mAP": 0.1, "rank_1": 0.25, "rank_5": 0.5, "rank_10": 1.0}}))
        %                         mAP  Rank-1  Rank-5 Rank-10
        as it began              10.0    25.0    50.0   100.0
    """
    width = max([22, *(len(title(name)) for name in found)])
    lines = [f"{'%':<{width}}{'mAP':>7}" + "".join(f"{f'Rank-{rank}':>8}" for rank in RANKS)]
    for name, values in found.items():
        rates = "".join(f"{100 * values[f'rank_{rank}']:>8.1f}" for rank in RANKS)
        lines.append(f"{title(name):<{width}}{100 * values['mAP']:>7.1f}{rates}")
    return "\n".join(lines)
