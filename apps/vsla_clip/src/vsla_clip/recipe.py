"""The recipe: prepare, the small CLIP where one is wanted, stage one, stage two, evaluate."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import open_clip
import torch
import yaml

from reid_core.data.manifest import Manifest
from reid_core.files import file_digest, plain, write_atomically
from reid_core.recipe.nested import run_stage
from reid_core.recipe.old_stage import Stage
from reid_core.tracking.tracker import Tracker
from vsla_clip.base import build_clip, train_clip
from vsla_clip.check import check, check_platforms
from vsla_clip.config import Config, DataConfig, decisive
from vsla_clip.evaluate import evaluate, flat_metrics
from vsla_clip.methods import METHODS
from vsla_clip.prepare import MANIFEST_FILE, prepare
from vsla_clip.stage1 import learn_prompts
from vsla_clip.stage2 import load_encoder, train_encoder

CONFIG_FILE = "config.yaml"
STAGES = ("prepare", "stage1", "stage2", "evaluate")
MEMBERS = ("vsla-clip", "reid-adapters", "reid-core", "reid-eval")
"""Members whose versions enter a fingerprint: a new release does the work anew."""

Work = Callable[[Path, Tracker], dict[str, Any]]
Row = dict[str, Any]


def run(
    config: Config, methods: Iterable[str] = (), until: str = "evaluate", force: Iterable[str] = ()
) -> dict[str, Row]:
    """Run the recipe for some methods, which share all but stage two; what is done already is skipped.

    Args:
        config: the whole configuration.
        methods: of METHODS; the configuration's own by default.
        until: last stage: prepare, stage1, stage2 or evaluate.
        force: stages to do again.

    Returns:
        Method -> "parameters" (trainable, total) and "results" by direction; empty before evaluate.

    Raises:
        ValueError: a setting that can't work.
        FileNotFoundError: a root or checkpoint that isn't there.
    """
    check(config)
    if config.machine.threads is not None:
        torch.set_num_threads(config.machine.threads)
    uri = config.tracking_uri
    if uri is None and not os.environ.get("MLFLOW_TRACKING_URI"):
        uri = f"sqlite:///{Path(config.runs).as_posix()}/mlflow.db"
    with Tracker.start(config.experiment, config.name, config.folder, uri) as tracker:
        write_atomically(config.folder / CONFIG_FILE, yaml.safe_dump(plain(config), sort_keys=False))
        tracker.artifact(config.folder / CONFIG_FILE)
        tracker.params(plain(config))
        return _Recipe(config, tracker, set(force)).run(list(methods) or [config.method], until)


class _Recipe:
    """The stages of one run, and what passes between them: files and fingerprints."""

    def __init__(self, config: Config, tracker: Tracker, force: set[str]) -> None:
        self.config, self.tracker, self.force = config, tracker, force
        self.code = " ".join(f"{name} {version(name)}" for name in MEMBERS)

    def run(self, methods: list[str], until: str) -> dict[str, Row]:
        summary = self.prepared.summary
        check_platforms(self.config, methods, summary["platforms"])
        if until == "prepare":
            return {}
        if until == "stage1":
            assert self.stage1.done
            return {}
        rows: dict[str, Row] = {}
        for name in methods:
            trained = self.stage2(name)
            if until == "evaluate":
                rows[name] = self.evaluated(name, trained)
                self.tracker.metrics(
                    {
                        f"{name}/{metric}": value
                        for metric, value in flat_metrics(rows[name]["results"]).items()
                    }
                )
        return rows

    @cached_property
    def prepared(self) -> Stage:
        config = self.config
        settings = replace(config.data, frames=0, padding=0, erasing=0.0)
        return self._stage(
            "prepare", settings, _changes(config.data), lambda folder, _: prepare(config, folder)
        )

    @cached_property
    def manifest(self) -> Manifest:
        return Manifest.load(self.prepared.folder / MANIFEST_FILE)

    @cached_property
    def base(self) -> Stage | None:
        """The small CLIP's training, where there is one."""
        config, settings = self.config, self.config.clip.captioned
        if settings is None:
            return None
        about = {
            "clip": replace(config.clip, captioned=replace(settings, train=decisive(settings.train))),
            "size": config.data.size,
            "padding": config.data.padding,
            "seed": config.seed,
        }
        return self._stage(
            "clip", about, self._weights, lambda folder, logger: train_clip(config, settings, folder, logger)
        )

    @cached_property
    def stage1(self) -> Stage:
        config = self.config
        about = {
            "stage1": replace(config.stage1, train=decisive(config.stage1.train)),
            "scale": config.stage2.losses.scale,
            "size": config.data.size,
            "frames": config.data.frames,
            "seed": config.seed,
        }
        return self._stage(
            "stage1",
            about,
            self._inputs,
            lambda folder, logger: learn_prompts(config, self.manifest, self.clip(), folder, logger),
        )

    def stage2(self, name: str) -> Stage | None:
        config, method = self.config, METHODS[name]
        if method.tune == "nothing":
            return None
        about = {
            "method": method._asdict(),
            "adapters": config.adapters if method.tune in ("ifa", "vsla") else None,
            "lora": config.lora if method.tune == "lora" else None,
            "pbp": config.pbp if method.pbp else None,
            "stage2": replace(config.stage2, train=decisive(config.stage2.train)),
            "data": replace(config.data, root="", synthetic=None),
            "seed": config.seed,
        }
        inputs = self._inputs | ({"stage1": self.stage1.fingerprint} if method.semantic else {})
        return self._stage(
            f"stage2/{name}",
            about,
            inputs,
            lambda folder, logger: train_encoder(
                config,
                self.manifest,
                self.clip(),
                method,
                self.stage1.folder if method.semantic else None,
                folder,
                logger,
            ),
        )

    def evaluated(self, name: str, trained: Stage | None) -> Row:
        config, method = self.config, METHODS[name]
        about = {
            "method": name,
            "evaluate": replace(config.evaluate, batch_size=0),
            "size": config.data.size,
            "frames": config.data.frames,
        }
        inputs = self._inputs if trained is None else {"stage2": trained.fingerprint}
        folder = None if trained is None else trained.folder
        stage = self._stage(
            f"evaluate/{name}",
            about,
            inputs,
            lambda place, logger: evaluate(
                config, self.manifest, load_encoder(config, self.clip(), method, folder), place, logger
            ),
        )
        parameters = {"trainable": 0, "total": None} if trained is None else trained.summary
        return {"parameters": parameters, "results": stage.summary}

    def clip(self) -> open_clip.CLIP:
        """A fresh CLIP with the weights to begin with: nothing is attached to it."""
        return build_clip(self.config, None if self.base is None else self.base.folder)

    @property
    def _weights(self) -> dict[str, str]:
        checkpoint = self.config.clip.checkpoint
        return {} if checkpoint is None else {"checkpoint": file_digest(Path(checkpoint))}

    @cached_property
    def _inputs(self) -> dict[str, str]:
        """What stage one and two both read: the data set and the CLIP to begin with."""
        clip = self.config.clip
        named = {"clip": f"{clip.name} {clip.small} {clip.pretrained}"} | self._weights
        base = named if self.base is None else {"clip": self.base.fingerprint}
        return {"data": self.prepared.summary["digest"], **base}

    def _stage(self, name: str, config: Any, inputs: dict[str, str], work: Work) -> Stage:
        forced = name.split("/")[0] in self.force
        stage = Stage(name, self.config.folder, config, inputs, self.code, forced)
        run_stage(stage, self.tracker, work)
        return stage


def _changes(data: DataConfig) -> dict[str, str]:
    """When the folders of a data set last changed: files added or taken away make `prepare` read it again."""
    if data.synthetic is not None:
        return {}
    root = Path(data.root)
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    return {"root": " ".join(f"{folder.name} {folder.stat().st_mtime_ns}" for folder in folders)}
