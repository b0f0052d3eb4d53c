"""Fine-tuning without labels, stage by stage: world, source (UDA), target, evaluate."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cion.config import Config, Data, check
from cion.data import load, write_world
from cion.evaluate import evaluate, flat_metrics, table
from cion.training import build_model, count_identities, decisive, load_model, train_source, train_target
from reid_core.data.manifest import Manifest
from reid_core.files import file_digest, plain, write_atomically
from reid_core.models.heads import ReIDModel
from reid_core.recipe.nested import run_stage
from reid_core.recipe.old_stage import Stage
from reid_core.tracking.tracker import Tracker
from reid_core.training.loop import FINAL

CONFIG_FILE = "config.json"
MEMBERS = ("cion", "reid-core", "reid-eval")
"""Members whose versions enter a fingerprint: a new release does the work anew."""


def unsupervised(config: Config, force: bool = False) -> dict[str, Any]:
    """Run the recipe: what is done already is skipped, what was killed goes on.

    USL is Cluster Contrast on the target, from random or pre-trained weights. UDA trains on the labelled
    source first. Either way the target's labels serve the evaluation alone (CION 4.1, Tab. 2).

    Args:
        config: the whole configuration.
        force: do every stage again.

    Returns:
        Model -> mAP, rank_1 and more: "initial" (as the run begins), "source" (UDA), "target" (at its end).

    Raises:
        ValueError: a setting that can't work.
        FileNotFoundError: a root or checkpoint that isn't there.
    """
    check(config)
    uri = config.tracking_uri
    if uri is None and not os.environ.get("MLFLOW_TRACKING_URI"):
        uri = f"sqlite:///{Path(config.runs).as_posix()}/mlflow.db"
    with Tracker.start(config.experiment, config.name, config.folder, uri) as tracker:
        write_atomically(config.folder / CONFIG_FILE, json.dumps(plain(config), indent=2) + "\n")
        tracker.artifact(config.folder / CONFIG_FILE)
        tracker.params(plain(config))
        found = _Recipe(config, tracker, force).run()
        tracker.metrics(flat_metrics(found))
    print(table(found))
    return found


class _Recipe:
    """The stages of one run, and what passes between them: manifests and weights."""

    def __init__(self, config: Config, tracker: Tracker, force: bool) -> None:
        self.config, self.tracker, self.force = config, tracker, force
        self.code = " ".join(f"{name} {version(name)}" for name in MEMBERS)

    def run(self) -> dict[str, Any]:
        config = self.config
        target = self._data("target", config.target)
        begin: dict[str, Any] = {"model": config.model, "seed": config.seed}
        inputs = {"target": target.digest}
        if config.model.weights is not None:
            inputs["weights"] = file_digest(Path(config.model.weights))
        identities, before = 1, {}
        if config.source is not None:
            source = self._data("source", config.source)
            identities = count_identities(source)
            settings = plain(config.supervised) | {"train": decisive(config.supervised.train)}
            stage = self._stage(
                "source",
                begin | {"supervised": settings, "augmentation": config.augmentation},
                inputs | {"target": "", "source": source.digest},
                lambda folder, logger: train_source(config, source, folder, logger),
            )
            before["source"] = stage.folder / FINAL
            inputs["source"] = stage.fingerprint

        def model(file: Path | None) -> ReIDModel:
            fresh = build_model(config, identities)
            return fresh if file is None else load_model(file, fresh)

        rounds = config.folder / "rounds"
        if self.force:
            shutil.rmtree(rounds, ignore_errors=True)
        stage = self._stage(
            "target",
            begin
            | {
                "clusters": config.clusters,
                "train": decisive(config.train),
                "augmentation": config.augmentation,
            },
            inputs,
            lambda folder, logger: train_target(
                config, target, model(before.get("source")), rounds, folder, logger
            ),
        )
        files = {"initial": None, **before, "target": stage.folder / FINAL}
        return self._stage(
            "evaluate",
            {"evaluate": config.evaluate},
            {"target": stage.fingerprint},
            lambda folder, logger: evaluate(
                config, target, {name: model(file) for name, file in files.items()}, folder, logger
            ),
        ).summary

    def _data(self, name: str, data: Data) -> Manifest:
        """The manifest of a data set, written first where it is a synthetic world."""
        written = self.config.folder / "world" / name
        if data.synthetic is not None:
            world = data.synthetic
            written = self._stage(
                f"world/{name}", world, {}, lambda folder, _: write_world(world, folder)
            ).folder
        return load(data, written)

    def _stage(
        self, name: str, config: Any, inputs: dict[str, str], work: Callable[[Path, Tracker], dict[str, Any]]
    ) -> Stage:
        stage = Stage(name, self.config.folder, config, inputs, self.code, self.force)
        run_stage(stage, self.tracker, work)
        return stage
