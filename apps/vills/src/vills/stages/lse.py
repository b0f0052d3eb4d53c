"""The lse stage: images -> masks of the areas, kept as run lengths by `reid_lse.extract_images`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from reid_core.data.decoding import UnreachableImage, UnreadableImage, read_image
from reid_core.data.pool import Pool
from reid_core.data.transforms import resize
from reid_core.files import write_atomically
from reid_core.processes import local_device
from reid_core.recipe import Job
from reid_lse import AREAS, Extraction, Images, SavedMasks, Summary, extract_images
from reid_lse import UnreadableImage as NoImage
from vills.config import LSEConfig, Size
from vills.data import ManifestMasks, load_pool
from vills.sources import Pooled

UNREADABLE_FILE = "unreadable.txt"


@dataclass(frozen=True)
class RegionCache:
    """What the stage gets.

    Attributes:
        pool: what is pre-trained on.
        lse: areas, size and segmenter.
    """

    pool: Pooled
    lse: LSEConfig


def check_areas(lse: LSEConfig, wanted: Sequence[str], views: int) -> None:
    """Refuse areas that can't be segmented, or of which there are no masks.

    Args:
        lse: areas that masks are made of.
        wanted: those whose regions the student sees.
        views: of an image.

    Raises:
        ValueError: unknown, repeated or missing ones.

    Example:
        >>> check_areas(LSEConfig(areas=["nohead"]), [], views=2)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: lse.areas=['nohead']: expected one or more of head, torso, legs, ..., each once
    """
    areas = lse.areas
    if not areas or len(set(areas)) < len(areas) or set(areas) - set(AREAS):
        raise ValueError(f"lse.areas={areas}: expected one or more of {', '.join(AREAS)}, each once")
    if len(set(wanted)) < len(wanted) or set(wanted) - set(areas):
        raise ValueError(f"pretrain.areas={wanted}: expected some of lse.areas={areas}, each once, or []")
    if views < 2 and not wanted:
        raise ValueError("pretrain.views=1 without areas leaves the student nothing to match")


def extract_regions(job: Job, ray: str | None = None) -> dict[str, Any]:
    """Segment each image that pre-training can draw once (VILLS Eqs. 1-4); it cuts regions from the masks.

    Sources whose regions the user names are left out. Interrupted and called again, it resumes after the last
    finished file.

    Args:
        job: its section is a `RegionCache`; its folder gets a folder per manifest of the pool, in order, as
            `reid_lse.extract_images` writes it, and unreadable.txt.
        ray: address of a Ray cluster that does the work.

    Returns:
        Numbers of images and of unreadable ones, and each area's share of the readable ones.

    Raises:
        ValueError: an unknown keypoint predictor or segmenter.
        OSError: the storage does not give some images; the same command resumes.
    """
    config = job.section.lse
    extraction = Extraction(
        config.keypoints,
        config.keypoint_options,
        config.segmenter,
        config.segmenter_options,
        list(config.areas),
        device=local_device(job.runtime.accelerator),
    )
    read = partial(read_resized, size=config.size)
    made: list[Summary] = []
    unreadable = []
    pool, parts = load_pool(job, job.section.pool), job.section.pool.parts
    segmented = {number for number, one in zip(pool.parts, parts, strict=True) if one.regions}
    for number in sorted(set(pool.parts) - segmented):
        manifest = pool.manifests[number]
        rows = manifest.table["path"].to_numpy()[pool.drawable_rows(number)]
        images = Images(Path(manifest.root), rows.tolist(), read)
        folder = job.folder / str(number)
        workers = job.runtime.workers or None
        made.append(extract_images(images, folder, extraction, workers=workers, ray=ray))
        if made[-1].unreachable:
            raise OSError(
                f"{made[-1].unreachable} of {len(rows)} images below {manifest.root} can't be reached "
                f"(see {folder / '_errors.csv'}): the same command resumes when they are back"
            )
        unreadable += [images.root / path for path in SavedMasks(folder).unreadable]
    write_atomically(job.folder / UNREADABLE_FILE, "".join(f"{path}\n" for path in unreadable))
    read_well = [one.images - one.unreadable for one in made]
    found = {
        area: sum(one.found[area] * count for one, count in zip(made, read_well, strict=True))
        / max(1, sum(read_well))
        for area in config.areas
    }
    return {"images": sum(one.images for one in made), "unreadable": len(unreadable), "found": found}


def load_masks(job: Job, pooled: Pooled, pool: Pool, areas: Sequence[str]) -> list[ManifestMasks]:
    """The masks of each manifest of a pool: those of the stage lse, or of the user's folder.

    Args:
        job: of a stage that reads lse and watches the users' folders.
        pooled: what is pre-trained on.
        pool: the same, as `load_pool` makes it.
        areas: names of those wanted; none needs no mask.

    Raises:
        ValueError: an image or an area that wasn't segmented.
    """
    if not areas:
        return []
    folders = {number: job.inputs["lse"] / str(number) for number in pool.parts if "lse" in job.inputs}
    for number, part in zip(pool.parts, pooled.parts, strict=True):
        if part.regions:
            folders[number] = job.watched[part.regions_name]
    return [
        ManifestMasks(folders[number], areas, manifest, pool.drawable_rows(number))
        for number, manifest in enumerate(pool.manifests)
    ]


def read_resized(path: str, size: Size) -> Tensor:
    """An image of any source at the size it is segmented at.

    Args:
        path: of a file, or within an LMDB or a shard.
        size: height and width.

    Returns:
        uint8 [3 h w].
    """
    try:
        return resize(read_image(path), size)
    except UnreachableImage:
        raise
    except UnreadableImage as error:
        raise NoImage(str(error)) from None
