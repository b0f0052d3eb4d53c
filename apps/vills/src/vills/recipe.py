"""The recipe: stages in the order of the data, each with its fingerprint and its nested run."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console

from reid_core.files import file_digest, plain, write_atomically
from reid_core.processes import process_rank
from reid_core.recipe.old_stage import Stage
from reid_core.tracking.tracker import Tracker
from vills.check import check
from vills.config import Config, DataConfig, result_only, sources, written
from vills.data import load_pool
from vills.evaluate import evaluate, flat_metrics, print_table
from vills.finetune import finetune
from vills.model import TEACHER_FILE
from vills.prepare import prepare
from vills.pretrain import pretrain
from vills.regions import extract_regions

STAGES = ("prepare", "lse", "pretrain", "finetune", "evaluate")
CONFIG_FILE = "config.yaml"
MEMBERS = ("vills", "reid-core", "reid-lse", "reid-pretrain", "reid-eval")
"""Members whose versions enter a fingerprint: a new release does the work anew."""

Work = Callable[[Path, Tracker], dict[str, Any]]


def run(config: Config, until: str = "evaluate", force: bool = False) -> dict[str, Any]:
    """Run the recipe's stages up to one of them; what is done already is skipped.

    Args:
        config: the whole configuration.
        until: prepare, lse, pretrain, finetune or evaluate.
        force: do the last stage again; with `until="evaluate"` from `vills run`, see `run_all`.

    Returns:
        The summaries of the stages by name.

    Raises:
        ValueError: a setting that can't work.
        FileNotFoundError: a root or checkpoint that isn't there.
    """
    return Recipe(config, until, {until} if force else set()).run()


def run_all(config: Config, force: bool = False) -> dict[str, Any]:
    """Run the whole recipe.

    Args:
        config: the whole configuration.
        force: do every stage again.

    Returns:
        The summaries of the stages by name.
    """
    return Recipe(config, "evaluate", set(STAGES) if force else set()).run()


class Recipe:
    """Stages of one run and what passes between them: their folders and fingerprints.

    Args:
        config: the whole configuration.
        until: the last stage to run.
        forced: stages to do again.
    """

    def __init__(self, config: Config, until: str, forced: set[str]) -> None:
        check(config)
        self.config, self.until, self.forced = config, until, forced
        self.code = " ".join(f"{name} {importlib.metadata.version(name)}" for name in MEMBERS)
        self.console = Console(stderr=True, quiet=process_rank() > 0)
        self.summaries: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Run the stages.

        Returns:
            The summaries of the stages by name.
        """
        config = self.config
        if config.machine.threads is not None:
            torch.set_num_threads(config.machine.threads)
        uri = config.tracking_uri or default_uri(config)
        tracker = Tracker.start(config.experiment, config.name, config.folder, uri)
        with tracker:
            if process_rank() == 0:
                text = yaml.safe_dump(plain(config), sort_keys=False)
                write_atomically(config.folder / CONFIG_FILE, text)
                tracker.artifact(config.folder / CONFIG_FILE)
            tracker.params(plain(config))
            self._stages(tracker)
        return self.summaries

    def _stages(self, tracker: Tracker) -> None:
        config, settings, tune = self.config, self.config.pretrain, self.config.finetune
        prepared = self._stage(
            tracker,
            "prepare",
            {"sources": sources(config.data), "root": config.data.root, "synthetic": config.data.synthetic},
            _changes(config.data),
            lambda folder, _: prepare(config, folder),
        )
        data = {"prepare": _digests(self.summaries["prepare"])}
        if self.until == "prepare":
            return
        teacher: Path | None = Path(tune.checkpoint) if tune.checkpoint else None
        after = data
        if config.needs_pretraining or self.until in ("lse", "pretrain"):
            pool = load_pool(config, prepared)
            lse = replace(config.lse, workers=0, block=0)
            regions = self._stage(
                tracker,
                "lse",
                lse,
                {"pool": pool.digest},
                lambda folder, _: extract_regions(pool, config.lse, folder),
            )
            if self.until == "lse":
                return
            inputs = {"pool": pool.digest, "lse": self.fingerprints["lse"]}
            if settings.checkpoint is not None:
                inputs["checkpoint"] = file_digest(Path(settings.checkpoint))
            chosen = replace(settings, train=result_only(settings.train), checkpoint=None)
            trained = self._stage(
                tracker,
                "pretrain",
                {"pretrain": chosen, "model": config.model, "seed": config.seed},
                inputs,
                lambda folder, logger: pretrain(config, prepared, regions, folder, logger),
                collective=True,
            )
            if self.until == "pretrain":
                return
            if config.needs_pretraining:
                teacher = trained / TEACHER_FILE
        variants: dict[str, Path] = {}
        for init in ("pretrained", "scratch"):
            if tune.init not in (init, "both"):
                continue
            after = dict(data)
            if init == "pretrained" and teacher is not None:
                after["teacher"] = file_digest(teacher)
            variants[init] = self._stage(
                tracker,
                f"finetune/{init}",
                self._finetune_settings(init),
                after,
                lambda folder, logger, init=init: finetune(config, init, prepared, teacher, folder, logger),  # type: ignore[misc]
                collective=True,
            )
        if self.until == "finetune":
            return
        done = {name: self.fingerprints[f"finetune/{name}"] for name in variants}
        self._stage(
            tracker,
            "evaluate",
            {"evaluate": config.evaluate, "sizes": [tune.image_size, tune.frame_size, tune.frames]},
            done,
            lambda folder, logger: self._evaluate(prepared, variants, folder, logger),
        )
        found = self.summaries["evaluate"]
        tracker.metrics(flat_metrics(found))
        if process_rank() == 0:
            print_table(found)

    def _finetune_settings(self, init: str) -> dict[str, Any]:
        """What decides a fine-tuned model: a model from scratch doesn't depend on pre-training's settings."""
        config, before = self.config, self.config.pretrain
        tune = replace(
            config.finetune, train=result_only(config.finetune.train), init="scratch", checkpoint=None
        )
        sizes = {"image": before.image_size, "frame": before.frame_size, "frames": before.frames}
        return {
            "finetune": tune,
            "init": init,
            "model": config.model,
            "sizes": sizes,
            "same_people": config.data.same_people,
            "seed": config.seed,
        }

    def _evaluate(
        self, prepared: Path, variants: dict[str, Path], folder: Path, logger: Tracker
    ) -> dict[str, Any]:
        found = evaluate(self.config, prepared, variants, folder, logger)
        for picture in sorted((folder / "figures").glob("*.png")):
            logger.artifact(picture, "figures")
        return found

    def _stage(
        self,
        tracker: Tracker,
        name: str,
        config: Any,
        inputs: dict[str, str],
        work: Work,
        collective: bool = False,
    ) -> Path:
        """Run one stage in its nested MLflow run, unless it is done; its folder."""
        forced = name.split("/")[0] in self.forced
        stage = Stage(name, self.config.folder, config, inputs, self.code, forced)
        self.fingerprints = {**getattr(self, "fingerprints", {}), name: stage.fingerprint}
        if stage.done and not forced:
            self.console.print(f"[dim]{name}: done before, skipped[/dim] ({stage.folder})")
            self.summaries[name] = stage.summary
            return stage.folder
        self.console.print(f"[bold]{name}[/bold]{' (resumed)' if stage.resumable and not forced else ''}")
        with tracker.child(name, fresh=not stage.resumable or forced) as nested:
            nested.params(plain(config) if isinstance(plain(config), dict) else {})
            nested.tags({"fingerprint": stage.fingerprint})
            self.summaries[name] = stage.run(lambda folder: work(folder, nested), collective)
        return stage.folder


def default_uri(config: Config) -> str | None:
    """MLflow store of a run whose configuration names none.

    Args:
        config: the whole configuration.

    Returns:
        None where MLFLOW_TRACKING_URI is to be used, else the database in the folder of all runs.

    Example:
        >>> import os
        >>> default_uri(Config()) if "MLFLOW_TRACKING_URI" not in os.environ else "sqlite:///runs/mlflow.db"
        'sqlite:///runs/mlflow.db'
    """
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return None
    return f"sqlite:///{Path(config.runs).as_posix()}/mlflow.db"


def _changes(data: DataConfig) -> dict[str, str]:
    """When folders of the sources last changed: files added or taken away make `prepare` read them again."""
    changes = {}
    for name, source in sources(data).items():
        if not written(data, source):
            root = Path(source.root or data.root)
            folders = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
            changes[name] = " ".join(f"{folder.name} {folder.stat().st_mtime_ns}" for folder in folders)
    return changes


def _digests(summary: dict[str, Any]) -> str:
    return " ".join(str(summary[name]["digest"]) for name in sorted(summary))
