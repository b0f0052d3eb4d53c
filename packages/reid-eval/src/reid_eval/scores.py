"""Scores of queries against the gallery in tiles, with what the protocol leaves out gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from reid_eval.inputs import ITEM, JUNK_PID, TILE_ROWS, Columns, Retrieval
from reid_eval.protocols import OWN_PERSON

BLOCK_BYTES = {"cpu": 64 * 2**20, "cuda": 2**30}
"""Scores multiplied at a time: large enough to read the gallery few times."""

MADE_BYTES = 2**24
"""Scores made at a time by whoever gives them, beside the metric's."""

BLOCK_QUERIES = 64
"""Queries multiplied at a time whatever the gallery's size; fewer would reread it too often."""

TILE_PAIRS = {"cpu": 2**20, "cuda": 2**26}
"""Pairs masked and counted at a time: what a core's cache holds, what keeps a GPU busy."""

LEFT_OUT = -torch.inf
"""Score of a pair that doesn't count: below every real score."""


class Tile(NamedTuple):
    """Some queries' view of the whole gallery.

    Attributes:
        start: row of the first query.
        scores: float [b g], higher is nearer, LEFT_OUT where the pair doesn't count; reused by later tiles.
        rows: int64 [p], queries of the right answers that count, from 0 in this tile, ascending.
        cols: int64 [p], their gallery rows, ascending for each query.
        missed: int64 [m], queries of the right answers that count but can't be found, since the query or the
            gallery row holds no feature; from 0 in this tile, ascending.
    """

    start: int
    scores: Tensor
    rows: Tensor
    cols: Tensor
    missed: Tensor


Block = Callable[[int, int], Tensor]
"""From a range of queries to their scores [b g]."""


def tiles(retrieval: Retrieval, block: Block | None = None) -> Iterator[Tile]:
    """Yield every query once, in order; the same call yields the same bits again.

    Args:
        retrieval: checked features and columns.
        block: scores of a range of queries; by default the metric's.

    Yields:
        Tiles of at most TILE_PAIRS pairs, or of one query.
    """
    queries, gallery = len(retrieval.query), len(retrieval.gallery)
    kind = "cpu" if retrieval.device.type == "cpu" else "cuda"
    columns = retrieval.gallery_columns
    people, items = Groups.of(columns["pid"]), Groups.of(columns[ITEM]) if ITEM in columns else None
    never = torch.nonzero((columns["pid"] == JUNK_PID) | ~retrieval.gallery_valid)[:, 0]

    size = BLOCK_BYTES[kind] if block is None else MADE_BYTES
    step = min(queries, max(BLOCK_QUERIES, size // (gallery * retrieval.dtype.itemsize)))
    if block is None:
        buffer = torch.empty(step, gallery, dtype=retrieval.dtype, device=retrieval.device)
        block = _metric_block(retrieval, buffer)
    few = max(1, TILE_PAIRS[kind] // gallery)
    for left in range(0, queries, step):
        scores = block(left, min(left + step, queries)).to(retrieval.device)
        for start in range(left, left + len(scores), few):
            tile = scores[start - left : start - left + few]
            asked = Columns(
                (name, values[start : start + len(tile)]) for name, values in retrieval.query_columns.items()
            )
            readable = retrieval.query_valid[start : start + len(tile)]
            _refuse_unordered(retrieval, tile, start, readable)
            rows, cols = people.pairs(asked["pid"])
            if retrieval.protocol in OWN_PERSON:
                counts = _counts(retrieval, asked, rows, cols)
                tile[rows[~counts], cols[~counts]] = LEFT_OUT
            else:
                mask = _mask(retrieval, asked)
                counts = mask[rows, cols]
                tile.masked_fill_(~mask, LEFT_OUT)
            counts &= columns["pid"][cols] != JUNK_PID
            if items is not None:
                tile[items.pairs(asked[ITEM])] = LEFT_OUT
                counts &= asked[ITEM][rows] != columns[ITEM][cols]
            if len(never):
                tile.index_fill_(1, never, LEFT_OUT)
            if not readable.all():
                tile.masked_fill_(~readable[:, None], LEFT_OUT)
            scored = counts & readable[rows] & retrieval.gallery_valid[cols]
            yield Tile(start, tile, rows[scored], cols[scored], rows[counts & ~scored])


class Groups(NamedTuple):
    """Gallery rows by their value in a column: `order` sorts the column into `values`, both [g]."""

    values: Tensor
    order: Tensor

    @classmethod
    def of(cls, column: Tensor) -> Groups:
        order = torch.argsort(column, stable=True)
        return cls(column[order], order)

    def pairs(self, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of `asked` and gallery rows of the same value, both ascending."""
        first = torch.searchsorted(self.values, asked)
        counts = torch.searchsorted(self.values, asked, right=True) - first
        rows = torch.repeat_interleave(torch.arange(len(asked), device=asked.device), counts)
        within = torch.arange(len(rows), device=asked.device) - (counts.cumsum(0) - counts)[rows]
        return rows, self.order[first[rows] + within]


def _refuse_unordered(retrieval: Retrieval, tile: Tensor, start: int, readable: Tensor) -> None:
    """Refuse scores without an order, whatever gave them: NaN, or infinite of two rows that are readable."""
    low, high = torch.aminmax(tile)
    if low > -torch.inf and high < torch.inf:
        return
    bad = ~tile.isfinite() & readable[:, None] & retrieval.gallery_valid
    if not bad.any():
        return
    row, col = bad.nonzero()[0].tolist()
    raise ValueError(
        f"query {start + row}, gallery row {col}: the score is {tile[row, col]:g}, which has no rank "
        f"({int(bad.sum())} such pairs among {tile.numel()}); mark rows without a feature by query_valid and "
        "gallery_valid, and look at what made the scores"
    )


def _counts(retrieval: Retrieval, asked: Columns, rows: Tensor, cols: Tensor) -> Tensor:
    """Which pairs count, bool [p]: the protocol is asked pair by pair, of queries [p] and a gallery [p 1]."""
    query = Columns((name, values[rows]) for name, values in asked.items())
    gallery = Columns((name, values[cols, None]) for name, values in retrieval.gallery_columns.items())
    return retrieval.protocol(query, gallery)[:, 0]


def _mask(retrieval: Retrieval, asked: Columns) -> Tensor:
    mask = torch.as_tensor(retrieval.protocol(asked, retrieval.gallery_columns), device=retrieval.device)
    shape = (len(asked["pid"]), len(retrieval.gallery))
    if mask.dtype != torch.bool or mask.shape != shape:
        raise TypeError(
            f"a protocol must return a bool tensor {shape}, True where a pair counts; "
            f"got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    return mask


def _metric_block(retrieval: Retrieval, buffer: Tensor) -> Block:
    """The cosine, or the squared Euclidean distance |q|^2 + |g|^2 - 2 q.g turned round."""
    dtype, device = retrieval.dtype, retrieval.device
    query_norms, gallery_norms = retrieval.query_norms.to(device), retrieval.gallery_norms.to(device)
    cosine = retrieval.metric == "cosine"

    def block(start: int, stop: int) -> Tensor:
        query = retrieval.query[start:stop].to(device=device, dtype=dtype)
        query = query / query_norms[start:stop, None].sqrt() if cosine else query * 2
        scores = buffer[: stop - start]
        for left in range(0, len(retrieval.gallery), TILE_ROWS):
            tile = retrieval.gallery[left : left + TILE_ROWS].to(device=device, dtype=dtype)
            norms = gallery_norms[left : left + len(tile)]
            product = scores[:, left : left + len(tile)]
            torch.mm(query, tile.T, out=product)
            if cosine:
                product.div_(norms.sqrt())
            else:
                product.sub_(norms).sub_(query_norms[start:stop, None])
        return scores

    return block
