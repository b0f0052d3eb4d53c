"""The body as tapered limbs: how near each pixel is to the limbs of an area, and to all others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reid_lse.keypoints import COCO_KEYPOINTS

TORSO_SHARE = 0.275
"""Shoulders to hips, as a share of a standing person's height."""

BREADTH = 1.7
"""Distance of the shoulders over that of the hips."""

SIDE_LIMBS = (
    ("shoulder", "hip", 0.038, 0.060),
    ("shoulder", "elbow", 0.034, 0.027),
    ("elbow", "wrist", 0.027, 0.022),
    ("wrist", "hand", 0.022, 0.020),
    ("hip", "knee", 0.060, 0.047),
    ("knee", "ankle", 0.047, 0.030),
    ("ankle", "foot", 0.027, 0.030),
)
LIMBS = (
    ("head", "neck", 0.040, 0.040),
    ("crown", "head", 0.060, 0.060),
    ("left_shoulder", "right_shoulder", 0.040, 0.040),
    ("chest", "waist", 0.085, 0.085),
    *((f"{side}_{a}", f"{side}_{b}", *radii) for side in ("left", "right") for a, b, *radii in SIDE_LIMBS),
)
"""Limbs between joints with half their thickness, clothes included, at both ends as shares of the person's
height."""

POINT_RADIUS = 0.045
"""Half the thickness at a keypoint without limbs, as a share of the person's height."""

HIDDEN_CONFIDENCE = 0.35
"""Of a joint that is guessed from its neighbours: never person beyond doubt."""

JOINTS = (
    *COCO_KEYPOINTS,
    "head", "crown", "neck", "chest", "waist", "left_hand", "right_hand", "left_foot", "right_foot",
)  # fmt: skip
"""The keypoints, and joints that follow from them."""

INDEX = {name: index for index, name in enumerate(JOINTS)}
FACE = list(range(5))
SHOULDERS = [INDEX["left_shoulder"], INDEX["right_shoulder"]]
HIPS = [INDEX["left_hip"], INDEX["right_hip"]]
EDGES = np.array([(INDEX[str(first)], INDEX[str(second)]) for first, second, *_ in LIMBS])
RADII = np.array([radii for _, _, *radii in LIMBS], dtype=np.float32)
NECK = 0
"""The limb that no area has: it is cut in the middle."""

TRUNK_END = 0.18
"""Where the trunk's round ends are centred, from shoulders and hips towards each other."""

HEAD_HEIGHT, FOOT_DROP, HAND_REACH = 0.016, 0.02, 0.45
"""The crown's centre over the head's, and the sole below the ankle, as shares of the person's height; the
hand past the wrist, as a share of the forearm."""


class Body(NamedTuple):
    """Joints of a person, and what is known of them.

    Attributes:
        place: float [j 2], x and y in pixels.
        confidence: float [j], zero where a joint is not known.
        sources: bool [j 17], the keypoints that each joint follows from.
        height: of the standing person in pixels.
    """

    place: np.ndarray
    confidence: np.ndarray
    sources: np.ndarray
    height: float


class Capsules(NamedTuple):
    """Segments with thickness.

    Attributes:
        first: float [s 2], x and y of one end in pixels.
        second: float [s 2], of the other; the same for a disc.
        radii: float [s 2] in pixels, at both ends.
        confidence: float [s], the less certain end's.
    """

    first: np.ndarray
    second: np.ndarray
    radii: np.ndarray
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


def body(keypoints: np.ndarray, used: np.ndarray, height: int) -> Body:
    """Joints out of the used keypoints, those that the body hides guessed from their neighbours.

    Without them the hidden half of a person would be taken for background. A shoulder lies from its
    counterpart as the hips do from each other, only further, and the other way round; seen from the side, or
    where one pair is all there is, they coincide. A knee or an elbow lies between its neighbours.

    Args:
        keypoints: float [17 3].
        used: bool [17].
        height: of the crop in pixels.
    """
    tall = person_height(keypoints, used, height)
    count = len(COCO_KEYPOINTS)
    place = np.zeros((len(JOINTS), 2), np.float32)
    place[:count] = keypoints[:, :2]
    confidence = np.zeros(len(JOINTS), np.float32)
    confidence[:count] = np.where(used, keypoints[:, 2], 0)
    sources = np.zeros((len(JOINTS), count), dtype=bool)
    sources[np.arange(count), np.arange(count)] = used
    found = np.zeros(len(JOINTS), dtype=bool)
    found[:count] = used

    def derive(name: str, parts: list[int], at: np.ndarray, sure: float = 1.0) -> None:
        joint = INDEX[name]
        place[joint], found[joint] = at, True
        confidence[joint] = min(sure, confidence[parts].mean())
        sources[joint] = sources[parts].any(axis=0)

    for pair, others, wide in ((SHOULDERS, HIPS, BREADTH), (HIPS, SHOULDERS, 1 / BREADTH)):
        for one, two in ((0, 1), (1, 0)):
            if used[pair[two]] and not used[pair[one]]:
                across = place[others[one]] - place[others[two]] if used[others].all() else 0
                at = place[pair[two]] + wide * np.asarray(across)
                derive(JOINTS[pair[one]], [pair[two]], at, HIDDEN_CONFIDENCE)
    for side in ("left", "right"):
        for joint, *ends in (("elbow", "shoulder", "wrist"), ("knee", "hip", "ankle")):
            parts = [INDEX[f"{side}_{end}"] for end in ends]
            if not used[INDEX[f"{side}_{joint}"]] and found[parts].all():
                derive(f"{side}_{joint}", parts, place[parts].mean(0), HIDDEN_CONFIDENCE)
        elbow, wrist, ankle = (INDEX[f"{side}_{joint}"] for joint in ("elbow", "wrist", "ankle"))
        if found[[elbow, wrist]].all():
            derive(f"{side}_hand", [wrist], place[wrist] + HAND_REACH * (place[wrist] - place[elbow]))
        if found[ankle]:
            derive(f"{side}_foot", [ankle], place[ankle] + (0, FOOT_DROP * tall))
    if found[SHOULDERS].all():
        derive("neck", SHOULDERS, place[SHOULDERS].mean(0))
    if found[SHOULDERS + HIPS].all():
        high, low = place[SHOULDERS].mean(0), place[HIPS].mean(0)
        derive("chest", SHOULDERS + HIPS, high + TRUNK_END * (low - high))
        derive("waist", SHOULDERS + HIPS, low + TRUNK_END * (high - low))
    if used[FACE].any():
        face = [point for point in FACE if used[point]]
        at = place[face].mean(0)
        if found[INDEX["neck"]]:
            # One ear seen from behind, or a profile's nose, is not the head's middle.
            at[0] = (at[0] + np.clip(place[INDEX["neck"], 0], at[0] - 0.06 * tall, at[0] + 0.06 * tall)) / 2
        derive("head", face, at + (0, HEAD_HEIGHT / 2 * tall))
        derive("crown", face, at - (0, HEAD_HEIGHT / 2 * tall))
    return Body(place, confidence, sources, tall)


def limbs(person: Body) -> Capsules:
    """Capsules of the limbs whose joints are both known, and discs at keypoints without any."""
    known: np.ndarray = np.any(person.sources, axis=1)
    edges = np.flatnonzero(known[EDGES].all(axis=1))
    parts = [
        (*person.place[EDGES[edge]], RADII[edge], person.confidence[EDGES[edge]].min()) for edge in edges
    ]
    drawn = person.sources[EDGES[edges].ravel()].any(axis=0)
    parts += _discs(person, known[: len(COCO_KEYPOINTS)] & ~drawn)
    return _capsules(parts, person.height)


def sides(person: Body, inside: np.ndarray, outside: np.ndarray) -> tuple[Capsules, Capsules]:
    """What speaks for an area and what against it, as capsules.

    A limb between joints that follow from positives alone is the area's. The neck, which no area has, is cut
    in the middle, and so is every limb that leaves an area without limbs of its own. Any other limb that
    leaves the area is against it, as the thigh is against the torso, which ends at the hips.
    A joint that follows from both sides is left out, and its keypoints speak for themselves.

    Args:
        person: joints out of `body`.
        inside: bool [17], the area's positives.
        outside: bool [17], its negatives.

    Returns:
        For, against.
    """
    known: np.ndarray = np.any(person.sources, axis=1)
    all_in: np.ndarray = known & ~np.any(person.sources & ~inside, axis=1)
    all_out: np.ndarray = known & ~np.any(person.sources & inside, axis=1)
    edges = [edge for edge, ends in enumerate(EDGES) if known[ends].all()]
    alone = not any(all_in[EDGES[edge]].all() for edge in edges)
    mine: list[_Part] = []
    others: list[_Part] = []
    drawn = np.zeros(len(inside), dtype=bool)
    for edge in edges:
        ends, radii = EDGES[edge], RADII[edge]
        start, end = person.place[ends]
        sure = person.confidence[ends].min()
        near = int(all_in[ends[1]])
        if all_in[ends].all():
            mine.append((start, end, radii, sure))
        elif all_out[ends].all():
            others.append((start, end, radii, sure))
        elif not (all_in | all_out)[ends].any():
            continue
        elif all_in[ends[near]] and all_out[ends[1 - near]] and (edge == NECK or alone):
            middle, half = (start + end) / 2, radii.mean()
            halves = [(start, middle, np.array([radii[0], half]), sure),
                      (middle, end, np.array([half, radii[1]]), sure)]  # fmt: skip
            mine.append(halves[near])
            others.append(halves[1 - near])
        else:
            others.append((start, end, radii, sure))
            continue
        drawn |= person.sources[ends].any(axis=0)
    mine += _discs(person, inside & ~drawn)
    others += _discs(person, outside & ~drawn)
    return _capsules(mine, person.height), _capsules(others, person.height)


_Part = tuple[np.ndarray, np.ndarray, np.ndarray, float]
"""Both ends in pixels, both radii as shares of the person's height, confidence."""


def _discs(person: Body, points: np.ndarray) -> list[_Part]:
    radii = np.full(2, POINT_RADIUS, np.float32)
    return [
        (person.place[point], person.place[point], radii, person.confidence[point])
        for point in np.flatnonzero(points)
    ]


def _capsules(parts: list[_Part], scale: float) -> Capsules:
    if not parts:
        empty = np.zeros((0, 2), np.float32)
        return Capsules(empty, empty, empty, np.zeros(0, np.float32))
    first, second, radii, confidence = (np.asarray(part, np.float32) for part in zip(*parts, strict=True))
    return Capsules(first, second, radii * scale, confidence)


def distances(capsules: Capsules, height: int, width: int) -> np.ndarray:
    """Distance of each pixel's middle to each capsule's surface, in pixels, negative inside: float32 [s h w].

    Example:
        >>> disc = Capsules(np.full((1, 2), 2.5), np.full((1, 2), 2.5), np.ones((1, 2)), np.ones(1))
        >>> distances(disc, 5, 5)[0, 2].tolist()
        [1.0, 0.0, -1.0, 0.0, 1.0]
    """
    x = np.arange(width, dtype=np.float32)[None, None, :] + 0.5
    y = np.arange(height, dtype=np.float32)[None, :, None] + 0.5
    start, end = (side.astype(np.float32)[:, :, None, None] for side in (capsules.first, capsules.second))
    radii = capsules.radii.astype(np.float32)[:, :, None, None]
    along = end - start
    length = np.maximum((along**2).sum(axis=1), 1e-6)
    step = np.clip(((x - start[:, 0]) * along[:, 0] + (y - start[:, 1]) * along[:, 1]) / length, 0, 1)
    away = np.hypot(x - start[:, 0] - step * along[:, 0], y - start[:, 1] - step * along[:, 1])
    return away - radii[:, 0] - step * (radii[:, 1] - radii[:, 0])
