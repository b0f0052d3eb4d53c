"""RTMPose as the keypoint predictor (Jiang et al., 2023), from the ONNX file that its authors publish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from reid_lse.builder import Builder
from reid_lse.keypoint_sets import COCO_KEYPOINTS, COCO_WHOLEBODY, HALPE_26
from reid_lse.predictors.compiled import compile_queue, read_model

MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)
"""Of the input's RGB values."""

MARGIN = 1.25
"""The model's window over the crop, as it was trained on boxes of people."""

SETS = {len(names): names for names in (COCO_KEYPOINTS, HALPE_26, COCO_WHOLEBODY)}
"""Keypoint sets by their number of keypoints."""


@dataclass(frozen=True)
class RTMPoseOptions:
    """Options of RTMPose.

    Args:
        checkpoint: the model, *.onnx, of 17, 26 or 133 keypoints
        threads: that the model runs in; 0 for as many as there are cores
    """

    checkpoint: str | None = None
    threads: int = 0


class RTMPosePredictor:
    """Keypoints of each crop by RTMPose, on the CPU (extra `blazepose`, for its OpenVINO).

    Each coordinate is the highest bin of a classification over the input's columns and rows (SimCC). The
    confidence is the lower of both scores.

    Args:
        checkpoint: the model, *.onnx: input [n 3 h w], outputs simcc_x [n k x] and simcc_y [n k y].
        threads: that the model runs in; 0 for as many as there are cores.

    Attributes:
        names: of the keypoints.

    Raises:
        FileNotFoundError: no such file.
        ImportError: OpenVINO is not installed.
        ValueError: a file of another model, or of a number of keypoints that is not known.
    """

    def __init__(self, checkpoint: str | Path, threads: int = 0) -> None:
        model = read_model(Path(checkpoint), "rtmpose")
        height, width, count = _sizes(model, checkpoint)
        model.reshape([1, 3, height, width])
        self.names = SETS[count]
        self._size = height, width
        self._queue = compile_queue(model, threads)
        self._turn = Lock()

    def __call__(self, images: Sequence[Tensor]) -> Tensor:
        """Predict keypoints; see `KeypointPredictor`."""
        keypoints = torch.zeros(len(images), len(self.names), 3)
        fits = [_fit(image.shape[1], image.shape[2], self._size) for image in images]

        def keep(request: Any, row: int) -> None:
            x, y = (np.array(request.get_output_tensor(index).data[0]) for index in range(2))
            keypoints[row] = torch.from_numpy(_keypoints(x, y, self._size, fits[row]))

        with self._turn:
            self._queue.set_callback(keep)
            for row, image in enumerate(images):
                crop = image.detach().cpu().permute(1, 2, 0).contiguous().numpy()
                window = cv2.warpAffine(crop, fits[row], self._size[::-1], flags=cv2.INTER_LINEAR)
                pixels = (window.astype(np.float32) - MEAN) / STD
                self._queue.start_async({0: pixels.transpose(2, 0, 1)[None]}, row)
            self._queue.wait_all()
        return keypoints


def _sizes(model: Any, checkpoint: str | Path) -> tuple[int, int, int]:
    """Rows and columns of the input, and the number of keypoints."""
    ports = [port.get_partial_shape() for port in (*model.inputs, *model.outputs)]
    if [len(port) for port in ports] != [4, 3, 3] or any(
        port[axis].is_dynamic for port in ports for axis in (1, 2)
    ):
        raise ValueError(f"{checkpoint}: expected RTMPose, one input and two SimCC outputs, got {ports}")
    height, width, count = ports[0][2].get_length(), ports[0][3].get_length(), ports[1][1].get_length()
    if count not in SETS:
        raise ValueError(
            f"{checkpoint}: it has {count} keypoints; sets of {', '.join(map(str, SETS))} are known"
        )
    return height, width, count


def _fit(height: int, width: int, size: tuple[int, int]) -> np.ndarray:
    """From the crop's pixels to the window's, float32 [2 3]: its middle in the middle, its aspect kept."""
    scale = min(size[0] / height, size[1] / width) / MARGIN
    return np.array(
        [[scale, 0, (size[1] - scale * width) / 2], [0, scale, (size[0] - scale * height) / 2]], np.float32
    )


def _keypoints(x: np.ndarray, y: np.ndarray, size: tuple[int, int], fit: np.ndarray) -> np.ndarray:
    """The highest bins in the crop's own pixels, with their lower score: float32 [k 3]."""
    places = [side.argmax(axis=1) * extent / side.shape[1] for side, extent in ((x, size[1]), (y, size[0]))]
    points = (np.stack(places, axis=1) - fit[:, 2]) / fit[0, 0]
    scores = np.minimum(x.max(axis=1), y.max(axis=1)).clip(0, 1)
    return np.concatenate([points, scores[:, None]], axis=1).astype(np.float32)


def _build(name: str, options: RTMPoseOptions, device: str) -> RTMPosePredictor:
    if options.checkpoint is None:
        raise ValueError("rtmpose needs a checkpoint: the *.onnx file of one of its published models")
    return RTMPosePredictor(options.checkpoint, options.threads)


BUILDER = Builder(RTMPoseOptions, _build)
