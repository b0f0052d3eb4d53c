"""Skeleton, walking cycle and projection.

The person's frame: x to the person's left, y up, z forward, in metres, the ground at y = 0 under the hips.
The camera sees the person under a yaw (0: facing the camera, pi/2: walking to the right of the picture, so
that the right side of the body is seen, pi: from behind) and a pitch (0: level, pi/2: from straight above).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from reid_core.synthetic.person import Body

COCO_KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee",
    "left_ankle", "right_ankle",
)  # fmt: skip
JOINTS = COCO_KEYPOINTS + (
    "head", "neck", "collar", "waist", "pelvis", "left_hand", "right_hand", "left_toe", "right_toe",
    "left_heel", "right_heel", "back_top", "back_bottom", "side_top", "side_bottom", "hair_top",
    "hair_bottom",
    "hem", "brim",
)  # fmt: skip
INDEX = {name: i for i, name in enumerate(JOINTS)}


class View(NamedTuple):
    """Where the camera is, as seen from the person."""

    yaw: float  # radians
    pitch: float  # radians
    distance: float  # metres from the camera to the pelvis


def _limb(
    start: np.ndarray, upper: float, lower: float, swing: float, bend: float, out: float
) -> tuple[np.ndarray, np.ndarray]:
    """Two-segment limb hanging from `start`: swing forward, then bend (positive bends forward)."""
    middle = start + upper * np.array([out, -math.cos(swing), math.sin(swing)])
    end = middle + lower * np.array([out * 0.3, -math.cos(swing + bend), math.sin(swing + bend)])
    return middle, end


def walk(body: Body, phase: float, effort: float = 1.0, bag_side: int = 1, hem: float = 0.0) -> np.ndarray:
    """Joints of a walking person at `phase` of the gait cycle (radians); effort 0 stands still.

    Returns:
        float64 [joints 3] in metres, in the order of JOINTS.

    Example:
        >>> from reid_core.synthetic.person import sample_body
        >>> walk(sample_body(0, 0), phase=1.0).shape
        (36, 3)
    """
    h = body.stature
    joint: dict[str, np.ndarray] = {}
    hip_height = body.leg * h - 0.012 * h * effort * (1 - math.cos(2 * phase)) / 2 * body.stride / 0.4
    sway = 0.008 * h * effort * math.sin(phase)
    lean = body.stoop + 0.03 * effort
    up = np.array([0.0, math.cos(lean), math.sin(lean)])
    forward = np.array([0.0, -math.sin(lean), math.cos(lean)])
    pelvis = np.array([sway, hip_height, 0.0])
    trunk = (0.818 - body.leg) * h
    collar = pelvis + trunk * up
    turn = 0.12 * effort * math.sin(phase)  # shoulders turn against the hips

    joint["pelvis"], joint["collar"] = pelvis, collar
    joint["waist"] = pelvis + 0.3 * trunk * up
    joint["neck"] = collar + 0.03 * h * up
    head_half = 0.066 * h * body.head
    head = collar + (0.03 * h + head_half) * np.array([0, 1, 0]) + 0.02 * h * forward * (1 + 2 * body.stoop)
    joint["head"] = head
    x_axis, z_axis = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])
    joint["nose"] = head - 0.16 * head_half * np.array([0, 1, 0]) + 0.88 * head_half * z_axis
    for side, sign in (("left", 1.0), ("right", -1.0)):
        y_axis = np.array([0, 1.0, 0])
        joint[f"{side}_eye"] = (
            head + 0.1 * head_half * y_axis + 0.74 * head_half * z_axis + 0.26 * head_half * sign * x_axis
        )
        joint[f"{side}_ear"] = head - 0.02 * head_half * y_axis + 0.62 * head_half * sign * x_axis
        across = np.array([math.cos(turn), 0, math.sin(turn)]) * sign
        shoulder = collar + 0.9 * body.shoulder * h * across - 0.034 * h * up
        gait = math.sin(phase) * sign
        # The arm swings against the leg of its own side.
        elbow, wrist = _limb(
            shoulder, 0.166 * h, 0.146 * h, -body.arm_swing * effort * gait - 0.03,
            body.elbow * (0.5 + 0.5 * effort),
            0.14 * sign * (0.6 + 0.4 * body.girth),
        )  # fmt: skip
        joint[f"{side}_shoulder"], joint[f"{side}_elbow"], joint[f"{side}_wrist"] = shoulder, elbow, wrist
        joint[f"{side}_hand"] = wrist + (wrist - elbow) * 0.45
        hip = pelvis + body.hip * h * sign * x_axis
        swing = body.stride * effort * gait
        # The knee bends while the leg is brought forward.
        bend = -effort * (0.12 + 0.95 * body.stride * max(0.0, 1.6 * math.cos(phase) * sign) ** 1.5)
        knee, ankle = _limb(hip, (body.leg - 0.278) * h, 0.238 * h, swing, bend, 0.03 * sign)
        joint[f"{side}_hip"], joint[f"{side}_knee"], joint[f"{side}_ankle"] = hip, knee, ankle
        tilt = 0.5 * (swing + bend)
        sole = np.array([0.2 * sign, 0.35 * math.sin(tilt) - 0.16, math.cos(tilt)])
        joint[f"{side}_toe"] = ankle + 0.115 * h * sole + np.array([0, -0.008 * h, 0])
        joint[f"{side}_heel"] = ankle - 0.022 * h * sole + np.array([0, -0.024 * h, 0])
    depth = 0.066 * h * body.girth
    joint["back_top"] = pelvis + 0.86 * trunk * up - 1.55 * depth * forward
    joint["back_bottom"] = pelvis + 0.22 * trunk * up - 1.65 * depth * forward
    beside = bag_side * (body.hip * h + 0.065 * h * body.girth) * x_axis
    joint["side_top"] = pelvis + beside + 0.02 * h * up - 0.02 * h * z_axis
    joint["side_bottom"] = pelvis + beside - 0.1 * h * up - 0.02 * h * z_axis
    joint["hair_top"] = head - 0.25 * head_half * z_axis
    joint["hair_bottom"] = head - np.array([0, 2.6 * head_half, 0]) - 0.75 * head_half * z_axis
    joint["hem"] = pelvis - np.array([0, hem * (body.leg - 0.278) * h, 0])
    joint["brim"] = head + 0.35 * head_half * np.array([0, 1, 0]) + 1.35 * head_half * z_axis
    points = np.array([joint[name] for name in JOINTS])
    lowest = (
        min(joint[f"{side}_{end}"][1] for side in ("left", "right") for end in ("heel", "toe")) - 0.006 * h
    )
    points[:, 1] -= lowest
    return points


def project(points: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Perspective projection of joints [n 3] in metres.

    Returns:
        [n 2] in metres at the person's distance, x right and y down, the ground point under the person at the
        origin; and [n] depth in metres, larger is nearer to the camera.
    """
    c, s = math.cos(view.yaw), math.sin(view.yaw)
    x = points[:, 0] * c + points[:, 2] * s
    z = -points[:, 0] * s + points[:, 2] * c
    cp, sp = math.cos(view.pitch), math.sin(view.pitch)
    y, depth = points[:, 1] * cp - z * sp, z * cp + points[:, 1] * sp
    scale = view.distance / (view.distance - depth)
    return np.stack([x * scale, -y * scale], 1), depth
