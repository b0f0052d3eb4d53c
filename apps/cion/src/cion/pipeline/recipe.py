"""The recipe: stages in the order of the data, each with its fingerprint and its nested run."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cion.evaluate import RESULTS_FILE, flat_metrics, score_model, table
from cion.pipeline.check import check, needs_features
from cion.pipeline.config import Finetune, RunConfig
from cion.pipeline.denoise import find_identities, identity_manifest, print_denoising
from cion.pipeline.features import FEATURES_FILE, extract_features, train_extractor
from cion.pipeline.finetune import finetune, load_reid
from cion.pipeline.pretrain import BACKBONE_FILE, pretrain
from cion.pipeline.tracklets import LABELLED, TARGET, VIDEOS, prepare
from cion.training import decisive
from reid_core.data.manifest import Manifest
from reid_core.data.transforms import eval_transform
from reid_core.files import file_digest, plain, write_atomically
from reid_core.processes import process_rank
from reid_core.recipe.nested import run_stage
from reid_core.recipe.old_stage import Stage
from reid_core.tracking.tracker import Tracker
from reid_core.training.loop import FINAL

STAGES = ("tracklets", "features", "denoise", "pretrain", "finetune", "evaluate")
CONFIG_FILE = "config.json"
MEMBERS = ("cion", "reid-core", "reid-denoise", "reid-pretrain", "reid-eval")
"""Members whose versions enter a fingerprint: a new release does the work anew."""

Work = Callable[[Path, Tracker], dict[str, Any]]


def run(config: RunConfig, until: str = "evaluate", force: bool = False) -> dict[str, Any]:
    """Run the stages up to one of them: what is done already is skipped, what was killed goes on.

    Args:
        config: the whole configuration.
        until: one of STAGES.
        force: do every stage again.

    Returns:
        The summaries of the stages by name; "evaluate" is variant -> mAP, rank_1 and more.

    Raises:
        ValueError: a setting that can't work.
        FileNotFoundError: a root or checkpoint that isn't there.
    """
    check(config, until)
    if config.machine.threads is not None:
        torch.set_num_threads(config.machine.threads)
    with start_tracking(config) as tracker:
        if process_rank() == 0:
            write_atomically(config.folder / CONFIG_FILE, json.dumps(plain(config), indent=2) + "\n")
            tracker.artifact(config.folder / CONFIG_FILE)
        tracker.params(plain(config))
        recipe = Recipe(config, tracker, until, force)
        recipe.run()
        if until == "evaluate":
            tracker.metrics(flat_metrics(recipe.summaries["evaluate"]))
    return recipe.summaries


def start_tracking(config: RunConfig) -> Tracker:
    """The parent run of a run folder: of the store that is configured, else of the database in `runs`.

    Args:
        config: the whole configuration.
    """
    uri = config.tracking_uri
    if uri is None and not os.environ.get("MLFLOW_TRACKING_URI"):
        uri = f"sqlite:///{Path(config.runs).as_posix()}/mlflow.db"
    return Tracker.start(config.experiment, config.name, config.folder, uri)


class Recipe:
    """Stages of one run and what passes between them: their folders and fingerprints.

    Args:
        config: the whole configuration.
        tracker: the run's.
        until: the last stage to run.
        force: do every stage again.
    """

    def __init__(self, config: RunConfig, tracker: Tracker, until: str, force: bool = False) -> None:
        self.config, self.tracker, self.until, self.force = config, tracker, until, force
        self.code = " ".join(f"{name} {importlib.metadata.version(name)}" for name in MEMBERS)
        self.summaries: dict[str, Any] = {}

    def run(self) -> None:
        """Run the stages."""
        config = self.config
        data = config.data
        tracked = self._stage(
            "tracklets",
            {"data": replace(data, ratio=1.0), "extractor": config.extractor.source, "seed": config.seed},
            {},
            lambda folder, _: prepare(config, folder),
        )
        if self.until == "tracklets":
            return
        manifests = {file.stem: file for file in tracked.folder.glob("*.parquet")}
        digests = {name: tracked.summary[name]["digest"] for name in manifests}
        denoised = None
        if needs_features(config, self.until):
            features = self._features(manifests, digests)
            if self.until == "features":
                return
            denoised = self._denoise(tracked, manifests[VIDEOS], features)
            if self.until == "denoise":
                return
        target = Manifest.load(manifests[TARGET])
        tuned: dict[str, Stage] = {}
        for variant in config.variants:
            weights, inputs = None, {"target": digests[TARGET]}
            if variant != "none":
                trained = self._pretrain(variant, Manifest.load(manifests[VIDEOS]), digests[VIDEOS], denoised)
                weights, inputs["pretrain"] = trained.folder / BACKBONE_FILE, trained.fingerprint
            if self.until == "pretrain":
                continue
            tuned[variant] = self._stage(
                f"finetune/{variant}{self._part}",
                {"finetune": plain_finetune(config.finetune), "model": config.model, "seed": config.seed},
                inputs,
                lambda folder, logger, weights=weights: finetune(  # type: ignore[misc]
                    config, config.model, config.finetune, target, weights, folder, logger
                ),
                collective=True,
            )
        if self.until == "evaluate":
            self._evaluate(target, tuned)

    @property
    def _part(self) -> str:
        """What the data ratio adds to a stage's name."""
        ratio = self.config.data.ratio
        return "" if ratio == 1 else f"@{ratio:g}"

    def _features(self, manifests: dict[str, Path], digests: dict[str, str]) -> Stage:
        config, extractor = self.config, self.config.extractor
        settings: dict[str, Any] = {"model": extractor.model, "finetune": plain_finetune(extractor.finetune)}
        inputs = {"videos": digests[VIDEOS]}
        for name in ("weights", "features"):
            path = getattr(extractor, name)
            if path is not None:
                inputs[name] = file_digest(Path(path))
        trained = None
        if LABELLED in manifests and extractor.features is None:
            learned = self._stage(
                "extractor",
                {**settings, "seed": config.seed},
                {**inputs, "videos": "", "labelled": digests[LABELLED]},
                lambda folder, logger: train_extractor(
                    config, Manifest.load(manifests[LABELLED]), folder, logger
                ),
                collective=True,
            )
            trained, inputs["extractor"] = learned.folder, learned.fingerprint
        videos = Manifest.load(manifests[VIDEOS])
        return self._stage(
            "features",
            {**settings, "standardise": extractor.standardise},
            inputs,
            lambda folder, _: extract_features(config, videos, trained, folder),
        )

    def _denoise(self, tracked: Stage, videos: Path, features: Stage) -> Stage:
        config = self.config
        truth = tracked.folder / "truth.npy"
        stage = self._stage(
            "denoise",
            config.denoise,
            {"features": features.fingerprint},
            lambda folder, logger: find_identities(
                config,
                Manifest.load(videos),
                features.folder / FEATURES_FILE,
                truth if truth.exists() else None,
                folder,
                logger,
            ),
        )
        if process_rank() == 0:
            print_denoising(stage.summary)
        return stage

    def _pretrain(self, variant: str, videos: Manifest, digest: str, denoised: Stage | None) -> Stage:
        config = self.config
        inputs = {"videos": digest}
        identity = np.arange(len(videos))
        if variant != "dino":
            assert denoised is not None
            inputs["identities"] = f"{variant} {denoised.fingerprint}"
            identity = np.load(denoised.folder / f"{variant}.npy")
        settings = replace(config.pretrain, checkpoint_every=1, log_every=1)
        return self._stage(
            f"pretrain/{variant}{self._part}",
            {"pretrain": settings, "model": config.model, "ratio": config.data.ratio, "seed": config.seed},
            inputs,
            lambda folder, logger: pretrain(
                config,
                identity_manifest(videos, identity, config.data.ratio, config.seed),
                variant != "dino",
                folder,
                logger,
            ),
            collective=True,
        )

    def _evaluate(self, target: Manifest, tuned: dict[str, Stage]) -> None:
        config = self.config

        def work(folder: Path, logger: Tracker) -> dict[str, Any]:
            found = {
                variant: score_model(
                    load_reid(config.model, config.finetune, stage.folder / FINAL),
                    target,
                    eval_transform(config.model.image_size),
                    folder / variant,
                    config.evaluate,
                    config.machine.workers,
                    config.machine.accelerator,
                    repr(config.model),
                )
                for variant, stage in tuned.items()
            }
            write_atomically(folder / RESULTS_FILE, json.dumps(found, indent=2) + "\n")
            logger.metrics(flat_metrics(found), step=0)
            return found

        done = {variant: stage.fingerprint for variant, stage in tuned.items()}
        stage = self._stage(f"evaluate{self._part}", {"evaluate": config.evaluate}, done, work)
        self.summaries["evaluate"] = stage.summary
        if process_rank() == 0:
            print(table(stage.summary))

    def _stage(
        self, name: str, config: Any, inputs: dict[str, str], work: Work, collective: bool = False
    ) -> Stage:
        stage = Stage(name, self.config.folder, config, inputs, self.code, self.force)
        self.summaries[name] = run_stage(stage, self.tracker, work, collective)
        return stage


def plain_finetune(settings: Finetune) -> Finetune:
    """A fine-tuning's settings without those that don't change its result, for fingerprints.

    Args:
        settings: of the fine-tuning.
    """
    return replace(settings, train=decisive(settings.train))
