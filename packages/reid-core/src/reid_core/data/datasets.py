"""Images and tracklets of a manifest as torch data sets, reproducible for any number of workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from reid_core.data.decoding import UnreachableImage, UnreadableImage, read_image
from reid_core.data.frames import Sampling, nearest_readable, sample_frames
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import Draw
from reid_core.data.transforms import resize

Transform = Callable[[Tensor], Any]

MAX_REPLACEMENTS = 64
"""Rows tried in place of an unreadable one before giving up: then it is the storage that fails."""


@contextmanager
def seed_torch(seed: int) -> Iterator[None]:
    """Make torch's CPU randomness inside the block a function of `seed`, and leave that outside as it was.

    Only torch's CPU generator is touched: the transforms here use nothing else, and `torch.manual_seed` would
    also reseed the accelerators'.

    >>> with seed_torch(3):
    ...     first = torch.rand(2)
    >>> with seed_torch(3):
    ...     bool(torch.equal(first, torch.rand(2)))
    True
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


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
        with seed_torch(draw.seed) if draw else nullcontext():
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
    """One item per row of the manifest.

    An item is a dict: image (the transform's result: float [3 H W]), pid, camid, index (the row that the
    image is of), valid (bool), reached (bool: False where the storage gave none, so that a later try may),
    unreadable (list of the paths that could not be read). An unreadable image is
    replaced by the next readable one of the same pid (or, if there is none, by the next row), and pid, camid
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

    @property
    def rows(self) -> Manifest:
        """A row per item: the manifest."""
        return self.manifest

    @cached_property
    def pids(self) -> np.ndarray:
        """Person id of each image, int64 [n], for `PKBatches`."""
        return self.manifest.pids

    @cached_property
    def camids(self) -> np.ndarray:
        """Camera id of each image, int64 [n]."""
        return self.manifest.camids

    def __len__(self) -> int:
        return len(self.manifest)

    def _item(self, index: int) -> dict[str, Any]:
        unreadable: list[str] = []
        try:
            row, image = index, read_image(self._file(index))
        except UnreadableImage as error:
            unreadable.append(self._file(index))
            if not self.replace:
                blank = _blank_like(self._apply(_blank()))
                return self._wrap(index, blank, unreadable, False, not isinstance(error, UnreachableImage))
            row, image = self._stand_in(index, unreadable, error)
        return self._wrap(row, self._apply(image), unreadable)

    def _stand_in(self, index: int, unreadable: list[str], first: UnreadableImage) -> tuple[int, Tensor]:
        for row in _stand_ins(index, self.pids):
            try:
                return row, read_image(self._file(row))
            except UnreadableImage:
                unreadable.append(self._file(row))
        raise UnreadableImage(
            f"{first}; nor can the {len(unreadable) - 1} images tried in its place"
        ) from first

    def _wrap(
        self, row: int, image: Any, unreadable: list[str], valid: bool = True, reached: bool = True
    ) -> dict[str, Any]:
        about = dict(pid=int(self.pids[row]), camid=int(self.camids[row]), index=row)
        return dict(image=image, **about, valid=valid, reached=reached, unreadable=unreadable)


class TrackletDataset(_RowDataset):
    """One item per tracklet of the manifest, in the order of `manifest.tracklets()`; other rows are left out.

    An item is a dict: clip (the transform's result: float [T 3 H W]), pid, camid, index (the tracklet's
    position in this data set), valid, reached, unreadable. An unreadable frame is replaced by the nearest
    readable one of its tracklet; a tracklet without a readable frame by the next one of the same pid (or the
    next one), or with `replace=False` by zeros with valid False. Frames of differing size are first resized
    to the first one's.

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
    def rows(self) -> Manifest:
        """A row per item: the middle frame of each tracklet."""
        return self.manifest.take([rows[len(rows) // 2] for rows in self.tracklets])

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
        unreachable: list[str] = []
        clip = self._clip(index, unreadable, unreachable)
        if clip is None and not self.replace:
            blank = _blank_like(self._apply(_blank().expand(self.frames, -1, -1, -1)))
            return self._wrap(index, blank, unreadable, False, not unreachable)
        chosen = index
        if clip is None:
            for chosen in _stand_ins(index, self.pids):
                clip = self._clip(chosen, unreadable, unreachable)
                if clip is not None:
                    break
            else:
                raise UnreadableImage(
                    f"{unreadable[0]}: neither its tracklet nor those tried for it have a readable frame "
                    f"({len(unreadable)} files)"
                )
        return self._wrap(chosen, self._apply(clip), unreadable, True, not unreachable)

    def _clip(self, index: int, unreadable: list[str], unreachable: list[str]) -> Tensor | None:
        """uint8 [T 3 h w], or None when no frame can be read; names what could not be."""
        rows = self.tracklets[index]

        def read(position: int) -> Tensor | None:
            try:
                return read_image(self._file(int(rows[position])))
            except UnreadableImage as error:
                unreadable.append(self._file(int(rows[position])))
                unreachable.extend(unreadable[-1:] if isinstance(error, UnreachableImage) else [])
                return None

        wanted = sample_frames(len(rows), self.frames, self.sampling).tolist()
        chosen = nearest_readable(len(rows), wanted, read)
        if chosen is None:
            return None
        size = (chosen[0].shape[-2], chosen[0].shape[-1])
        return torch.stack(
            [image if tuple(image.shape[-2:]) == size else resize(image, size) for image in chosen]
        )

    def _wrap(
        self, index: int, clip: Any, unreadable: list[str], valid: bool, reached: bool
    ) -> dict[str, Any]:
        about = dict(pid=int(self.pids[index]), camid=int(self.camids[index]), index=index)
        return dict(clip=clip, **about, valid=valid, reached=reached, unreadable=unreadable)


def read_pictures(dataset: ImageDataset | TrackletDataset, index: int, frames: int = 3) -> Tensor:
    """An item's image, or evenly spaced frames of its clip, as they are in their files; for figures.

    Args:
        dataset: whose item it is; its transform is not applied.
        index: of the item.
        frames: of a clip.

    Returns:
        uint8 [3 h w], or [frames 3 h w]; black where nothing can be read.
    """
    if isinstance(dataset, ImageDataset):
        image: Tensor = ImageDataset(dataset.manifest.take([index]), None, replace=False)[0]["image"]
        return image
    rows = dataset.manifest.take(dataset.tracklets[index])
    clip: Tensor = TrackletDataset(rows, None, frames, "even", replace=False)[0]["clip"]
    return clip


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
