"""VSLA-CLIP's recipe: which stages there are, what each reads, and what can be checked before them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from reid_adapters.config import PROJECTED
from reid_core.data.manifest import PLATFORM, PLATFORM_ALIASES, PLATFORM_RULE, UNKNOWN, Manifest
from reid_core.recipe import Recipe, Stage, check_batches, check_files, flatten_results, list_trials, part
from reid_core.recipe.rows import PREPARE
from reid_core.recipe.runner import Summaries
from reid_core.recipe.stage import Parts
from reid_core.synthetic import World
from reid_core.tracking.tracker import Tracker
from reid_eval import SPLITS, find_protocol
from reid_eval.protocols import all_pairs, cross_known_camera, cross_platform
from vsla_clip.clip import check_model
from vsla_clip.config import (
    METHODS,
    SOURCE,
    TEST_SPLITS,
    Adaptation,
    CLIPConfig,
    Config,
    adaptation,
    architecture,
    describing,
    preprocessing,
    sources,
    tuning,
)
from vsla_clip.stages.clip import Captioning, train_clip
from vsla_clip.stages.evaluate import ALL, UNNAMED, Evaluation, evaluate, print_results
from vsla_clip.stages.stage1 import Describing, learn_prompts
from vsla_clip.stages.stage2 import Adapting, train_encoder


def _stages(config: Config) -> list[Stage]:
    """The stages, in order."""
    data, clip, method = config.data, architecture(config), METHODS[config.method]
    prepared, stage1 = preprocessing(config), describing(config)
    checkpoint, captioned = config.clip.checkpoint, config.clip.captioned
    files = {} if checkpoint is None else {"checkpoint": Path(checkpoint)}
    train: dict[str, Parts] = {PREPARE: [part(SOURCE, "train")]}
    test: dict[str, Parts] = {PREPARE: [part(SOURCE, split) for split in TEST_SPLITS]}
    result = [sources(config).stage()]
    if config.released is not None:
        return [*result, _evaluation(config, test, {"released": Path(config.released)})]
    if captioned is not None:
        captioning = Captioning(clip, captioned, data.size, data.padding, config.seed)
        result.append(Stage("clip", train_clip, captioning, files=files, collective=True))
        train, test, files = {**train, "clip": None}, {**test, "clip": None}, {}
    learning = Describing(clip, stage1, config.stage2.losses.scale, prepared, data.frames, config.seed)
    result.append(Stage("stage1", learn_prompts, learning, train, files, collective=True))
    if method.tune != "nothing":
        adapting = Adapting(
            clip,
            adaptation(config),
            stage1 if method.semantic else None,
            tuning(config),
            prepared,
            data.frames,
            data.padding,
            data.erasing,
            config.seed,
        )
        reads = {**train, "stage1": None} if method.semantic else train
        result.append(Stage("stage2", train_encoder, adapting, reads, files, collective=True))
        test = {**test, "stage2": None}
    return [*result, _evaluation(config, test, files)]


def _evaluation(config: Config, reads: dict[str, Parts], files: dict[str, Path]) -> Stage:
    """The last stage."""
    settings, change = config.evaluate, adaptation(config)
    if config.released is not None:  # what is attached is read off the file, but for its platforms' names
        change = Adaptation(None, config.pbp, full=False)
    section = Evaluation(
        architecture(config),
        change,
        protocol(config),
        preprocessing(config),
        settings.frames or config.data.frames,
        settings.sampling,
        settings.levels,
    )
    return Stage("evaluate", evaluate, section, reads, files, collective=True, report=True)


def protocol(config: Config) -> str:
    """Name of the evaluation's protocol: the configured one, else the data set's own.

    Args:
        config: the whole configuration.

    Example:
        >>> protocol(Config())
        'g2a_vreid'
    """
    return config.evaluate.protocol or sources(config).reader(SOURCE)


def _check(config: Config) -> None:
    """Refuse what can be seen to be wrong before anything is read, written or trained."""
    if config.method not in METHODS:
        raise ValueError(f"method={config.method!r}: expected one of {', '.join(METHODS)}")
    for platform in config.pbp.platforms:
        if not re.fullmatch(PLATFORM, platform):
            raise ValueError(f"pbp.platforms: expected names of {PLATFORM_RULE}, not {platform!r}")
        if platform in PLATFORM_ALIASES:
            raise ValueError(f"pbp.platforms: {platform} is called {PLATFORM_ALIASES[platform]}")
    try:
        find_protocol(protocol(config))
    except ValueError as error:
        raise ValueError(f"evaluate.{error}") from error
    check_files({"clip.checkpoint": config.clip.checkpoint, "released": config.released})
    if config.released is not None:
        return
    _check_weights(config.clip)
    captioned = config.clip.captioned
    batches = {"stage1.batch": describing(config).batch, "stage2.identities": tuning(config).identities}
    if captioned is not None:
        batches["clip.captioned.batch"] = captioned.batch
    check_batches(config.runtime, batches)
    losses, compared = config.stage2.losses, config.evaluate.levels
    if not compared:
        raise ValueError("evaluate.levels is empty: give projected, or another of a feature's levels")
    several = {*losses.id_levels, *losses.triplet_levels, *compared} != {PROJECTED}
    check_model(architecture(config), config.stage1, adaptation(config), config.data.size, several)


def _check_weights(clip: CLIPConfig) -> None:
    """Refuse a CLIP with nothing to begin with, or with what doesn't go together."""
    captioned = clip.captioned
    if clip.pretrained is None and clip.checkpoint is None and captioned is None:
        raise ValueError(
            "clip has random weights, against which nothing can be learned: give clip.pretrained (openai), "
            "clip.checkpoint (a file) or, with clip.small, clip.captioned"
        )
    if captioned is not None and clip.small is None:
        raise ValueError("clip.captioned trains a small CLIP from random weights: give clip.small")
    if clip.small is not None and clip.pretrained is not None:
        raise ValueError(
            "clip.small is no architecture of open_clip's: clip.pretrained has no weights for it"
        )
    if captioned is not None:
        try:
            people = World(**captioned.world).identities
        except TypeError as error:
            raise ValueError(f"clip.captioned.world: {error}") from error
        if people < captioned.batch:
            raise ValueError(
                f"clip.captioned.batch={captioned.batch} needs as many people; the world has {people}"
            )


def _check_data(config: Config, rows: Callable[..., Manifest]) -> None:
    """Refuse what can be seen to be wrong as soon as the data set has been read."""
    method, known = METHODS[config.method], config.pbp.platforms
    unknown = sorted(set(rows(SOURCE).table["platform"]) - set(known))
    check_cameras(protocol(config), rows(SOURCE, *TEST_SPLITS))
    if config.released is not None:
        return
    if method.pbp and unknown:
        where = unknown[0] or f"platforms that {config.data.video.name} does not name"
        raise ValueError(
            f"method={config.method} has prompts of {', '.join(known)}, but tracklets are from {where}: "
            f"choose another method, or set {SOURCE}.platforms (by camera) or pbp.platforms"
        )
    pids = rows(SOURCE, "train").pids
    people, needed = len(set(pids[pids >= 0].tolist())), tuning(config).identities
    if method.tune != "nothing" and people < needed:
        raise ValueError(f"stage2.identities={needed}, but {SOURCE} has {people} people to train on")


def check_cameras(name: str, rows: Manifest) -> None:
    """Refuse a camera of two platforms, where a protocol leaves out answers from a query's own camera.

    Args:
        name: of the protocol.
        rows: of the test splits.

    Raises:
        ValueError: such a camera; the message says what to do.
    """
    compared = find_protocol(name)
    if compared in (all_pairs, cross_platform):
        return
    for camid, platforms in rows.table.groupby("camid")["platform"].unique().items():
        nobodys = camid == UNKNOWN and compared is cross_known_camera
        if len(platforms) > 1 and not nobodys:
            one, other = sorted(platforms)[:2]
            raise ValueError(
                f"{SOURCE}: camera {camid} is on {one or UNNAMED} and on {other} in {rows.name}, but a "
                f"camera belongs to one platform, and {name} leaves out answers from a query's own camera: "
                "give the cameras of each platform numbers of their own, or set evaluate.protocol=g2a_vreid, "
                "which compares from platform to platform whatever the camera"
            )


def _results(summaries: Summaries) -> dict[str, float]:
    """Metrics of a run, and the parameters that Table 3 counts."""
    trained = summaries.get("stage2", {})
    counts = {f"parameters/{name}": trained[name] for name in ("overall", "tunable") if trained}
    return flatten_results(summaries.get("evaluate", {})) | counts


def _publish(config: Config, folder: Callable[[str], Path], summaries: Summaries, tracker: Tracker) -> None:
    """Print the results of an evaluation."""
    title = config.released
    if title is None:
        trainable = summaries.get("stage2", {"trainable": 0})["trainable"] / 1e6
        title = f"{METHODS[config.method].title}, {trainable:.2f} M trainable"
    print_results(title, summaries["evaluate"])


RECIPE = Recipe(
    name="vsla-clip",
    module="vsla_clip.cli",
    sources=sources,
    stages=_stages,
    check=_check,
    check_data=_check_data,
    results=_results,
    main=lambda _: ALL,
    publish=_publish,
    trials=lambda config: list_trials({SOURCE: config.data.video}, SPLITS),
)
