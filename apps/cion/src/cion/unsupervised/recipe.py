"""Fine-tuning without labels: the source with labels (UDA), the target without, evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cion.checks import check_networks, check_people
from cion.config import BACKBONE, TARGET, TEST_SPLITS, FinetuneConfig, Network, resize, resolve
from cion.stages.evaluate import Evaluation, Scored, evaluate, format_table, protocol_name
from cion.stages.finetune import FineTuning, finetune
from cion.unsupervised.config import SOURCE, Config, resolve_clusters, sources
from cion.unsupervised.stages.target import INITIAL, Adaptation, adapt
from reid_core.data.manifest import Manifest
from reid_core.recipe import Recipe, Stage, check_batches, check_files, flatten_results, part
from reid_core.recipe.rows import PREPARE
from reid_core.recipe.runner import Summaries
from reid_core.recipe.stage import Parts
from reid_core.tracking.tracker import Tracker


def _stages(config: Config) -> list[Stage]:
    """The stages, in order."""
    config = resolve_clusters(config)
    network = Network(config.model.backbone, config.model.options, config.model.image_size)
    per_image, seed = config.model.per_image, config.seed
    weights = {"weights": Path(path)} if (path := _weights(config)) else {}
    before: dict[str, Parts] = {} if config.data.source is None else {"source": None}
    settings = _source_training(config)
    supervised = FineTuning(SOURCE, "train", resize(network, settings), settings, seed, per_image)
    adaptation = Adaptation(config.clusters, config.augmentation, config.train, network, per_image, seed)
    protocol = protocol_name(config.evaluate, sources(config).reader(TARGET))
    models = {"initial": Scored("target", TARGET, protocol, INITIAL)}
    models |= {name: Scored(name, TARGET, protocol) for name in (*before, "target")}
    evaluation = Evaluation(config.evaluate, models)
    labelled: dict[str, Parts] = {PREPARE: [part(SOURCE, "train")]}
    images: dict[str, Parts] = {PREPARE: [part(TARGET, "train")]}
    tests: dict[str, Parts] = {PREPARE: [part(TARGET, split) for split in TEST_SPLITS]}
    return [
        sources(config).stage(),
        *(Stage(name, finetune, supervised, labelled, weights, collective=True) for name in before),
        Stage("target", adapt, adaptation, {**images, **before}, weights, collective=True),
        Stage(
            "evaluate",
            evaluate,
            evaluation,
            {**tests, **before, "target": None},
            collective=True,
            report=True,
        ),
    ]


def _check(config: Config) -> None:
    """What can be seen to be wrong before anything is read."""
    config = resolve_clusters(config)
    supervised = _source_training(config)
    check_files({"model.weights": _weights(config)})
    if supervised.method != "bag_of_tricks":
        raise ValueError(
            f"supervised.method={supervised.method}: Cluster Contrast compares one feature; expected "
            "bag_of_tricks"
        )
    numbers = {"clusters.identities": config.clusters.identities}
    if config.data.source is not None:
        numbers["supervised.identities"] = supervised.identities
    check_batches(config.runtime, numbers)
    check_networks({"supervised": (config.model, supervised)})


def _check_data(config: Config, rows: Callable[..., Manifest]) -> None:
    """What can be seen to be wrong as soon as the sources have been read."""
    config = resolve_clusters(config)
    images = len(rows(TARGET, "train"))
    if images < config.clusters.k1:
        raise ValueError(f"clusters.k1={config.clusters.k1}, but {TARGET} has {images} images to learn from")
    if config.data.source is not None:
        check_people("supervised", _source_training(config), rows(SOURCE, "train"))


def _source_training(config: Config) -> FinetuneConfig:
    """How the labelled source is learned from."""
    source = sources(config).reader(SOURCE) if config.data.source is not None else ""
    return resolve(config.supervised, config.model.backbone, source)


def _weights(config: Config) -> str | None:
    """The backbone's checkpoint."""
    path = config.model.weights
    return None if path is None else path.replace(BACKBONE, config.model.backbone)


def _publish(config: Config, folder: Callable[[str], Path], summaries: Summaries, tracker: Tracker) -> None:
    print(format_table(summaries["evaluate"]))


RECIPE = Recipe(
    name="cion-unsupervised",
    module="cion.cli",
    sources=sources,
    stages=_stages,
    check=_check,
    check_data=_check_data,
    results=lambda summaries: flatten_results(summaries.get("evaluate", {})),
    main=lambda _: "target",
    publish=_publish,
)
