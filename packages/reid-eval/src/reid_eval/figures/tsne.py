"""Maps of features by t-SNE, coloured by person, as CION compares pre-trainings (Fig. 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from reid_eval.figures.style import COLOURS, DPI, MARKERS
from reid_eval.inputs import JUNK_PID, as_features, as_ids, as_valid

IDENTITIES, IMAGES = 15, 20
"""Persons and images of each in CION's Fig. 4 (Appendix A.6)."""
PERPLEXITY = 30.0
"""Of van der Maaten's t-SNE; lowered where there are fewer than about a hundred points."""
MOST_IDENTITIES = len(COLOURS) * len(MARKERS)


def sample_identities(
    pids: np.ndarray | torch.Tensor | Sequence[int],
    identities: int = IDENTITIES,
    images: int = IMAGES,
    seed: int = 0,
    *,
    valid: np.ndarray | torch.Tensor | None = None,
) -> np.ndarray:
    """Rows of some persons drawn at random, for `tsne_figure`; junk (pid -1) and distractors (0) never.

    Nor are rows without a feature.

    Args:
        pids: int [n].
        identities: persons to draw, from those who have the most rows up to `images` of them.
        images: rows of each; fewer where a person has fewer.
        seed: of the draw.
        valid: bool [n], False where a row holds no feature; None for all True.

    Returns:
        int64 rows, ascending.

    Raises:
        ValueError: identities or images below 1, or fewer persons than asked for.

    Example:
        >>> sample_identities([1, 2, 2, 3, 3, 3, -1, 0], identities=2, images=2)
        array([1, 2, 4, 5])
    """
    pids = as_ids(pids, "pids", len(pids), "pids")
    pids = np.where(as_valid(valid, "valid", len(pids)), pids, JUNK_PID)
    people, counts = np.unique(pids[pids > 0], return_counts=True)
    if min(identities, images) < 1 or len(people) < identities:
        raise ValueError(
            f"got identities={identities} and images={images}; expected 1 or more of each, and at most the "
            f"{len(people)} persons in pids"
        )
    draw = np.random.default_rng(seed)
    shuffled = draw.permutation(len(people))
    fullest = shuffled[np.argsort(-np.minimum(counts[shuffled], images), kind="stable")]
    rows = [
        draw.permutation(np.flatnonzero(pids == people[person]))[:images] for person in fullest[:identities]
    ]
    return np.sort(np.concatenate(rows))


def tsne(
    features: np.ndarray | torch.Tensor,
    perplexity: float = PERPLEXITY,
    seed: int = 0,
    *,
    valid: np.ndarray | torch.Tensor | None = None,
) -> np.ndarray:
    """Features laid out in the plane by t-SNE under cosine distance (scikit-learn's).

    Args:
        features: float [n d], at least 4 rows.
        perplexity: lowered to (n - 1) / 3 for few rows.
        seed: of the optimisation.
        valid: bool [n], False where a row holds no feature and gets no place; None for all True.

    Returns:
        float32 [n 2]; NaN for a row without a feature.

    Raises:
        TypeError, ValueError: features that are no float [n d] of 4 rows or more, hold NaN or a zero row, or
            are all the same.

    Example:
        >>> tsne(np.eye(6)).shape
        (6, 2)
    """
    points = as_features(features, "features").cpu().double().numpy()
    readable = np.flatnonzero(as_valid(valid, "valid", len(points)))
    points = points[readable]
    if len(points) < 4:
        raise ValueError(f"t-SNE needs at least 4 rows of features, got {len(points)}")
    norms = np.linalg.norm(points, axis=1)
    bad = readable[~(np.isfinite(norms) & (norms > 0))]
    if len(bad):
        raise ValueError(
            f"features: row {bad[0]} holds NaN or infinite values, or is all zero; mark rows without a "
            "feature by `valid`"
        )
    if not np.ptp(points, axis=0).any():  # scikit-learn divides by their spread, and crashes on the NaN
        raise ValueError("features: all rows are the same, and so have no places; were they extracted?")
    few = min(perplexity, (len(points) - 1) / 3)
    places = np.full((len(features), 2), np.nan, dtype=np.float32)
    places[readable] = TSNE(metric="cosine", perplexity=few, random_state=seed).fit_transform(points)
    return places


def tsne_figure(
    features: Mapping[str, np.ndarray | torch.Tensor],
    pids: np.ndarray | torch.Tensor | Sequence[int],
    seed: int = 0,
    *,
    valid: np.ndarray | torch.Tensor | None = None,
) -> Figure:
    """Draw the t-SNE of the same images under several models side by side; a person is a colour and a shape.

    Args:
        features: from a model's name to float [n d], the rows of `sample_identities` in the same order.
        pids: int [n].
        seed: of t-SNE.
        valid: bool [n], False where a row holds no feature and is not drawn; None for all True.

    Returns:
        The figure.

    Raises:
        ValueError: no model, or more persons than colours and shapes can tell apart.
        TypeError, ValueError: features or pids that don't fit.
    """
    if not features:
        raise ValueError("give the features of at least one model, got none")
    shared = [as_ids(pids, "pids", len(rows), f"features[{name!r}]") for name, rows in features.items()][0]
    people = np.unique(shared[as_valid(valid, "valid", len(shared))])
    if len(people) > MOST_IDENTITIES or JUNK_PID in people:
        raise ValueError(
            f"pids holds {len(people)} persons{' and junk (-1)' if JUNK_PID in people else ''}; at most "
            f"{MOST_IDENTITIES} can be told apart: choose rows with sample_identities"
        )
    figure = Figure(figsize=(2.9 * len(features) + 0.9, 3.2), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, len(features), squeeze=False)[0]
    for axes, (name, rows) in zip(panels, features.items(), strict=True):
        places = tsne(rows, seed=seed, valid=valid)
        for number, person in enumerate(people):
            axes.scatter(
                *places[shared == person].T,
                s=17,
                color=COLOURS[number % len(COLOURS)],
                # The shape moves on by one more each round of colours, so that no pair comes twice.
                marker=MARKERS[(number + number // len(COLOURS)) % len(MARKERS)],
                edgecolors="white",
                linewidths=0.3,
                label=str(person),
            )
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel(name, fontsize=9)
        axes.spines[:].set_alpha(0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        title="person",
        loc="outside right center",
        fontsize=7,
        title_fontsize=8,
        frameon=False,
    )
    return figure
