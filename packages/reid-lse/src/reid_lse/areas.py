"""Areas of the body and their keypoints; what counts as found, by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reid_lse.keypoint_sets import COCO_KEYPOINTS, coco_parent

HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
LEFT_ARM = ("left_shoulder", "left_elbow", "left_wrist")
RIGHT_ARM = ("right_shoulder", "right_elbow", "right_wrist")
LEFT_LEG = ("left_hip", "left_knee", "left_ankle")
RIGHT_LEG = ("right_hip", "right_knee", "right_ankle")
TORSO = LEFT_ARM + RIGHT_ARM + ("left_hip", "right_hip")

AREAS: dict[str, tuple[str, ...]] = {
    "head": HEAD,
    "torso": TORSO,
    "legs": LEFT_LEG + RIGHT_LEG,
    "left_arm": LEFT_ARM,
    "right_arm": RIGHT_ARM,
    "left_leg": LEFT_LEG,
    "right_leg": RIGHT_LEG,
    "upper": HEAD + TORSO,
    "lower": LEFT_LEG + RIGHT_LEG,
    "feet": ("left_ankle", "right_ankle"),
}
"""Named areas and their keypoints. A joint between areas belongs to both, as the hips to torso and legs."""

DEFAULT_AREAS = ("head", "torso", "legs")
"""The three areas VILLS extracts."""

DEFAULT_THRESHOLD = 0.3
"""tau^a of Eq. 4 on confidences from 0 to 1; the paper gives no number. It drops the prior's wrists."""

MIN_QUALITY = 0.4
"""Areas of a lower quality are not valid: 3 % on synthetic people that no benchmark reports, of which 82 %
have an IoU under a half (benchmarks/lse_masks.py --fit)."""

Areas = Sequence[str] | Mapping[str, Sequence[str]]
"""Names out of AREAS, or one's own areas with their keypoints."""


def named_areas(areas: Areas, names: Sequence[str] = COCO_KEYPOINTS) -> dict[str, tuple[str, ...]]:
    """Areas with their keypoints' names, checked.

    Args:
        areas: names out of AREAS, or a mapping from names to keypoints.
        names: the set's keypoints. In an area of AREAS, those that COCO does not have go with the COCO
            keypoint that they belong to, as heels and toes do with the ankle.

    Raises:
        ValueError: no area, an area twice, an unknown area or keypoint, an area without keypoints.

    Example:
        >>> named_areas({"shoulders": ("left_shoulder", "right_shoulder")})
        {'shoulders': ('left_shoulder', 'right_shoulder')}
    """
    if isinstance(areas, str):
        raise ValueError(f"areas must be a sequence of names, got the string {areas!r}; write ({areas!r},)")
    if not isinstance(areas, Mapping):
        unknown = [name for name in areas if name not in AREAS]
        if unknown:
            raise ValueError(
                f"unknown area {unknown[0]!r}; known are {', '.join(AREAS)}. "
                "For one of your own, pass a mapping from its name to its keypoints"
            )
        if len(set(areas)) < len(areas):
            raise ValueError(f"each area may be named once, got {tuple(areas)}")
        parents = {name: coco_parent(name) for name in names}
        areas = {area: tuple(name for name in names if parents[name] in AREAS[area]) for area in areas}
    if not areas:
        raise ValueError("areas is empty: name at least one area")
    for name, keypoints in areas.items():
        unknown = [keypoint for keypoint in keypoints if keypoint not in names]
        if unknown:
            raise ValueError(f"area {name!r}: unknown keypoint {unknown[0]!r}; known are {', '.join(names)}")
        if not keypoints:
            raise ValueError(f"area {name!r} has no keypoints: give it at least one")
    return {name: tuple(keypoints) for name, keypoints in areas.items()}
