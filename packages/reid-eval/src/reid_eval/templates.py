"""Templates: several images or clips of a person scored as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pool_templates(
    features: np.ndarray, template_ids: np.ndarray | Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Pool the rows of each template into one: the mean of its unit-length features, as in BRIAR's protocol.

    Args:
        features: float [n d].
        template_ids: int [n].

    Returns:
        float32 [t d], by ascending template id, and the first row of each template, int64 [t], whose pid and
        other columns are the template's.

    Raises:
        ValueError: another number of ids than rows, or a row without a direction.

    Example:
        >>> pooled, first = pool_templates(np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]), [5, 5, 4])
        >>> pooled.tolist(), first.tolist()
        ([[0.0, 1.0], [0.5, 0.5]], [2, 0])
    """
    ids = np.asarray(template_ids)
    if ids.shape != (len(features),):
        raise ValueError(f"template_ids has shape {ids.shape}, but features has {len(features)} rows")
    norms = np.linalg.norm(features, axis=1).astype(np.float64)
    bad = np.flatnonzero(~(norms > 0) | np.isinf(norms))
    if len(bad):
        raise ValueError(f"features: row {bad[0]} is zero, NaN or infinite ({len(bad)} such rows); drop it")
    _, first, codes = np.unique(ids, return_index=True, return_inverse=True)
    pooled = np.zeros((len(first), features.shape[1]))
    for row, code in enumerate(codes):
        pooled[code] += features[row] / norms[row]
    return (pooled / np.bincount(codes)[:, None]).astype(np.float32), first
