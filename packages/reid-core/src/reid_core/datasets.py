"""Images and tracklets of a manifest as torch data sets, reproducible for any number of workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.io import ImageReadMode, decode_image

from reid_core.lmdb_images import image_bytes
from reid_core.manifest import Manifest
from reid_core.samplers import Draw
from reid_core.transforms import resize

Sampling = Literal["sparse", "dense", "random", "shuffled", "even"]
Transform = Callable[[Tensor], Any]

_TORCHVISION_MAGIC = (b"\xff\xd8", b"\x89PNG\r\n\x1a\n")
"""How JPEG and PNG begin; a file's suffix may lie, and a key of an LMDB has none."""
MAX_REPLACEMENTS = 64
"""Rows tried in place of an unreadable one before giving up: then it is the storage that fails."""


class UnreadableImage(OSError):
    """An image file that is missing, truncated or no image; the message names it."""


def read_image(path: str | Path) -> Tensor:
    """Decode an image file, or an image in an LMDB or a shard (`reid_core.lmdb_images`), to RGB.

    Conversions: grey is repeated thrice; alpha is dropped (not composed); a palette is looked up; CMYK is
    turned into RGB; of 16-bit samples the high byte is kept. EXIF orientation is not applied, for boxes and
    masks refer to the stored pixels. JPEG and PNG go through torchvision (twice as fast as Pillow), other
    formats through Pillow.

    Args:
        path: the file.

    Returns:
        uint8 [3 h w].

    Raises:
        UnreadableImage: the file is missing, truncated or no image.
    """
    path = os.fspath(path)
    try:
        data = image_bytes(path)
    except OSError as error:
        raise UnreadableImage(f"{path}: can't be read ({error})") from error
    return decode(data, path)


def decode(data: bytes, path: str) -> Tensor:
    """Decode an image's bytes to RGB, as `read_image` says.

    Args:
        data: the encoded image.
        path: where it is from, for the error.

    Returns:
        uint8 [3 h w].

    Raises:
        UnreadableImage: the bytes are truncated or no image.
    """
    try:
        if not data:
            raise ValueError("the file is empty")
        if data.startswith(_TORCHVISION_MAGIC):
            image = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
        else:
            image = _decode_with_pillow(data)
    except (OSError, RuntimeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{path}: can't be read as an image ({str(error).splitlines()[0]})") from error
    if image.dtype == torch.uint16:
        image = (image.to(torch.int32) >> 8).to(torch.uint8)
    return image


def _decode_with_pillow(data: bytes) -> Tensor:
    with Image.open(BytesIO(data)) as opened:
        image: Image.Image = opened
        if image.mode.startswith("I;16") or image.mode == "I":
            high = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
            return torch.from_numpy(high).expand(3, -1, -1).contiguous()
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make torch's CPU randomness inside the block a function of `seed`, and leave that outside as it was.

    Only torch's CPU generator is touched: the transforms here use nothing else, and `torch.manual_seed` would
    also reseed the accelerators'.

    >>> with seeded(3):
    ...     first = torch.rand(2)
    >>> with seeded(3):
    ...     bool(torch.equal(first, torch.rand(2)))
    True
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def sample_frames(length: int, frames: int, sampling: Sampling) -> Tensor:
    """Choose frames of a tracklet, in time order unless shuffled; a short tracklet repeats frames.

    - sparse: the tracklet is cut into `frames` equal segments, one random frame of each (TSN, Wang et al.,
      arXiv:1608.00859).
    - dense: a random window of consecutive frames; a short tracklet starts again from its beginning.
    - random: any frames, without repetition if there are enough.
    - shuffled: those in an order of chance, so that a model can't lean on the order of time.
    - even: the middle of each segment; no randomness, for evaluation.

    Args:
        length: frames in the tracklet.
        frames: frames wanted, T.
        sampling: one of the five.

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
    raise ValueError(f"sampling: got {sampling!r}; expected sparse, dense, random, shuffled or even")


class _RowDataset(Dataset[dict[str, Any]]):
    """Reading rows of a manifest, and standing in for those that can't be read."""

    def __init__(self, manifest: Manifest, transform: Transform | None, replace: bool) -> None:
        self.manifest, self.transform, self.replace = manifest, transform, replace
        self._root = str(manifest.root)
        # A path is made when it is wanted, not millions beforehand.
        self._paths = manifest.table["path"].array

    def _file(self, row: int) -> str:
        return os.path.join(self._root, self._paths[row])

    def _apply(self, image: Tensor) -> Any:
        return image if self.transform is None else self.transform(image)

    def __getitem__(self, item: int | Draw) -> dict[str, Any]:
        draw = item if isinstance(item, Draw) else None
        index = int(draw.index if draw else item)  # type: ignore[arg-type]
        if not 0 <= index < len(self):
            raise IndexError(f"index {index}: expected one in [0, {len(self)})")
        with seeded(draw.seed) if draw else nullcontext():
            return self._item(index)

    def __len__(self) -> int:
        raise NotImplementedError

    def _item(self, index: int) -> dict[str, Any]:
        raise NotImplementedError


def _stand_ins(index: int, pids: np.ndarray) -> Iterator[int]:
    """Items to try in place of `index`: those of its pid, from the next one round; then the next ones."""
    same = np.flatnonzero(pids == pids[index]) if pids[index] >= 0 else np.empty(0, dtype=np.int64)
    same = np.concatenate([same[same > index], same[same < index]])[:MAX_REPLACEMENTS]
    yield from same.tolist()
    for step in range(1, min(len(pids), MAX_REPLACEMENTS + 1)):
        other = (index + step) % len(pids)
        if other not in same:
            yield other


def _blank_like(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.zeros_like(value)
    if isinstance(value, dict):
        return {key: _blank_like(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_blank_like(part) for part in value)
    return value


class ImageDataset(_RowDataset):
    """One item a row of the manifest.

    An item is a dict: image (the transform's result: float [3 H W]), pid, camid, index (the row that the
    image is of), valid (bool), unreadable (list of the paths that could not be read). An unreadable image is
    replaced by the next readable one of the same pid (or, for want of one, by the next row), and pid, camid
    and index are that row's. With `replace=False`, for extraction, it yields zeros and valid False instead.

    Args:
        manifest: the rows.
        transform: from uint8 [3 h w]; None: the image as it is.
        replace: whether unreadable images are replaced.

    `dataset[i]` takes its randomness from torch's global generator, `dataset[Draw(i, seed)]` from the seed
    alone.

    Raises:
        UnreadableImage: by an item, when none of the images tried in its place can be read either.
    """

    def __init__(
        self, manifest: Manifest, transform: Transform | None = None, *, replace: bool = True
    ) -> None:
        super().__init__(manifest, transform, replace)

    def __len__(self) -> int:
        return len(self.manifest)

    def _item(self, index: int) -> dict[str, Any]:
        unreadable: list[str] = []
        try:
            row, image = index, read_image(self._file(index))
        except UnreadableImage as error:
            unreadable.append(self._file(index))
            if not self.replace:
                return self._wrap(index, _blank_like(self._apply(_blank())), unreadable, valid=False)
            row, image = self._stand_in(index, unreadable, error)
        return self._wrap(row, self._apply(image), unreadable, valid=True)

    def _stand_in(self, index: int, unreadable: list[str], first: UnreadableImage) -> tuple[int, Tensor]:
        for row in _stand_ins(index, self.manifest.pids):
            try:
                return row, read_image(self._file(row))
            except UnreadableImage:
                unreadable.append(self._file(row))
        raise UnreadableImage(
            f"{first}; nor can the {len(unreadable) - 1} images tried in its place"
        ) from first

    def _wrap(self, row: int, image: Any, unreadable: list[str], valid: bool) -> dict[str, Any]:
        pid, camid = int(self.manifest.pids[row]), int(self.manifest.camids[row])
        return dict(image=image, pid=pid, camid=camid, index=row, valid=valid, unreadable=unreadable)


class TrackletDataset(_RowDataset):
    """One item a tracklet of the manifest, in the order of `manifest.tracklets()`; other rows are left out.

    An item is a dict: clip (the transform's result: float [T 3 H W]), pid, camid, index (the tracklet's
    position in this data set), valid, unreadable. An unreadable frame is replaced by the nearest readable one
    of its tracklet; a tracklet without a readable frame by the next one of the same pid (or the next one), or
    with `replace=False` by zeros with valid False. Frames of differing size are first resized to the first
    one's.

    Args:
        manifest: the rows.
        transform: from uint8 [T 3 h w]; the same parameters should apply to all frames.
        frames: T.
        sampling: see `sample_frames`; "even" for evaluation.
        replace: whether unreadable tracklets are replaced.

    Raises:
        ValueError: the manifest has no tracklet.
        UnreadableImage: by an item, when no tracklet tried in its place can be read either.
    """

    def __init__(
        self,
        manifest: Manifest,
        transform: Transform | None = None,
        frames: int = 8,
        sampling: Sampling = "sparse",
        *,
        replace: bool = True,
    ) -> None:
        super().__init__(manifest, transform, replace)
        sample_frames(1, frames, sampling)  # refuse bad arguments now, not in a worker
        self.frames, self.sampling = frames, sampling
        self.tracklets = manifest.tracklets()
        if not self.tracklets:
            raise ValueError(
                f"manifest {manifest.name!r} has no tracklet; use ImageDataset, or give `tracklet` ids"
            )

    @cached_property
    def pids(self) -> np.ndarray:
        """Person id of each tracklet, int64 [n], for `PKBatches`."""
        return self.manifest.pids[[rows[0] for rows in self.tracklets]]

    @cached_property
    def camids(self) -> np.ndarray:
        """Camera id of each tracklet, int64 [n]."""
        return self.manifest.camids[[rows[0] for rows in self.tracklets]]

    def __len__(self) -> int:
        return len(self.tracklets)

    def _item(self, index: int) -> dict[str, Any]:
        unreadable: list[str] = []
        clip = self._clip(index, unreadable)
        if clip is None and not self.replace:
            blank = _blank_like(self._apply(_blank().expand(self.frames, -1, -1, -1)))
            return self._wrap(index, blank, unreadable, valid=False)
        chosen = index
        if clip is None:
            for chosen in _stand_ins(index, self.pids):
                clip = self._clip(chosen, unreadable)
                if clip is not None:
                    break
            else:
                raise UnreadableImage(
                    f"{unreadable[0]}: neither its tracklet nor those tried for it have a readable frame "
                    f"({len(unreadable)} files)"
                )
        return self._wrap(chosen, self._apply(clip), unreadable, valid=True)

    def _clip(self, index: int, unreadable: list[str]) -> Tensor | None:
        """uint8 [T 3 h w], or None when no frame can be read; names what could not be."""
        rows = self.tracklets[index]
        images: dict[int, Tensor] = {}
        broken: set[int] = set()
        chosen = []
        for wanted in sample_frames(len(rows), self.frames, self.sampling).tolist():
            for position in sorted(range(len(rows)), key=lambda at: (abs(at - wanted), at)):  # noqa: B023
                if position in broken:
                    continue
                if position not in images:
                    try:
                        images[position] = read_image(self._file(int(rows[position])))
                    except UnreadableImage:
                        broken.add(position)
                        unreadable.append(self._file(int(rows[position])))
                        continue
                chosen.append(images[position])
                break
            else:
                return None
        size = (chosen[0].shape[-2], chosen[0].shape[-1])
        return torch.stack(
            [image if tuple(image.shape[-2:]) == size else resize(image, size) for image in chosen]
        )

    def _wrap(self, index: int, clip: Any, unreadable: list[str], valid: bool) -> dict[str, Any]:
        pid, camid = int(self.pids[index]), int(self.camids[index])
        return dict(clip=clip, pid=pid, camid=camid, index=index, valid=valid, unreadable=unreadable)


def _blank() -> Tensor:
    return torch.zeros(3, 16, 8, dtype=torch.uint8)


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make a batch of items: tensors are stacked, numbers become tensors [b], lists are concatenated.

    >>> batch = collate(
    ...     [
    ...         {"image": torch.zeros(3), "pid": 1, "unreadable": ["a"]},
    ...         {"image": torch.ones(3), "pid": 2, "unreadable": []},
    ...     ]
    ... )
    >>> batch["image"].shape, batch["pid"], batch["unreadable"]
    (torch.Size([2, 3]), tensor([1, 2]), ['a'])
    """
    batch: dict[str, Any] = {}
    for key, first in items[0].items():
        values = [item[key] for item in items]
        if isinstance(first, Tensor):
            batch[key] = torch.stack(values)
        elif isinstance(first, (bool, int, float)):
            batch[key] = torch.tensor(values)
        elif isinstance(first, dict):
            batch[key] = collate(values)
        elif isinstance(first, list):
            batch[key] = [part for value in values for part in value]
        else:
            batch[key] = values
    return batch
