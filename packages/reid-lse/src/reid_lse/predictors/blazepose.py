"""BlazePose as the keypoint predictor (Bazarevsky et al., 2020): keypoints and a person mask, on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
from torch import Tensor

from reid_lse.builder import Builder
from reid_lse.keypoint_sets import BLAZEPOSE_LANDMARKS, COCO_KEYPOINTS
from reid_lse.keypoints import Pose
from reid_lse.predictors.compiled import compile_queue, read_model
from reid_lse.weights import WheelFile, cached_file, fetch_from_wheel

WEIGHTS = WheelFile(
    "mediapipe==0.10.21",
    "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
)
"""The landmark model in MediaPipe's wheel (Apache-2.0); later wheels hold none."""

SIDE = 256
"""Pixels of the model's square input."""

MARGIN = 1.25
"""Side of the square that the model sees over the crop's longer side, as MediaPipe cuts people out."""

LANDMARKS = 39
"""That the model gives: 33 of the body, 6 that MediaPipe tracks with."""

NUMBERS = 5
"""Of a landmark: x, y, z in pixels of the input, logits of its visibility and presence."""

Points = Literal["coco", "blazepose"]


@dataclass(frozen=True)
class BlazePoseOptions:
    """Options of BlazePose.

    Args:
        checkpoint: the landmark model, *.tflite; by default what `reid-lse weights blazepose` fetched
        points: coco for COCO's 17 keypoints, blazepose for all 33 landmarks
        threads: that the model runs in; 0 for as many as there are cores
    """

    checkpoint: str | None = None
    points: Points = "coco"
    threads: int = 0


class BlazePosePredictor:
    """Keypoints and the person mask of each crop by BlazePose's landmark model (extra `blazepose`).

    It runs on the CPU. The crop stands in the middle of a square, its borders repeated around it. The
    confidence is the product of a keypoint's visibility, its presence, and the score that there is a person.

    Args:
        checkpoint: the landmark model, *.tflite.
        points: "coco" or "blazepose".
        threads: that the model runs in; 0 for as many as there are cores.

    Attributes:
        names: of the keypoints.

    Raises:
        FileNotFoundError: no such file.
        ImportError: OpenVINO is not installed.
        ValueError: a file that is no BlazePose landmark model, unknown points.
    """

    def __init__(self, checkpoint: str | Path, points: Points = "coco", threads: int = 0) -> None:
        if points not in get_args(Points):
            raise ValueError(f"points must be one of {get_args(Points)}, got {points!r}")
        self.names = COCO_KEYPOINTS if points == "coco" else BLAZEPOSE_LANDMARKS
        self._queue = _load(Path(checkpoint), threads)
        self._columns = [BLAZEPOSE_LANDMARKS.index(name) for name in self.names]
        self._turn = Lock()

    def __call__(self, images: Sequence[Tensor]) -> Pose:
        """Predict keypoints and person masks; see `KeypointPredictor`."""
        crops = [image.detach().cpu().permute(1, 2, 0).contiguous().numpy() for image in images]
        fits = [_fit(*crop.shape[:2]) for crop in crops]
        keypoints = torch.zeros(len(images), len(self.names), 3)
        person: list[Tensor] = [torch.empty(0)] * len(images)

        def keep(request: Any, row: int) -> None:
            outputs = [np.array(request.get_output_tensor(index).data[0]) for index in range(3)]
            landmarks, score, mask = outputs
            keypoints[row] = self._keypoints(landmarks, score.item(), fits[row])
            person[row] = _person(mask[:, :, 0], fits[row], crops[row].shape[:2])

        with self._turn:
            self._queue.set_callback(keep)
            for row, (crop, fit) in enumerate(zip(crops, fits, strict=True)):
                square = cv2.warpAffine(crop, fit, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
                self._queue.start_async({0: square[None].astype(np.float32) / 255}, row)
            self._queue.wait_all()
        return Pose(keypoints, person)

    def _keypoints(self, landmarks: np.ndarray, score: float, fit: np.ndarray) -> Tensor:
        """Keypoints in the crop's own pixels: [k 3]."""
        points = landmarks.reshape(-1, NUMBERS)[self._columns]
        keypoints = np.empty((len(points), 3), np.float32)
        keypoints[:, :2] = (points[:, :2] - fit[:, 2]) / fit[0, 0]
        keypoints[:, 2] = _sigmoid(points[:, 3]) * _sigmoid(points[:, 4]) * score
        return torch.from_numpy(keypoints)


def _person(mask: np.ndarray, fit: np.ndarray, size: tuple[int, ...]) -> Tensor:
    """The person mask in the crop's own pixels: [h w]."""
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return torch.from_numpy(np.asarray(cv2.warpAffine(_sigmoid(mask), fit, size[::-1], flags=how)))


def _load(path: Path, threads: int) -> Any:
    """A queue of requests to the compiled model."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file of BlazePose's weights; `reid-lse weights blazepose` fetches them"
        )
    model = read_model(path, "blazepose")
    shapes = [port.get_partial_shape().to_string() for port in (*model.inputs, *model.outputs[:3])]
    if shapes != [f"[1,{SIDE},{SIDE},3]", f"[1,{NUMBERS * LANDMARKS}]", "[1,1]", f"[1,{SIDE},{SIDE},1]"]:
        raise ValueError(f"{path}: expected BlazePose's landmark model, got one with shapes {shapes}")
    return compile_queue(model, threads)


def _fit(height: int, width: int) -> np.ndarray:
    """From the crop's pixels to the input's: float32 [2 3]."""
    scale = SIDE / (MARGIN * max(height, width))
    return np.array(
        [[scale, 0, (SIDE - scale * width) / 2], [0, scale, (SIDE - scale * height) / 2]], np.float32
    )


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logits, -60, 60)))


def _build(name: str, options: BlazePoseOptions, device: str) -> BlazePosePredictor:
    checkpoint = cached_file(WEIGHTS) if options.checkpoint is None else options.checkpoint
    return BlazePosePredictor(checkpoint, options.points, options.threads)


BUILDER = Builder(BlazePoseOptions, _build, lambda name: fetch_from_wheel(WEIGHTS))
