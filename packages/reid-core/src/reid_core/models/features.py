"""Features of a whole dataset, streamed to a memory-mapped file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from reid_core.data.digests import rows_digest
from reid_core.data.manifest import UNKNOWN, Manifest
from reid_core.data.storage import MOST_IN_A_ROW
from reid_core.files import create_memmap, write_atomically
from reid_core.models.inference import batch_features, eval_mode, pick_device
from reid_core.progress import Progress

BLOCK_BATCHES = 20
"""Batches after which finished rows are put on disk for good."""
COLUMNS = {"platform": "", "clothes": UNKNOWN, "tracklet": UNKNOWN}
"""Columns besides pid and camid that protocols read, and what they hold where nothing is known."""


class Features(NamedTuple):
    """Features of a data set's items, each beside what it is of and whether it could be read.

    Attributes:
        array: float32 `[n d]`, memory-mapped, read-only; zeros where not valid.
        rows: manifest of n rows: the images, or the middle frame of each tracklet.
        valid: bool `[n]`.
    """

    array: np.ndarray
    rows: Manifest
    valid: np.ndarray

    def take(self, rows: np.ndarray) -> Features:
        """Some rows by number, in the order asked for.

        Args:
            rows: int [m].
        """
        return Features(self.array[rows], self.rows.take(rows), self.valid[rows])

    @property
    def unreadable(self) -> list[Path]:
        """Files of the rows that are not valid."""
        return self.rows.where(~self.valid).files


def retrieval_arguments(query: Features, gallery: Features) -> dict[str, Any]:
    """What `reid_eval.evaluate` and `reid_eval.rank` take of both sides, masks included.

    Args:
        query: features of the queries.
        gallery: of the gallery.

    Returns:
        Features, pids, camids, masks, and the columns that protocols read (platform, clothes, tracklet) where
        they are known; "item" where a row stands on both sides (MARS).

    Example:
        >>> table = pd.DataFrame({"path": ["a", "b"], "split": "query", "pid": 3, "camid": [0, 1]})
        >>> one = Features(np.eye(2, dtype=np.float32), Manifest(table, Path(".")), np.array([True, True]))
        >>> sorted(retrieval_arguments(one, one)["query_columns"])
        ['item']
    """
    sides = {"query": query, "gallery": gallery}
    tables = {name: side.rows.table for name, side in sides.items()}
    columns = [
        name
        for name, unknown in COLUMNS.items()
        if any((table[name] != unknown).any() for table in tables.values())
    ]
    found: dict[str, Any] = {}
    for name, side in sides.items():
        found |= {f"{name}_features": side.array, f"{name}_valid": side.valid}
        found |= {f"{name}_pids": side.rows.pids, f"{name}_camids": side.rows.camids}
        found[f"{name}_columns"] = {column: tables[name][column].to_numpy() for column in columns}
    if tables["query"]["path"].isin(tables["gallery"]["path"]).any():
        items = pd.factorize(pd.concat([table["path"] for table in tables.values()]))[0]
        both = np.split(items, [len(query.rows)])
        for name, codes in zip(sides, both, strict=True):
            found[f"{name}_columns"]["item"] = codes
    return found


def valid_path(path: str | Path) -> Path:
    """Where `extract` keeps which rows hold a feature: a NumPy file, bool `[n]`.

    Args:
        path: path of the features.

    Returns:
        The same name with .valid.npy in place of .npy.

    Example:
        >>> valid_path("query.npy").name
        'query.valid.npy'
    """
    path = Path(path)
    return path.with_name(path.name.removesuffix(".npy") + ".valid.npy")


def extract(
    model: nn.Module,
    dataset: Any,
    path: str | Path,
    batch_size: int = 128,
    workers: int = 0,
    device: str | torch.device = "auto",
    autocast: torch.dtype | None = None,
    flip: bool = False,
    fingerprint: str = "",
    items: Sequence[int] | np.ndarray | None = None,
    images: str | None = None,
) -> Features:
    """Features of all items of a dataset, in its order.

    Rows are streamed to a file; killed and called again, the work resumes after the last finished block, and
    a finished file is returned at once. Both only if the model's weights, the items with the place and size
    of their files, and `fingerprint` are the same; otherwise all is done anew.

    An item that can't be decoded has no feature, and its row is not valid. One that the storage did not give
    is tried again at the end and by the next call; a file that is gone from its folder counts as undecodable
    until then.

    Args:
        model: module from images `[b 3 h w]` or clips `[b t 3 h w]`, float, to features `[b d]`; used in eval
            mode, its own mode and device are restored afterwards.
        dataset: map-style; items are dicts with "image" `[3 h w]` or "clip" `[t 3 h w]` and optionally
            "valid", "reached" (bool), "camid" (int) and "unreadable" (paths), as those of `ImageDataset` and
            `TrackletDataset` with `replace=False`. Its `rows` is the manifest of the items; without
            one, they are known by their numbers.
        path: the features' file, *.npy.
        batch_size: items at a time.
        workers: processes that load data; 0 loads in this one.
        device: where the model runs; "auto" takes a CUDA device if there is one.
        autocast: half precision to compute in, such as torch.bfloat16; None for the model's own.
        flip: whether a feature is the mean of that of the input and that of its mirror image.
        fingerprint: whatever else the features depend on, such as the transform's settings.
        items: those wanted, in order; None for all.
        images: `rows_digest` of the dataset's manifest, where it is known already; None looks at each file.

    Returns:
        The features.

    Raises:
        ValueError: path is no .npy, the dataset is empty, or the model gives something else than finite `[b
            d]`.
        OSError: the storage does not give some items, or 64 in a row; what is done is kept, and the next call
            resumes.

    Example:
        >>> import tempfile
        >>> items = [{"image": torch.full((3, 2, 2), float(i))} for i in range(3)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     extract(nn.Flatten(), items, f"{folder}/features.npy").array.shape
        (3, 12)
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise ValueError(f"path={path}; expected a name that ends in .npy")
    wanted = np.arange(len(dataset)) if items is None else np.asarray(items)
    if not len(wanted):
        raise ValueError(f"the dataset for {path.name} is empty; check the split")
    device = pick_device(device)
    rows = item_rows(dataset, wanted)
    whole: Manifest = getattr(dataset, "manifest", rows)
    identity = _identity(
        model,
        f"{len(wanted)} {autocast} {flip} {fingerprint} {whole.root.absolute()} "
        f"{rows_digest(whole) if images is None else images}",
    )
    notes, valid_file = path.with_name(path.name + ".json"), valid_path(path)
    state = _notes(notes, identity) or {"identity": identity, "rows": 0, "away": {}}
    if state["rows"] == len(wanted):
        _publish(path, valid_file)  # a kill may have come between the two
        if not (path.exists() and valid_file.exists()):
            state |= {"rows": 0, "away": {}}
    if state["rows"] < len(wanted) and not (_part(path).exists() and _part(valid_file).exists()):
        state |= {"rows": 0, "away": {}}
    if not state["rows"]:
        notes.unlink(missing_ok=True)  # it speaks of parts that are about to be overwritten
    path.parent.mkdir(parents=True, exist_ok=True)
    run = partial(_run, model, device=device, autocast=autocast, flip=flip)
    load = partial(
        DataLoader,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=device.type == "cuda",
    )
    home = next((p.device for p in model.parameters()), device)
    model.to(device)
    try:
        with eval_mode(model), torch.inference_mode():
            if state["rows"] < len(wanted):
                left = load(Subset(dataset, wanted[state["rows"] :].tolist()))
                _stream(left, run, path, len(wanted), notes, state)
                _publish(path, valid_file)
            if state["away"]:
                places = [int(place) for place in state["away"]]
                again = load(Subset(dataset, wanted[places].tolist()))
                _retry(again, run, path, places, notes, state)
    finally:
        model.to(home)
    lost = [file for file in state["away"].values() if not _is_gone(file)]
    if lost:
        raise OSError(
            f"{len(lost)} of {len(wanted)} items of {path.name} can't be reached, the first {lost[0]}: "
            "see to the storage; the same command resumes"
        )
    return Features(np.load(path, mmap_mode="r"), rows, np.load(valid_file))


class _Batch(NamedTuple):
    """Inputs, their cameras, which are valid, and place in the batch -> file of those out of reach."""

    inputs: Tensor
    camid: Tensor
    valid: Tensor
    away: dict[int, str]


def _stream(
    batches: Iterable[_Batch],
    run: Callable[..., np.ndarray],
    path: Path,
    size: int,
    notes: Path,
    state: dict[str, Any],
) -> None:
    """Append the features of batches to the files, block by block."""
    done, in_a_row, files = state["rows"], 0, (path, valid_path(path))
    features = valid = None
    if done:
        features, valid = (np.lib.format.open_memmap(_part(file), mode="r+") for file in files)
    with Progress(path.stem, size, done) as progress:
        for number, batch in enumerate(batches, start=1):
            for place in range(len(batch.valid)):
                in_a_row = in_a_row + 1 if place in batch.away else 0
                if in_a_row == MOST_IN_A_ROW:
                    raise OSError(
                        f"{MOST_IN_A_ROW} items in a row can't be reached, the last {batch.away[place]}: "
                        "see to the storage; the same command resumes"
                    )
            rows = run(batch, places=range(done, done + len(batch.valid)))
            if features is None or valid is None:
                features = create_memmap(_part(path), (size, rows.shape[1]), np.float32)
                valid = create_memmap(_part(files[1]), (size,), np.bool_)
            features[done : done + len(rows)] = rows
            valid[done : done + len(rows)] = batch.valid.numpy()
            state["away"] |= {str(done + place): file for place, file in batch.away.items()}
            done += len(rows)
            if number % BLOCK_BATCHES == 0 or done == size:
                features.flush()
                valid.flush()
                state["rows"] = done
                write_atomically(notes, json.dumps(state))
            progress.update(done)


def _retry(
    batches: Iterable[_Batch],
    run: Callable[..., np.ndarray],
    path: Path,
    places: Sequence[int],
    notes: Path,
    state: dict[str, Any],
) -> None:
    """Fill in rows that could not be reached before and can be now."""
    features, valid = (np.lib.format.open_memmap(file, mode="r+") for file in (path, valid_path(path)))
    first = 0
    away: dict[str, str] = {}
    for batch in batches:
        some = list(places[first : first + len(batch.valid)])
        features[some], valid[some] = run(batch, places=some), batch.valid.numpy()
        away |= {str(some[place]): file for place, file in batch.away.items()}
        first += len(some)
    features.flush()
    valid.flush()
    state["away"] = away
    write_atomically(notes, json.dumps(state))


def _run(
    model: nn.Module,
    batch: _Batch,
    places: Sequence[int],
    device: torch.device,
    autocast: torch.dtype | None,
    flip: bool,
) -> np.ndarray:
    """One batch's features `[b d]` float32, zeros where not valid; `places` are the rows' numbers."""
    with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        inputs, camid = (part.to(device, non_blocking=True) for part in (batch.inputs, batch.camid))
        rows = batch_features(model, inputs, flip, camid).cpu()
    rows[~batch.valid] = 0
    broken = (~rows.isfinite()).any(dim=1).nonzero()
    if len(broken):
        raise ValueError(
            f"the feature of row {places[int(broken[0])]} is not finite; check the weights and precision"
        )
    return rows.numpy()


def _collate(items: Sequence[dict[str, Any]]) -> _Batch:
    name = "clip" if "clip" in items[0] else "image"
    valid = torch.tensor([bool(item.get("valid", True)) for item in items])
    away = {
        place: str(next(iter(item.get("unreadable", ())), f"item {item.get('index', place)}"))
        for place, item in enumerate(items)
        if not item.get("reached", True)
    }
    camid = torch.tensor([item.get("camid", UNKNOWN) for item in items])
    return _Batch(torch.stack([item[name] for item in items]), camid, valid, away)


def _is_gone(file: str) -> bool:
    """Whether a file is missing from a folder that is there: no fault of the storage."""
    return not os.path.exists(file) and os.path.isdir(os.path.dirname(file))


def item_rows(dataset: Any, items: np.ndarray) -> Manifest:
    """A manifest of some items of a data set.

    Args:
        dataset: its `rows` is the manifest of all items; where it has none, they are known by their numbers.
        items: numbers of those wanted, in order.
    """
    if hasattr(dataset, "rows"):
        known: Manifest = dataset.rows
        return known.take(items)
    return Manifest(pd.DataFrame({"path": items.astype(str), "split": "unlabeled"}), Path("."))


def _identity(model: nn.Module, settings: str) -> str:
    """What the features depend on, as far as can be seen."""
    digest = hashlib.sha256(settings.encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _notes(file: Path, identity: str) -> dict[str, Any] | None:
    """What was written of the same work, or nothing."""
    try:
        notes = json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return notes if notes.get("identity") == identity else None


def _publish(*files: Path) -> None:
    """Give finished files their names."""
    for file in files:
        if _part(file).exists():
            os.replace(_part(file), file)


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")
