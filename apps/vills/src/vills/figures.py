"""Pictures of an evaluation: CMC curves, ranked lists, and attention over an image and a clip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from reid_core.data.datasets import read_pictures
from reid_core.data.transforms import eval_transform, resize
from reid_core.models.features import Features, retrieval_arguments
from reid_core.models.heads import ReIDModel
from reid_eval import PROTOCOLS, Result
from reid_eval.figures import attention_figure, save_figure
from reid_eval.pages import FIGURES_FOLDER, write_pages
from reid_eval.retrieval import Retrieval
from vills.config import Size
from vills.modes import NAMES, TITLES, Evaluation, Mode, modes

ATTENTION_IMAGES = 4
"""Images in the picture of attention."""
CAPTIONS = {
    "attention_image": "Attention over images, from scratch and after pre-training",
    "attention_clip": "Attention over a clip, from scratch and after pre-training",
}
"""Of the report's pictures."""


def draw_figures(
    folder: Path,
    section: Evaluation,
    sides: Mapping[str, Any],
    models: Mapping[str, ReIDModel],
    features: Mapping[str, Mapping[str, Features]],
    results: Mapping[str, Mapping[str, Result]],
) -> None:
    """Draw everything that the sources allow: CMC curves, ranked lists, attention, a summary; and a report.

    Args:
        folder: of the stage; it gets report.html, and figures/ cmc.png, ranked_MODE.png (of the first
            variant), summary.png, attention_image.png and attention_clip.png.
        section: settings of the evaluation; models without attention have no picture of it.
        sides: data sets of queries and galleries by name.
        models: variant -> fine-tuned model, in eval mode.
        features: variant -> their features by the same names.
        results: variant -> mode -> result.
    """
    order = list(reversed(section.variants))
    tasks = {
        TITLES[name]: {
            NAMES[variant]: _retrieval(section, mode, sides, features[variant], results[variant][name])
            for variant in order
        }
        for name, mode in modes(section.protocols).items()
    }
    figures = _attention_figures(section, sides, models, features[section.variants[0]])
    for name, figure in figures.items():
        save_figure(figure, folder / FIGURES_FOLDER / f"{name}.png")
    write_pages(
        folder,
        tasks,
        title=f"VILLS: {', '.join(tasks)} retrieval",
        details={source: f"protocol {protocol}" for source, protocol in section.protocols.items()},
        figures={CAPTIONS[name]: figure for name, figure in figures.items()},
        queries=section.evaluate.ranked_queries,
        answers=section.evaluate.top,
    )


def _retrieval(
    section: Evaluation,
    mode: Mode,
    sides: Mapping[str, Any],
    features: Mapping[str, Features],
    result: Result,
) -> Retrieval:
    options = {"metric": section.evaluate.metric, "protocol": PROTOCOLS[section.protocols[mode.source]]}
    return Retrieval(
        result,
        retrieval_arguments(features[mode.query], features[mode.gallery]) | options,
        partial(read_pictures, sides[mode.query]),
        partial(read_pictures, sides[mode.gallery]),
    )


def _attention_figures(
    section: Evaluation,
    sides: Mapping[str, Any],
    models: Mapping[str, ReIDModel],
    features: Mapping[str, Features],
) -> dict[str, Figure]:
    """Attention of all variants over a few images and over a clip, by the pictures' names."""
    extractors: dict[str, Any] = {NAMES[name]: models[name].extractor for name in reversed(section.variants)}
    encoders = {name: each.model for name, each in extractors.items() if has_attention(each.model)}
    images, clips = ("mix_images", "mix_clips") if "mix_images" in sides else ("query_images", "query_clips")
    figures = {}
    if images in sides and encoders:
        rows = _spread_rows(features[images], ATTENTION_IMAGES)
        pictures = resize_each((read_pictures(sides[images], row) for row in rows), section.shapes.image)
        figures["attention_image"] = draw_attention(encoders, pictures)
    if clips in sides and encoders:
        row = _spread_rows(features[clips], 1)[0]
        clip = resize(read_pictures(sides[clips], row, section.shapes.frames), section.shapes.frame)
        figures["attention_clip"] = draw_attention(encoders, clip, clip=True)
    return figures


def resize_each(images: Iterable[Tensor], size: Size) -> Tensor:
    """Images of any sizes at one size, uint8 [n 3 h w].

    Args:
        images: uint8 [3 h w] each.
        size: height and width.
    """
    return torch.stack([resize(image, size) for image in images])


def has_attention(model: Any) -> bool:
    """Whether a model has a class token or resampler tokens whose attention can be drawn; CNNs have neither.

    Args:
        model: an encoder with its resampler.
    """
    return _has_class_attention(model.encoder) or hasattr(model.resampler, "attention")


def _has_class_attention(encoder: Any) -> bool:
    return hasattr(encoder, "class_attention") and encoder.has_class_token


def draw_attention(models: Mapping[str, Any], pictures: Tensor, clip: bool = False) -> Figure:
    """Attention of the class token and of each of the resampler's tokens over images, or a clip's frames.

    Models stand below one another token by token.

    Args:
        models: encoders with their resamplers, in eval mode, by the names that their rows end with.
        pictures: uint8 [n 3 h w].
        clip: whether they are the frames of one clip.
    """
    images = eval_transform((pictures.shape[2], pictures.shape[3]))(pictures)
    rows: dict[str, dict[str, np.ndarray]] = {}
    for name, model in models.items():
        found = {}
        if _has_class_attention(model.encoder):
            found["class token"] = model.encoder.class_attention(images).mean(1).numpy()
        if hasattr(model.resampler, "attention"):
            queries = model.query_attention(images[None])[0] if clip else model.query_attention(images)
            each = queries if clip else queries.transpose(0, 1)  # [L n h w]
            found |= {f"resampler token {number}": one.numpy() for number, one in enumerate(each, start=1)}
        for row, values in found.items():
            rows.setdefault(row, {})[name] = values
    # before and after are neighbours
    maps = {f"{row}\n{name}".strip(): values for row, each in rows.items() for name, values in each.items()}
    if not maps:
        raise ValueError(
            f"{', '.join(models)}: neither a class token nor resampler tokens whose attention could be drawn"
        )
    return attention_figure(list(pictures), maps, normalise="row" if clip else "cell")


def draw_curves(results: Mapping[str, Mapping[str, Any]], metric: str) -> Figure:
    """Accuracy over the epochs of fine-tuning, one line per model (supplement 4).

    Args:
        results: name -> "epochs" of its results: epoch -> mode -> metric -> value in 0..1.
        metric: mode and name, such as image/rank_1.

    Raises:
        ValueError: a run that kept no epochs, or has no such metric.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    mode, _, name = metric.partition("/")
    for label, epochs in results.items():
        values = {int(epoch): found.get(mode, {}).get(name) for epoch, found in epochs.items()}
        if not values or None in values.values():
            raise ValueError(f"{label} has no {metric} of its epochs: run it with finetune.evaluate_every")
        axes.plot(sorted(values), [100 * values[epoch] for epoch in sorted(values)], marker=".", label=label)
    axes.set(xlabel="epochs of fine-tuning", ylabel=f"{metric} (%)")
    axes.legend()
    return figure


def _spread_rows(features: Features, count: int) -> list[int]:
    """Rows that could be read, evenly spaced."""
    readable = np.flatnonzero(features.valid)
    places = np.linspace(0, len(readable) - 1, min(count, len(readable)))
    rows: list[int] = np.unique(readable[places.astype(int)]).tolist()
    return rows
