"""What a run reads, and what of it is pre-trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from reid_core.data.manifest import Manifest
from reid_core.recipe.rows import PREPARE, part
from reid_core.recipe.sources import Source, Sources
from reid_core.recipe.stage import Parts
from vills.config import Config, PoolSource

TRACKLETS = "tracklets"
"""The source that no reader reads: the stage of that name makes it of raw video."""
TEST_SPLITS = ("query", "gallery")
LABELLED_SPLITS = ("train", *TEST_SPLITS)


@dataclass(frozen=True)
class Part:
    """A source in pre-training's pool.

    Attributes:
        source: its name, or that of the stage that makes it.
        splits: those pre-trained on; none for all rows.
        images: whether single rows are images; of a labelled source, whether all are.
        videos: whether tracklets are videos.
        repeat: times that the pool holds it.
        regions: whether the user has segmented it.
    """

    source: str
    splits: tuple[str, ...]
    images: bool
    videos: bool
    repeat: int
    regions: bool

    @property
    def regions_name(self) -> str:
        """Name of its folder of regions among a stage's watched folders."""
        return f"{self.source}.regions"


@dataclass(frozen=True)
class Pooled:
    """What is pre-trained on.

    Attributes:
        parts: sources, in order.
        images: whether images are trained on.
        videos: whether videos are.
        track_frames: frames of a video that are drawn from; None for all.
    """

    parts: list[Part]
    images: bool
    videos: bool
    track_frames: int | None


class Count(NamedTuple):
    """Images and videos of a source that pre-training draws from."""

    images: int
    videos: int


def sources(config: Config) -> Sources:
    """The data sources, each by its dotted name.

    Args:
        config: the whole configuration.

    Example:
        >>> from vills.config import DataConfig, PoolSource
        >>> data = DataConfig(image=PoolSource("market1501"), pretrain=[PoolSource("folder")])
        >>> list(sources(Config(data=data)).by_name)
        ['data.image', 'data.pretrain.0']
    """
    data = config.data
    named: dict[str, Source | None] = {
        "data.image": data.image,
        "data.video": data.video,
        "data.mix": data.mix,
    }
    named |= {f"data.pretrain.{number}": source for number, source in enumerate(data.pretrain)}
    there = {name: source for name, source in named.items() if source is not None}
    trained = ("train",) if data.mix is not None else LABELLED_SPLITS
    splits = {"data.image": trained, "data.video": trained, "data.mix": TEST_SPLITS}
    needed = {name: splits[name] for name in splits if name in there}
    return Sources(
        there, data.root, data.synthetic, needed, [name for name in needed if name == "data.video"]
    )


def find_pool(config: Config) -> Pooled:
    """What is pre-trained on, in the pool's order; batches of 0 leave images or videos out.

    Rows of data.image are images and tracklets of data.video are videos, in the splits that are pre-trained
    on; in further sources single rows are images and tracklets are videos.

    Args:
        config: the whole configuration.
    """
    data, before = config.data, config.pretrain
    images, videos, splits = before.image_batch > 0, before.video_batch > 0, tuple(data.pretrain_splits)
    chosen = [
        ("data.image", data.image if images and splits else None, splits, True, False),
        ("data.video", data.video if videos and splits else None, splits, False, True),
        *((f"data.pretrain.{i}", source, (), True, True) for i, source in enumerate(data.pretrain)),
    ]
    parts = [
        Part(name, splits, as_images, as_videos, source.repeat, bool(source.regions))
        for name, source, splits, as_images, as_videos in chosen
        if source is not None
    ]
    if videos and data.raw is not None:
        parts.append(Part(TRACKLETS, (), images=False, videos=True, repeat=1, regions=False))
    return Pooled(parts, images, videos, before.track_frames)


def region_folders(config: Config) -> dict[str, Path]:
    """Folders of regions that the user names, as a stage watches them.

    Args:
        config: the whole configuration.

    Raises:
        ValueError: a source without a folder of the name that is asked for.

    Example:
        >>> from vills.config import DataConfig, PoolSource, PretrainConfig
        >>> source = PoolSource("folder", regions={"ism": "a", "parsing": "b"})
        >>> region_folders(
        ...     Config(data=DataConfig(pretrain=[source]), pretrain=PretrainConfig(regions="parsing"))
        ... )
        {'data.pretrain.0.regions': PosixPath('b')}
    """
    name, prepared = config.pretrain.regions, sources(config).by_name
    folders: dict[str, Path] = {}
    for one in find_pool(config).parts:
        source = prepared.get(one.source)
        if not isinstance(source, PoolSource) or not (source.regions or name):
            continue
        given = {"": source.regions} if isinstance(source.regions, str) else source.regions
        if name is not None and name not in given:
            raise ValueError(
                f"pretrain.regions={name}: {one.source} names no such folder; give it as "
                f"{one.source}.regions={{{name}: FOLDER}}"
            )
        folders[one.regions_name] = Path(given[name] if name is not None else next(iter(given.values())))
    return folders


def pool_reads(config: Config) -> dict[str, Parts]:
    """Stages that make what the pool holds, with the parts of each one's output.

    Args:
        config: the whole configuration.

    Example:
        >>> from vills.config import DataConfig, PoolSource, RawVideo
        >>> data = DataConfig(image=PoolSource("market1501"), pretrain=[PoolSource("folder")], raw=RawVideo())
        >>> pool_reads(Config(data=data))
        {'prepare': ['data.image/train', 'data.pretrain.0/*'], 'tracklets': None}
    """
    parts, prepared = find_pool(config).parts, sources(config).by_name
    read = [one for one in parts if one.source in prepared]
    names = [part(one.source, split) for one in read for split in one.splits or ("*",)]
    return {PREPARE: names, **{one.source: None for one in parts if one not in read}}


def count_pool(config: Config, rows: Callable[..., Manifest]) -> dict[str, Count]:
    """What pre-training draws from each source that `prepare` reads; batches of 0 leave images or videos out.

    Args:
        config: the whole configuration.
        rows: from a source and splits to its rows.

    Returns:
        Source -> its images and videos, without repetitions.
    """
    pool, prepared, counts = find_pool(config), sources(config).by_name, {}
    for one in (each for each in pool.parts if each.source in prepared):
        manifest = rows(one.source, *one.splits)
        tracklets = manifest.tracklets() if one.videos else []
        images = len(manifest) - sum(map(len, tracklets)) if one.images else 0
        counts[one.source] = Count(images if pool.images else 0, len(tracklets) if pool.videos else 0)
    return counts


def find_lacks(config: Config, counts: Mapping[str, Count]) -> list[str]:
    """What pre-training sees none or too little of: unlabeled images, images at all, videos at all.

    Args:
        config: the whole configuration.
        counts: source -> its images and videos.

    Example:
        >>> find_lacks(Config(), {"data.image": Count(12936, 0), "data.video": Count(0, 8298)})
        ["pre-training's images come from labelled data alone (data.image): data.pretrain is empty"]
    """
    before, lacks = config.pretrain, []
    images = [name for name, one in counts.items() if one.images]
    videos = [name for name, one in counts.items() if one.videos]
    others = "all others are frames of videos; the reader folder takes each sub-folder for a video, unless "
    others += "options: {tracklets: false}; luperson takes none"
    if before.image_batch and not images:
        lacks.append(f"pretrain.image_batch={before.image_batch}, but no source has a single image: {others}")
    elif images == ["data.image"]:
        why = others if config.data.pretrain else "data.pretrain is empty"
        lacks.append(f"pre-training's images come from labelled data alone (data.image): {why}")
    if before.video_batch and not videos and config.data.raw is None:
        lacks.append(f"pretrain.video_batch={before.video_batch}, but no source has a video")
    return lacks
