"""VSLA-CLIP's recipe: which stages there are, what each reads, and what can be checked before them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reid_core.data.manifest import PLATFORMS, Manifest
from reid_core.processes import ranks
from reid_core.recipe import Recipe, Stage, part
from reid_core.recipe.rows import PREPARE
from reid_core.recipe.runner import Summaries
from reid_core.recipe.stage import Parts
from reid_core.synthetic import World
from reid_core.tracking.tracker import Tracker
from reid_eval import find_protocol
from vsla_clip.clip import check_model
from vsla_clip.config import SOURCE, Captioned, Config, adaptation, architecture, sources, tuning
from vsla_clip.data import name_platforms
from vsla_clip.methods import METHODS
from vsla_clip.stages.clip import Captioning, train_clip
from vsla_clip.stages.evaluate import Evaluation, evaluate, flatten_results, print_table
from vsla_clip.stages.stage1 import Describing, learn_prompts
from vsla_clip.stages.stage2 import Adapting, train_encoder


def stages(config: Config) -> list[Stage]:
    """The stages of a configuration, in order.

    Args:
        config: the whole configuration.
    """
    data, clip, method = config.data, architecture(config), METHODS[config.method]
    checkpoint, captioned = config.clip.checkpoint, config.clip.captioned
    files = {} if checkpoint is None else {"checkpoint": Path(checkpoint)}
    train: dict[str, Parts] = {PREPARE: [part(SOURCE, "train")]}
    test: dict[str, Parts] = {PREPARE: [part(SOURCE, "query"), part(SOURCE, "gallery")]}
    change, scale = adaptation(config), config.stage2.losses.scale
    result = [sources(config).stage()]
    if captioned is not None:
        captioning = Captioning(clip, captioned, data.size, data.padding, config.seed)
        result.append(Stage("clip", train_clip, captioning, files=files, collective=True))
        train, test, files = {**train, "clip": None}, {**test, "clip": None}, {}
    describing = Describing(clip, config.stage1, scale, data.size, data.frames, config.seed)
    result.append(Stage("stage1", learn_prompts, describing, train, files, collective=True))
    if method.tune != "nothing":
        adapting = Adapting(
            clip,
            change,
            config.stage1 if method.semantic else None,
            tuning(config),
            data.platforms if method.pbp else {},
            data.size,
            data.frames,
            data.padding,
            data.erasing,
            config.seed,
        )
        reads = {**train, "stage1": None} if method.semantic else train
        result.append(Stage("stage2", train_encoder, adapting, reads, files, collective=True))
        test = {**test, "stage2": None}
    frames = config.evaluate.frames or data.frames
    evaluation = Evaluation(clip, change, data.platforms, protocol(config), data.size, frames)
    result.append(Stage("evaluate", evaluate, evaluation, test, files))
    return result


def protocol(config: Config) -> str:
    """Name of the evaluation's protocol: the configured one, else the data set's own.

    Args:
        config: the whole configuration.

    Example:
        >>> protocol(Config())
        'g2a_vreid'
    """
    return config.evaluate.protocol or config.data.video.name


def check(config: Config) -> None:
    """Refuse what can be seen to be wrong before anything is read, written or trained.

    Args:
        config: the whole configuration.

    Raises:
        ValueError: a setting that can't work; the message names it.
        FileNotFoundError: a checkpoint that isn't there.
    """
    if config.method not in METHODS:
        raise ValueError(f"method={config.method!r}: expected one of {', '.join(METHODS)}")
    named = {"pbp.platforms": config.pbp.platforms, "data.platforms": config.data.platforms.values()}
    for option, names in named.items():
        if unknown := set(names) - set(filter(None, PLATFORMS)):
            raise ValueError(
                f"{option}: expected {', '.join(filter(None, PLATFORMS))}, not {sorted(unknown)[0]!r}"
            )
    try:
        find_protocol(protocol(config))
    except ValueError as error:
        raise ValueError(f"evaluate.{error}") from error
    _check_clip(config)
    batches = {"stage1.batch": config.stage1.batch, "stage2.identities": config.stage2.identities}
    if config.clip.captioned is not None:
        batches["clip.captioned.batch"] = config.clip.captioned.batch
    world = ranks(config.runtime)[1]
    for option, number in batches.items():
        if number < 1 or number % world:
            raise ValueError(f"{option}={number} can't be divided over {world} processes")
    check_model(architecture(config), config.stage1, adaptation(config), config.data.size)


def _check_clip(config: Config) -> None:
    clip = config.clip
    if clip.checkpoint is not None and not Path(clip.checkpoint).is_file():
        raise FileNotFoundError(f"clip.checkpoint: there is no file {clip.checkpoint}")
    if clip.pretrained is None and clip.checkpoint is None and clip.captioned is None:
        raise ValueError(
            "clip has random weights, against which nothing can be learned: give clip.pretrained (openai), "
            "clip.checkpoint (a file) or, with clip.small, clip.captioned"
        )
    if clip.captioned is not None:
        if clip.small is None:
            raise ValueError(
                "clip.captioned trains a small CLIP from random weights: give clip.small its sizes"
            )
        _check_captioned(clip.captioned)
    if clip.small is not None and clip.pretrained is not None:
        raise ValueError(
            "clip.small is no architecture of open_clip's, so clip.pretrained has no weights for it"
        )


def _check_captioned(captioned: Captioned) -> None:
    try:
        people = World(**captioned.world).identities
    except TypeError as error:
        raise ValueError(f"clip.captioned.world: {error}") from error
    if people < captioned.batch:
        raise ValueError(
            f"clip.captioned.batch={captioned.batch} images are of different people; the world has {people}"
        )


def check_data(config: Config, rows: Callable[..., Manifest]) -> None:
    """Refuse what can be seen to be wrong as soon as the data set has been read.

    Args:
        config: the whole configuration.
        rows: source and splits -> rows.

    Raises:
        ValueError: too few people for a batch, or a platform without prompts.
    """
    import numpy as np

    everything = name_platforms(rows(SOURCE), config.data.platforms)
    unknown = sorted(set(everything.table["platform"]) - set(config.pbp.platforms))
    if METHODS[config.method].pbp and unknown:
        where = unknown[0] or f"platforms that {config.data.video.name} does not name"
        raise ValueError(
            f"method={config.method} has prompts of {', '.join(config.pbp.platforms)}, but tracklets are "
            f"from {where}: choose another method, or set data.platforms (by camera) or pbp.platforms"
        )
    pids = rows(SOURCE, "train").pids
    people, needed = len(np.unique(pids[pids >= 0])), config.stage2.identities
    if METHODS[config.method].tune != "nothing" and people < needed:
        raise ValueError(f"stage2.identities={needed}, but {SOURCE} has {people} people to train on")


def results(summaries: Summaries) -> dict[str, float]:
    """Metrics of a run, and the parameters that Table 3 counts.

    Args:
        summaries: stage -> its summary.
    """
    trained = summaries.get("stage2", {})
    counts = {f"parameters/{name}": float(trained[name]) for name in ("overall", "tunable") if trained}
    return flatten_results(summaries.get("evaluate", {})) | counts


def publish(config: Config, folder: Callable[[str], Path], summaries: Summaries, tracker: Tracker) -> None:
    """Print the table of an evaluation.

    Args:
        config: the whole configuration.
        folder: stage -> its folder.
        summaries: stage -> its summary.
        tracker: the run.
    """
    trainable = summaries.get("stage2", {"trainable": 0})["trainable"]
    print_table(METHODS[config.method].title, trainable, summaries["evaluate"])


RECIPE = Recipe("vsla-clip", "vsla_clip.cli", sources, stages, check, check_data, results, publish)
