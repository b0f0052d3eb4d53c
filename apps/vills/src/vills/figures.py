"""Pictures of an evaluation: CMC curves, ranked lists, and attention over an image and a clip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from reid_core.data.datasets import TrackletDataset
from reid_core.data.decoding import read_image
from reid_core.data.transforms import eval_transform, resize
from reid_core.models.features import Features, retrieval_arguments
from reid_core.models.heads import ReIDModel
from reid_eval import PROTOCOLS, Result, ranked
from reid_eval.figures import attention_figure, cmc_figure, ranked_list_figure, save_figure
from vills.modes import MODES, NAMES, TITLES, Evaluation, Mode

ATTENTION_IMAGES = 4
"""Images in the picture of attention."""
SUMMARY_ANSWERS = 8
"""Answers to the summary's query."""


def draw_figures(
    section: Evaluation,
    models: Mapping[str, ReIDModel],
    sides: Mapping[str, Any],
    features: Mapping[str, Mapping[str, Features]],
    results: Mapping[str, Mapping[str, Result]],
    folder: Path,
) -> None:
    """Draw everything that the sources allow into figures/: CMC curves, ranked lists, attention, a summary.

    Args:
        section: settings of the evaluation.
        models: variant -> fine-tuned model, in eval mode.
        sides: data sets of queries and galleries by name.
        features: variant -> their features by the same names.
        results: variant -> mode -> result.
        folder: of the stage; figures/ gets cmc.png, ranked_MODE.png (of the first variant), summary.png,
            attention_image.png and attention_clip.png.
    """
    folder = folder / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    first = section.variants[0]
    panels = {
        TITLES[mode]: {NAMES[variant]: results[variant][mode] for variant in reversed(section.variants)}
        for mode in results[first]
    }
    save_figure(cmc_figure(panels), folder / "cmc.png")
    for mode, result in results[first].items():
        asked = _spaced(features[first][MODES[mode].query], section.evaluate.ranked_queries)
        figure = ranked_list_figure(
            **_answers(section, features[first], MODES[mode], asked, section.evaluate.top),
            labels=[_describe_ap(result, row) for row in asked],
            title=f"{TITLES[mode]}, {NAMES[first]}: evenly spaced queries",
        )
        save_figure(figure, folder / f"ranked_{mode}.png")
    save_figure(_summary(section, features, results), folder / "summary.png")
    encoders: dict[str, Any] = {NAMES[name]: models[name].extractor for name in section.variants}
    if "query_images" in sides:
        images = features[first]["query_images"]
        files = images.rows.take(_spaced(images, ATTENTION_IMAGES)).files
        pictures = torch.stack([resize(read_image(file), section.shapes.image) for file in files])
        maps = _attention(encoders, eval_transform(section.shapes.image)(pictures))
        save_figure(attention_figure(list(pictures), maps), folder / "attention_image.png")
    if "query_clips" in sides:
        rows, size = sides["query_clips"].manifest, section.shapes.frame
        clips = TrackletDataset(rows, None, section.shapes.frames, "even")
        pictures = clips[_spaced(features[first]["query_clips"], 1)[0]]["clip"]
        maps = _attention(encoders, eval_transform(size)(pictures), clip=True)
        figure = attention_figure(list(resize(pictures, size)), maps, normalise="row")
        save_figure(figure, folder / "attention_clip.png")


def _spaced(features: Features, count: int) -> np.ndarray:
    """Rows that could be read, evenly spaced."""
    readable = np.flatnonzero(features.valid)
    places = np.linspace(0, len(readable) - 1, min(count, len(readable)))
    return np.unique(readable[places.astype(int)])


def _answers(
    section: Evaluation, features: Mapping[str, Features], mode: Mode, asked: np.ndarray, count: int
) -> dict[str, Any]:
    """The first answers to some queries, as `ranked_list_figure` takes them."""
    gallery, queries = features[mode.gallery], features[mode.query].take(asked)
    lists = ranked(
        **retrieval_arguments(queries, gallery),
        metric=section.evaluate.metric,
        protocol=PROTOCOLS[section.protocols[mode.source]],
        k=min(count, len(gallery.rows)),
    )
    return {
        "query_images": queries.rows.files,
        "gallery_images": gallery.rows.files,
        "indices": lists.indices,
        "correct": lists.correct,
    }


def _describe_ap(result: Result, query: int) -> str:
    found = np.flatnonzero(result.valid_queries == query)
    return f"AP {100 * result.ap[found[0]]:.0f} %" if len(found) else "no right answer"


def _summary(
    section: Evaluation,
    features: Mapping[str, Mapping[str, Features]],
    results: Mapping[str, Mapping[str, Result]],
) -> Figure:
    """mAP of each task and variant, and the query of median gain with the first answers of each variant."""
    variants = list(reversed(section.variants))
    mode, result = next(iter(results[section.variants[0]].items()))
    gains = result.ap - results[variants[0]][mode].ap
    middle = result.valid_queries[np.argsort(gains, kind="stable")[len(gains) // 2]]
    lists = [
        _answers(section, features[variant], MODES[mode], np.array([middle]), SUMMARY_ANSWERS)
        for variant in variants
    ]
    figure = ranked_list_figure(
        query_images=[lists[0]["query_images"][0]] * len(lists),
        gallery_images=lists[0]["gallery_images"],
        indices=np.concatenate([each["indices"] for each in lists]),
        correct=np.concatenate([each["correct"] for each in lists]),
        labels=[f"{NAMES[v]}\n{_describe_ap(results[v][mode], middle)}" for v in variants],
        title="; ".join(
            f"{TITLES[task]} mAP {' -> '.join(f'{100 * results[v][task].mAP:.1f} %' for v in variants)}"
            for task in results[section.variants[0]]
        )
        + "\nthe query of median gain, and its first answers",
    )
    return figure


def _attention(encoders: Mapping[str, Any], images: Tensor, clip: bool = False) -> dict[str, np.ndarray]:
    """Attention of the class token and of each resampler token over pictures, [n h w], of several models."""
    maps: dict[str, np.ndarray] = {}
    for name, encoder in encoders.items():
        model = encoder.model
        if hasattr(model.encoder, "class_attention") and model.encoder.has_class_token:
            maps[f"{name}\nclass token"] = model.encoder.class_attention(images).mean(1).numpy()
        tokens = (
            model.query_attention(images[None])[0] if clip else model.query_attention(images).transpose(0, 1)
        )
        for number, token in enumerate(tokens, start=1):
            maps[f"{name}\nresampler token {number}"] = token.numpy()
    return maps
