"""ViTPose and Sapiens 2 as the keypoint predictor, through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from reid_lse.builder import Builder
from reid_lse.hub import Precision, fetch_checkpoint, load_pretrained
from reid_lse.keypoint_sets import COCO_KEYPOINTS, COCO_WHOLEBODY, GOLIATH, GOLIATH_BODY

PUBLISHED = {
    "vitpose": (("VitPoseForPoseEstimation", "VitPoseImageProcessor"), "usyd-community/vitpose-base-simple"),
    "sapiens2": (("Sapiens2ForPoseEstimation", "Sapiens2ImageProcessor"), "facebook/sapiens2-pose-0.4b"),
}
"""Classes of transformers and hub ids of the published checkpoints."""

SETS = {
    len(COCO_KEYPOINTS): {name: index for index, name in enumerate(COCO_KEYPOINTS)},
    len(COCO_WHOLEBODY): {name: index for index, name in enumerate(COCO_WHOLEBODY)},
    GOLIATH: GOLIATH_BODY,
}
"""Names of the keypoints that are kept and their heat maps, by the number of heat maps."""


@dataclass(frozen=True)
class HeatmapOptions:
    """Options of a heat map model of transformers.

    Args:
        checkpoint: folder of a checkpoint, or a hub id; by default a published one
        revision: of the hub id, such as a commit
        batch: crops in one pass
        precision: of the multiplications
        dataset: expert of ViTPose+, such as 0 for COCO; -1 for models without experts
    """

    checkpoint: str | None = None
    revision: str | None = None
    batch: int = 32
    precision: Precision = "float32"
    dataset: int = -1


class HeatmapPredictor:
    """Keypoints of each crop by a top-down heat map model, the whole crop its box.

    Args:
        model: VitPoseForPoseEstimation or Sapiens2ForPoseEstimation, moved to the device and put into
            evaluation mode.
        processor: the model's own image processor.
        device: where it runs.
        batch: crops in one pass.
        precision: of the multiplications; "bfloat16" and "float16" by autocast.
        dataset: expert of ViTPose+; -1 for models without experts.

    Attributes:
        names: of the keypoints, by the model's number of heat maps: COCO's 17, COCO-WholeBody's 133, or the
            body and feet of Sapiens' 308.

    Raises:
        ValueError: a batch below 1, an unknown precision.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        device: str | torch.device = "cpu",
        batch: int = 32,
        precision: Precision = "float32",
        dataset: int = -1,
    ) -> None:
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        if precision not in get_args(Precision):
            raise ValueError(f"precision must be one of {get_args(Precision)}, got {precision!r}")
        self.model, self.processor = model.to(device).eval(), processor
        self.device, self.dtype = torch.device(device), getattr(torch, precision)
        self.batch, self.dataset = batch, dataset
        chosen = SETS.get(model.config.num_labels)
        if chosen is None:
            raise ValueError(
                f"the model has {model.config.num_labels} keypoints; known are sets of {[*SETS]}"
            )
        self.names, self._maps = tuple(chosen), list(chosen.values())

    @torch.inference_mode()
    def __call__(self, images: Sequence[Tensor]) -> Tensor:
        """Predict keypoints; see `KeypointPredictor`."""
        parts = [self._predict(images[at : at + self.batch]) for at in range(0, len(images), self.batch)]
        return torch.cat(parts)

    def _predict(self, images: Sequence[Tensor]) -> Tensor:
        boxes = [[[0.0, 0.0, float(image.shape[2]), float(image.shape[1])]] for image in images]
        pixels = self.processor(images=[image.cpu() for image in images], boxes=boxes, return_tensors="pt")
        expert = {} if self.dataset < 0 else {"dataset_index": torch.full((len(images),), self.dataset)}
        inputs = {name: value.to(self.device) for name, value in {**pixels, **expert}.items()}
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            outputs = self.model(**inputs)
        outputs.heatmaps = outputs.heatmaps.float()
        poses = self.processor.post_process_pose_estimation(outputs, boxes=boxes)
        keypoints = [
            torch.cat([pose["keypoints"][self._maps], pose["scores"].reshape(-1, 1)[self._maps]], dim=1)
            for (pose,) in poses
        ]
        found = torch.stack(keypoints).float().cpu()
        found[..., 2].clamp_(0, 1)
        return found


def _build(name: str, options: HeatmapOptions, device: str) -> HeatmapPredictor:
    classes, published = PUBLISHED[name]
    model, processor = load_pretrained(classes, options.checkpoint or published, options.revision)
    return HeatmapPredictor(model, processor, device, options.batch, options.precision, options.dataset)


BUILDER = Builder(HeatmapOptions, _build, lambda name: fetch_checkpoint(PUBLISHED[name][1]))
