"""Progressive multi-level denoising (CION, section 3.2): tracklets in, identities out."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reid_denoise.criteria import LEVELS, Criteria, Level, Order
from reid_denoise.layout import (
    BLOCK,
    NOWHERE,
    Ids,
    Layout,
    as_valid,
    by_first_appearance,
    check_rows,
    check_shape,
    lay_out,
    pieces,
    release,
    take,
)
from reid_denoise.links import Links, components
from reid_denoise.mapping import Mapper, Progress, silent, threaded
from reid_denoise.noise_metric import Measured, identity_centroids, labels, measure
from reid_denoise.plausibility import ADVICE, ImplausibleIdentities, describe_implausible
from reid_denoise.report import Borderline, LevelReport, NoiseLevel, Report
from reid_denoise.saved import Saved
from reid_denoise.video import denoise_block
from reid_denoise.video_order import order_videos


@dataclass(frozen=True, eq=False)
class Denoised:
    """Identities that denoising found.

    Attributes:
        identity: int64 [n], numbered from 0 in the order of their first images; -1 for discarded images.
        report: what each level did, and the noise before and after.
        levels: from each level applied to its `identity`; the last one's is `identity` itself.
    """

    identity: np.ndarray
    report: Report
    levels: Mapping[Level, np.ndarray]


def denoise(
    features: np.ndarray,
    tracklets: Ids,
    videos: Ids,
    criteria: Criteria | None = None,
    *,
    valid: np.ndarray | None,
    level: Level = "cross_video",
    order: Order = "given",
    folder: str | Path | None = None,
    mapper: Mapper = threaded,
    progress: Progress = silent,
) -> Denoised:
    """Seek identities by progressive multi-level denoising (CION, section 3.2, Eqs. 4 to 7).

    Features are read in pieces, in row order where the images of a tracklet, and the tracklets of a video,
    follow each other. Memory holds some columns of integers, a band of centroids, and a block of videos.

    Args:
        features: float16, float32 or float64 [n d]; may be memory-mapped.
        tracklets: int [n], tracklet of each image, unique over all videos; -1 leaves an image out.
        videos: int [n], video of each image.
        criteria: thresholds, range and metric; CION's by default.
        valid: bool [n], False where a row holds no feature (a picture that could not be read): such an image
            has no identity, whatever the row holds. None says that all rows hold one.
        level: the last level to apply; the identities of those before it are in the result, too.
        order: of the concatenated videos (Eq. 7): "given", by their first images, or "feature", so that
            videos with similar tracklets follow each other.
        folder: for unfinished work: called again after a kill, with the same arguments, the work goes on
            after the last finished block and ends with the same result.
        mapper: how the work on blocks is done; `reid_denoise.cluster.ray_mapper` gives one for a Ray cluster.
        progress: shows how far the work is.

    Returns:
        Identities and report.

    Raises:
        TypeError, ValueError: bad input; the argument and the row are named, before long work.

    Example:
        >>> features = np.eye(3)[[0, 0, 1, 1, 1, 0, 2, 1, 1]]
        >>> tracklets, videos = [0, 0, 1, 1, 1, 1, 2, 3, 3], [0, 0, 0, 0, 0, 0, 0, 1, 1]
        >>> result = denoise(features, tracklets, videos, valid=None)
        >>> result.identity.tolist()
        [0, 0, 1, 1, 1, 0, 2, 1, 1]
        >>> [(step.level, step.moved, step.merged) for step in result.report.levels]
        [('tracklet', 0, 0), ('video', 1, 0), ('cross_video', 0, 1)]
    """
    criteria = criteria or Criteria()
    for name, value, known in (("level", level, LEVELS), ("order", order, ("given", "feature"))):
        if value not in known:
            raise ValueError(f"{name}={value!r}: expected one of {', '.join(known)}")
    check_shape(features)
    readable = as_valid(valid, len(features))
    layout = lay_out(features, tracklets, videos, readable)
    digest = check_rows(features, criteria.metric, layout.tracklet != NOWHERE)
    ids = hashlib.blake2b(layout.tracklet.tobytes() + layout.videos.tobytes(), digest_size=16).hexdigest()
    saved = Saved(folder, f"{digest} {ids} {criteria} {level} {order}")
    kept, within = _within_videos(features, layout, criteria, level, saved, mapper, progress)
    place = np.arange(layout.videos[-1] + 1)
    if order == "feature":
        place = _feature_order(features, layout, within, criteria, mapper)

    def stage(name: str, label: np.ndarray) -> Stage:
        members, position = _positions(label, layout.videos, place)
        arrays = saved.get(name)
        if arrays is None:
            found = measure(
                features,
                position,
                len(members),
                criteria,
                criteria.half_range,
                folder=saved.folder,
                mapper=mapper,
                progress=lambda things, what, total: progress(things, f"noise, {name}: {what}", total),
            )
            saved.put(name, radius=found.radius, **found.links._asdict())
        else:
            found = Measured(arrays.pop("radius"), Links(**arrays))
        return Stage(label, members, found)

    stages = [stage("given", layout.tracklet), stage("tracklet", np.where(kept, layout.tracklet, NOWHERE))]
    if level != "tracklet":
        stages.append(stage("video", within))
    if level == "cross_video":
        stages.append(stage("cross_video", _closed(stages[-1], len(layout.names))))
    levels = {name: by_first_appearance(stage.label) for name, stage in zip(LEVELS, stages[1:], strict=False)}
    report = Report(
        criteria,
        order,
        images=len(layout.rows),
        tracklets=len(layout.names),
        videos=len(place),
        without_feature=int(np.count_nonzero(~readable)),
        levels=tuple(
            _level(name, before, after, criteria, len(layout.rows))
            for name, before, after in zip(LEVELS, stages, stages[1:], strict=False)
        ),
        borderline=_borderline(stages[2], layout.names) if level == "cross_video" else (),
        implausible=describe_implausible(levels[level], layout.tracklet),
    )
    if report.implausible:
        warnings.warn(f"{'; '.join(report.implausible)}: {ADVICE}", ImplausibleIdentities, stacklevel=2)
    return Denoised(levels[level], report, levels)


class Stage(NamedTuple):
    """Identities between two levels; each is named by the first of its tracklets in the order of the videos.

    Attributes:
        label: int64 [n], the identity of each image; -1 for none.
        members: int64 [m], the identities in that order.
        measured: radii and relations of the identities, in that order.
    """

    label: np.ndarray
    members: np.ndarray
    measured: Measured


def _within_videos(
    features: np.ndarray,
    layout: Layout,
    criteria: Criteria,
    level: Level,
    saved: Saved,
    mapper: Mapper,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray]:
    """Whether single-tracklet denoising keeps an image [n], and its tracklet after single-video denoising."""
    blocks = list(pieces(np.bincount(layout.videos, weights=layout.lengths).astype(np.int64), most=BLOCK))
    names = [f"block-{number:06}" for number in range(len(blocks))]
    missing = {number for number, name in enumerate(names) if saved.get(name) is None}

    def work() -> Iterator[tuple[Any, ...]]:
        for number in sorted(missing):
            videos, rows = blocks[number]
            own = _tracklets(layout, videos)
            block = take(features, layout.rows[rows])
            yield block, layout.lengths[own], layout.videos[own], criteria, level != "tracklet"
            release(features)

    results = mapper(denoise_block, work())
    kept = np.zeros(len(features), dtype=bool)
    label = np.full(len(features), NOWHERE)
    for number, (videos, rows) in enumerate(progress(blocks, "within videos", len(blocks))):
        if number in missing:
            found = dict(zip(("kept", "label"), next(results), strict=True))
            saved.put(names[number], **found)
        else:
            found = saved.get(names[number]) or {}
        first = _tracklets(layout, videos).start
        kept[layout.rows[rows]] = found["kept"]
        label[layout.rows[rows]] = np.where(found["label"] == NOWHERE, NOWHERE, found["label"] + first)
    return kept, label


def _tracklets(layout: Layout, videos: slice) -> slice:
    first, last = np.searchsorted(layout.videos, [videos.start, videos.stop])
    return slice(int(first), int(last))


def _feature_order(
    features: np.ndarray, layout: Layout, label: np.ndarray, criteria: Criteria, mapper: Mapper
) -> np.ndarray:
    """Place of each video, by the tracklets that are left in it."""
    size = int(layout.videos[-1]) + 1
    members, position = _positions(label, layout.videos, np.arange(size))
    with identity_centroids(features, position, len(members), criteria.metric, mapper=mapper) as centres:
        return order_videos(centres, layout.videos[members], size, criteria)


def _positions(label: np.ndarray, videos: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Identities [m] in the order of their videos, and each image's place among them [n], -1 for none."""
    members = labels(label)
    members = members[np.argsort(place[videos[members]], kind="stable")]
    lookup = np.full(len(videos) + 1, NOWHERE)  # label -1 finds the last entry
    lookup[members] = np.arange(len(members))
    return members, lookup[label]


def _closed(stage: Stage, size: int) -> np.ndarray:
    """Each image's label after linked identities became one, named by its first member."""
    lookup = np.full(size + 1, NOWHERE)
    lookup[stage.members] = stage.members[components(stage.measured.links.pairs, len(stage.members))]
    return lookup[stage.label]


def _level(name: Level, before: Stage, after: Stage, criteria: Criteria, given: int) -> LevelReport:
    lost = len(before.members) - len(after.members)
    images = int(np.count_nonzero(after.label != NOWHERE))
    return LevelReport(
        level=name,
        images=images,
        identities=len(after.members),
        removed=0 if name == "cross_video" else given - images,
        moved=int(np.count_nonzero((before.label == NOWHERE) & (after.label != NOWHERE))),
        emptied=lost if name == "tracklet" else 0,
        merged=0 if name == "tracklet" else lost,
        before=NoiseLevel.of(before.measured.noise(before.members, criteria)),
        after=NoiseLevel.of(after.measured.noise(after.members, criteria)),
    )


def _borderline(stage: Stage, names: np.ndarray) -> tuple[Borderline, ...]:
    links = stage.measured.links
    tracklets = names[stage.members[links.borderline_pairs]].tolist()
    return tuple(
        Borderline(distance, (one, other))
        for distance, (one, other) in zip(links.borderline.tolist(), tracklets, strict=True)
    )
