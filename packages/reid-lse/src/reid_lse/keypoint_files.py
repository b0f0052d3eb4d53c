"""Keypoints found before, from COCO's JSON or from Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from reid_lse.keypoint_sets import COCO_KEYPOINTS

NAMES_FIELD = b"reid.keypoints"
"""Of a Parquet file's metadata: the keypoints' names as JSON."""


class KeypointTable:
    """Keypoints by the name of their image.

    Args:
        names: the images' names, as in `list_images` or COCO's file_name.
        keypoints: float32 [n k 3], x, y in pixels of the image, confidence.
        source: where they are from, for messages.
        points: the keypoints' names.

    Attributes:
        names: the keypoints' names.
    """

    def __init__(
        self,
        names: Sequence[str],
        keypoints: np.ndarray,
        source: str | Path,
        points: Sequence[str] = COCO_KEYPOINTS,
    ) -> None:
        self.rows = {name: row for row, name in enumerate(names)}
        self.keypoints = keypoints
        self.source = source
        self.names = tuple(points)

    def __len__(self) -> int:
        return len(self.rows)

    def check(self, names: Iterable[str]) -> None:
        """Raise ValueError unless every name is there."""
        missing = [name for name in names if name not in self.rows]
        if missing:
            raise ValueError(
                f"{self.source}: no keypoints for {missing[0]!r}, nor for {len(missing) - 1} other images; "
                f"names there look like {next(iter(self.rows), '(none)')!r}"
            )

    def of(self, names: Sequence[str]) -> Tensor:
        """The keypoints of some images: float32 [b k 3]."""
        self.check(names)
        return torch.from_numpy(self.keypoints[[self.rows[name] for name in names]])


def read_keypoints(path: str | Path) -> KeypointTable:
    """Read keypoints in COCO's format, one person per image: the one with the highest score.

    JSON holds COCO's annotations ({"images": [...], "annotations": [...]}) or its results (a list whose
    image_id is the image's name). Annotations mark visibility by 0, 1 and 2, which becomes a confidence of 0,
    0.5 and 1; results give confidences. The category's keypoints name the set. Parquet has the columns `path`
    and `keypoints`, three numbers per keypoint, as `reid-lse extract` writes.

    Args:
        path: *.json or *.parquet.

    Returns:
        KeypointTable.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another layout; the message names the entry.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of keypoints")
    if path.suffix == ".parquet":
        return _from_parquet(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected COCO keypoints as JSON, or *.parquet; {error}") from None
    return _from_coco(content, path)


def _from_parquet(path: Path) -> KeypointTable:
    try:
        table = pq.read_table(path, columns=["path", "keypoints"])
    except (pa.ArrowException, KeyError) as error:
        raise ValueError(f"{path}: expected Parquet with columns path and keypoints; {error}") from None
    if table.num_columns < 2:
        raise ValueError(f"{path}: expected columns path and keypoints, got {table.column_names}")
    metadata = table.schema.metadata or {}
    points = tuple(json.loads(metadata[NAMES_FIELD])) if NAMES_FIELD in metadata else COCO_KEYPOINTS
    names, rows = table["path"].to_pylist(), table["keypoints"].to_pylist()
    kept = [(name, row) for name, row in zip(names, rows, strict=True) if row is not None]
    numbers = [_numbers(row, len(points), f"{path}, row of {name!r}") for name, row in kept]
    return KeypointTable([name for name, _ in kept], _stack(numbers, len(points)), path, points)


def _from_coco(content: Any, path: Path) -> KeypointTable:
    points = COCO_KEYPOINTS
    try:
        if isinstance(content, dict):
            sets = [
                category["keypoints"] for category in content.get("categories", ()) if "keypoints" in category
            ]
            points = tuple(sets[0]) if sets else COCO_KEYPOINTS
            names = {image["id"]: image["file_name"] for image in content["images"]}
            people = content["annotations"]
        else:
            people = list(content)
            names = {person["image_id"]: str(person["image_id"]) for person in people}
        best: dict[str, tuple[float, np.ndarray]] = {}
        for place, person in enumerate(people):
            name = names[person["image_id"]]
            score = float(person.get("score", person.get("area", 0.0)))
            if name not in best or score > best[name][0]:
                best[name] = score, _numbers(person["keypoints"], len(points), f"{path}, annotation {place}")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected COCO keypoints: images with id and file_name, annotations with image_id and "
            f"keypoints, or a list of results; failed at {error}"
        ) from None
    keypoints = _stack([numbers for _, numbers in best.values()], len(points))
    flags = keypoints[..., 2]
    if isinstance(content, dict) and flags.max(initial=0) == 2 and np.isin(flags, (0, 1, 2)).all():
        keypoints[..., 2] = flags / 2
    return KeypointTable(list(best), keypoints, path, points)


def _numbers(values: Any, points: int, where: str) -> np.ndarray:
    numbers = np.asarray(values, dtype=np.float32).reshape(-1)
    if numbers.size != 3 * points or not np.isfinite(numbers).all():
        raise ValueError(
            f"{where}: expected {3 * points} finite numbers (x, y, confidence), got {numbers.size}"
        )
    return numbers


def _stack(rows: list[np.ndarray], points: int) -> np.ndarray:
    return np.array(rows, dtype=np.float32).reshape(-1, points, 3)
