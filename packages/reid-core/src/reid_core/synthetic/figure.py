"""A dressed person on a canvas: tubes for limbs, trunk, head, hair and bags, painted from far to near."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from reid_core.synthetic.draw import Canvas, capsule
from reid_core.synthetic.person import Body, Outfit
from reid_core.synthetic.pose import COCO_KEYPOINTS, INDEX, View

PARTS = ("background", "head", "torso", "arms", "legs", "bag")  # values of the label map
SEGMENTS = {
    "head": 1, "neck": 1, "hair": 1, "hat": 1, "trunk": 2, "left_upper_arm": 3, "right_upper_arm": 3,
    "left_lower_arm": 3, "right_lower_arm": 3, "hips": 4, "hem": 4, "left_thigh": 4, "right_thigh": 4,
    "left_shin": 4, "right_shin": 4, "left_shoe": 4, "right_shoe": 4, "bag": 5,
}  # fmt: skip
IDENT = {name: number for number, name in enumerate(SEGMENTS, start=1)}
OCCLUDER = 255
LABEL_OF_IDENT = np.zeros(256, np.uint8)
LABEL_OF_IDENT[list(IDENT.values())] = list(SEGMENTS.values())

# Height along the trunk (0 collar, 1 crotch) and half extents there, as fractions of the stature.
_TRUNK_AT = (0.0, 0.05, 0.12, 0.22, 0.42, 0.66, 0.86, 1.0)
_TRUNK_BREADTH = (0.036, 0.062, 0.098, 0.104, 0.094, 0.083, 0.092, 0.092)  # shoulders are scaled by the body
_TRUNK_DEPTH = (0.034, 0.044, 0.056, 0.068, 0.070, 0.062, 0.068, 0.066)
_V = np.linspace(0, 1, 32)
_V_TRUNK = np.linspace(0, 1, 48)
_BREADTH = np.interp(_V_TRUNK, _TRUNK_AT, _TRUNK_BREADTH)
_DEPTH = np.interp(_V_TRUNK, _TRUNK_AT, _TRUNK_DEPTH)
_WAIST = np.exp(-(((_V_TRUNK - 0.66) / 0.22) ** 2))
_SHOULDERS = np.exp(-(((_V_TRUNK - 0.15) / 0.14) ** 2))
_BALL = np.sqrt(np.maximum(0, 1 - np.linspace(-1, 1, 40) ** 2)).astype(np.float32)
_EGG = _BALL * np.interp(np.linspace(-1, 1, 40), [-1, -0.2, 1], [1.0, 1.02, 0.86]).astype(np.float32)
_BOX = np.minimum(1, np.minimum(_V, 1 - _V) * 12 + 0.4).astype(np.float32)


class Placed(NamedTuple):
    """A posed person in canvas pixels."""

    points: np.ndarray  # [joints 2]
    near: np.ndarray  # [joints] metres towards the camera along the ground, from the pelvis
    scale: np.ndarray  # [joints] canvas pixels a metre, perspective included
    view: View


def place(
    joints: np.ndarray, flat: np.ndarray, depth: np.ndarray, view: View, pixels: float, origin: np.ndarray
) -> Placed:
    """Put projected joints on the canvas: `pixels` a metre, the ground point under the person at `origin`."""
    near = -joints[:, 0] * math.sin(view.yaw) + joints[:, 2] * math.cos(view.yaw)
    scale = pixels * view.distance / (view.distance - depth)
    return Placed(flat * pixels + origin, near - near[INDEX["pelvis"]], scale, view)


def _extent(breadth: float | np.ndarray, depth: float | np.ndarray, yaw: float) -> float | np.ndarray:
    return np.hypot(breadth * math.cos(yaw), depth * math.sin(yaw))


def _turn(breadth: float, depth: float, yaw: float) -> float:
    return math.atan2(depth * math.sin(yaw), breadth * math.cos(yaw))


def draw_person(
    canvas: Canvas,
    body: Body,
    outfit: Outfit,
    textures: dict[str, np.ndarray],
    placed: Placed,
    light: tuple[float, float],
    ident: int | None = None,
) -> None:
    """Paint one person.

    Args:
        ident: number written to the canvas for the whole person, such as OCCLUDER; IDENT of each part by
            default.
    """
    points, near, scale, view = placed
    yaw, tilt = view.yaw, math.sin(view.pitch)
    at = INDEX
    jobs: list[tuple[float, str, tuple]] = []
    thick = body.stature * body.girth

    def limb(order: float, name: str, texture: str, a: str, b: str, r0: float, r1: float) -> None:
        i, j = at[a], at[b]
        start, end, radius, profile = capsule(points[i], points[j], r0 * scale[i], r1 * scale[j], 32)
        jobs.append((order, name, (start, end, radius, profile, textures[texture], yaw)))

    baggy = {"slim": 0.86, "wide": 1.25}.get(outfit.legs, 1.0)
    sleeves = 1.15 if outfit.sleeve == "long" else 1.0
    for side in ("left", "right"):
        knee, elbow = near[at[f"{side}_knee"]], near[at[f"{side}_elbow"]]
        leg = -1.0 + 0.2 * knee
        shin = (
            0.027 if outfit.legs in ("shorts", "skirt") else 0.029 * baggy,
            0.019 * (1.35 if baggy > 1 else 1),
        )
        limb(
            leg - 0.01,
            f"{side}_shoe",
            "shoe",
            f"{side}_heel",
            f"{side}_toe",
            0.022 * body.stature,
            0.014 * body.stature,
        )
        limb(
            leg,
            f"{side}_shin",
            "shin",
            f"{side}_knee",
            f"{side}_ankle",
            shin[0] * thick * 1.1,
            shin[1] * thick * 1.1,
        )
        limb(
            leg + 0.01,
            f"{side}_thigh",
            "thigh",
            f"{side}_hip",
            f"{side}_knee",
            0.049 * thick,
            0.033 * thick * baggy,
        )
        arm = (1.0 if elbow > -0.07 else -2.0) + 0.1 * elbow
        radius = 0.023 * thick * sleeves
        limb(
            arm, f"{side}_upper_arm", "upper_arm", f"{side}_shoulder", f"{side}_elbow", radius * 1.15, radius
        )
        limb(
            arm + 0.01,
            f"{side}_lower_arm",
            "lower_arm",
            f"{side}_elbow",
            f"{side}_hand",
            radius * 0.95,
            radius * 0.66,
        )

    # Trunk: an elliptic tube whose outline turns with the body.
    h = body.stature
    waist = 1 + (body.belly - 1) * _WAIST
    broad = body.girth * _BREADTH * waist * (1 + (body.shoulder / 0.108 - 1) * _SHOULDERS)
    deep = body.girth * _DEPTH * waist
    outline = np.asarray(_extent(broad, deep, yaw)) * h
    radius = float(outline.max())
    top, low = points[at["neck"]], points[at["pelvis"]]
    pixels = float(scale[at["waist"]])
    over = tilt * 0.05 * h * pixels  # seen from above, the trunk's ends show their thickness
    down = (low - top) / (np.linalg.norm(low - top) + 1e-6)
    hang = low + down * (0.035 * h * pixels * (1 - tilt) + over)
    turn = _turn(0.095, 0.065, yaw)
    profile = (outline / radius).astype(np.float32)
    jobs.append((0.0, "trunk", (top - down * over, hang, radius * pixels, profile, textures["trunk"], turn)))

    hips = float(_extent(0.094 * body.girth + body.hip - 0.052, 0.068 * body.girth, yaw)) * h
    crotch = low + down * 0.075 * h * pixels * (1 - 0.5 * tilt)
    round_off = np.interp(_V, [0, 0.6, 1], [0.95, 1.0, 0.72]).astype(np.float32)
    jobs.append(
        (-0.3, "hips", (points[at["waist"]], crotch, hips * pixels, round_off, textures["hips"], turn))
    )
    flare = np.interp(_V, [0, 0.3, 1], [0.74, 0.86, 1.0]).astype(np.float32)
    if outfit.legs == "skirt":
        end = low + (0.5 * points[at["left_knee"]] + 0.5 * points[at["right_knee"]] - low) * 0.92
        spread = abs(points[at["left_knee"]][0] - points[at["right_knee"]][0]) * 0.35
        jobs.append(
            (
                -0.25,
                "hips",
                (points[at["waist"]], end, 1.1 * hips * pixels + spread, flare, textures["hips"], turn),
            )
        )
    if outfit.hem:
        spread = abs(points[at["left_knee"]][0] - points[at["right_knee"]][0]) * 0.3 * outfit.hem
        wide = hips * pixels * (1.06 + 0.1 * outfit.hem) + spread
        shape = np.interp(_V, [0, 0.4, 1], [0.86, 0.93, 1.0]).astype(np.float32)
        jobs.append(
            (
                -0.2,
                "hem",
                (points[at["waist"]], points[at["hem"]] + over * down, wide, shape, textures["hem"], turn),
            )
        )

    # Head: an egg whose texture tips over when seen from above.
    half = 0.066 * h * body.head
    centre, pixels = points[at["head"]], float(scale[at["head"]])
    size = 1.0 if body.hair_style == "bald" and outfit.hat == "none" else 1.07
    tall = size * pixels * math.hypot(half * math.cos(view.pitch), 0.85 * half * tilt)
    width = size * pixels * float(_extent(0.70 * half, 0.84 * half, yaw))
    latitude = np.minimum(np.arcsin(np.linspace(1, -1, 40)) + view.pitch, math.pi / 2)
    rows = ((1 - np.sin(latitude)) / 2 * 39.999).astype(np.intp)
    up = np.array([0.0, tall])
    head = (centre - up, centre + up, width, _EGG, textures["head"], _turn(0.7, 0.84, yaw), rows)
    limb(-0.1, "neck", "neck", "head", "collar", 0.031 * h, 0.034 * thick)
    jobs.append((3.0, "head", head))
    behind = near[at["hair_bottom"]] <= near[at["head"]]
    if body.hair_style == "long":
        limb(-0.15 if behind else 4.0, "hair", "hair", "hair_top", "hair_bottom", 0.7 * half, 0.55 * half)
    elif body.hair_style == "ponytail":
        limb(-0.15 if behind else 4.0, "hair", "hair", "hair_top", "hair_bottom", 0.3 * half, 0.22 * half)
    elif body.hair_style == "bun":
        start, end, r, profile = capsule(
            2 * points[at["head"]] - points[at["brim"]],
            points[at["hair_top"]],
            0.36 * half * pixels,
            0.3 * half * pixels,
            32,
        )
        jobs.append((2.9 if behind else 4.0, "hair", (start, end, r, profile, textures["hair"], yaw)))
    if outfit.hat == "cap":
        front = points[at["brim"]]
        base = centre + (front - centre) * 0.6
        base[1] = front[1]
        start, end, r, profile = capsule(base, front, 0.22 * width, 0.16 * width, 32)
        jobs.append(
            (3.1 if near[at["brim"]] > 0 else 2.9, "hat", (start, end, r, profile, textures["hat"], yaw))
        )

    if outfit.bag == "backpack":
        a, b = points[at["back_top"]], points[at["back_bottom"]]
        wide = float(_extent(0.088, 0.052, yaw)) * h * outfit.bag_size * scale[at["back_top"]]
        facing_away = near[at["back_top"]] > 0
        stretch = 0.5 * (outfit.bag_size - 1) * (b - a)
        jobs.append(
            (
                0.6 if facing_away else -2.5,
                "bag",
                (a - stretch, b + stretch + over * down, wide, _BOX, textures["bag"], yaw),
            )
        )
    elif outfit.bag != "none":
        hand = "left_hand" if outfit.bag_side > 0 else "right_hand"
        anchor = at["side_top"] if outfit.bag == "shoulder" else at[hand]
        grip = points[anchor]
        drop = np.array([0.0, 0.125 * h * outfit.bag_size * scale[anchor] * (1 - 0.5 * tilt)])
        wide = float(_extent(0.022, 0.07, yaw)) * h * outfit.bag_size * scale[anchor]
        order = 1.5 if near[anchor] > -0.05 else -2.2
        jobs.append((order, "bag", (grip, grip + drop, wide, _BOX, textures["bag"], yaw)))

    for _, name, arguments in sorted(jobs, key=lambda job: job[0]):
        start, end, radius, profile, texture, turned, *rest = arguments
        number = IDENT[name] if ident is None else ident
        canvas.tube(start, end, radius, profile, texture, turned, light, number, *rest)


def _side_parts(side: str) -> dict[str, tuple[str, ...]]:
    arm, fore = f"{side}_upper_arm", f"{side}_lower_arm"
    return {
        f"{side}_eye": ("head",),
        f"{side}_ear": ("head", "hair"),
        f"{side}_shoulder": (arm, "trunk"),
        f"{side}_elbow": (arm, fore),
        f"{side}_wrist": (fore,),
        f"{side}_hip": (f"{side}_thigh", "hips", "trunk", "hem"),
        f"{side}_knee": (f"{side}_thigh", f"{side}_shin", "hem", "hips"),
        f"{side}_ankle": (f"{side}_shin", f"{side}_shoe"),
    }


_SEEN_ON = {"nose": ("head",)} | _side_parts("left") | _side_parts("right")
_ALLOWED = np.zeros((len(COCO_KEYPOINTS), 256), bool)
for _row, _name in enumerate(COCO_KEYPOINTS):
    _ALLOWED[_row, [IDENT[part] for part in _SEEN_ON[_name]]] = True
# How far behind the body's middle (metres) a point on its surface may lie and still be seen.
_BEHIND = np.array([0.02] * 3 + [-0.035] * 2 + [-0.09] * 2 + [-9.0] * 4 + [-0.07] * 2 + [-9.0] * 4)
_HEAD_POINTS = np.array([True] * 5 + [False] * 12)


def keypoints(placed: Placed, ids: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """COCO keypoints in crop pixels with what can be seen of them.

    Args:
        ids: uint8 [h w], the canvas's numbers at crop resolution.
        pixel: [2] canvas pixels per crop pixel, across and down.

    Returns:
        float32 [17 3]: x, y, and 1 where the point is in the picture with its own part on top there, else 0.
    """
    n = len(COCO_KEYPOINTS)
    xy = placed.points[:n] / pixel
    column, row = np.floor(xy[:, 0]).astype(int), np.floor(xy[:, 1]).astype(int)
    inside = (column >= 0) & (column < ids.shape[1]) & (row >= 0) & (row < ids.shape[0])
    top = ids[np.clip(row, 0, ids.shape[0] - 1), np.clip(column, 0, ids.shape[1] - 1)]
    middle = np.where(_HEAD_POINTS, placed.near[INDEX["head"]], 0.0)
    seen = inside & _ALLOWED[np.arange(n), top] & (placed.near[:n] - middle >= _BEHIND)
    return np.concatenate([xy, seen[:, None]], 1).astype(np.float32)
