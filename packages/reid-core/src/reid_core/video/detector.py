"""Person detectors: any function from frames to boxes, and torchvision's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torchvision.models import detection, get_model, list_models

from reid_core.models.checkpoint_files import read_checkpoint_file
from reid_core.processes import Machine, check_device

PERSON = 1
"""COCO's label of persons, in all of torchvision's detectors."""


class Detections(NamedTuple):
    """Persons in a frame."""

    boxes: np.ndarray  # float [n 4]: left, top, right, bottom, in pixels
    scores: np.ndarray  # float [n], 0..1


Detector = Callable[[Sequence[np.ndarray]], Sequence[Detections | tuple[np.ndarray, np.ndarray]]]
"""Frames, uint8 [h w 3] RGB each -> boxes and scores of the persons in each; low ones too, for ByteTrack."""


class PersonDetector:
    """A detector of torchvision that was trained on COCO, reduced to persons.

    Args:
        weights: file of its state_dict, as torchvision publishes it; read with `weights_only=True`.
        model: name among `torchvision.models.list_models(module=torchvision.models.detection)`.
        device: where it runs; "auto" takes a CUDA device if there is one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown model, weights that aren't this model's, or a GPU that isn't there.
    """

    def __init__(
        self, weights: str | Path, model: str = "fasterrcnn_resnet50_fpn_v2", device: str = "auto"
    ) -> None:
        if model not in list_models(module=detection):
            known = ", ".join(list_models(module=detection))
            raise ValueError(f"no detector of torchvision is named {model!r}; there are {known}")
        if not Path(weights).is_file():
            raise FileNotFoundError(f"there is no file {weights}: give the weights of {model}")
        check_device(Machine(accelerator=device.partition(":")[0]))
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self.model = get_model(model, weights=None, weights_backbone=None)
        try:
            self.model.load_state_dict(read_checkpoint_file(weights))
        except Exception as error:
            raise ValueError(
                f"{weights} doesn't hold the weights of {model} ({str(error).splitlines()[0][:200]}); give "
                "its state_dict as torchvision publishes it, or the model's right name"
            ) from error
        self.model.eval().to(self.device)

    @torch.inference_mode()
    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """The persons of each frame, uint8 [h w 3] RGB."""
        images = [torch.from_numpy(frame).to(self.device).permute(2, 0, 1) / 255 for frame in frames]
        persons = []
        for found in self.model(images):
            chosen = found["labels"] == PERSON
            boxes, scores = found["boxes"][chosen], found["scores"][chosen]
            persons.append(Detections(boxes.cpu().numpy(), scores.cpu().numpy()))
        return persons
