"""CION's recipe: which stages there are, what each reads, and what can be checked before them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from cion.checks import check_cameras, check_networks, check_people
from cion.config import TARGET, TEST_SPLITS, FinetuneConfig, Network, resize, resolve
from cion.pretraining.config import (
    GIVEN,
    LABELLED,
    VIDEOS,
    Config,
    extractor_split,
    sources,
    targets,
    uses_videos,
    variants,
)
from cion.pretraining.stages.denoise import find_identities, print_denoising
from cion.pretraining.stages.features import Extraction, find_features
from cion.pretraining.stages.pretrain import PreTraining, pretrain
from cion.pretraining.stages.tracklets import Tracking, find_tracklets
from cion.pretraining.stages.tsne import Visualization, draw_tsne
from cion.pretraining.variants import DINO, IDENTITIES, LEVELS, PRETRAINED, Variant
from cion.stages.evaluate import Evaluation, Scored, evaluate, format_table, protocol_name
from cion.stages.finetune import FineTuning, finetune
from reid_core.data.manifest import Manifest
from reid_core.models.backbones import build_backbone
from reid_core.models.dry_run import check_inputs
from reid_core.models.features import valid_path
from reid_core.models.folder import WEIGHTS_FILE
from reid_core.models.model_config import CONFIG_FILE
from reid_core.recipe import Recipe, Stage, check_batches, check_files, flatten_results, part
from reid_core.recipe.rows import PREPARE
from reid_core.recipe.runner import Summaries
from reid_core.recipe.stage import Parts
from reid_core.tracking.tracker import Tracker


def _stages(config: Config) -> list[Stage]:
    """The stages, in order."""
    compared = variants(config)
    pretrained = [one for one in compared if one.kind in PRETRAINED]
    tuned = [_finetune(config, one, name) for name in targets(config) for one in compared]
    found = sources(config)
    scored = {
        _model(one, name): Scored(
            _stage_name(config, one, name), source, protocol_name(config.evaluate, found.reader(source))
        )
        for name, source in targets(config).items()
        for one in compared
    }
    tests = [part(source, split) for source in targets(config).values() for split in TEST_SPLITS]
    return [
        found.stage(),
        *(_identities(config) if uses_videos(config) else ()),
        *(_pretrain(config, one) for one in pretrained),
        Stage(
            "tsne",
            draw_tsne,
            Visualization(tuple(one.name for one in compared), config.model, config.seed),
            {PREPARE: [part(TARGET, "gallery")], **{f"pretrain/{one.name}": None for one in pretrained}},
            {one.name: one.weights for one in compared if one.weights is not None},
            collective=True,
        ),
        *tuned,
        Stage(
            "evaluate",
            evaluate,
            Evaluation(config.evaluate, scored),
            {PREPARE: tests, **{stage.name: None for stage in tuned}},
            collective=True,
            report=True,
        ),
    ]


def _stage_name(config: Config, variant: Variant, target: str) -> str:
    """Name of the stage that fine-tunes a variant on a target.

    On the main one it is the same with further targets and without, so that such runs share it.
    """
    return f"finetune/{variant.name}" + ("" if targets(config)[target] == TARGET else f".{target}")


def _model(variant: Variant, target: str) -> str:
    """Name of what that stage has made among the results."""
    return (f"{target}/" if target else "") + variant.name


def _tracklets(config: Config) -> Stage:
    settings = config.tracklets
    faults = config.seed if settings.switch or settings.split else None
    section = Tracking(replace(settings, raw=None, detector=""), faults)
    if settings.raw is None:
        return Stage("tracklets", find_tracklets, section, {PREPARE: [part(VIDEOS)]})
    detector, raw = {"detector": Path(settings.detector)}, {"raw": Path(settings.raw)}
    return Stage("tracklets", find_tracklets, section, {PREPARE: []}, detector, raw, collective=True)


def _identities(config: Config) -> list[Stage]:
    """Tracklets, and extractor, features and denoise where there is an extractor."""
    extractor = config.extractor
    network: Network | None = extractor.model
    reads: dict[str, Parts] = {"tracklets": None}
    files = {"weights": Path(extractor.weights)} if extractor.weights else {}
    result = [_tracklets(config)]
    if extractor.features is not None:
        network, files = None, {"features": Path(extractor.features)}
        if (mask := valid_path(extractor.features)).is_file():
            files["valid"] = mask
    elif extractor.source is not None:
        split, tuning = extractor_split(config), _tuning(config, LABELLED)
        result.append(
            Stage(
                "extractor",
                finetune,
                FineTuning(LABELLED, split, resize(extractor.model, tuning), tuning, config.seed),
                {PREPARE: [part(LABELLED, split)]},
                files,
                collective=True,
            )
        )
        network, files, reads["extractor"] = None, {}, None
    elif extractor.folder:
        network, files = None, _model_files(Path(extractor.folder))
    elif not extractor.weights:
        return result
    section = Extraction(network, extractor.standardise, extractor.preprocessing)
    read: dict[str, Parts] = {"tracklets": None, "features": None}
    result.append(Stage("features", find_features, section, reads, files, collective=True))
    return [*result, Stage("denoise", find_identities, config.denoise, read)]


def _model_files(path: Path) -> dict[str, Path]:
    """The files of a model folder, or of an exported model."""
    if path.is_dir():
        return {"model": path / CONFIG_FILE, "tensors": path / WEIGHTS_FILE}
    return {"model": path} | ({"tensors": path.with_suffix(".bin")} if path.suffix == ".xml" else {})


def _pretrain(config: Config, variant: Variant) -> Stage:
    section = PreTraining(variant.kind, config.pretrain, config.model, config.seed, config.data.images)
    reads: dict[str, Parts] = {PREPARE: [], "tracklets": None}
    if variant.kind == IDENTITIES or (variant.kind == DINO and config.data.identities):
        reads = {PREPARE: [part(GIVEN, "train")]}
    elif variant.kind in LEVELS:
        reads["denoise"] = [variant.kind]
    return Stage(f"pretrain/{variant.name}", pretrain, section, reads, collective=True)


def _finetune(config: Config, variant: Variant, target: str) -> Stage:
    source = targets(config)[target]
    settings = _tuning(config, source)
    section = FineTuning(source, "train", resize(config.model, settings), settings, config.seed)
    reads: dict[str, Parts] = {PREPARE: [part(source, "train")]}
    if variant.kind in PRETRAINED:
        reads[f"pretrain/{variant.name}"] = None
    files = {} if variant.weights is None else {"weights": variant.weights}
    return Stage(_stage_name(config, variant, target), finetune, section, reads, files, collective=True)


def _tuning(config: Config, source: str) -> FinetuneConfig:
    """How a labelled source is learned from: its recipe's settings for the network and the data set."""
    settings, network = config.finetune, config.model
    if source == LABELLED:
        settings, network = config.extractor.finetune, config.extractor.model
    return resolve(settings, network.backbone, sources(config).reader(source))


def _check(config: Config) -> None:
    """What can be seen to be wrong before anything is read."""
    extractor, before = config.extractor, config.pretrain
    compared = variants(config)
    kinds = {one.kind for one in compared}
    learns = [extractor.source, extractor.weights, extractor.folder, extractor.features]
    tuned = dict.fromkeys(targets(config).values(), "finetune")
    files: dict[str, str | None] = {
        f"variants: {one.name}": str(one.weights) for one in compared if one.weights is not None
    }
    if uses_videos(config):
        files |= _video_files(config)
        if LABELLED in sources(config).by_name:
            tuned[LABELLED] = "extractor.finetune"
    check_files(files)
    if kinds & set(LEVELS) and not any(learns):
        raise ValueError(
            "the extractor has no weights: give extractor.folder, .weights, .features or .source"
        )
    if IDENTITIES in kinds and config.data.identities is None:
        raise ValueError(
            "variants has identities: give data.identities, such as cion_al, a manifest with pids, or the "
            "denoise/cross_video.parquet of another run"
        )
    if config.data.images is not None and config.data.images < before.batch:
        raise ValueError(f"data.images={config.data.images}: expected pretrain.batch={before.batch} or more")
    if not 0 < before.ratio <= 1:
        raise ValueError(f"pretrain.ratio={before.ratio}: expected more than 0 and at most 1")
    _check_trainings(config, tuned)
    if before.local_views and kinds & set(PRETRAINED):
        model = config.model
        check_inputs(
            f"model.backbone={model.backbone} at pretrain.local_size",
            lambda: build_backbone(model.backbone, model.image_size, **model.options),
            [(1, 3, *before.local_size)],
        )


def _check_trainings(config: Config, tuned: Mapping[str, str]) -> None:
    """Refuse batches that processes can't share, and networks that can't be built.

    Args:
        config: the whole configuration.
        tuned: source that is learned from with labels -> option that says how.
    """
    batches, networks = {"pretrain.batch": config.pretrain.batch}, {}
    for source, option in tuned.items():
        settings = _tuning(config, source)
        network = config.extractor.model if source == LABELLED else config.model
        batches[f"{option}.identities"] = settings.identities
        name = option if source in (TARGET, LABELLED) else f"{option} on {source}"
        networks[name] = (resize(network, settings), settings)
    check_batches(config.runtime, batches)
    check_networks(networks)


def _video_files(config: Config) -> dict[str, str | None]:
    """Files that must be there to pre-train on tracked video, by option."""
    settings, extractor = config.tracklets, config.extractor
    files: dict[str, str | None] = {
        "extractor.weights": extractor.weights,
        "extractor.features": extractor.features,
    }
    if extractor.folder is not None:
        files |= {
            f"extractor.folder ({name})": str(path)
            for name, path in _model_files(Path(extractor.folder)).items()
        }
    if settings.raw is not None:
        if not Path(settings.raw).is_dir():
            raise FileNotFoundError(f"tracklets.raw: there is no folder {settings.raw}")
        files["tracklets.detector"] = settings.detector
    return files


def _check_data(config: Config, rows: Callable[..., Manifest]) -> None:
    """What can be seen to be wrong as soon as the sources have been read."""
    for source in targets(config).values():
        settings, train = _tuning(config, source), rows(source, "train")
        check_people("finetune", settings, train)
        check_cameras("finetune", settings, train, *(rows(source, split) for split in TEST_SPLITS))
    if LABELLED in sources(config).by_name:
        learned = rows(LABELLED, extractor_split(config))
        check_people("extractor.finetune", _tuning(config, LABELLED), learned)


def results(summaries: Summaries) -> dict[str, float]:
    """Metrics of a run, and what its last variant gains over its first one.

    Where there are several targets, the name of each is in front of its results.

    Args:
        summaries: stage -> its summary.

    Example:
        >>> results({"evaluate": {"none": {"mAP": 0.25}, "dino": {"mAP": 0.5}}})
        {'none/mAP': 0.25, 'dino/mAP': 0.5, 'mAP_gain': 0.25}
        >>> results({"evaluate": {"msmt17/dino": {"mAP": 0.25}, "mars/dino": {"mAP": 0.5}}})
        {'msmt17/dino/mAP': 0.25, 'mars/dino/mAP': 0.5}
    """
    found = summaries.get("evaluate", {})
    metrics = flatten_results(found)
    for target in dict.fromkeys(name.rpartition("/")[0] for name in found):
        models = [name for name in found if name.rpartition("/")[0] == target]
        if len(models) > 1:
            gain = found[models[-1]]["mAP"] - found[models[0]]["mAP"]
            metrics[f"{target}/mAP_gain".lstrip("/")] = gain
    for name, summary in summaries.items():
        if name.startswith("pretrain/"):
            metrics["pretraining_minutes"] = summary["minutes"]  # of the last one
    return metrics


def _publish(config: Config, folder: Callable[[str], Path], summaries: Summaries, tracker: Tracker) -> None:
    if "denoise" in summaries:
        print_denoising(summaries["denoise"]["levels"])
    print(format_table(summaries["evaluate"]))


RECIPE = Recipe(
    name="cion",
    module="cion.cli",
    sources=sources,
    stages=_stages,
    check=_check,
    check_data=_check_data,
    results=results,
    main=lambda config: _model(variants(config)[-1], next(iter(targets(config)))),
    publish=_publish,
)
