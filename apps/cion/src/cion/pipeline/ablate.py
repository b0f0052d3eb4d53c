"""The paper's ablations: denoising levels, methods, data ratio and t-SNE; each is a table or figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cion.cli import ABLATIONS
from cion.evaluate import NAMES
from cion.pipeline.check import check
from cion.pipeline.config import RunConfig, Variant
from cion.pipeline.pretrain import BACKBONE_FILE
from cion.pipeline.recipe import run, start_tracking
from cion.pipeline.tracklets import TARGET
from reid_core.data.datasets import ImageDataset, seeded
from reid_core.data.manifest import Manifest
from reid_core.data.transforms import eval_transform
from reid_core.files import write_atomically
from reid_core.models.backbones import build_backbone
from reid_core.models.features import extract
from reid_core.models.parts import ClassFeature
from reid_core.models.weights import load_weights
from reid_core.recipe.old_stage import DONE_FILE
from reid_eval.figures import sample_identities, save_figure, tsne_figure

VARIANTS: dict[str, list[Variant]] = {
    "levels": ["raw", "tracklet", "video", "cross_video"],
    "methods": ["none", "dino", "cross_video"],
    "tsne": ["none", "dino", "cross_video"],
}


def ablate(config: RunConfig, tables: Sequence[str], ratios: Sequence[float]) -> dict[str, Any]:
    """Run the ablations; what they share, and what `cion run` has done, is done once.

    Args:
        config: the whole configuration; its variants and data ratio are the ablations' own.
        tables: of `cion.cli.ABLATIONS`.
        ratios: parts of the identities, for the table ratio.

    Returns:
        Table -> rows, or the figure's file; also written to the run's folder ablate/ and to MLflow.

    Raises:
        ValueError: an unknown table.
    """
    unknown = [name for name in tables if name not in ABLATIONS]
    if unknown:
        raise ValueError(f"tables: no ablation {unknown[0]!r}; there are {', '.join(ABLATIONS)}")
    check(config)
    folder = config.folder / "ablate"
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name in tables:
        if name == "ratio":
            found[name] = _ratios(config, ratios, folder)
        elif name == "tsne":
            found[name] = _tsne(replace(config, variants=VARIANTS[name]), folder)
        else:
            found[name] = run(replace(config, variants=VARIANTS[name]))["evaluate"]
        write_atomically(folder / f"{name}.json", json.dumps(found[name], indent=2) + "\n")
    with start_tracking(config) as tracker:
        for file in sorted(folder.iterdir()):
            tracker.artifact(file, "ablate")
    return found


def _ratios(config: RunConfig, ratios: Sequence[float], folder: Path) -> dict[str, Any]:
    """Ratio -> results and seconds of pre-training (Figs. 6 and 7)."""
    rows = {}
    for ratio in ratios:
        part = replace(config, variants=["cross_video"], data=replace(config.data, ratio=ratio))
        results = run(part)["evaluate"]["cross_video"]
        stage = "cross_video" if ratio == 1 else f"cross_video@{ratio:g}"
        record = json.loads((config.folder / "pretrain" / stage / DONE_FILE).read_text())
        rows[f"{ratio:g}"] = {**results, "seconds": record["seconds"], "images": record["summary"]["images"]}
    save_figure(ratio_figure(rows), folder / "ratio.png")
    return rows


def ratio_figure(rows: Mapping[str, Mapping[str, float]]) -> Figure:
    """mAP and the time of pre-training over the part of the data (Figs. 6 and 7).

    Args:
        rows: ratio -> mAP in 0..1 and seconds.

    Example:
        >>> len(ratio_figure({"0.5": {"mAP": 0.2, "seconds": 9}, "1": {"mAP": 0.3, "seconds": 20}}).axes)
        2
    """
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    parts = [100 * float(ratio) for ratio in rows]
    left.plot(parts, [100 * row["mAP"] for row in rows.values()], marker="o")
    right.plot(parts, [row["seconds"] / 60 for row in rows.values()], marker="o")
    left.set(xlabel="Identities (%)", ylabel="mAP after fine-tuning (%)")
    right.set(xlabel="Identities (%)", ylabel="Pre-training (minutes)", ylim=(0, None))
    return figure


def _tsne(config: RunConfig, folder: Path) -> str:
    """t-SNE of some people of the gallery as each pre-training leaves them (Fig. 4)."""
    run(config, until="pretrain")
    gallery = Manifest.load(config.folder / "tracklets" / f"{TARGET}.parquet").select("gallery")
    people, counts = np.unique(gallery.pids[gallery.pids > 0], return_counts=True)
    rows = sample_identities(gallery.pids, min(15, len(people)), min(20, int(counts.max())), config.seed)
    chosen = np.zeros(len(gallery), dtype=bool)
    chosen[rows] = True
    images = gallery.where(chosen)
    features = {}
    for variant in config.variants:
        with seeded(config.seed):
            encoder = build_backbone(config.model.backbone, config.model.image_size, **config.model.options)
        if variant != "none":
            load_weights(encoder, config.folder / "pretrain" / variant / BACKBONE_FILE)
        features[NAMES[variant]] = extract(
            ClassFeature(encoder),
            ImageDataset(images, eval_transform(config.model.image_size)),
            folder / f"tsne_{variant}.npy",
            batch_size=config.evaluate.batch_size,
            device="cpu" if config.machine.accelerator == "cpu" else "auto",
        )
    save_figure(tsne_figure(features, images.pids, config.seed), folder / "tsne.png")
    return "tsne.png"
