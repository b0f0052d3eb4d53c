"""VILLS' recipe: which stages there are, what each reads, and what can be checked before them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from reid_core.data.manifest import Manifest
from reid_core.processes import process_rank
from reid_core.recipe import Recipe, Stage, check_batches, flatten_results, list_trials, part
from reid_core.recipe.rows import PREPARE
from reid_core.recipe.runner import Summaries
from reid_core.recipe.stage import Parts
from reid_core.tracking.tracker import Tracker
from reid_eval import GALLERIES, PROTOCOLS, SPLITS
from vills.config import (
    Config,
    RawVideo,
    Shapes,
    areas,
    evaluation_shapes,
    finetuning_shapes,
    pretraining,
    pretraining_shapes,
)
from vills.model import check_model
from vills.modes import Evaluation
from vills.sources import (
    TEST_SPLITS,
    TRACKLETS,
    count_pool,
    find_lacks,
    find_pool,
    pool_reads,
    region_folders,
    sources,
)
from vills.stages.evaluate import evaluate, print_table
from vills.stages.finetune import FineTuning, finetune
from vills.stages.lse import RegionCache, check_areas, extract_regions
from vills.stages.pretrain import PreTraining, pretrain
from vills.stages.tracklets import DETECTOR, VIDEOS, Tracking, track_persons


def _stages(config: Config) -> list[Stage]:
    """The stages, in order."""
    before, pool = config.pretrain, find_pool(config)
    reads = pool_reads(config)
    segmented = replace(pool, parts=[replace(one, repeat=1) for one in pool.parts])
    wanted = areas(config)
    result = [sources(config).stage()]
    if config.data.raw is not None and TRACKLETS in reads:
        result.append(_tracklets(config.data.raw))
    if wanted and not all(one.regions for one in pool.parts):
        work = partial(extract_regions, ray=config.lse.ray)
        result.append(Stage("lse", work, RegionCache(segmented, replace(config.lse, ray=None)), reads))
    result.append(
        Stage(
            "pretrain",
            pretrain,
            PreTraining(pool, wanted, pretraining(config), config.model, config.seed),
            {**reads, **{stage.name: None for stage in result[1:]}},
            files={} if before.checkpoint is None else {"checkpoint": Path(before.checkpoint)},
            watched=region_folders(config) if wanted else {},
            collective=True,
        )
    )
    if not config.variants:  # pre-training alone
        return result
    return [*result, *(_finetune(config, variant) for variant in config.variants), _evaluate(config)]


def _tracklets(raw: RawVideo) -> Stage:
    """The stage that tracks raw video."""
    files, folders = {DETECTOR: Path(raw.detector)}, {VIDEOS: Path(raw.root)}
    section = Tracking(raw.confidence, raw.min_frames)
    return Stage(TRACKLETS, track_persons, section, {}, files, folders, collective=True)


def _finetune(config: Config, variant: str) -> Stage:
    """A variant's stage: a model from scratch doesn't depend on pre-training's settings."""
    tune = config.finetune
    labelled = tuple(name for name, splits in sources(config).needed.items() if "train" in splits)
    section = FineTuning(
        variant == "pretrained",
        replace(tune, init="both", checkpoint=None),
        config.model,
        pretraining_shapes(config),
        finetuning_shapes(config),
        config.data.same_people,
        labelled,
        config.seed,
    )
    reads: dict[str, Parts] = {PREPARE: [part(name, "train") for name in labelled]}
    files = {}
    if section.pretrained and tune.checkpoint is None:
        reads["pretrain"] = None
    elif section.pretrained:
        files["teacher"] = Path(str(tune.checkpoint))
    return Stage(f"finetune/{variant}", finetune, section, reads, files, collective=True)


def _evaluate(config: Config) -> Stage:
    """The last stage, where there is anything to evaluate on."""
    tested, galleries = protocols(config), config.evaluate.galleries
    single_shot = {
        source: GALLERIES.get(protocol, 0) if galleries is None else galleries
        for source, protocol in tested.items()
    }
    section = Evaluation(config.evaluate, config.variants, tested, single_shot, evaluation_shapes(config))
    reads: dict[str, Parts] = {PREPARE: [part(name, split) for name in tested for split in TEST_SPLITS]}
    reads |= {f"finetune/{variant}": None for variant in config.variants}
    return Stage("evaluate", evaluate, section, reads, collective=True, report=True)


def protocols(config: Config) -> dict[str, str]:
    """Source that is evaluated on -> the name of its protocol, which a reader's own option may choose.

    Args:
        config: the whole configuration.

    Example:
        >>> from vills.config import DataConfig, PoolSource
        >>> data = DataConfig(image=PoolSource("ltcc", options={"protocol": "cloth_changing"}))
        >>> protocols(Config(data=data))
        {'data.image': 'ltcc_cloth_changing'}
    """
    every, found = sources(config), {}
    for source in (name for name, splits in every.needed.items() if "query" in splits):
        reader = every.reader(source)
        chosen = f"{reader}_{every.by_name[source].options.get('protocol')}"
        found[source] = config.evaluate.protocol or (chosen if chosen in PROTOCOLS else reader)
    return found


def _check(config: Config) -> None:
    """What can be seen to be wrong before anything is read."""
    data, tune, before = config.data, config.finetune, config.pretrain
    if data.mix is not None and not config.variants:
        raise ValueError("data.mix has nothing to train on: give data.image or data.video besides")
    if not (data.image or data.video or data.pretrain or data.raw):
        raise ValueError("data.image, video, pretrain and raw are all missing: give at least one source")
    if data.raw is not None and not Path(data.raw.root).is_dir():
        raise FileNotFoundError(f"data.raw.root: there is no folder {data.raw.root!r}; give one of videos")
    if data.raw is not None and not Path(data.raw.detector).is_file():
        raise FileNotFoundError(
            f"data.raw.detector: there is no file {data.raw.detector!r}; give weights of torchvision's "
            "fasterrcnn_resnet50_fpn_v2"
        )
    pretrains = _pretrains(config)
    for name, path in (("pretrain.checkpoint", before.checkpoint), ("finetune.checkpoint", tune.checkpoint)):
        if path is not None and not Path(path).is_file():
            raise FileNotFoundError(f"{name}: there is no file {path}; give a teacher.pt")
    if tune.init == "scratch" and tune.checkpoint is not None:
        raise ValueError("finetune.init=scratch takes no finetune.checkpoint: leave one of them out")
    if pretrains and not find_pool(config).parts:
        raise ValueError(
            "nothing to pre-train on: data.pretrain is empty, and data.pretrain_splits names no split of "
            "data.image and data.video"
        )
    check_areas(config.lse, areas(config), before.views)
    for name, folder in region_folders(config).items():
        if not folder.is_dir():
            raise FileNotFoundError(f"{name}: there is no folder {folder}; give what reid-lse extract wrote")
    if config.evaluate.protocol is not None and config.evaluate.protocol not in PROTOCOLS:
        raise ValueError(
            f"evaluate.protocol={config.evaluate.protocol!r}: expected one of {', '.join(PROTOCOLS)}"
        )
    _check_batches(config)
    shapes = [pretraining_shapes(config), finetuning_shapes(config), evaluation_shapes(config)]
    if pretrains:
        shapes.append(Shapes(before.region_size, before.frame_region_size, before.frames))
    check_model(config.model, *shapes, masks=pretrains)


def _pretrains(config: Config) -> bool:
    """Whether a whole run pre-trains: it ends with that, or fine-tunes on what it has pre-trained."""
    return not config.variants or ("pretrained" in config.variants and config.finetune.checkpoint is None)


def _check_batches(config: Config) -> None:
    data, tune, before = config.data, config.finetune, pretraining(config)
    images = tune.image_instances if data.image is not None else 0
    clips = tune.clip_instances if data.video is not None else 0
    if config.variants and images + clips < 2:
        raise ValueError(
            f"finetune.image_instances={tune.image_instances} and clip_instances={tune.clip_instances} leave "
            f"{images + clips} examples per identity; the triplet loss needs at least 2"
        )
    if data.same_people and not (images and clips):
        raise ValueError(
            "data.same_people joins images and clips, but one of them is not trained on: set it to false"
        )
    batches = {"pretrain.image_batch": before.image_batch, "pretrain.video_batch": before.video_batch}
    check_batches(config.runtime, {**batches, "finetune.identities": tune.identities})


def _check_data(config: Config, rows: Callable[..., Manifest]) -> None:
    """What can be seen to be wrong once the sources have been read."""
    import numpy as np

    tune = config.finetune
    people: dict[str, set[int]] = {}
    for name, instances in (("data.image", tune.image_instances), ("data.video", tune.clip_instances)):
        if name in sources(config).by_name and instances:
            train = rows(name, "train")
            people[name] = set(np.unique(train.pids[train.pids >= 0]).tolist())
    if config.data.same_people:
        people = {" and ".join(people): set.intersection(*people.values())}
    for name, there in people.items():
        if len(there) < tune.identities:
            raise ValueError(
                f"finetune.identities={tune.identities}, but {name} has {len(there)} people to train on"
            )
    if _pretrains(config):
        counts = count_pool(config, rows)
        for name, (images, videos) in counts.items() if process_rank() == 0 else ():
            print(f"pre-training draws from {name}: {images:,} images, {videos:,} videos", file=sys.stderr)
        for lack in find_lacks(config, counts):
            warnings.warn(lack, stacklevel=2)


def _publish(config: Config, folder: Callable[[str], Path], summaries: Summaries, tracker: Tracker) -> None:
    """Print the table, where there is anything to evaluate on."""
    if "evaluate" in summaries:
        print_table(summaries["evaluate"])


RECIPE = Recipe(
    name="vills",
    module="vills.cli",
    sources=sources,
    stages=_stages,
    check=_check,
    check_data=_check_data,
    results=lambda summaries: flatten_results(summaries.get("evaluate", {})),
    main=lambda config: next(iter(config.variants), ""),
    publish=_publish,
    trials=lambda config: list_trials(
        {"data.image": config.data.image, "data.video": config.data.video}, SPLITS
    ),
)
