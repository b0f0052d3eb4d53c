"""Evaluation and re-ranking as usual code does them, written from their descriptions, to compare with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse

Case = tuple[np.ndarray, ...]
"""Query and gallery features, pids, camids."""


def distances(query: np.ndarray, gallery: np.ndarray, device: str) -> np.ndarray:
    """All squared Euclidean distances of unit-length features, float32 [q g]."""
    q, g = (torch.nn.functional.normalize(torch.from_numpy(x).to(device), dim=1) for x in (query, gallery))
    squares = q.pow(2).sum(1, keepdim=True) + g.pow(2).sum(1)
    return squares.addmm_(q, g.T, beta=1, alpha=-2).cpu().numpy()


def argsort_of_the_matrix(case: Case, device: str) -> dict[str, float]:
    """TransReID-style: the matrix, its argsort, then a loop over queries in NumPy."""
    return _query_by_query(case, device, lambda found: found.cumsum() / np.arange(1, len(found) + 1))


def python_a_query(case: Case, device: str) -> dict[str, float]:
    """What the popular toolboxes run where their Cython file isn't compiled: precisions in a Python list.

    Its authors give 164 s at Market-1501's size (KaiyangZhou/deep-person-reid, thread 15) and later "3 mins"
    (thread 123).
    """
    return _query_by_query(
        case, device, lambda found: np.asarray([x / (i + 1.0) for i, x in enumerate(found.cumsum())])
    )


def _query_by_query(
    case: Case, device: str, precisions: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float]:
    query, gallery, q_pids, g_pids, q_camids, g_camids = case
    order = np.argsort(distances(query, gallery, device), axis=1)
    matches = (g_pids[order] == q_pids[:, None]).astype(np.int32)
    aps, cmcs = [], []
    for row in range(len(query)):
        ranked = order[row]
        keep = ~((g_pids[ranked] == q_pids[row]) & (g_camids[ranked] == q_camids[row]))
        found = matches[row][keep]
        if not found.any():
            continue
        cmc = found.cumsum()
        cmc[cmc > 1] = 1
        cmcs.append(cmc[:50])
        aps.append((precisions(found) * found).sum() / found.sum())
    cmc = np.mean(cmcs, axis=0)
    return {"mAP": float(np.mean(aps)), **{f"rank_{rank}": float(cmc[rank - 1]) for rank in (1, 5, 10, 20)}}


def compute_ap(case: Case, device: str) -> dict[str, float]:
    """Market-1501's compute_AP.m line by line: each query's list is walked, each place looked up."""
    query, gallery, q_pids, g_pids, q_camids, g_camids = case
    query = query / np.linalg.norm(query, axis=1, keepdims=True)
    gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    aps, firsts = [], []
    for row in range(len(query)):
        order = np.argsort(-(gallery @ query[row]))
        good = np.flatnonzero((g_pids == q_pids[row]) & (g_camids != q_camids[row]))
        junk = np.flatnonzero((g_pids == q_pids[row]) & (g_camids == q_camids[row]))
        if not len(good):
            continue
        old_recall, old_precision, ap, found, place = 0.0, 1.0, 0.0, 0, 0
        for index in order:
            if (junk == index).any():
                continue
            hit = (good == index).any()
            found += hit
            place += 1
            if place == 1:
                firsts.append(hit)
            recall, precision = found / len(good), found / place
            ap += (recall - old_recall) * (old_precision + precision) / 2
            old_recall, old_precision = recall, precision
            if found == len(good):
                break
        aps.append(ap)
    return {"mAP_trapezoid": float(np.mean(aps)), "rank_1": float(np.mean(firsts))}


def re_ranked(case: Case, device: str, k1: int = 20, k2: int = 6, weight: float = 0.3) -> dict[str, float]:
    """Zhong et al.'s published algorithm with its dense matrices, then the usual evaluation."""
    query, gallery, q_pids, g_pids, q_camids, g_camids = case
    rows = np.concatenate([query, gallery])
    original = np.maximum(distances(rows, rows, device), 0)
    original = np.ascontiguousarray((original / original.max(axis=0)).T)
    order = np.argsort(original, axis=1).astype(np.int32)
    count, split = len(rows), len(query)
    encoding = np.zeros_like(original)
    for row in range(count):
        neighbours = _reciprocal(order, row, k1)
        expanded = neighbours
        for candidate in neighbours:
            near = _reciprocal(order, candidate, int(np.around(k1 / 2)))
            if len(np.intersect1d(near, neighbours)) > 2 / 3 * len(near):
                expanded = np.append(expanded, near)
        expanded = np.unique(expanded)
        weights = np.exp(-original[row, expanded])
        encoding[row, expanded] = weights / weights.sum()
    original = original[:split]
    if k2 > 1:
        averaged = np.zeros_like(encoding)
        for row in range(count):
            averaged[row] = encoding[order[row, :k2]].mean(axis=0)
        encoding = averaged
    users = [np.flatnonzero(encoding[:, column]) for column in range(count)]
    jaccard = np.empty_like(original)
    for row in range(split):
        lesser = np.zeros(count, dtype=np.float32)
        for column in np.flatnonzero(encoding[row]):
            lesser[users[column]] += np.minimum(encoding[row, column], encoding[users[column], column])
        jaccard[row] = 1 - lesser / (2 - lesser)
    final = (jaccard * (1 - weight) + original * weight)[:, split:]
    aps, firsts = [], []
    for row in range(split):
        ranked = np.argsort(final[row])
        keep = ~((g_pids[ranked] == q_pids[row]) & (g_camids[ranked] == q_camids[row]))
        found = g_pids[ranked][keep] == q_pids[row]
        if found.any():
            firsts.append(found[0])
            aps.append((found.cumsum() / np.arange(1, len(found) + 1) * found).sum() / found.sum())
    return {"mAP": float(np.mean(aps)), "rank_1": float(np.mean(firsts))}


def _reciprocal(order: np.ndarray, row: int, k: int) -> np.ndarray:
    forward = order[row, : k + 1]
    return forward[np.where(order[forward, : k + 1] == row)[0]]


def near_pairs_by_rows(encoding: sparse.csr_array, eps: float) -> sparse.csr_array:
    """Distances of at most eps as reid-core 0.1 found them: a row at a time, in Python."""
    count = encoding.shape[0]
    columns = sparse.csc_array(encoding)
    near, distances = [], []
    for row in range(count):
        mine = slice(encoding.indptr[row], encoding.indptr[row + 1])
        first = columns.indptr[encoding.indices[mine]]
        sizes = columns.indptr[encoding.indices[mine] + 1] - first
        entries = np.repeat(first - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        lesser = np.minimum(columns.data[entries], np.repeat(encoding.data[mine], sizes))
        overlap = np.bincount(columns.indices[entries], lesser, minlength=count)
        others = np.flatnonzero(overlap)
        distance = np.maximum(1 - overlap[others] / (2 - overlap[others]), 0)
        near.append(others[distance <= eps].astype(np.int32))
        distances.append(distance[distance <= eps].astype(np.float32))
    starts = np.cumsum([0, *map(len, near)])
    return sparse.csr_array((np.concatenate(distances), np.concatenate(near), starts), shape=encoding.shape)
