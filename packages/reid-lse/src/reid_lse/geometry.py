"""The body as tapered limbs: how near each pixel is to the limbs of an area, and to all others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reid_lse.keypoint_sets import COCO_KEYPOINTS

TORSO_SHARE = 0.275
"""Shoulders to hips, as a share of a standing person's height."""

BREADTH = 1.7
"""Distance of the shoulders over that of the hips."""

SIDE_LIMBS = (
    ("shoulder", "hip", 0.038, 0.060),
    ("shoulder", "elbow", 0.042, 0.035),
    ("elbow", "wrist", 0.035, 0.027),
    ("wrist", "hand", 0.025, 0.022),
    ("hip", "knee", 0.060, 0.047),
    ("knee", "ankle", 0.044, 0.028),
    ("ankle", "foot", 0.033, 0.034),
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
"""COCO's keypoints, and joints that follow from them. Further keypoints of a set come behind."""

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
        place: float [j 2], x and y in pixels: JOINTS, then the keypoints that COCO does not have.
        confidence: float [j], zero where a joint is not known.
        sources: bool [j k], the keypoints that each joint follows from.
        height: of the standing person in pixels.
    """

    place: np.ndarray
    confidence: np.ndarray
    sources: np.ndarray
    height: float


class Piece(NamedTuple):
    """A capsule of the body: a limb, half a limb, or the disc around a keypoint without limbs.

    Attributes:
        first, last: joints at both ends; the same for a disc.
        share: the part of the way between them, such as (0.0, 0.5).
        edge: index into LIMBS, or -1 for a disc.
    """

    first: int
    last: int
    share: tuple[float, float]
    edge: int


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
        keypoints: float [k 3], COCO's 17 first.
        used: bool [k].
        height: of the crop in pixels.
    """
    tall = person_height(keypoints, used, height)
    count = len(keypoints)
    joints = joints_of(count)
    total = len(JOINTS) + count - len(COCO_KEYPOINTS)
    place = np.zeros((total, 2), np.float32)
    place[joints] = keypoints[:, :2]
    confidence = np.zeros(total, np.float32)
    confidence[joints] = np.where(used, keypoints[:, 2], 0)
    sources = np.zeros((total, count), dtype=bool)
    sources[joints, np.arange(count)] = used
    found = np.zeros(total, dtype=bool)
    found[joints] = used

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


def joints_of(count: int) -> np.ndarray:
    """The joint of each of `count` keypoints, COCO's 17 first: int [k].

    Example:
        >>> joints_of(18)[[0, 16, 17]].tolist()
        [0, 16, 26]
    """
    extra = count - len(COCO_KEYPOINTS)
    return np.r_[: len(COCO_KEYPOINTS), len(JOINTS) : len(JOINTS) + extra]


def limbs(person: Body) -> list[Piece]:
    """Limbs whose joints are both known, and discs at keypoints without any."""
    known: np.ndarray = np.any(person.sources, axis=1)
    edges = np.flatnonzero(known[EDGES].all(axis=1)).tolist()
    drawn = person.sources[EDGES[edges].ravel()].any(axis=0)
    points = known[joints_of(len(drawn))] & ~drawn
    return [_limb(edge) for edge in edges] + _discs(points)


def sides(person: Body, inside: np.ndarray, outside: np.ndarray) -> tuple[list[Piece], list[Piece]]:
    """What speaks for an area and what against it.

    A limb between joints that follow from positives alone is the area's. The neck, which no area has, is cut
    in the middle, and so is every limb that leaves an area without limbs of its own. Any other limb that
    leaves the area is against it, as the thigh is against the torso, which ends at the hips.
    A joint that follows from both sides is left out, and its keypoints speak for themselves.

    Args:
        person: joints out of `body`.
        inside: bool [k], the area's positives.
        outside: bool [k], its negatives.

    Returns:
        For, against.
    """
    known: np.ndarray = np.any(person.sources, axis=1)
    all_in: np.ndarray = known & ~np.any(person.sources & ~inside, axis=1)
    all_out: np.ndarray = known & ~np.any(person.sources & inside, axis=1)
    ends_known, ends_in, ends_out = (which[EDGES] for which in (known, all_in, all_out))
    whole, clear = ends_in.all(axis=1), (ends_in | ends_out).any(axis=1)
    against, leaves = ends_out.all(axis=1), ends_in.any(axis=1) & ends_out.any(axis=1)
    alone = not whole.any()
    mine: list[Piece] = []
    others: list[Piece] = []
    drawn = np.zeros(len(inside), dtype=bool)
    for edge in np.flatnonzero(ends_known.all(axis=1) & clear).tolist():
        if whole[edge]:
            mine.append(_limb(edge))
        elif against[edge]:
            others.append(_limb(edge))
        elif leaves[edge] and (edge == NECK or alone):
            halves = [_limb(edge, (0.0, 0.5)), _limb(edge, (0.5, 1.0))]
            near = int(ends_in[edge, 1])
            mine.append(halves[near])
            others.append(halves[1 - near])
        else:
            others.append(_limb(edge))
            continue
        drawn |= person.sources[EDGES[edge]].any(axis=0)
    return mine + _discs(inside & ~drawn), others + _discs(outside & ~drawn)


def _limb(edge: int, share: tuple[float, float] = (0.0, 1.0)) -> Piece:
    first, last = EDGES[edge].tolist()
    return Piece(first, last, share, edge)


def _discs(points: np.ndarray) -> list[Piece]:
    joints = joints_of(len(points))[points].tolist()
    return [Piece(joint, joint, (0.0, 1.0), -1) for joint in joints]


def certainty(person: Body, pieces: list[Piece]) -> np.ndarray:
    """Confidence of each piece, its less certain end's: float [p]."""
    return np.array([min(person.confidence[piece.first], person.confidence[piece.last]) for piece in pieces])


def distances(person: Body, pieces: list[Piece], height: int, width: int) -> np.ndarray:
    """Distance of each pixel's middle to each piece's surface: float32 [p h w].

    Args:
        person: joints out of `body`.
        pieces: of the body.
        height, width: of the crop in pixels.

    Returns:
        Shares of the person's height, negative inside.

    Example:
        >>> points = np.zeros((17, 3), np.float32)
        >>> points[0] = 2.5, 2.5, 1
        >>> person = body(points, np.arange(17) == 0, 20)
        >>> away = distances(person, [Piece(0, 0, (0.0, 1.0), -1)], 5, 5)
        >>> (away[0, 2] * 20).round(1).tolist()
        [1.1, 0.1, -0.9, 0.1, 1.1]
    """
    if not pieces:
        return np.zeros((0, height, width), np.float32)
    first, last, share, edge = (np.array(part) for part in zip(*pieces, strict=True))
    start, way = person.place[first], person.place[last] - person.place[first]
    begin, along = start + share[:, :1] * way, (share[:, 1:] - share[:, :1]) * way
    radii = np.where(edge[:, None] < 0, POINT_RADIUS, RADII[edge])
    near = radii[:, 0] + share[:, 0] * (radii[:, 1] - radii[:, 0])
    grow = (share[:, 1] - share[:, 0]) * (radii[:, 1] - radii[:, 0])
    x = np.arange(width, dtype=np.float32) + 0.5
    y = np.arange(height, dtype=np.float32) + 0.5
    begin, along, near, grow = (value.astype(np.float32) for value in (begin, along, near, grow))
    scale = along / np.maximum((along**2).sum(axis=1, keepdims=True), 1e-6)
    dx, dy = x - begin[:, :1], y - begin[:, 1:]
    step = (dx * scale[:, :1])[:, None, :] + (dy * scale[:, 1:])[:, :, None]
    np.clip(step, 0, 1, out=step)
    across = dx[:, None, :] - step * along[:, 0, None, None]
    down = dy[:, :, None] - step * along[:, 1, None, None]
    away = np.sqrt(across * across + down * down, out=across)
    away /= np.float32(person.height)
    away -= near[:, None, None]
    away -= np.multiply(step, grow[:, None, None], out=step)
    return away
