"""Unlabeled images and videos as VILLS' pre-training sees them: views, block masks and local regions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from reid_core.data.datasets import seed_torch
from reid_core.data.frames import sample_frames
from reid_core.data.manifest import Manifest
from reid_core.data.pool import Frame, Pool, PoolPart, build_pool
from reid_core.data.samplers import Draw
from reid_core.data.transforms import resize, ssl_transform
from reid_core.recipe import Job
from reid_lse import Found, SavedMasks, crop_regions
from reid_pretrain import block_mask, index_views
from vills.config import PretrainConfig
from vills.sources import Pooled


def load_pool(job: Job, pooled: Pooled) -> Pool:
    """The pool of a run.

    Args:
        job: of a stage that reads what the parts name.
        pooled: what is pre-trained on.

    Raises:
        ValueError: neither an image nor a video is left.
    """
    pool = build_pool(
        PoolPart(job.manifest(one.source, *one.splits), one.images, one.videos, one.repeat)
        for one in pooled.parts
    )
    images = pool.images if pooled.images else pool.images[:0]
    videos = [_spread(rows, pooled.track_frames) for rows in pool.videos] if pooled.videos else []
    if not len(images) and not videos:
        raise ValueError(
            f"nothing to pre-train on: {len(pool.images)} images with pretrain.image_batch"
            f"{'>' if pooled.images else '='}0, {len(pool.videos)} videos with video_batch"
            f"{'>' if pooled.videos else '='}0"
        )
    return pool._replace(images=images, videos=videos)


def _spread(rows: np.ndarray, frames: int | None) -> np.ndarray:
    if frames is None or len(rows) <= frames:
        return rows
    return rows[sample_frames(len(rows), frames, "even").numpy()]


class ManifestMasks:
    """Masks of a manifest's rows, found by their paths.

    Args:
        folder: what `reid_lse.extract_images` or `reid-lse extract` wrote.
        areas: names of those wanted.
        manifest: the rows.
        drawn: numbers of the rows that must have been segmented.

    Raises:
        ValueError: such a row wasn't, or an area wasn't.
    """

    def __init__(self, folder: Path, areas: Sequence[str], manifest: Manifest, drawn: np.ndarray) -> None:
        self.saved = SavedMasks(folder, areas)
        paths = manifest.table["path"]
        self.rows = self.saved.find(paths.array)
        missing = drawn[self.rows[drawn] < 0]
        if len(missing):
            raise ValueError(
                f"{folder} lacks {len(missing)} of the {len(drawn)} images that are pre-trained on, such as "
                f"{paths.iloc[missing[0]]}: segment the same folder again, or leave `regions` out"
            )

    def __getitem__(self, row: int) -> Found | None:
        return self.saved[int(self.rows[row])]


class Grids(NamedTuple):
    """(h, w) of the patches of an image and of a frame; block masks are drawn on them."""

    image: tuple[int, int]
    frame: tuple[int, int]


class VillsDataset(Dataset[dict[str, Any]]):
    """Items of pre-training: index i < len(pool.images) is an image, the others are videos.

    An image is a dict of views [g 3 h w], masks bool [g n], regions [a 3 h' w'], valid bool [a]. A video is a
    dict of views [g t 3 h w], masks bool [g t n], regions [a t 3 h' w'], valid bool [a] and frame [3 h w],
    one of its frames at the images' size, drawn and augmented on its own (VILLS 3.2). Both have unreadable,
    the paths that others stand in for. Floats are normalised. All randomness is the draw's.

    Args:
        pool: what is pre-trained on.
        masks: of each of the pool's manifests; empty without areas.
        areas: number of areas in them.
        config: sizes, views and augmentation.
        grids: patches of an image and of a frame.
    """

    def __init__(
        self, pool: Pool, masks: Sequence[ManifestMasks], areas: int, config: PretrainConfig, grids: Grids
    ) -> None:
        self.pool, self.masks, self.areas, self.config, self.grids = pool, masks, areas, config, grids
        colour: dict[str, Any] = {"jitter": config.jitter, "grey": config.grey}
        view: Any = partial(ssl_transform, scale=config.crop_scale, blur=config.blur, **colour)
        # A region is cut from the untouched image: coloured and flipped, but neither cropped nor blurred.
        region: Any = partial(ssl_transform, scale=(1.0, 1.0), ratio=(1.0, 1.0), blur=0.0, **colour)
        self.image_view, self.frame_view = view(config.image_size), view(config.frame_size)
        self.image_region, self.frame_region = region(config.region_size), region(config.frame_region_size)

    def __len__(self) -> int:
        return len(self.pool.images) + len(self.pool.videos)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        first = len(self.pool.images)
        unreadable: list[str] = []
        with seed_torch(draw.seed):
            if draw.index < first:
                return {**self._image(draw.index, unreadable), "unreadable": unreadable}
            return {**self._video(draw.index - first, unreadable), "unreadable": unreadable}

    def _image(self, index: int, unreadable: list[str]) -> dict[str, Any]:
        row, image = self.pool.read_image(index, unreadable)
        config = self.config
        regions, valid = crop_regions(image, self._masks(row, image), config.region_size)
        return {
            "views": torch.stack([self.image_view(image) for _ in range(config.views)]),
            "masks": torch.stack([self._block_mask(self.grids.image) for _ in range(config.views)]),
            "regions": self.image_region(regions) if self.areas else regions.float(),
            "valid": valid,
        }

    def _video(self, index: int, unreadable: list[str]) -> dict[str, Any]:
        frames = self.pool.read_video(index, self._choose, unreadable)
        config = self.config
        single = self.image_view(frames.pop().image)
        regions, valid = self._clip_regions(frames)
        size = (int(frames[0][1].shape[1]), int(frames[0][1].shape[2]))
        clip = torch.stack([resize(image, size) for _, image in frames])
        masks = [[self._block_mask(self.grids.frame) for _ in frames] for _ in range(config.views)]
        return {
            "views": torch.stack([self.frame_view(clip) for _ in range(config.views)]),
            "masks": torch.stack([torch.stack(view) for view in masks]),
            "regions": regions,
            "valid": valid,
            "frame": single,
        }

    def _clip_regions(self, frames: list[Frame]) -> tuple[Tensor, Tensor]:
        """Regions [a t 3 h w], valid [a]; what a frame lacks is from the nearest that has it."""
        size = self.config.frame_region_size
        cut = [crop_regions(image, self._masks(row, image), size) for row, image in frames]
        crops = torch.stack([crop for crop, _ in cut], dim=1)  # [a t 3 h w]
        there = torch.stack([valid for _, valid in cut], dim=1)  # [a t]
        times = torch.arange(len(frames))
        for area in range(len(crops)):
            having = times[there[area]]
            if 0 < len(having) < len(frames):
                nearest = having[(times[:, None] - having).abs().argmin(1)]
                crops[area] = crops[area, nearest]
        regions = torch.stack([self.frame_region(crop) for crop in crops]) if self.areas else crops.float()
        return regions, there.any(dim=1)

    def _choose(self, length: int) -> list[int]:
        """Frames of a clip, and behind them the single frame of Eq. 7."""
        return [
            *sample_frames(length, self.config.frames, "random").tolist(),
            int(torch.randint(length, ())),
        ]

    def _masks(self, row: int, image: Tensor) -> Tensor:
        """bool [a h w] at the image's size, by the nearest pixel; all False where there are none."""
        height, width = image.shape[1:]
        part, row = self.pool.place(row)
        found = self.masks[part][row] if self.areas else None
        if found is None:
            return torch.zeros(self.areas, height, width, dtype=torch.bool)
        masks = torch.from_numpy(found.masks & found.valid[:, None, None])
        above = torch.arange(height) * masks.shape[1] // height
        beside = torch.arange(width) * masks.shape[2] // width
        return masks[:, above[:, None], beside]

    def _block_mask(self, grid: tuple[int, int]) -> Tensor:
        config = self.config
        return block_mask(grid, config.mask_ratio, config.mask_spread, config.mask_probability)


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Batch for `reid_pretrain.VILLS` of any mixture of images and videos.

    Args:
        items: items of a VillsDataset; those with a "frame" are videos.

    Returns:
        images [b g 3 h w], image_masks [b g n], image_regions [b a 3 h' w'], image_regions_valid [b a];
        videos [v g t 3 h w], video_masks [v g t n], video_regions [v a t 3 h' w'], video_regions_valid [v a],
        frames [v 3 h w], where there are videos; and what `index_views` reads off masks and flags here, on
        the host. unreadable, a list.
    """
    batch: dict[str, Any] = {"unreadable": [path for item in items for path in item["unreadable"]]}
    kinds = {
        "image": [item for item in items if "frame" not in item],
        "video": [item for item in items if "frame" in item],
    }
    for kind, chosen in kinds.items():
        if chosen:
            batch[f"{kind}s"] = torch.stack([item["views"] for item in chosen])
            batch[f"{kind}_masks"] = torch.stack([item["masks"] for item in chosen])
            batch[f"{kind}_regions"] = torch.stack([item["regions"] for item in chosen])
            batch[f"{kind}_regions_valid"] = torch.stack([item["valid"] for item in chosen])
    if kinds["video"]:
        batch["frames"] = torch.stack([item["frame"] for item in kinds["video"]])
    return index_views(batch)
