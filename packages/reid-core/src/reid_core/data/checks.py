"""Looks for what is wrong with a data set: unreadable, lost and repeated images, unmatchable people."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from reid_core.data.decoding import UnreachableImage, UnreadableImage
from reid_core.data.manifest import Manifest
from reid_core.data.storage import StorageWatch, read_intact
from reid_core.files import name_file, write_atomically
from reid_core.progress import Progress

BLOCK = 256
"""Images between two writes to `resume`: no more are read again when the work is cut off."""
DIGEST_BYTES = 16
"""Of an image's BLAKE2b: two of 4.2 million differing images share one with a chance of 3e-26."""


@dataclass(frozen=True)
class Findings:
    """What `check` found.

    Args:
        images: how many were read.
        unreadable: path -> why, of files that are no images or broken ones.
        unreachable: path -> why, of files that the storage did not give: missing, or an error of the disk.
        duplicates: groups of paths whose files hold the same bytes.
        one_camera: identities (pid above 0) whom only one camera sees; unknown cameras don't count.
        missing: query identities without an image in the gallery; empty where there is no query.
    """

    images: int
    unreadable: dict[str, str]
    unreachable: dict[str, str]
    duplicates: list[list[str]]
    one_camera: list[int]
    missing: list[int]


def check(
    manifest: Manifest, workers: int | None = None, resume: Path | None = None, progress: bool = True
) -> Findings:
    """Read every image once, and compare identities over cameras and splits.

    Args:
        manifest: what to check; an image that stands in two splits is read once.
        workers: threads (decoding and hashing free Python's lock); as many as cores by default.
        resume: a file to keep what has been read in; a check that was cut off resumes from it, and tries
            unreadable and unreachable images again.
        progress: show it.

    Returns:
        the findings; the same whether or not the check was cut off.

    Raises:
        ValueError: `resume` belongs to another manifest, or fewer than one worker.
        StorageGone: the images' root is gone, or the storage failed on 64 images in a row.
    """
    workers = workers if workers is not None else os.cpu_count() or 1
    if workers < 1:
        raise ValueError(f"workers: got {workers}; expected 1 or more")
    paths = manifest.table["path"].drop_duplicates().reset_index(drop=True)
    digests, unreadable, unreachable = _read_all(manifest, paths, workers, resume, progress)
    one_camera, missing = _people(manifest)
    return Findings(len(paths), unreadable, unreachable, _same_bytes(paths, digests), one_camera, missing)


def _read_all(
    manifest: Manifest, paths: pd.Series, workers: int, resume: Path | None, progress: bool
) -> tuple[np.ndarray, dict[str, str], dict[str, str]]:
    """Digests, uint8 [n DIGEST_BYTES] (zeros: none); why images are unreadable, others unreachable."""
    digests = np.zeros((len(paths), DIGEST_BYTES), dtype=np.uint8)
    done = 0
    with (
        name_file(resume or ""),
        nullcontext() if resume is None else _open_record(resume, manifest.digest) as record,
    ):
        first = 0 if record is None else record.tell()
        if record is not None:
            before = record.read()
            done = len(before) // DIGEST_BYTES
            whole = np.frombuffer(before, dtype=np.uint8, count=done * DIGEST_BYTES)
            digests[:done] = whole.reshape(-1, DIGEST_BYTES)
        unreadable: dict[str, str] = {}
        unreachable: dict[str, str] = {}
        watch = StorageWatch(manifest.root)
        tracklets = manifest.table["tracklet"].to_numpy()[manifest.table["path"].drop_duplicates().index]
        again = np.flatnonzero(~digests[:done].any(axis=1))  # once more: for the reason, or since it is back
        todo = np.concatenate([again, np.arange(done, len(paths))])
        with (
            ThreadPoolExecutor(workers) as pool,
            Progress("images", len(todo), enabled=progress) as shown,
        ):
            for at in range(0, len(todo), BLOCK):
                rows = todo[at : at + BLOCK]
                found = pool.map(partial(_read, manifest.root), paths.iloc[rows])
                for row, image in zip(rows, found, strict=True):
                    path, tracklet = paths.iloc[row], int(tracklets[row])
                    lost = image if isinstance(image, UnreachableImage) else None
                    watch.see(lost, tracklet if tracklet >= 0 else path)
                    if isinstance(image, UnreadableImage):
                        reasons = unreadable if lost is None else unreachable
                        reasons[path] = str(image).removeprefix(f"{path}: ")
                        image = bytes(DIGEST_BYTES)
                    digests[row] = np.frombuffer(image, dtype=np.uint8)
                if record is not None:
                    for row in rows:
                        record.seek(first + row * DIGEST_BYTES)
                        record.write(digests[row].tobytes())
                    record.flush()
                counts = {"unreadable": len(unreadable), "unreachable": len(unreachable)}
                shown.update(at + len(rows), ", ".join(f"{n} {what}" for what, n in counts.items() if n))
    return digests, unreadable, unreachable


def _read(root: Path, path: str) -> bytes | UnreadableImage:
    """An image's digest, or why it can't be read."""
    data = read_intact(root, path)
    if isinstance(data, UnreadableImage):
        return data
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def _open_record(path: Path, digest: str) -> BinaryIO:
    """The file of a check that may have been cut off, after its head: the manifest's digest."""
    head = digest.encode()
    if not path.exists():
        write_atomically(path, digest)
    record = open(path, "r+b")  # noqa: SIM115  # kept open while the check runs
    if record.read(len(head)) != head:
        record.close()
        raise ValueError(f"{path}: belongs to the check of another manifest; delete it, or name another file")
    return record


def _same_bytes(paths: pd.Series, digests: np.ndarray) -> list[list[str]]:
    """Groups of paths with the same digest, zeros left out."""
    keys = pd.DataFrame(np.ascontiguousarray(digests).view("<u8"))
    repeated = keys.duplicated(keep=False) & (keys != 0).any(axis=1)
    groups = keys[repeated].groupby([0, 1], sort=False).indices.values()
    rows = np.flatnonzero(repeated)
    return [paths.iloc[rows[group]].tolist() for group in groups]


def _people(manifest: Manifest) -> tuple[list[int], list[int]]:
    """Identities of one camera, and query identities that the gallery lacks."""
    table = manifest.table
    known = table[(table["pid"] > 0) & (table["camid"] >= 0)]
    cameras = known.groupby("pid")["camid"].agg(["min", "max"])
    one_camera = cameras.index[cameras["min"] == cameras["max"]]
    query, gallery = (np.unique(table["pid"][table["split"] == split]) for split in ("query", "gallery"))
    return one_camera.tolist(), np.setdiff1d(query[query > 0], gallery).tolist()
