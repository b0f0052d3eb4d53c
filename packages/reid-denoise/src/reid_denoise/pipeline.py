"""Progressive multi-level denoising (CION, section 3.2): tracklets in, identities out."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reid_denoise.constraints import Constraints, check_constraints
from reid_denoise.criteria import LEVELS, LINKINGS, Criteria, Level, Linking, Order
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
from reid_denoise.linking import Candidates, band_candidates, group
from reid_denoise.links import Links, components, most_borderline
from reid_denoise.mapping import Mapper, Progress, map_in_threads, silent
from reid_denoise.noise_metric import BAND, Measured, identity_centroids, labels, measure
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
    linking: Linking = "closure",
    cannot_link: np.ndarray | None = None,
    must_link: np.ndarray | None = None,
    folder: str | Path | None = None,
    mapper: Mapper = map_in_threads,
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
        linking: how near tracklets become one identity, in Eqs. 6 and 7: "closure" as in the paper, "mutual"
            for chains of those alone that are each other's nearest in their videos, "average" for average
            linkage (cosine alone). The last two, and constraints, need one more pass over the features.
        cannot_link: int [p 2], pairs of tracklets that are never one person, such as `simultaneous` ones.
        must_link: int [m 2], pairs of tracklets that are one person.
        folder: for unfinished work: called again after a kill, with the same arguments, the work resumes
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
    for name, value, known in (
        ("level", level, LEVELS),
        ("order", order, ("given", "feature")),
        ("linking", linking, LINKINGS),
    ):
        if value not in known:
            raise ValueError(f"{name}={value!r}: expected one of {', '.join(known)}")
    if linking == "average" and criteria.metric != "cosine":
        raise ValueError(
            f"linking='average' needs metric='cosine', got {criteria.metric!r}; 'mutual' needs none"
        )
    check_shape(features)
    readable = as_valid(valid, len(features))
    layout = lay_out(features, tracklets, videos, readable)
    constraints = check_constraints(cannot_link, must_link, tracklets, layout.names)
    digest = check_rows(features, criteria.metric, layout.tracklet != NOWHERE)
    arrays = (layout.tracklet, layout.videos, *constraints)
    ids = hashlib.blake2b(b"".join(array.tobytes() for array in arrays), digest_size=16).hexdigest()
    saved = Saved(folder, f"{digest} {ids} {criteria} {level} {order} {linking}")
    method = Method(criteria, linking, constraints)
    kept, within = _within_videos(features, layout, method, level, saved, mapper, progress)
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
    borderline: tuple[Borderline, ...] = ()
    if level == "cross_video":
        links, groups = _across_videos(
            features, layout, stages[-1], kept, method, saved.folder, mapper, progress
        )
        lookup = np.full(len(layout.names) + 1, NOWHERE)  # label -1 finds the last entry
        lookup[stages[-1].members] = stages[-1].members[groups]
        borderline = _borderline(links, layout.names[stages[-1].members])
        stages.append(stage("cross_video", lookup[stages[-1].label]))
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
        borderline=borderline,
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


class Method(NamedTuple):
    """What decides which tracklets become one."""

    criteria: Criteria
    linking: Linking
    constraints: Constraints


def _within_videos(
    features: np.ndarray,
    layout: Layout,
    method: Method,
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
            held = method.constraints.among(own.start, own.stop)
            options = (method.criteria, level != "tracklet", method.linking, held)
            yield block, layout.lengths[own], layout.videos[own], *options
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


def _across_videos(
    features: np.ndarray,
    layout: Layout,
    stage: Stage,
    kept: np.ndarray,
    method: Method,
    folder: Path | None,
    mapper: Mapper,
    progress: Progress,
) -> tuple[Candidates, np.ndarray]:
    """Links nearest to sigma_drm among a stage's identities [m], and the first of each one's group [m]."""
    links = stage.measured.links
    if method.linking == "closure" and not method.constraints:
        few = Candidates(links.borderline_pairs, links.borderline)
        return few, components(links.pairs, len(stage.members))
    names = np.full(len(layout.names) + 1, NOWHERE)
    names[stage.members] = np.arange(len(stage.members))
    position = names[stage.label]
    # A tracklet is where its own images are, not those that it lost to another one.
    home = np.full(len(layout.names), NOWHERE)
    home[layout.tracklet[kept]] = position[kept]
    constraints = method.constraints.rename(home)
    metric = method.criteria.metric
    with identity_centroids(
        features, position, len(stage.members), metric, folder, mapper, progress
    ) as centres:
        found = band_candidates(centres, BAND, method.criteria, mapper, progress)
        videos = layout.videos[stage.members]
        groups = group(found, centres, videos, method.linking, method.criteria, constraints)
    joined = groups[found.pairs[:, 0]] == groups[found.pairs[:, 1]]
    distance, pairs = most_borderline(found.distance[joined], found.pairs[joined])
    return Candidates(pairs, distance), groups


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


def _borderline(links: Candidates, names: np.ndarray) -> tuple[Borderline, ...]:
    return tuple(
        Borderline(distance, (one, other))
        for distance, (one, other) in zip(links.distance.tolist(), names[links.pairs].tolist(), strict=True)
    )
