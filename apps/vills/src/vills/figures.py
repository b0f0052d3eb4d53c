"""Pictures of an evaluation: CMC curves, ranked lists, and attention over an image and a clip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reid_core.data.decoding import read_image
from reid_core.data.transforms import eval_transform, resize
from reid_core.models.heads import ReIDModel
from reid_eval import PROTOCOLS, Result, ranked
from reid_eval.figures import attention_figure, cmc_figure, ranked_list_figure, save_figure
from vills.config import EvaluateConfig, Shapes, Size
from vills.modes import MODES, TITLES, Side

ATTENTION_IMAGES = 4
"""Images in the picture of attention."""


def draw_figures(
    settings: EvaluateConfig,
    shapes: Shapes,
    model: ReIDModel,
    sides: Mapping[str, Side],
    features: Mapping[str, np.ndarray],
    results: Mapping[str, Result],
    folder: Path,
) -> list[Path]:
    """Draw everything that the sources allow.

    Args:
        settings: of the evaluation.
        shapes: sizes of images and clips.
        model: the fine-tuned model, in eval mode.
        sides: queries and galleries by name.
        features: their features by the same names.
        results: mode -> result.
        folder: folder of the pictures.

    Returns:
        The files: cmc.png, ranked_MODE.png, attention_image.png, attention_clip.png.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [
        save_figure(
            cmc_figure({TITLES[mode]: result for mode, result in results.items()}), folder / "cmc.png"
        )
    ]
    for mode in results:
        names = MODES[mode]
        drawn.append(
            _ranked_list(settings, sides, features, names.query, names.gallery, folder / f"ranked_{mode}.png")
        )
    extractor: Any = model.extractor
    if "query_images" in sides:
        drawn.append(_attention_image(shapes.image, extractor.model, sides["query_images"], folder))
    if "query_clips" in sides:
        drawn.append(_attention_clip(shapes.frame, extractor.model, sides["query_clips"], folder))
    return drawn


def _ranked_list(
    settings: EvaluateConfig,
    sides: Mapping[str, Side],
    features: Mapping[str, np.ndarray],
    query: str,
    gallery: str,
    path: Path,
) -> Path:
    """Evenly spaced queries with their first answers."""
    count = min(settings.ranked_queries, len(sides[query].pids))
    rows = np.unique(np.linspace(0, len(sides[query].pids) - 1, count).astype(int))
    asked, answers = sides[query], sides[gallery]
    lists = ranked(
        np.ascontiguousarray(features[query][rows]),
        features[gallery],
        asked.pids[rows],
        answers.pids,
        asked.camids[rows],
        answers.camids,
        metric=settings.metric,
        protocol=PROTOCOLS[answers.protocol],
        k=min(settings.top, len(answers.pids)),
    )
    pictures = [asked.pictures[row] for row in rows]
    return save_figure(ranked_list_figure(pictures, answers.pictures, lists.indices, lists.correct), path)


def _attention_image(size: Size, model: Any, side: Side, folder: Path) -> Path:
    rows = np.unique(np.linspace(0, len(side.pictures) - 1, ATTENTION_IMAGES).astype(int))
    pictures = torch.stack([resize(read_image(side.pictures[row]), size) for row in rows])
    images = eval_transform(size)(pictures)
    queries = model.query_attention(images)  # [b L h w]
    maps = _class_maps(model, images)
    maps |= {f"query {number + 1}": queries[:, number].numpy() for number in range(queries.shape[1])}
    return save_figure(attention_figure(list(pictures), maps), folder / "attention_image.png")


def _attention_clip(size: Size, model: Any, side: Side, folder: Path) -> Path:
    dataset: Any = side.dataset
    track = dataset.tracklets[0]
    places = np.linspace(0, len(track) - 1, dataset.frames).round().astype(int)
    pictures = torch.stack([resize(read_image(dataset.manifest.files[track[at]]), size) for at in places])
    clip = eval_transform(size)(pictures)
    queries = model.query_attention(clip[None])[0]  # [L t h w]
    maps = _class_maps(model, clip)
    maps |= {f"query {number + 1}": queries[number].numpy() for number in range(len(queries))}
    return save_figure(attention_figure(list(pictures), maps, normalise="row"), folder / "attention_clip.png")


def _class_maps(model: Any, images: Tensor) -> dict[str, np.ndarray]:
    """The class token's attention, mean over heads; nothing where there is no such token to look at."""
    if not (hasattr(model.encoder, "class_attention") and model.encoder.has_class_token):
        return {}
    return {"class token": model.encoder.class_attention(images).mean(1).numpy()}
