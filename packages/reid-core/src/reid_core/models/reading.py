"""Images and tracklets to what a model is given at once, decoded by threads ahead of the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reid_core.data.decoding import UnreadableImage
from reid_core.data.frames import nearest_readable, sample_frames
from reid_core.models.inputs import Item, items, read_frame
from reid_core.models.preprocessing import Preprocessing


class Job(NamedTuple):
    """What the model is given at once: an image, a frame of a tracklet, or a clip.

    Attributes:
        item: number of the image or tracklet that it is of.
        label: what it is called in errors.
        frames: not yet read: one, or all of a clip's tracklet.
        clip: whether it is a clip.
    """

    item: int
    label: str
    frames: Any
    clip: bool


def read_ahead(
    entries: Iterable[Item], preprocessing: Preprocessing, workers: int, ahead: int, mask: bool
) -> Generator[tuple[Job, Tensor | None]]:
    """Read images and clips in threads, in order, and no more than `ahead` of them before they are wanted.

    Args:
        entries: images and tracklets.
        preprocessing: sizes, and how many frames make a clip.
        workers: threads.
        ahead: images or clips.
        mask: whether what can't be read is left out, or an error.

    Yields:
        What it is, and its pixels: uint8 [3 H W] or [T 3 H W], or None where nothing could be read.

    Raises:
        UnreadableImage: an image can't be read, and `mask` is false.
    """
    pool = ThreadPoolExecutor(workers)
    pending: deque[tuple[Job, Future[Tensor | None]]] = deque()
    try:
        for job in _jobs(entries, preprocessing):
            pending.append((job, pool.submit(_read, job, preprocessing, mask)))
            if len(pending) > ahead:
                job, future = pending.popleft()
                yield job, future.result()
        for job, future in pending:
            yield job, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def input_batches(
    inputs: Iterable[Any], preprocessing: Preprocessing, batch_size: int, workers: int = 1
) -> Iterator[Tensor]:
    """What a model is given of images and tracklets that can be read.

    Args:
        inputs: as for `Embedder.embed`; images and clips mixed only for a model of one of them.
        preprocessing: of the model.
        batch_size: images or clips at a time.
        workers: threads that decode.

    Yields:
        float32 `[b 3 h w]` or `[b t 3 h w]`, normalised.
    """
    entries = items(inputs)
    loaded = read_ahead(entries, preprocessing, workers, ahead=batch_size, mask=True)
    with closing(loaded):
        readable = (pixels for _, pixels in loaded if pixels is not None)
        while batch := list(islice(readable, batch_size)):
            yield preprocessing.normalise(torch.stack(batch))


def _jobs(entries: Iterable[Item], preprocessing: Preprocessing) -> Iterator[Job]:
    """An item's frames one by one, or all as a clip."""
    for number, (label, frames, tracklet) in enumerate(entries):
        if preprocessing.frames is not None and (tracklet or not preprocessing.takes_images):
            yield Job(number, label, frames, clip=True)
            continue
        for position, frame in enumerate(frames):
            yield Job(number, _frame_label(label, position) if tracklet else label, frame, clip=False)


def _read(job: Job, preprocessing: Preprocessing, mask: bool) -> Tensor | None:
    def read(frame: Any, label: str) -> Tensor | None:
        try:
            return preprocessing.resize(read_frame(frame, label), job.clip)
        except UnreadableImage:
            if mask:
                return None
            raise

    if not job.clip:
        return read(job.frames, job.label)
    assert preprocessing.frames is not None
    wanted = sample_frames(len(job.frames), preprocessing.frames, "even").tolist()
    clip = nearest_readable(
        len(job.frames), wanted, lambda at: read(job.frames[at], _frame_label(job.label, at))
    )
    return None if clip is None else torch.stack(clip)


def _frame_label(label: str, position: int) -> str:
    return f"{label}, frame {position}"
