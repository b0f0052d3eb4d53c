"""Features of a whole dataset, streamed to a memory-mapped file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from reid_core.files import write_atomically
from reid_core.progress import Progress

BLOCK_BATCHES = 20
"""Batches after which finished rows are put on disk for good."""


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
) -> np.memmap:
    """Features of all items of a dataset, in its order.

    Rows are streamed to a file; killed and called again, the work goes on after the last finished block, and
    a finished file is returned at once. Both only if the model's weights, the dataset's size (and manifest,
    if it has one) and `fingerprint` are the same; otherwise all is done anew.

    Args:
        model: module from images `[b 3 h w]` or clips `[b t 3 h w]`, float, to features `[b d]`; used in eval
            mode, its own mode and device are restored afterwards.
        dataset: map-style; items are dicts with "image" `[3 h w]` or "clip" `[t 3 h w]` and optionally
            "valid" (bool).
        path: the features' file, *.npy.
        batch_size: items at a time.
        workers: processes that load data; 0 loads in this one.
        device: where the model runs; "auto" takes a CUDA device if there is one.
        autocast: half precision to compute in, such as torch.bfloat16; None for the model's own.
        flip: whether a feature is the mean of that of the input and that of its mirror image.
        fingerprint: whatever else the features depend on, such as the transform's settings.

    Returns:
        `[n d]` float32, memory-mapped, read-only. Rows that are not valid are zeros; `valid_path(path)` marks
        them.

    Raises:
        ValueError: path is no .npy, the dataset is empty, or the model gives something else than finite `[b
            d]`.

    Example:
        >>> import tempfile
        >>> items = [{"image": torch.full((3, 2, 2), float(i))} for i in range(3)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     extract(nn.Flatten(), items, f"{folder}/features.npy").shape
        (3, 12)
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise ValueError(f"path={path}; expected a name that ends in .npy")
    size = len(dataset)
    if size == 0:
        raise ValueError(f"the dataset for {path.name} is empty; check the split")
    device = pick_device(device)
    identity = _identity(model, dataset, f"{autocast} {flip} {fingerprint}")
    notes, valid_file = path.with_name(path.name + ".json"), valid_path(path)
    state = _notes(notes, identity)
    if state.get("rows") == size:
        _publish(path, valid_file)  # a kill may have come between the two
        if path.exists() and valid_file.exists():
            return np.load(path, mmap_mode="r")
    path.parent.mkdir(parents=True, exist_ok=True)
    features = valid = None
    done = 0
    if 0 < state.get("rows", 0) < size and _part(path).exists() and _part(valid_file).exists():
        features, valid = (np.lib.format.open_memmap(_part(file), mode="r+") for file in (path, valid_file))
        done = state["rows"]
    else:
        notes.unlink(missing_ok=True)  # it speaks of parts that are about to be overwritten
    loader = DataLoader(
        Subset(dataset, range(done, size)),
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=device.type == "cuda",
    )
    home = next((p.device for p in model.parameters()), device)
    model.to(device)
    try:
        with Progress(path.stem, size, done) as progress, eval_mode(model), torch.inference_mode():
            for number, (inputs, found) in enumerate(loader, start=1):
                rows = _run(model, inputs.to(device, non_blocking=True), found, autocast, flip, first=done)
                if features is None or valid is None:
                    shape = (size, rows.shape[1])
                    features = np.lib.format.open_memmap(
                        _part(path), mode="w+", dtype=np.float32, shape=shape
                    )
                    valid = np.lib.format.open_memmap(
                        _part(valid_file), mode="w+", dtype=np.bool_, shape=(size,)
                    )
                features[done : done + len(rows)] = rows
                valid[done : done + len(rows)] = found.numpy()
                done += len(rows)
                if number % BLOCK_BATCHES == 0 or done == size:
                    features.flush()
                    valid.flush()
                    _write_notes(notes, {"identity": identity, "rows": done})
                progress.update(done)
    finally:
        model.to(home)
    _publish(path, valid_file)
    return np.load(path, mmap_mode="r")


def pick_device(device: str | torch.device) -> torch.device:
    """A device by name; "auto" takes a CUDA device if there is one.

    Args:
        device: "auto", or what `torch.device` takes.

    Example:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def batch_features(model: nn.Module, inputs: Tensor, flip: bool = False) -> Tensor:
    """Features of a batch.

    Args:
        model: module from images or clips to features `[b d]`.
        inputs: images `[b 3 h w]` or clips `[b t 3 h w]`, float.
        flip: whether a feature is the mean of that of the input and that of its mirror image.

    Returns:
        `[b d]` float32.

    Raises:
        ValueError: the model gives another shape.
    """
    output = model(inputs)
    if flip:
        output = (output + model(inputs.flip(-1))) / 2
    if output.ndim != 2 or len(output) != len(inputs):
        raise ValueError(
            f"the model returned {tuple(output.shape)} for an input of {tuple(inputs.shape)}; expected [b d]"
        )
    return output.float()


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode inside the block; each of its modules gets its own mode back.

    Args:
        model: any module.

    Example:
        >>> model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
        >>> with eval_mode(model):
        ...     inside = [module.training for module in model.modules()]
        >>> inside, [module.training for module in model.modules()]
        ([False, False, False], [True, True, False])
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _run(
    model: nn.Module, inputs: Tensor, valid: Tensor, autocast: torch.dtype | None, flip: bool, first: int
) -> np.ndarray:
    """One batch's features `[b d]` float32, zeros where not valid; `first` is its first row's number."""
    with torch.autocast(inputs.device.type, dtype=autocast, enabled=autocast is not None):
        rows = batch_features(model, inputs, flip).cpu()
    rows[~valid] = 0
    broken = (~rows.isfinite()).any(dim=1).nonzero()
    if len(broken):
        raise ValueError(
            f"the feature of row {first + int(broken[0])} is not finite; check the weights and precision"
        )
    return rows.numpy()


def _collate(items: Sequence[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    name = "clip" if "clip" in items[0] else "image"
    inputs = torch.stack([item[name] for item in items])
    return inputs, torch.tensor([bool(item.get("valid", True)) for item in items])


def _identity(model: nn.Module, dataset: Any, settings: str) -> str:
    """What the features depend on, as far as can be seen."""
    digest = hashlib.sha256(f"{len(dataset)} {settings}".encode())
    digest.update(str(getattr(getattr(dataset, "manifest", None), "digest", "")).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _notes(file: Path, identity: str) -> dict[str, Any]:
    """What was written of the same work, or nothing."""
    try:
        notes = json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return notes if notes.get("identity") == identity else {}


def _write_notes(file: Path, notes: dict[str, Any]) -> None:
    write_atomically(file, json.dumps(notes))


def _publish(*files: Path) -> None:
    """Give finished files their names."""
    for file in files:
        if _part(file).exists():
            os.replace(_part(file), file)


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")
