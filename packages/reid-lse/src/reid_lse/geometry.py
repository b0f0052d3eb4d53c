"""The body as capsules along its limbs: how near each pixel is to the limbs of an area, and to all others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reid_lse.keypoints import COCO_KEYPOINTS

TORSO_SHARE = 0.295
"""Shoulders to hips, as a share of a standing person's height."""

LIMBS = (
    ("nose", "left_eye", 0.055),
    ("nose", "right_eye", 0.055),
    ("left_eye", "left_ear", 0.055),
    ("right_eye", "right_ear", 0.055),
    ("left_ear", "left_shoulder", 0.030),
    ("right_ear", "right_shoulder", 0.030),
    ("left_shoulder", "right_shoulder", 0.040),
    ("left_shoulder", "left_elbow", 0.028),
    ("right_shoulder", "right_elbow", 0.028),
    ("left_elbow", "left_wrist", 0.024),
    ("right_elbow", "right_wrist", 0.024),
    ("left_shoulder", "left_hip", 0.050),
    ("right_shoulder", "right_hip", 0.050),
    ("left_shoulder", "right_hip", 0.050),
    ("right_shoulder", "left_hip", 0.050),
    ("left_hip", "right_hip", 0.050),
    ("left_hip", "left_knee", 0.040),
    ("right_hip", "right_knee", 0.040),
    ("left_knee", "left_ankle", 0.032),
    ("right_knee", "right_ankle", 0.032),
)
"""Limbs between COCO keypoints with half their thickness, as a share of the person's height. The diagonals
of the torso fill it."""

POINT_RADIUS = 0.045
"""Half the thickness at a lone keypoint, as a share of the person's height."""

HIDDEN_CONFIDENCE = 0.35
"""Of a joint that is guessed from its neighbours: never person beyond doubt."""

INDEX = {name: index for index, name in enumerate(COCO_KEYPOINTS)}
EDGES = np.array([(INDEX[first], INDEX[second]) for first, second, _ in LIMBS])
NECK = [{INDEX[f"{side}_ear"], INDEX[f"{side}_shoulder"]} for side in ("left", "right")]
SHOULDERS = [INDEX["left_shoulder"], INDEX["right_shoulder"]]
HIPS = [INDEX["left_hip"], INDEX["right_hip"]]
BETWEEN = [
    (INDEX[f"{side}_{joint}"], INDEX[f"{side}_{above}"], INDEX[f"{side}_{below}"])
    for side in ("left", "right")
    for joint, above, below in (("elbow", "shoulder", "wrist"), ("knee", "hip", "ankle"))
]
RADII = np.array([radius for *_, radius in LIMBS], dtype=np.float32)


class Capsules(NamedTuple):
    """Segments with thickness.

    Attributes:
        first: float [s 2], x and y of one end in pixels.
        second: float [s 2], of the other; the same for a disc.
        radius: float [s] in pixels.
        confidence: float [s], the less certain end's.
    """

    first: np.ndarray
    second: np.ndarray
    radius: np.ndarray
    confidence: np.ndarray


def person_height(keypoints: np.ndarray, used: np.ndarray, height: int) -> float:
    """Height of the standing person in pixels, from shoulders to hips where used, else the crop's."""
    upper = [shoulder for shoulder in SHOULDERS if used[shoulder]]
    lower = [hip for hip in HIPS if used[hip]]
    if not upper or not lower:
        return float(height)
    torso = np.linalg.norm(keypoints[upper, :2].mean(0) - keypoints[lower, :2].mean(0))
    # Seen from above or bent over, the torso is foreshortened and would shrink every limb with it.
    return float(np.clip(torso / TORSO_SHARE, height / 2, height * 1.5))


def with_hidden(keypoints: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Guess the joints that the body hides: keypoints [17 3] and used [17], with some joints more.

    Seen from the side, a shoulder or hip lies about where its counterpart does; a knee or an elbow lies
    between its neighbours. Without them the hidden half of a person would be taken for background.
    """
    keypoints, found = keypoints.copy(), used.copy()
    pairs = [(SHOULDERS[0], SHOULDERS[1]), (HIPS[0], HIPS[1])]
    guesses = [(joint, (other, other)) for pair in pairs for joint, other in (pair, pair[::-1])]
    guesses += [(joint, (above, below)) for joint, above, below in BETWEEN]
    for joint, known in guesses:
        if not used[joint] and used[list(known)].all():
            keypoints[joint] = *keypoints[list(known), :2].mean(axis=0), HIDDEN_CONFIDENCE
            found[joint] = True
    return keypoints, found


def body(keypoints: np.ndarray, used: np.ndarray, scale: float) -> Capsules:
    """Capsules of the limbs whose ends are both used or hidden, and discs at these keypoints."""
    keypoints, used = with_hidden(keypoints, used)
    edges = used[EDGES].all(axis=1)
    points = np.flatnonzero(used)
    ends = np.concatenate([EDGES[edges], np.stack([points, points], axis=1)])
    radius = np.concatenate([RADII[edges], np.full(len(points), POINT_RADIUS, np.float32)]) * scale
    return Capsules(
        keypoints[ends[:, 0], :2], keypoints[ends[:, 1], :2], radius, keypoints[ends, 2].min(axis=1)
    )


def sides(keypoints: np.ndarray, inside: np.ndarray, outside: np.ndarray, scale: float) -> list[Capsules]:
    """What speaks for an area and what against it, as capsules.

    A limb between two positives is the area's. The neck, which no area has, is cut in the middle, and so is
    the limb of a positive that no other joins (an ankle, for feet). Any other limb that leaves the area is
    against it, as the thigh is against the torso, which ends at the hips.

    Args:
        keypoints: float [17 3].
        inside: bool [17], the area's positives.
        outside: bool [17], its negatives.
        scale: the person's height in pixels.

    Returns:
        [for, against].
    """
    prompted = inside | outside
    joined = np.zeros(len(inside), dtype=bool)
    joined[EDGES[inside[EDGES].all(axis=1)]] = True
    mine: list[tuple[np.ndarray, np.ndarray, float, float]] = []
    others: list[tuple[np.ndarray, np.ndarray, float, float]] = []
    for (first, second), radius in zip(EDGES, RADII, strict=True):
        if not (prompted[first] and prompted[second]):
            continue
        start, end = keypoints[first, :2], keypoints[second, :2]
        confidence = min(keypoints[first, 2], keypoints[second, 2])
        if inside[first] == inside[second]:
            (mine if inside[first] else others).append((start, end, radius, confidence))
        elif {first, second} in NECK or not joined[first if inside[first] else second]:
            near, far = (start, end) if inside[first] else (end, start)
            middle = (start + end) / 2
            mine.append((near, middle, radius, confidence))
            others.append((middle, far, radius, confidence))
        else:
            others.append((start, end, radius, confidence))
    for points, parts in ((inside, mine), (outside, others)):
        for point in np.flatnonzero(points):
            parts.append((keypoints[point, :2], keypoints[point, :2], POINT_RADIUS, keypoints[point, 2]))
    return [_capsules(parts, scale) for parts in (mine, others)]


def _capsules(parts: list[tuple[np.ndarray, np.ndarray, float, float]], scale: float) -> Capsules:
    if not parts:
        empty = np.zeros((0, 2), np.float32)
        return Capsules(empty, empty, np.zeros(0, np.float32), np.zeros(0, np.float32))
    first, second, radius, confidence = zip(*parts, strict=True)
    return Capsules(
        np.stack(first),
        np.stack(second),
        np.asarray(radius, np.float32) * scale,
        np.asarray(confidence, np.float32),
    )


def distances(capsules: Capsules, height: int, width: int) -> np.ndarray:
    """Distance of each pixel to each capsule's axis, in pixels: float32 [s h w]."""
    x = np.arange(width, dtype=np.float32)[None, None, :]
    y = np.arange(height, dtype=np.float32)[None, :, None]
    start = capsules.first.astype(np.float32)[:, :, None, None]
    along = capsules.second.astype(np.float32)[:, :, None, None] - start
    length = np.maximum((along**2).sum(axis=1), 1e-6)
    step = np.clip(((x - start[:, 0]) * along[:, 0] + (y - start[:, 1]) * along[:, 1]) / length, 0, 1)
    return np.hypot(x - start[:, 0] - step * along[:, 0], y - start[:, 1] - step * along[:, 1])
