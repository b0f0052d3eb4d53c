"""Which frames of a tracklet make a clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal, TypeVar

import torch
from torch import Tensor

FrameT = TypeVar("FrameT")
Sampling = Literal["sparse", "dense", "random", "shuffled", "even", "first"]


def sample_frames(length: int, frames: int, sampling: Sampling) -> Tensor:
    """Choose frames of a tracklet, in time order unless shuffled; a short tracklet repeats frames.

    - sparse: the tracklet is cut into `frames` equal segments, one random frame of each (TSN, Wang et al.,
      arXiv:1608.00859).
    - dense: a random window of consecutive frames; a short tracklet starts again from its beginning.
    - random: any frames, without repetition if there are enough.
    - shuffled: those in random order, so that a model can't lean on the order of time.
    - even: the middle of each segment; no randomness, for evaluation.
    - first: the first of each of `frames` blocks of length // frames, what remains left out; a short tracklet
      repeats its last frame (the evaluation of VSLA-CLIP's release).

    Args:
        length: frames in the tracklet.
        frames: frames wanted, T.
        sampling: one of the six.

    Returns:
        int64 [T], each in [0, length).

    Raises:
        ValueError: unknown `sampling`, or a number below 1.

    >>> sample_frames(8, 4, "even").tolist(), sample_frames(2, 4, "even").tolist()
    ([1, 3, 5, 7], [0, 0, 1, 1])
    """
    if length < 1 or frames < 1:
        raise ValueError(f"length {length}, frames {frames}: expected both to be 1 or more")
    bounds = torch.arange(frames + 1) * length // frames
    if sampling == "even":
        return (2 * torch.arange(frames) + 1) * length // (2 * frames)
    if sampling == "first":
        return (torch.arange(frames) * max(1, length // frames)).clamp(max=length - 1)
    if sampling == "sparse":
        widths = bounds.diff().clamp(min=1)  # whole frames: none comes twice where there are enough
        return bounds[:-1] + (torch.rand(frames, dtype=torch.float64) * widths).long()
    if sampling == "dense":
        start = int(torch.randint(max(length - frames, 0) + 1, ()))
        return (start + torch.arange(frames)) % length
    if sampling in ("random", "shuffled"):
        enough = length >= frames
        chosen = torch.randperm(length)[:frames] if enough else torch.randint(length, (frames,))
        return chosen if sampling == "shuffled" else chosen.sort().values
    raise ValueError(f"sampling: got {sampling!r}; expected sparse, dense, random, shuffled, even or first")


def nearest_readable(
    length: int, wanted: Sequence[int], read: Callable[[int], FrameT | None]
) -> list[FrameT] | None:
    """Read frames of a tracklet; in place of an unreadable one, the nearest that can be read.

    Args:
        length: frames in the tracklet.
        wanted: positions, each in [0, length).
        read: from a position to its frame, or None where it can't be read; called once a position.

    Returns:
        one frame per wanted position, or None where no frame can be read.

    >>> frames = [None, torch.tensor(1), None]
    >>> nearest_readable(3, [0, 2], frames.__getitem__)
    [tensor(1), tensor(1)]
    """
    read_once = cache(read)
    chosen = []
    for position in wanted:
        nearest = sorted(range(length), key=lambda at: (abs(at - position), at))  # noqa: B023
        frame = next((frame for at in nearest if (frame := read_once(at)) is not None), None)
        if frame is None:
            return None
        chosen.append(frame)
    return chosen
