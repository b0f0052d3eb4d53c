"""Batches a second that the host's cores load and augment, for the trainings whose steps it feeds."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from runner import Context
from torch.utils.data import DataLoader

from reid_core.data.datasets import ImageDataset
from reid_core.data.joint import ZippedBatches
from reid_core.data.manifest import UNKNOWN, Manifest
from reid_core.data.pool import PoolPart, build_pool
from reid_core.data.readers import read_folder
from reid_core.data.samplers import CurriculumBatches, RandomBatches
from reid_core.data.transforms import MultiCrop
from reid_core.synthetic import World, write_folder
from reid_lse import Found, decode_mask, encode_mask

EPOCHS = 10_000
"""More batches than are ever taken."""

SECONDS = 6.0
"""For which batches are counted, after the first of each worker."""


def measure(context: Context) -> None:
    """VILLS' batch of 128 images and 32 clips, and CION's of 120 images with 10 views, from JPEGs on disk."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        people, side = (2, (64, 32)) if context.tiny else (32, (256, 128))
        world = World(identities=people, cameras=2, height=side[0], width=side[1], seed=0)
        root = Path(folder) / "world"
        workers = 1 if context.tiny else cores
        write_folder(
            world, root, tracklets_per_camera=1, images_per_camera=2, workers=workers, progress=False
        )
        manifest = read_folder(root)
        for name, loader in {"VILLS": vills, "CION": cion}.items():
            batches = loader(manifest, side, context.tiny, cores)
            context.report(name, cores=cores, **_rate(batches, cores, context.tiny))


class Stripes:
    """Head, torso and legs of every image as stripes, decoded from run lengths as `SavedMasks` does."""

    def __init__(self, size: tuple[int, int]) -> None:
        masks = np.zeros((3, *size), bool)
        for area, mask in enumerate(masks):
            mask[area * size[0] // 3 : (area + 1) * size[0] // 3] = True
        self.size, self.counts = size, [encode_mask(mask) for mask in masks]

    def __getitem__(self, row: int) -> Found:
        masks = np.stack([decode_mask(counts, *self.size) for counts in self.counts])
        return Found(str(row), masks, np.ones(3, bool), np.ones(3), np.zeros((0, 3)))


def vills(manifest: Manifest, size: tuple[int, int], tiny: bool, workers: int) -> DataLoader[Any]:
    """The app's own data set: two views, block masks and three regions of images and of clips."""
    from vills.config import PretrainConfig
    from vills.data import Grids, VillsDataset, collate

    pool = build_pool([PoolPart(manifest)])  # tracklets are videos, the other rows images
    masks = [Stripes(size) for _ in pool.manifests]
    config = PretrainConfig(image_size=(32, 16), frame_size=(32, 16)) if tiny else PretrainConfig()
    grids = Grids(*((h // 16, -(-w // 16)) for h, w in (config.image_size, config.frame_size)))
    images, clips = (4, 2) if tiny else (config.image_batch, config.video_batch)
    batches = ZippedBatches(
        RandomBatches(len(pool.images), images, EPOCHS, 1),
        RandomBatches(len(pool.videos), clips, EPOCHS, 2),
        first_video=len(pool.images),
    )
    dataset = VillsDataset(pool, masks, 3, config, grids)
    return _loader(dataset, batches, collate, workers)


def cion(manifest: Manifest, size: tuple[int, int], tiny: bool, workers: int) -> DataLoader[Any]:
    """Two global and eight local views of images, eight of each person."""
    from reid_core.data.datasets import collate

    pids = np.full(len(manifest), UNKNOWN)
    for number, rows in enumerate(manifest.tracklets()):  # a tracklet is a person
        pids[rows] = number
    people = Manifest(manifest.table.assign(pid=pids), manifest.root, manifest.name).where(pids >= 0)
    half = (size[0] // 2, size[1] // 2)
    dataset = ImageDataset(people, MultiCrop(size, half, 2 if tiny else 8))
    batches = CurriculumBatches(people.pids, 8 if tiny else 120, EPOCHS, {0: 2 if tiny else 8})
    return _loader(dataset, batches, collate, workers)


def _loader(dataset: Any, batches: Any, collate: Any, workers: int) -> DataLoader[Any]:
    return DataLoader(dataset, batch_sampler=batches, collate_fn=collate, num_workers=workers)


def _rate(loader: DataLoader[Any], workers: int, tiny: bool) -> dict[str, float]:
    """Seconds of a batch, over as many batches as come in the time."""
    batches = iter(loader)
    for _ in range(1 if tiny else workers):
        next(batches)
    began, count = time.perf_counter(), 0
    while count < 2 or time.perf_counter() - began < (0 if tiny else SECONDS):
        next(batches)
        count += 1
    seconds = (time.perf_counter() - began) / count
    return {"seconds": round(seconds, 4), "batches": count, "batches_per_s": round(1 / seconds, 2)}
