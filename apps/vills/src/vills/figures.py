"""Pictures of an evaluation: CMC curves, ranked lists, and attention over an image and a clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from reid_eval import PROTOCOLS, Result, rank
from reid_eval.figures import attention_figure, cmc_figure, ranked_list_figure, save_figure
from vills.config import Size
from vills.modes import NAMES, TITLES, Evaluation, modes

ATTENTION_IMAGES = 4
"""Images in the picture of attention."""
SUMMARY_ANSWERS = 8
"""Answers to the summary's query."""


def draw_figures(
    folder: Path,
    section: Evaluation,
    sides: Mapping[str, Any],
    models: Mapping[str, ReIDModel],
    features: Mapping[str, Mapping[str, Features]],
    results: Mapping[str, Mapping[str, Result]],
) -> None:
    """Draw everything that the sources allow into figures/: CMC curves, ranked lists, attention, a summary.

    Args:
        folder: of the stage; figures/ gets cmc.png, ranked_MODE.png (of the first variant), summary.png,
            attention_image.png and attention_clip.png.
        section: settings of the evaluation; models without attention have no picture of it.
        sides: data sets of queries and galleries by name.
        models: variant -> fine-tuned model, in eval mode.
        features: variant -> their features by the same names.
        results: variant -> mode -> result.
    """
    folder = folder / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    first = section.variants[0]
    panels = {
        TITLES[mode]: {NAMES[variant]: results[variant][mode] for variant in reversed(section.variants)}
        for mode in results[first]
    }
    save_figure(cmc_figure(panels), folder / "cmc.png")

    def answers(variant: str, name: str, asked: np.ndarray, count: int) -> dict[str, Any]:
        mode = modes(section.protocols)[name]
        gallery, queries = features[variant][mode.gallery], features[variant][mode.query].take(asked)
        lists = rank(
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

    for name, result in results[first].items():
        asked = _spread_rows(
            features[first][modes(section.protocols)[name].query], section.evaluate.ranked_queries
        )
        figure = ranked_list_figure(
            **answers(first, name, asked, section.evaluate.top),
            labels=[_describe_ap(result, row) for row in asked],
            title=f"{TITLES[name]}, {NAMES[first]}: evenly spaced queries",
        )
        save_figure(figure, folder / f"ranked_{name}.png")
    save_figure(_summary(section.variants, results, answers), folder / "summary.png")
    extractors: dict[str, Any] = {NAMES[name]: models[name].extractor for name in section.variants}
    encoders = {name: each.model for name, each in extractors.items() if has_attention(each.model)}
    images, clips = ("mix_images", "mix_clips") if "mix_images" in sides else ("query_images", "query_clips")
    if images in sides and encoders:
        shown = features[first][images]
        chosen = shown.rows.take(_spread_rows(shown, ATTENTION_IMAGES))
        figure = draw_attention(encoders, read_pictures(chosen.files, section.shapes.image))
        save_figure(figure, folder / "attention_image.png")
    if clips in sides and encoders:
        frames = TrackletDataset(sides[clips].manifest, None, section.shapes.frames, "even")
        clip = resize(frames[_spread_rows(features[first][clips], 1)[0]]["clip"], section.shapes.frame)
        save_figure(draw_attention(encoders, clip, clip=True), folder / "attention_clip.png")


def _describe_ap(result: Result, query: int) -> str:
    found = np.flatnonzero(result.valid_queries == query)
    return f"AP {100 * result.ap[found[0]]:.0f} %" if len(found) else "no right answer"


def _summary(
    variants: Sequence[str],
    results: Mapping[str, Mapping[str, Result]],
    answers: Callable[[str, str, np.ndarray, int], dict[str, Any]],
) -> Figure:
    """mAP of each task and variant, and the query of median gain with the first answers of each variant."""
    best, order = variants[0], list(reversed(variants))
    name, result = next(iter(results[best].items()))
    gains = result.ap - results[order[0]][name].ap
    middle = result.valid_queries[np.argsort(gains, kind="stable")[len(gains) // 2]]
    lists = [answers(variant, name, np.array([middle]), SUMMARY_ANSWERS) for variant in order]
    numbers = (
        f"{TITLES[task]} mAP {' -> '.join(f'{100 * results[each][task].mAP:.1f} %' for each in order)}"
        for task in results[best]
    )
    return ranked_list_figure(
        query_images=[lists[0]["query_images"][0]] * len(lists),
        gallery_images=lists[0]["gallery_images"],
        indices=np.concatenate([each["indices"] for each in lists]),
        correct=np.concatenate([each["correct"] for each in lists]),
        labels=[f"{NAMES[each]}\n{_describe_ap(results[each][name], middle)}" for each in order],
        title=f"{'; '.join(numbers)}\nthe query of median gain, and its first answers",
    )


def read_pictures(files: Sequence[str | Path], size: Size) -> Tensor:
    """Images at one size, uint8 [n 3 h w].

    Args:
        files: of the images.
        size: height and width.
    """
    return torch.stack([resize(read_image(str(file)), size) for file in files])


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

    Args:
        models: encoders with their resamplers, in eval mode, by the names that their rows begin with.
        pictures: uint8 [n 3 h w].
        clip: whether they are the frames of one clip.
    """
    images = eval_transform((pictures.shape[2], pictures.shape[3]))(pictures)
    maps: dict[str, np.ndarray] = {}
    for name, model in models.items():
        found = {}
        if _has_class_attention(model.encoder):
            found["class token"] = model.encoder.class_attention(images).mean(1).numpy()
        if hasattr(model.resampler, "attention"):
            queries = model.query_attention(images[None])[0] if clip else model.query_attention(images)
            each = queries if clip else queries.transpose(0, 1)  # [L n h w]
            found |= {f"resampler token {number}": one.numpy() for number, one in enumerate(each, start=1)}
        maps |= {f"{name}\n{row}".strip(): values for row, values in found.items()}
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


def _spread_rows(features: Features, count: int) -> np.ndarray:
    """Rows that could be read, evenly spaced."""
    readable = np.flatnonzero(features.valid)
    places = np.linspace(0, len(readable) - 1, min(count, len(readable)))
    return np.unique(readable[places.astype(int)])
