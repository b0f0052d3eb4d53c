"""The lse stage: images -> masks of the areas, kept as one memory-mapped file of bits."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reid_core.data.decoding import UnreadableImage, read_image
from reid_core.data.pool import Pool
from reid_core.data.transforms import resize
from reid_core.files import write_atomically
from reid_core.progress import Progress
from reid_core.recipe import Job
from reid_lse import AREAS, LocalSemanticExtractor, pack_masks
from vills.config import LSEConfig, Part
from vills.data import load_pool

MASKS_FILE = "masks.npy"
PART_FILE = "masks.part.npy"
NOTES_FILE = "progress.json"
BLOCK = 256
"""Images after which progress is put on disk."""
UNREADABLE_FILE = "unreadable.txt"


@dataclass(frozen=True)
class RegionCache:
    """What the stage gets.

    Attributes:
        pool: what is pre-trained on.
        lse: areas, size and segmenter.
    """

    pool: list[Part]
    lse: LSEConfig


def check_areas(config: LSEConfig) -> None:
    """Refuse areas that can't be segmented.

    Args:
        config: areas, size and segmenter.

    Raises:
        ValueError: unknown or repeated ones, none, or more than a byte holds.

    Example:
        >>> check_areas(LSEConfig(areas=["nohead"]))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: lse.areas=['nohead']: expected 1 to 8 of head, torso, legs, ..., each once
    """
    areas = config.areas
    if not 1 <= len(areas) <= 8 or len(set(areas)) < len(areas) or set(areas) - set(AREAS):
        raise ValueError(f"lse.areas={areas}: expected 1 to 8 of {', '.join(AREAS)}, each once")


def extract_regions(job: Job) -> dict[str, Any]:
    """Segment every image of the pool once (VILLS Eqs. 1-4); regions are cut from the masks in training.

    Interrupted and called again, it resumes after the last finished block.

    Args:
        job: its section is a `RegionCache`; its folder gets masks.npy, uint8 [N h w] with one bit per area,
            and unreadable.txt.

    Returns:
        Number of images and of unreadable ones, and the share of images in which each area was found.

    Raises:
        ValueError: an unknown keypoint predictor or segmenter.
    """
    config, folder = job.section.lse, job.folder
    pool = load_pool(job, job.section.pool)
    workers = job.runtime.workers or os.cpu_count() or 1
    extractor = LocalSemanticExtractor(config.keypoints, config.segmenter, tuple(config.areas))
    shape = (pool.rows, *config.size)
    part, notes = folder / PART_FILE, folder / NOTES_FILE
    state = json.loads(notes.read_text()) if notes.exists() and part.exists() else None
    masks = np.lib.format.open_memmap(part, mode="r+" if state else "w+", dtype=np.uint8, shape=shape)
    state = state or {"rows": 0, "unreadable": [], "found": [0] * len(config.areas)}
    with (
        Progress("lse", pool.rows, state["rows"]) as progress,
        ThreadPoolExecutor(workers) as threads,
    ):
        while state["rows"] < pool.rows:
            rows = range(state["rows"], min(pool.rows, state["rows"] + BLOCK))
            step = -(-len(rows) // (4 * workers))
            chunks = [rows[at : at + step] for at in range(0, len(rows), step)]
            work = threads.map(lambda chunk: _segment(pool, chunk, config.size, extractor), chunks)
            for chunk, (packed, unreadable) in zip(chunks, work, strict=True):
                masks[chunk.start : chunk.stop] = packed
                state["unreadable"] += unreadable
                for area in range(len(config.areas)):
                    seen = (packed >> area & 1).any(axis=(1, 2))
                    state["found"][area] += int(seen.sum())
            masks.flush()
            state["rows"] = rows.stop
            write_atomically(notes, json.dumps(state))
            progress.update(state["rows"])
    write_atomically(folder / UNREADABLE_FILE, "".join(f"{path}\n" for path in state["unreadable"]))
    part.replace(folder / MASKS_FILE)
    found = {area: count / pool.rows for area, count in zip(config.areas, state["found"], strict=True)}
    return {"images": pool.rows, "unreadable": len(state["unreadable"]), "found": found}


def load_masks(folder: Path) -> np.ndarray:
    """The region cache of a finished lse stage.

    Args:
        folder: the stage's folder.

    Returns:
        uint8 [N h w], memory-mapped; bit a of a pixel says whether it is in area a.
    """
    return np.load(folder / MASKS_FILE, mmap_mode="r")


def _segment(
    pool: Pool, rows: range, size: tuple[int, int], extractor: LocalSemanticExtractor
) -> tuple[np.ndarray, list[str]]:
    """Packed masks [n h w] of some rows, zeros for those that can't be read, whose paths are named."""
    packed = np.zeros((len(rows), *size), dtype=np.uint8)
    unreadable, images, places = [], [], []
    for place, row in enumerate(rows):
        path = pool.file(row)
        try:
            images.append(resize(read_image(path), size))
            places.append(place)
        except UnreadableImage:
            unreadable.append(str(path))
    if images:
        packed[places] = pack_masks(extractor(torch.stack(images)).masks).numpy()
    return packed, unreadable
