"""Frames of a video file, decoded by PyAV (FFmpeg)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FRAME_RATE = 30.0
"""Frames a second of a file that doesn't tell."""


class UnreadableVideo(OSError):
    """A file that is missing, damaged or no video; the message names it."""


class Frame(NamedTuple):
    """A decoded frame."""

    number: int  # from 0, skipped frames counted
    rate: float  # frames of the file a second
    image: np.ndarray  # uint8 [h w 3], RGB


def read_frames(path: str | Path, every: int = 1) -> Iterator[Frame]:
    """Decode a file's first video stream, one frame in memory at a time.

    The pixels are as they are stored: a turn that the file asks players for isn't applied.

    Args:
        path: the file.
        every: 2 gives every second frame, and so on.

    Yields:
        frames in the order in which they are shown.

    Raises:
        UnreadableVideo: the file is missing, holds no video, or is damaged so that FFmpeg gives up on it.
        ImportError: the extra `video` is not installed.

    Example:
        >>> next(read_frames("none.mp4"))
        Traceback (most recent call last):
        reid_core.video.frames.UnreadableVideo: none.mp4: can't be read as a video (No such file or directory)
    """
    av = _pyav()
    number = -1
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UnreadableVideo(f"{path}: holds no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or FRAME_RATE)
            for number, frame in enumerate(container.decode(stream)):  # noqa: B007
                if number % every == 0:
                    yield Frame(number, rate, frame.to_ndarray(format="rgb24"))
    except av.error.FFmpegError as error:
        raise UnreadableVideo(f"{path}: can't be read as a video ({error.strerror})") from error
    if number < 0:
        raise UnreadableVideo(f"{path}: holds no frame")


def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise ImportError("video needs PyAV; install the extra: pip install 'reid-core[video]'") from error
    return av
