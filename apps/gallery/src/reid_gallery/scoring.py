"""A model on a data set: features of queries and gallery, and how well they find one another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reid_core.models import Embedder, Features, retrieval_arguments
from reid_eval import Result, evaluate
from reid_gallery.data_sets import DataSet


class Scored(NamedTuple):
    """A model's features of a data set, and its result.

    Attributes:
        query: features of the queries.
        gallery: of the gallery.
        result: reid-eval's.
    """

    query: Features
    gallery: Features
    result: Result


def score(
    embedder: Embedder, data: DataSet, batch_size: int, device: str = "auto", tracklets: bool = False
) -> Scored:
    """Embed a data set's queries and gallery, and evaluate by its protocol.

    Args:
        embedder: the model.
        data: the data set.
        batch_size: images or clips at a time.
        device: where the model runs; an exported one runs on the CPU.
        tracklets: whether a tracklet is one item, in place of each image.

    Raises:
        ValueError: no query with a match in the gallery.
    """
    query, gallery = (
        _embed(embedder, data, split, batch_size, device, tracklets) for split in ("query", "gallery")
    )
    arguments = retrieval_arguments(query, gallery)
    return Scored(
        query, gallery, evaluate(**arguments, metric=embedder.metric, ranks=(1, 5), protocol=data.protocol)
    )


def _embed(
    embedder: Embedder, data: DataSet, split: str, batch_size: int, device: str, tracklets: bool
) -> Features:
    rows = data.manifest.select(split)
    features, valid = embedder.embed(
        rows, batch_size=batch_size, device=device, errors="mask", tracklets=tracklets
    )
    if tracklets:
        rows = rows.take(np.array([frames[len(frames) // 2] for frames in rows.tracklets()]))
    return Features(features, rows, valid)
