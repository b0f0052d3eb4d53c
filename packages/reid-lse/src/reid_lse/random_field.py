"""A conditional random field over pixels: neighbours of like colour agree (mean-field inference)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (1, -2), (2, 1), (2, -1))
"""Half of a pixel's sixteen neighbours, as steps down and to the right; the other half are their mirrors."""


class Edges(NamedTuple):
    """Pairs of neighbouring pixels in one direction.

    Attributes:
        first, second: slices of [... h w] that pair each pixel with its neighbour.
        weight: float32 [h' w'], near 1 where both have one colour, near 0 across an edge.
    """

    first: tuple
    second: tuple
    weight: np.ndarray


def contrast_edges(image: np.ndarray) -> list[Edges]:
    """Pairs of neighbours with their contrast, exp(-|c_i - c_j|^2 / 2 <|c_i - c_j|^2>) / distance.

    The weights of GrabCut (Rother et al., 2004, Eq. 4), relative to the crop's own mean contrast.

    Args:
        image: uint8 [h w 3].

    Example:
        >>> [edges.weight.shape for edges in contrast_edges(np.zeros((4, 3, 3), np.uint8))[:4]]
        [(4, 2), (3, 3), (3, 2), (3, 2)]
    """
    height, width = image.shape[:2]
    colours = image.astype(np.float32)
    pairs = []
    for down, right in NEIGHBOURS:
        first = (..., slice(0, height - down), slice(max(0, -right), width - max(0, right)))
        second = (..., slice(down, height), slice(max(0, right), width + min(0, right)))
        apart = colours[second[1:]] - colours[first[1:]]
        pairs.append((first, second, np.einsum("hwc,hwc->hw", apart, apart), np.hypot(down, right)))
    count = sum(square.size for _, _, square, _ in pairs)
    mean = sum(float(square.sum()) for _, _, square, _ in pairs) / max(1, count)
    return [
        Edges(first, second, np.exp(-square / (2 * mean + 1e-6)) / np.float32(length))
        for first, second, square, length in pairs
    ]


def mean_field(unary: np.ndarray, edges: list[Edges], coupling: float, steps: int) -> np.ndarray:
    """Log odds of binary labels whose neighbours attract each other, by mean-field updates.

    x_i <- tanh((u_i + coupling * sum_j w_ij x_j) / 2)

    Args:
        unary: float32 [... h w], log odds of each pixel alone.
        edges: of `contrast_edges`.
        coupling: of neighbours of one colour.
        steps: updates.

    Returns:
        float32 [... h w], log odds.

    Example:
        >>> edges = contrast_edges(np.zeros((1, 3, 3), np.uint8))
        >>> mean_field(np.array([[2.0, -0.1, 2.0]], np.float32), edges, 1.0, 3).round().tolist()
        [[3.0, 2.0, 3.0]]
    """
    odds = unary
    for _ in range(steps):
        state = np.tanh(odds / 2)
        pull = np.zeros_like(unary)
        for first, second, weight in edges:
            pull[first] += weight * state[second]
            pull[second] += weight * state[first]
        odds = unary + coupling * pull
    return odds
