"""Frames of a video file, decoded by PyAV (FFmpeg)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reid_core.data import decoding

FRAME_RATE = 30.0
"""Frames a second of a file that doesn't tell."""
SLACK, SLACK_SECONDS, SLACK_FRAMES = 0.01, 0.5, 2
"""What a whole file may lack of its declared duration or frames: a share, or so much where that is more."""
MICROSECONDS = 1e6
TRANSPORT, TRANSPORT_PACKET = "mpegts", 188
"""FFmpeg's name of MPEG transport streams, and the bytes of their packets."""
POOLED = frozenset(f"{name}{chroma}p" for name in ("yuv", "yuvj") for chroma in (420, 422, 444))
"""Pixel formats whose frames FFmpeg's scale filter turns into the same RGB as PyAV does."""


class UnreadableVideo(OSError):
    """A file that is missing, damaged, cut short or no video; the message names it."""


class Frame(NamedTuple):
    """A decoded frame."""

    number: int  # from 0, skipped frames counted
    rate: float  # frames of the file a second
    image: np.ndarray  # uint8 [h w 3], RGB; a row's end may be padded in memory


@dataclass
class _Account:
    """What a file turned out to hold, to be compared with what it declares."""

    packets: int = 0  # of the video stream, one frame each
    damaged: int = 0  # packets and frames that can't be decoded whole
    first: int | None = None  # number of the frame where that begins
    end: float = 0.0  # of the last packet of any stream, in seconds

    def note_damage(self, number: int) -> None:
        self.damaged += 1
        self.first = number if self.first is None else self.first


def read_frames(path: str | Path, every: int = 1) -> Iterator[Frame]:
    """Decode a file's first video stream, one frame in memory at a time.

    A turn by 90, 180 or 270 degrees that the file asks players for is applied. Damaged frames before the
    first good one (a recording that begins between two key frames) are left out; any later damage ends the
    frames, and the error after the last one says how much of the file is there. Whether a file is whole is
    told by the number of frames and the duration that it declares. An MPEG transport stream declares neither:
    it is refused where its last packet or frame is cut, but not where it ends between two frames.

    Args:
        path: the file.
        every: 2 gives every second frame, and so on.

    Yields:
        frames in the order in which they are shown.

    Raises:
        UnreadableVideo: the file is missing, holds no video, is damaged or cut short, or its frames have more
            than `decoding.MAX_PIXELS`; it may be raised after frames were given.
        ImportError: the extra `video` is not installed.

    Example:
        >>> next(read_frames("none.mp4"))
        Traceback (most recent call last):
        reid_core.video.frames.UnreadableVideo: none.mp4: can't be read as a video (No such file or directory)
    """
    av = _pyav()
    number = -1
    account = _Account()
    turn_to_rgb = _rgb_converter()
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UnreadableVideo(f"{path}: holds no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or FRAME_RATE)
            _check_pixels(path, stream.codec_context.width, stream.codec_context.height)
            for frame in _decode(av, container, stream, account):
                number += 1
                _check_pixels(path, frame.width, frame.height)
                if number % every == 0:
                    yield Frame(number, rate, _turn(turn_to_rgb(frame), frame.rotation))
            lacking = _find_lack(path, container, stream, account, rate)
    except av.error.FFmpegError as error:
        raise UnreadableVideo(f"{path}: can't be read as a video ({error.strerror})") from error
    if lacking:
        raise UnreadableVideo(f"{path}: {lacking}; fetch it again, or write what is there anew with FFmpeg")
    if number < 0:
        raise UnreadableVideo(f"{path}: holds no frame")


def _decode(av: Any, container: Any, stream: Any, account: _Account) -> Iterator[Any]:
    """Frames up to the first damage; the rest of the file is counted, not decoded."""
    number = 0
    for packet in container.demux():
        if packet.pts is not None:
            base = packet.time_base  # a Fraction: its own product is slow enough to show
            end = (packet.pts + (packet.duration or 0)) * base.numerator / base.denominator
            account.end = max(account.end, end)
        if packet.stream is not stream:
            continue
        account.packets += packet.dts is not None  # all but the one that asks for the decoder's last frames
        if packet.is_corrupt:
            account.note_damage(number)
        if account.damaged:
            continue
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            account.note_damage(number)
            continue
        for frame in frames:
            if frame.is_corrupt and number == 0:
                continue
            if frame.is_corrupt:
                account.note_damage(number)
            if account.damaged:
                break
            yield frame
            number += 1


def _find_lack(path: str | Path, container: Any, stream: Any, account: _Account, rate: float) -> str:
    """What the file lacks of what it declares; nothing where it is whole."""
    lacks = []
    if account.damaged:
        lacks.append(f"is damaged from frame {account.first} on")
    if account.packets < stream.frames - max(SLACK_FRAMES, SLACK * stream.frames):
        lacks.append(f"ends early, with {account.packets} of its {stream.frames} frames")
    elif container.duration:
        declared = container.duration / MICROSECONDS
        there = account.end - (container.start_time or 0) / MICROSECONDS
        if there < declared - max(SLACK_SECONDS, SLACK * declared, SLACK_FRAMES / rate):
            lacks.append(
                f"ends early, with {there:.1f} of its {declared:.1f} seconds ({account.packets} frames)"
            )
    if container.format.name == TRANSPORT and (rest := Path(path).stat().st_size % TRANSPORT_PACKET):
        lacks.append(f"ends within a packet ({rest} of {TRANSPORT_PACKET} bytes)")
    return ", ".join(lacks)


def _check_pixels(path: str | Path, width: int, height: int) -> None:
    if width * height > decoding.MAX_PIXELS:
        raise UnreadableVideo(
            f"{path}: has frames of {width} x {height} pixels; expected at most {decoding.MAX_PIXELS:,}"
        )


def _rgb_converter() -> Callable[[Any], np.ndarray]:
    """From a decoded frame to RGB uint8 [h w 3], as its own `to_ndarray` gives.

    That allocates every picture, and the C library may map and unmap its memory each time: half of the time
    that decoding takes. The scale filter keeps a pool; a picture goes back to it when nobody holds its array.
    """
    graph: Any = None
    shape = None

    def convert(frame: Any) -> np.ndarray:
        nonlocal graph, shape
        if frame.format.name not in POOLED:
            image: np.ndarray = frame.to_ndarray(format="rgb24")
            return image
        if shape != (frame.width, frame.height, frame.format.name):
            graph, shape = _scale_graph(frame), (frame.width, frame.height, frame.format.name)
        graph.push(frame)
        plane = graph.pull().planes[0]
        rows = np.frombuffer(plane, np.uint8, frame.height * plane.line_size)
        return rows.reshape(frame.height, -1)[:, : 3 * frame.width].reshape(frame.height, frame.width, 3)

    return convert


def _scale_graph(frame: Any) -> Any:
    from av.filter import Graph

    graph = Graph()
    graph.threads = 1  # slices of one picture are too little work for threads that wait for each other
    graph.link_nodes(
        graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        ),
        graph.add("scale", "flags=bilinear"),
        graph.add("format", "pix_fmts=rgb24"),
        graph.add("buffersink"),
    ).configure()
    return graph


def _turn(image: np.ndarray, degrees: int) -> np.ndarray:
    """Turned counter-clockwise by a multiple of 90 degrees; other angles are no camera's."""
    quarters = degrees // 90 % 4 if degrees % 90 == 0 else 0
    return np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image


def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise ImportError("video needs PyAV; pip install av trackers supervision") from error
    return av
