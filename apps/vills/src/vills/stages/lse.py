"""The lse stage: images -> masks of the areas, kept as run lengths by `reid_lse.extract_images`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from reid_core.data.decoding import UnreachableImage, UnreadableImage, read_image
from reid_core.data.transforms import resize
from reid_core.files import write_atomically
from reid_core.processes import local_device
from reid_core.recipe import Job
from reid_lse import AREAS, Extraction, Images, SavedMasks, Summary, extract_images
from reid_lse import UnreadableImage as NoImage
from vills.config import LSEConfig, Part, Size
from vills.data import load_pool

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
        ValueError: unknown or repeated ones, or none.

    Example:
        >>> check_areas(LSEConfig(areas=["nohead"]))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: lse.areas=['nohead']: expected one or more of head, torso, legs, ..., each once
    """
    areas = config.areas
    if not areas or len(set(areas)) < len(areas) or set(areas) - set(AREAS):
        raise ValueError(f"lse.areas={areas}: expected one or more of {', '.join(AREAS)}, each once")


def extract_regions(job: Job) -> dict[str, Any]:
    """Segment every image of the pool once (VILLS Eqs. 1-4); regions are cut from the masks in training.

    Interrupted and called again, it resumes after the last finished file.

    Args:
        job: its section is a `RegionCache`; its folder gets a folder per manifest of the pool, in order, as
            `reid_lse.extract_images` writes it, and unreadable.txt.

    Returns:
        Numbers of images and of unreadable ones, and each area's share of the readable ones.

    Raises:
        ValueError: an unknown keypoint predictor or segmenter.
        OSError: the storage does not give some images; the same command goes on.
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
    for number, manifest in enumerate(load_pool(job, job.section.pool).manifests):
        images = Images(Path(manifest.root), manifest.table["path"].tolist(), read)
        folder = job.folder / str(number)
        made.append(extract_images(images, folder, extraction, workers=job.runtime.workers or None))
        if made[-1].unreachable:
            raise OSError(
                f"{made[-1].unreachable} of {len(manifest)} images below {manifest.root} can't be reached "
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


def load_masks(folder: Path, manifests: int) -> list[SavedMasks]:
    """The masks of a finished lse stage.

    Args:
        folder: the stage's folder.
        manifests: number of the pool's.

    Returns:
        The masks of each manifest's rows.
    """
    return [SavedMasks(folder / str(number)) for number in range(manifests)]


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
