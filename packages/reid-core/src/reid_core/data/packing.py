"""Packs a manifest's images into WebDataset shards (extra `pack`): few large files in place of millions."""

from __future__ import annotations

import json
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reid_core.data.decoding import UnreachableImage, UnreadableImage
from reid_core.data.manifest import COLUMNS, Manifest
from reid_core.data.readers._files import IMAGE_SUFFIXES
from reid_core.data.samplers import permutation
from reid_core.data.shard_images import shard_path
from reid_core.data.storage import StorageWatch, read_intact
from reid_core.files import atomic, claim, write_atomically
from reid_core.progress import Progress

SHARD_IMAGES = 8192
"""Images per shard: about 100 MB of person crops."""
MANIFEST_FILE = "manifest.parquet"
UNREADABLE, UNREACHABLE = ".unreadable.txt", ".unreachable.txt"


def pack(
    manifest: Manifest,
    out: str | Path,
    shard_images: int = SHARD_IMAGES,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Manifest:
    """Pack all images, as the bytes that they are, in random order; tracklets stay together.

    `out/000000.tar` and so on are shards as WebDataset reads them: for each row its image and a JSON of the
    manifest's columns. `out/manifest.parquet` has the same rows with paths into the shards, so that every
    data set, sampler and tool works on them as on files; `streaming.ShardBatches` reads them in their order.
    Images that can't be decoded are left out and listed in `out/000000.unreadable.txt`; those that the
    storage did not give are listed in `out/000000.unreachable.txt`. Called again, the work resumes with the
    shards that are missing, and packs those again whose unreachable images are back. The files are the same
    bytes wherever images and shards lie, and however often the work was cut off.

    Args:
        manifest: what to pack; an image of two splits is packed twice.
        out: folder to write to, made where missing.
        shard_images: images per shard.
        seed: of the order.
        workers: threads that read and check images; as many as cores by default.
        progress: show it.

    Returns:
        the manifest of what is packed.

    Raises:
        ValueError: `out` was begun with other images or settings, or no image can be read.
        StorageGone: the images' root is gone, or 64 images in a row can't be reached.
        OSError: a file can't be written, as where the disk is full; the same call resumes.
        ImportError: the extra `pack` is not installed.
    """
    if shard_images < 1 or (workers is not None and workers < 1):
        raise ValueError(f"shard_images={shard_images}, workers={workers}: expected 1 or more")
    _webdataset()
    out = Path(out)
    claim(out, {"images": manifest.digest, "shard_images": shard_images, "seed": seed})
    order = _order(manifest, seed)
    shards = [order[first : first + shard_images] for first in range(0, len(order), shard_images)]
    parts = [out / f"{number:06}.parquet" for number in range(len(shards))]
    watch = StorageWatch(manifest.root)
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        todo = [
            (rows, part)
            for rows, part in zip(shards, parts, strict=True)
            if not part.exists() or _can_be_completed(manifest, rows, part, pool)
        ]
        done = len(order) - sum(len(rows) for rows, _ in todo)
        with Progress("pack", len(order), done, progress) as bar:
            for rows, part in todo:
                _write_shard(manifest, rows, part, pool, watch)
                done += len(rows)
                bar.update(done)
    table = pd.concat([Manifest.load(part, out).table for part in parts])
    packed = Manifest(table, out, manifest.name, manifest.names)
    if not len(packed):
        raise ValueError(f"none of the {len(order)} images of {manifest.root} can be read: nothing is packed")
    packed.save(out / MANIFEST_FILE)
    return packed


def unreadable_images(out: str | Path) -> list[str]:
    """Images that `pack` left out since they can't be decoded, each with the reason.

    Args:
        out: the folder of the shards.
    """
    return _read_lists(Path(out), UNREADABLE)


def unreachable_images(out: str | Path) -> list[str]:
    """Images that `pack` left out since the storage did not give them, each with the reason.

    Args:
        out: the folder of the shards.
    """
    return _read_lists(Path(out), UNREACHABLE)


def _read_lists(out: Path, suffix: str) -> list[str]:
    files = sorted(out.glob(f"[!.]*{suffix}"))
    return [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def _order(manifest: Manifest, seed: int) -> np.ndarray:
    """Rows by chance, those of a tracklet side by side."""
    tracklet = manifest.table["tracklet"].to_numpy()
    rows = np.arange(len(tracklet))
    unit = np.where(tracklet >= 0, tracklet, tracklet.max(initial=0) + 1 + rows)
    _, unit = np.unique(unit, return_inverse=True)
    return np.lexsort((rows, permutation(len(rows), seed)[unit]))


def _can_be_completed(manifest: Manifest, rows: np.ndarray, part: Path, pool: ThreadPoolExecutor) -> bool:
    """Whether a packed shard lacks images that were unreachable, and one of them is back."""
    if not part.with_suffix(UNREACHABLE).exists():
        return False
    packed = pd.read_parquet(part, columns=["path", "split"])
    there = set(zip(packed["path"].str.split("/", n=2).str[2], packed["split"], strict=True))
    wanted = manifest.table.iloc[rows]
    lacking = [row for row in zip(wanted["path"], wanted["split"], strict=True) if row not in there]
    found = pool.map(partial(read_intact, manifest.root), [path for path, _ in lacking])
    return any(isinstance(data, bytes) for data in found)


def _write_shard(
    manifest: Manifest, rows: np.ndarray, part: Path, pool: ThreadPoolExecutor, watch: StorageWatch
) -> None:
    """Write a shard, what can't be read of it, and its part of the manifest, which says that it is whole."""
    table = manifest.table.iloc[rows].reset_index(drop=True)
    shard = part.with_suffix(".tar")
    kept: list[int] = []
    lists: dict[str, list[str]] = {UNREADABLE: [], UNREACHABLE: []}
    with atomic(shard) as temporary:
        with open(temporary, "wb") as file, _webdataset().TarWriter(file, encoder=False, mtime=0) as tar:
            paths = table["path"]
            for row, (path, found) in enumerate(
                zip(paths, pool.map(partial(read_intact, manifest.root), paths), strict=True)
            ):
                unreachable = found if isinstance(found, UnreachableImage) else None
                tracklet = int(table["tracklet"].iat[row])
                watch.see(unreachable, tracklet if tracklet >= 0 else path)
                if isinstance(found, UnreadableImage):
                    lists[UNREACHABLE if unreachable else UNREADABLE].append(f"{found}\n")
                    continue
                columns = {column: _plain(table[column].iat[row]) for column in COLUMNS}
                about = json.dumps(columns).encode()
                tar.write({"__key__": f"{rows[row]:09}", _suffix(path, found): found, "json": about})
                kept.append(row)
        with tarfile.open(temporary) as tar:
            images = [member for member in tar if not member.name.endswith(".json")]
        for index in (part, part.parent / MANIFEST_FILE):
            index.unlink(missing_ok=True)  # they say where images lie in the shard that is now replaced
    table = table.iloc[kept].reset_index(drop=True)
    table["path"] = [
        shard_path(shard.name, member.offset_data, member.size, path)
        for member, path in zip(images, table["path"], strict=True)
    ]
    for suffix, lines in lists.items():
        part.with_suffix(suffix).unlink(missing_ok=True)
        if lines:
            write_atomically(part.with_suffix(suffix), "".join(lines))
    Manifest(table, part.parent, manifest.name).save(part)


def _suffix(path: str, data: bytes) -> str:
    """What WebDataset decodes it by: the file's own suffix; an LMDB's keys have none."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in IMAGE_SUFFIXES:
        return suffix[1:]
    return "png" if data.startswith(b"\x89PNG") else "jpg"


def _plain(value: Any) -> int | str:
    return value if isinstance(value, str) else int(value)


def _webdataset() -> Any:
    try:
        import webdataset
    except ImportError as error:
        raise ImportError("packing needs webdataset; pip install webdataset") from error
    return webdataset
