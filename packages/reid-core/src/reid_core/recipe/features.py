"""Features of a data set in a stage: extracted by all processes together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reid_core.files import atomic, create_memmap, write_atomically
from reid_core.processes import local_device, process_rank, ranks, share, wait_for_all
from reid_core.recipe.stage import Job

if TYPE_CHECKING:
    from torch import nn

    from reid_core.models.features import Features


def extract_features(job: Job, model: nn.Module, dataset: Any, path: Path, flip: bool = False) -> Features:
    """Features of all items: each process extracts a share of them, and rank 0 joins the shares.

    Args:
        job: of a collective stage.
        model: from images or clips to features.
        dataset: what `reid_core.models.features.extract` takes; a clip counts as its `frames`.
        path: *.npy in the job's folder; beside it *.unreadable.txt names what has no feature, if anything.
        flip: whether a feature is the mean of that of the input and that of its mirror image.

    Returns:
        The features.

    Raises:
        OSError: the storage does not give some items; the same command resumes.
    """
    from reid_core.models.features import Features, extract, item_rows, valid_path

    rank, world = ranks(job.runtime)
    parts = [part for part in np.array_split(np.arange(len(dataset)), world) if len(part)]
    files = [path.with_name(f"{path.stem}.{number}of{world}.npy") for number in range(len(parts))]
    if world == 1:
        files = [path]
    began = time.monotonic()
    if rank < len(files):
        found = extract(
            model,
            dataset,
            files[rank],
            batch_size=max(1, job.runtime.batch_size // getattr(dataset, "frames", 1)),
            workers=job.runtime.workers,
            device=local_device(job.runtime.accelerator),
            flip=flip,
            fingerprint=job.digest,
            items=None if world == 1 else parts[rank],
        )
    if world > 1:
        wait_for_all()
        share(lambda: _join(files, path))
        rows = item_rows(dataset, np.arange(len(dataset)))
        found = Features(np.load(path, mmap_mode="r"), rows, np.load(valid_path(path)))
    frames = len(dataset) * getattr(dataset, "frames", 1)
    rate = frames / max(1e-9, time.monotonic() - began)
    name = path.relative_to(job.folder).with_suffix("").as_posix()
    job.logger.metrics({f"{name}/images_per_second": rate}, step=0)
    if process_rank() == 0 and not found.valid.all():
        names = "".join(f"{file}\n" for file in found.unreadable)
        write_atomically(path.with_suffix(".unreadable.txt"), names)
    return found


def save_features(path: Path, parts: Sequence[np.ndarray], valid: np.ndarray) -> None:
    """Write features and which of them are valid.

    Args:
        path: *.npy; the mask lies at `reid_core.models.features.valid_path`.
        parts: the features, [n d] in all.
        valid: bool [n].
    """
    from reid_core.models.features import valid_path

    with atomic(path) as temporary:
        shape = (len(valid), parts[0].shape[1])
        whole = create_memmap(temporary, shape, np.float32)
        first = 0
        for part in parts:
            whole[first : first + len(part)] = part
            first += len(part)
        whole.flush()
    with atomic(valid_path(path)) as temporary:
        np.save(temporary, valid)


def _join(files: Sequence[Path], path: Path) -> None:
    from reid_core.models.features import valid_path

    valid = np.concatenate([np.load(valid_path(file)) for file in files])
    save_features(path, [np.load(file, mmap_mode="r") for file in files], valid)
