"""Features of a manifest's rows, block by block: resumable, on several devices or a Ray cluster."""

from __future__ import annotations

import os
import queue
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from reid_core.data import Manifest, read
from reid_core.data.decoding import UnreachableImage, reach
from reid_core.data.readers import ReaderError, is_manifest_file
from reid_core.data.storage import MOST_IN_A_ROW, StorageGone
from reid_core.files import atomic, claim, finish, read_summary
from reid_core.models import valid_path
from reid_core.progress import Progress
from reid_core.recipe.features import save_features
from reid_gallery.features import FEATURES_FILE, ROWS_FILE, Made, open_features, plain
from reid_gallery.model import load_model, model_digest

BLOCKS = "blocks"


@dataclass(frozen=True)
class Settings:
    """How rows are embedded; only the first three change the features.

    Args:
        model: as for `load_model`.
        preprocessing: as for `load_model`.
        tracklets: one feature per tracklet in place of one per row.
        batch: images that the model is given at a time.
        workers: threads that decode, per device.
        devices: names of devices with commas between them; "auto" takes all GPUs, or the CPU.
        block: rows that are kept together.
        ray: address of a Ray cluster; None for this machine alone.

    Raises:
        ValueError: a number below 1.
    """

    model: str
    preprocessing: Mapping[str, Any]
    tracklets: bool = False
    batch: int = 64
    workers: int | None = None
    devices: str = "auto"
    block: int = 1024
    ray: str | None = None

    def __post_init__(self) -> None:
        for name in ("batch", "workers", "block"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}; expected 1 or more")


class Block(NamedTuple):
    """Features of some rows.

    Attributes:
        features: float32 [b d], zeros where not valid.
        valid: bool [b].
        lost: why a row can't be reached, if one can't: then nothing of the block is kept.
    """

    features: np.ndarray
    valid: np.ndarray
    lost: str


class BlockEmbedder:
    """Embeds one block of rows after another with a model of its own.

    Args:
        settings: how.
        device: where the model runs.
    """

    def __init__(self, settings: Settings, device: str) -> None:
        self.embedder = load_model(settings.model, settings.preprocessing)
        self.settings, self.device = settings, device

    def embed(self, items: list[list[str]]) -> Block:
        """Features of images or tracklets.

        Args:
            items: the files of each.
        """
        inputs = items if self.settings.tracklets else [files[0] for files in items]
        features, valid = self.embedder.embed(
            inputs,
            batch_size=self.settings.batch,
            device=self.device,
            workers=self.settings.workers,
            errors="mask",
        )
        return Block(features, valid, _find_lost([items[row] for row in np.flatnonzero(~valid)]))

    def embed_numbered(self, number: int, items: list[list[str]]) -> tuple[int, Block]:
        """A block beside its number.

        Args:
            number: of the block.
            items: the files of each of its images or tracklets.
        """
        return number, self.embed(items)


def read_source(
    source: str, root: str | None, options: Mapping[str, Any] | None, split: Sequence[str] | None
) -> Manifest:
    """The rows that a command's source names.

    Args:
        source: a folder of images, a manifest file, or a data set's name.
        root: the data set's folder, or that of a manifest file's paths.
        options: the reader's.
        split: splits to keep; None for all.

    Raises:
        ReaderError, ManifestError, FileNotFoundError: as `reid_core.data.read`.
        ValueError: no row is left.
    """
    if is_manifest_file(source) or not Path(source).is_dir():
        rows = read(source, root, **dict(options or {}))
    elif root is not None:
        raise ReaderError(f"{source} is a folder itself: leave out --root {root}")
    else:
        entries = list(os.scandir(source))
        unlabeled = any(entry.is_file() and not entry.name.startswith(".") for entry in entries)
        rows = read("folder" if unlabeled else "people", source, **dict(options or {}))
    return rows.select(*split) if split else rows


def embed_rows(rows: Manifest, out: str | Path, settings: Settings) -> Made:
    """Embed rows into a feature folder, or resume.

    Args:
        rows: what to embed.
        out: the folder.
        settings: how.

    Returns:
        What the folder holds.

    Raises:
        OSError: some images can't be reached; what is done is kept, and the same call resumes.
        ValueError: the folder holds something else, or there is nothing to embed.
    """
    out = Path(out)
    tracklets = rows.tracklets() if settings.tracklets else [np.array([row]) for row in range(len(rows))]
    if not tracklets:
        raise ValueError(f"{rows.root} has no tracklets: leave out --tracklets, or give a column of them")
    one = BlockEmbedder(settings, "cpu")
    digest = model_digest(one.embedder)
    claim(
        out,
        {
            "model": digest,
            "rows": rows.digest,
            "root": str(rows.root),
            "tracklets": settings.tracklets,
            "block": settings.block,
        },
    )
    if read_summary(out):
        return open_features(out)[1]
    paths = rows.table["path"].array
    items = [[f"{rows.root}/{paths[row]}" for row in some] for some in tracklets]
    files = [out / BLOCKS / f"{number:06d}.npy" for number in range(-(-len(items) // settings.block))]
    todo = [number for number, file in enumerate(files) if not file.exists()]
    parts = {number: items[number * settings.block : (number + 1) * settings.block] for number in todo}
    lost: list[str] = []
    done = len(items) - sum(map(len, parts.values()))
    with Progress("embed", len(items), done) as progress:
        made = _on_ray(parts, settings) if settings.ray else _here(parts, settings, one)
        for number, found in made:
            if found.lost:
                lost.append(found.lost)
                _stop_where_gone(rows.root, lost)
                continue
            _save_block(files[number], found)
            done += len(found.valid)
            progress.update(done)
    if lost:
        raise OSError(
            f"{len(lost)} of {len(files)} blocks hold images that can't be reached, such as {lost[0]}; the "
            "same command resumes"
        )
    valid = np.concatenate([np.load(valid_path(file)) for file in files])
    save_features(out / FEATURES_FILE, [np.load(file, mmap_mode="r") for file in files], valid)
    middles = [int(some[len(some) // 2]) for some in tracklets]
    rows.take(middles).save(out / ROWS_FILE)
    facts = Made(
        model=settings.model,
        digest=digest,
        preprocessing=dict(settings.preprocessing),
        metric=one.embedder.metric,
        dim=one.embedder.dim,
        images=len(items),
        unreadable=int((~valid).sum()),
    )
    finish(out, plain(facts))
    shutil.rmtree(out / BLOCKS)
    return facts


def _here(
    parts: Mapping[int, list[list[str]]], settings: Settings, one: BlockEmbedder
) -> Iterator[tuple[int, Block]]:
    """Blocks made by one thread per device, in the order in which they are finished."""
    devices = _devices(settings.devices)
    free: queue.Queue[BlockEmbedder] = queue.Queue()
    for number, device in enumerate(devices):
        embedder = BlockEmbedder(settings, device) if number else one
        embedder.device = device
        free.put(embedder)

    def make(number: int) -> tuple[int, Block]:
        embedder = free.get()
        try:
            return embedder.embed_numbered(number, parts[number])
        finally:
            free.put(embedder)

    with ThreadPoolExecutor(len(devices)) as pool:
        try:
            for future in as_completed([pool.submit(make, number) for number in parts]):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _on_ray(parts: Mapping[int, list[list[str]]], settings: Settings) -> Iterator[tuple[int, Block]]:
    """Blocks made by a Ray cluster: one model for each of its GPUs, or for every `workers` processors.

    All nodes must see the model and the images under the same paths.
    """
    try:
        import ray
        from ray.util import ActorPool
    except ImportError as error:
        raise ImportError("--ray needs Ray: pip install ray") from error
    local = settings.ray == "local"
    started = not ray.is_initialized()
    if started:
        ray.init(address=settings.ray, log_to_driver=False, include_dashboard=False if local else None)
    try:
        on_gpu = bool(ray.cluster_resources().get("GPU")) and settings.devices != "cpu"
        processors = settings.workers or 1
        kind, each = ("GPU", 1) if on_gpu else ("CPU", processors)
        places = sum(int(node["Resources"].get(kind, 0) // each) for node in ray.nodes() if node["Alive"])
        if parts and places < 1:
            raise ValueError(f"no node of the Ray cluster has {processors} processors: lower --workers")
        maker = ray.remote(num_cpus=1 if on_gpu else processors, num_gpus=int(on_gpu))(BlockEmbedder)
        makers = [maker.remote(settings, "cuda" if on_gpu else "cpu") for _ in range(min(places, len(parts)))]
        pool = ActorPool(makers)
        yield from pool.map_unordered(_embed, list(parts.items()))
    finally:
        if started:
            ray.shutdown()


def _embed(maker: Any, part: tuple[int, list[list[str]]]) -> Any:
    return maker.embed_numbered.remote(*part)


def _devices(names: str) -> list[str]:
    if names == "auto":
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"]
    return [name.strip() for name in names.split(",")]


def _save_block(file: Path, block: Block) -> None:
    """The mask first: a block is done where its features are."""
    for path, array in ((valid_path(file), block.valid), (file, block.features)):
        with atomic(path) as temporary:
            np.save(temporary, array)


def _find_lost(items: Sequence[Sequence[str]]) -> str:
    """Why a file without a feature can't be reached; "" where all can, or are gone from their folder."""
    for file in (file for files in items for file in files):
        try:
            reach(file)
        except UnreachableImage as error:
            if os.path.exists(file) or not os.path.isdir(os.path.dirname(file)):
                return str(error)
    return ""


def _stop_where_gone(root: Path, lost: Sequence[str]) -> None:
    if not root.is_dir():
        raise StorageGone(
            f"{root}: the folder of the images is gone ({lost[-1]}); "
            "bring it back, and the same command resumes"
        )
    if len(lost) >= MOST_IN_A_ROW:
        raise StorageGone(
            f"{root}: {len(lost)} blocks can't be reached ({lost[-1]}); the same command resumes"
        )
