"""Sets of keypoints by name, and any set brought into COCO's order."""

from __future__ import annotations

from functools import lru_cache

COCO_KEYPOINTS = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
"""The 17 keypoints of COCO in their order; left and right are the person's own."""

BLAZEPOSE_LANDMARKS = (
    "nose",
    *(f"{side}_eye{part}" for side in ("left", "right") for part in ("_inner", "", "_outer")),
    *(f"{side}_ear" for side in ("left", "right")),
    "mouth_left",
    "mouth_right",
    *(
        f"{side}_{part}"
        for part in (
            "shoulder", "elbow", "wrist", "pinky", "index", "thumb", "hip", "knee", "ankle", "heel",
            "foot_index",
        )
        for side in ("left", "right")
    ),
)  # fmt: skip
"""The 33 landmarks of BlazePose in their order."""

COCO_WHOLEBODY_FEET = (
    "left_big_toe",
    "left_small_toe",
    "left_heel",
    "right_big_toe",
    "right_small_toe",
    "right_heel",
)
COCO_WHOLEBODY = (
    *COCO_KEYPOINTS,
    *COCO_WHOLEBODY_FEET,
    *(f"face_{number}" for number in range(68)),
    *(f"left_hand_{number}" for number in range(21)),
    *(f"right_hand_{number}" for number in range(21)),
)
"""The 133 keypoints of COCO-WholeBody in their order: COCO's, feet, face, both hands."""

HALPE_26 = (
    *COCO_KEYPOINTS,
    "head",
    "neck",
    "hip",
    "left_big_toe",
    "right_big_toe",
    "left_small_toe",
    "right_small_toe",
    "left_heel",
    "right_heel",
)
"""The 26 body keypoints of Halpe in their order."""


GOLIATH = 308
"""Keypoints of the set that Sapiens is trained on: most are in the face."""

GOLIATH_BODY = {
    **{name: index for index, name in enumerate(name for name in COCO_KEYPOINTS if "wrist" not in name)},
    **{name: index for index, name in enumerate(COCO_WHOLEBODY_FEET, start=15)},
    "right_wrist": 41,
    "left_wrist": 62,
}
"""Where COCO's keypoints and the feet are among them; each wrist comes after its hand."""


@lru_cache(maxsize=64)
def coco_first(names: tuple[str, ...]) -> tuple[int, ...]:
    """Columns of a keypoint set in COCO's order, then those that COCO does not have.

    Args:
        names: of the set's keypoints.

    Returns:
        An index into names for each of COCO's 17 keypoints, -1 where the set lacks it, then the others'.

    Example:
        >>> coco_first(("neck", "nose"))[:2], coco_first(("neck", "nose"))[17:]
        ((1, -1), (0,))
    """
    place = {name: index for index, name in enumerate(names)}
    others = (index for index, name in enumerate(names) if name not in COCO_KEYPOINTS)
    return (*(place.get(name, -1) for name in COCO_KEYPOINTS), *others)


FOLLOWS = {
    "nose": ("mouth", "face", "eye", "head"),
    "wrist": ("pinky", "index", "thumb", "hand"),
    "ankle": ("heel", "toe", "foot"),
    "left_shoulder": ("neck",),
    "left_hip": ("hip",),
}
"""Words in the names of other sets' keypoints, and COCO's keypoint whose areas they share."""


def coco_parent(name: str) -> str | None:
    """COCO's keypoint that shares its areas with a keypoint of another set; itself, if it is one of COCO's.

    Example:
        >>> coco_parent("left_big_toe"), coco_parent("mouth_left"), coco_parent("tail")
        ('left_ankle', 'nose', None)
    """
    if name in COCO_KEYPOINTS:
        return name
    side = name.partition("_")[0]
    words = name.split("_")
    # A foot's index is a toe, a hand's a finger: the longer limb is looked for first.
    for parent in ("ankle", "wrist", *FOLLOWS):
        if any(word in words for word in FOLLOWS[parent]):
            if parent in COCO_KEYPOINTS:
                return parent
            return f"{side}_{parent}" if side in ("left", "right") else None
    return None
