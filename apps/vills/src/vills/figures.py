"""Pictures of an evaluation: CMC curves, ranked lists, and attention over an image and a clip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reid_core.data.datasets import TrackletDataset
from reid_core.data.decoding import read_image
from reid_core.data.transforms import eval_transform, resize
from reid_core.models.features import Features, retrieval_arguments
from reid_core.models.heads import ReIDModel
from reid_eval import PROTOCOLS, Result, ranked
from reid_eval.figures import attention_figure, cmc_figure, ranked_list_figure, save_figure
from vills.modes import MODES, TITLES, Evaluation, Mode

ATTENTION_IMAGES = 4
"""Images in the picture of attention."""


def draw_figures(
    section: Evaluation,
    model: ReIDModel,
    sides: Mapping[str, Any],
    features: Mapping[str, Features],
    results: Mapping[str, Result],
    folder: Path,
) -> None:
    """Draw everything that the sources allow into figures/: CMC curves, ranked lists, attention.

    Args:
        section: settings of the evaluation.
        model: the fine-tuned model, in eval mode.
        sides: data sets of queries and galleries by name.
        features: their features by the same names.
        results: mode -> result.
        folder: of the stage; figures/ gets cmc.png, ranked_MODE.png, attention_image.png, attention_clip.png.
    """
    folder = folder / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    titled = {TITLES[mode]: result for mode, result in results.items()}
    save_figure(cmc_figure(titled), folder / "cmc.png")
    for mode in results:
        _ranked_list(section, features, MODES[mode], folder / f"ranked_{mode}.png")
    encoder: Any = model.extractor
    if "query_images" in sides:
        rows = _spaced(features["query_images"], ATTENTION_IMAGES)
        files, size = features["query_images"].rows.take(rows).files, section.shapes.image
        pictures = torch.stack([resize(read_image(file), size) for file in files])
        images = eval_transform(size)(pictures)
        queries = encoder.model.query_attention(images).transpose(0, 1)  # [L b h w]
        _draw(encoder.model, images, pictures, queries, folder / "attention_image.png")
    if "query_clips" in sides:
        rows, size = sides["query_clips"].manifest, section.shapes.frame
        clips = TrackletDataset(rows, None, section.shapes.frames, "even")
        pictures = clips[_spaced(features["query_clips"], 1)[0]]["clip"]
        clip = eval_transform(size)(pictures)
        queries = encoder.model.query_attention(clip[None])[0]  # [L t h w]
        shown = resize(pictures, size)
        _draw(encoder.model, clip, shown, queries, folder / "attention_clip.png", normalise="row")


def _spaced(features: Features, count: int) -> np.ndarray:
    """Rows that could be read, evenly spaced."""
    readable = np.flatnonzero(features.valid)
    places = np.linspace(0, len(readable) - 1, min(count, len(readable)))
    return np.unique(readable[places.astype(int)])


def _ranked_list(section: Evaluation, features: Mapping[str, Features], mode: Mode, path: Path) -> None:
    """Evenly spaced queries with their first answers."""
    gallery = features[mode.gallery]
    asked = features[mode.query].take(_spaced(features[mode.query], section.evaluate.ranked_queries))
    lists = ranked(
        **retrieval_arguments(asked, gallery),
        metric=section.evaluate.metric,
        protocol=PROTOCOLS[section.protocols[mode.source]],
        k=min(section.evaluate.top, len(gallery.rows)),
    )
    figure = ranked_list_figure(asked.rows.files, gallery.rows.files, lists.indices, lists.correct)
    save_figure(figure, path)


def _draw(model: Any, images: Tensor, pictures: Tensor, queries: Tensor, path: Path, **options: Any) -> None:
    """Attention of the class token and of each query [L b h w] over some pictures."""
    maps = _class_maps(model, images)
    maps |= {f"query {number}": each.numpy() for number, each in enumerate(queries, start=1)}
    save_figure(attention_figure(list(pictures), maps, **options), path)


def _class_maps(model: Any, images: Tensor) -> dict[str, np.ndarray]:
    """The class token's attention, mean over heads; nothing where there is no such token to look at."""
    if not (hasattr(model.encoder, "class_attention") and model.encoder.has_class_token):
        return {}
    return {"class token": model.encoder.class_attention(images).mean(1).numpy()}
