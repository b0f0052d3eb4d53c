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

from reid_core.data.decoding import UnreadableImage, decode
from reid_core.data.lmdb_images import image_bytes
from reid_core.data.manifest import COLUMNS, Manifest
from reid_core.data.readers._files import IMAGE_SUFFIXES
from reid_core.data.samplers import permutation
from reid_core.data.shard_images import shard_path
from reid_core.files import atomic, claim, write_atomically
from reid_core.progress import Progress

SHARD_IMAGES = 8192
"""Images a shard: about 100 MB of person crops."""
MANIFEST_FILE = "manifest.parquet"
UNREADABLE = ".unreadable.txt"


def pack(
    manifest: Manifest,
    out: str | Path,
    shard_images: int = SHARD_IMAGES,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Manifest:
    """Pack all images, as the bytes that they are, in an order of chance; tracklets stay together.

    `out/000000.tar` and so on are shards as WebDataset reads them: for each row its image and a JSON of the
    manifest's columns. `out/manifest.parquet` has the same rows with paths into the shards, so that every
    data set, sampler and tool works on them as on files; `streaming.ShardBatches` reads them in their order.
    Images that can't be decoded are left out and listed in `out/000000.unreadable.txt`. Called again, the
    work goes on with the shards that are missing, to the same bytes.

    Args:
        manifest: what to pack; an image of two splits is packed twice.
        out: folder to write to, made where missing.
        shard_images: images a shard.
        seed: of the order.
        workers: threads that read and check images; as many as cores by default.
        progress: show it.

    Returns:
        the manifest of what is packed.

    Raises:
        ValueError: `out` was begun with other images or settings, or no image can be read.
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
    done = sum(len(rows) for rows, part in zip(shards, parts, strict=True) if part.exists())
    with (
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        Progress("pack", len(order), done, progress) as bar,
    ):
        for rows, part in zip(shards, parts, strict=True):
            if not part.exists():
                _write_shard(manifest, rows, part, pool)
                done += len(rows)
                bar.update(done)
    table = pd.concat([Manifest.load(part, out).table for part in parts])
    packed = Manifest(table, out, manifest.name, manifest.names)
    if not len(packed):
        raise ValueError(f"none of the {len(order)} images of {manifest.root} can be read: nothing is packed")
    packed.save(out / MANIFEST_FILE)
    return packed


def unreadable_images(out: str | Path) -> list[str]:
    """Images that `pack` left out, each with the reason.

    Args:
        out: the folder of the shards.
    """
    return [
        line for file in sorted(Path(out).glob(f"*{UNREADABLE}")) for line in file.read_text().splitlines()
    ]


def _order(manifest: Manifest, seed: int) -> np.ndarray:
    """Rows by chance, those of a tracklet side by side."""
    tracklet = manifest.table["tracklet"].to_numpy()
    rows = np.arange(len(tracklet))
    unit = np.where(tracklet >= 0, tracklet, tracklet.max(initial=0) + 1 + rows)
    _, unit = np.unique(unit, return_inverse=True)
    return np.lexsort((rows, permutation(len(rows), seed)[unit]))


def _write_shard(manifest: Manifest, rows: np.ndarray, part: Path, pool: ThreadPoolExecutor) -> None:
    """Write a shard, what can't be read of it, and its part of the manifest, which says that it is whole."""
    table = manifest.table.iloc[rows].reset_index(drop=True)
    shard = part.with_suffix(".tar")
    kept, unreadable = [], []
    with atomic(shard) as temporary:
        with open(temporary, "wb") as file, _webdataset().TarWriter(file, encoder=False, mtime=0) as tar:
            paths = table["path"]
            for row, (path, found) in enumerate(
                zip(paths, pool.map(partial(_read, manifest.root), paths), strict=True)
            ):
                if isinstance(found, UnreadableImage):
                    unreadable.append(f"{found}\n")
                    continue
                columns = {column: _plain(table[column].iat[row]) for column in COLUMNS}
                about = json.dumps(columns).encode()
                tar.write({"__key__": f"{rows[row]:09}", _suffix(path, found): found, "json": about})
                kept.append(row)
        with tarfile.open(temporary) as tar:
            images = [member for member in tar if not member.name.endswith(".json")]
    table = table.iloc[kept].reset_index(drop=True)
    table["path"] = [
        shard_path(shard.name, member.offset_data, member.size, path)
        for member, path in zip(images, table["path"], strict=True)
    ]
    if unreadable:
        write_atomically(part.with_suffix(UNREADABLE), "".join(unreadable))
    Manifest(table, part.parent, manifest.name).save(part)


def _read(root: Path, path: str) -> bytes | UnreadableImage:
    """The bytes of an image that can be decoded, or why it can't."""
    try:
        data = image_bytes(f"{root}/{path}")
        decode(data, path)
    except UnreadableImage as error:
        return error
    except OSError as error:
        return UnreadableImage(f"{path}: can't be read ({error.strerror or error})")
    return data


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
        raise ImportError(
            "packing needs webdataset; install the extra: pip install 'reid-core[pack]'"
        ) from error
    return webdataset
