"""Keypoint R-CNN as the keypoint predictor K (Eq. 1), of the Mask R-CNN family that VILLS uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import KeypointRCNN, KeypointRCNN_ResNet50_FPN_Weights
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from reid_lse.builder import Builder
from reid_lse.checkpoints import fetch_address, load_weights, read_weights
from reid_lse.keypoint_sets import COCO_KEYPOINTS

NAME = "keypointrcnn_resnet50_fpn"

LONG_SIDE = 640
"""Pixels that a crop's longer side is resized to: about the sizes of people in COCO, which trained it."""

SLIVER = 16
"""Crops longer than this many times their width are padded, lest no column is left of them."""

BATCH = 16
"""Crops in one pass."""

HALF_SURE = 2.0
"""Heat map logit taken as confidence 0.5: the one from which Detectron draws a keypoint."""


@dataclass(frozen=True)
class KeypointRCNNOptions:
    """Options of Keypoint R-CNN.

    Args:
        checkpoint: a state dict, a file or an https address; by default torchvision's for COCO
        sha256: digest of the checkpoint to check; needed for an address
    """

    checkpoint: str | None = None
    sha256: str | None = None


class KeypointRCNNPredictor:
    """The keypoints of the best person in each crop.

    The heat map's highest logit l becomes the confidence sigmoid(l - 2), times the score of the detection, so
    that what is hardly a person has no keypoint over a threshold. A crop without person has confidences 0.

    Args:
        model: torchvision's KeypointRCNN with COCO's 17 keypoints, moved to the device and put into
            evaluation mode; `load_keypoint_rcnn` builds one.
        device: where it runs.
    """

    def __init__(self, model: nn.Module, device: str | torch.device = "cpu") -> None:
        self.model = model.to(device).eval()
        self.device = torch.device(device)

    @torch.inference_mode()
    def __call__(self, images: Sequence[Tensor]) -> Tensor:
        """Predict keypoints; see `KeypointPredictor`."""
        keypoints = torch.zeros(len(images), len(COCO_KEYPOINTS), 3)
        for at in range(0, len(images), BATCH):
            crops = [_widen(image.to(self.device)) / 255 for image in images[at : at + BATCH]]
            for row, found in enumerate(self.model(crops), start=at):
                if len(found["scores"]):
                    best = int(found["scores"].argmax())
                    sure = (found["keypoints_scores"][best] - HALF_SURE).sigmoid() * found["scores"][best]
                    keypoints[row] = torch.cat([found["keypoints"][best, :, :2], sure[:, None]], dim=1).cpu()
        return keypoints


def load_keypoint_rcnn(checkpoint: str | Path | None = None, sha256: str | None = None) -> KeypointRCNN:
    """Build Keypoint R-CNN (ResNet-50, FPN; He et al., 2017) and load its weights.

    Args:
        checkpoint: file or https address of a state dict; None fetches torchvision's COCO weights.
        sha256: digest to check, in hexadecimal; needed for an address.

    Returns:
        The model, on the CPU, in evaluation mode. It resizes crops itself.

    Raises:
        FileNotFoundError: no such file.
        OSError: the weights can't be fetched.
        ValueError: a wrong digest, or weights of another model.
    """
    if checkpoint is None:
        checkpoint = _fetch(NAME)
    state = read_weights(checkpoint, sha256)
    model = build_keypoint_rcnn()
    load_weights(model, state, checkpoint)
    return model


def build_keypoint_rcnn() -> KeypointRCNN:
    """torchvision's Keypoint R-CNN with random weights, resizing to LONG_SIDE, for one person per crop."""
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None)
    for module in backbone.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0  # as torchvision evaluates its published weights
    return KeypointRCNN(
        backbone,
        num_classes=2,
        num_keypoints=len(COCO_KEYPOINTS),
        min_size=LONG_SIDE,
        max_size=LONG_SIDE,
        box_detections_per_img=1,
    )


def _widen(image: Tensor) -> Tensor:
    height, width = image.shape[1:]
    least = -(-max(height, width) // SLIVER)
    return F.pad(image, (0, max(0, least - width), 0, max(0, least - height)))


def _fetch(name: str) -> Path:
    """torchvision's published weights, whose names end in the beginning of their SHA-256."""
    address = KeypointRCNN_ResNet50_FPN_Weights.COCO_V1.url
    return fetch_address(address, Path(address).stem.rpartition("-")[2])


def _build(name: str, options: KeypointRCNNOptions, device: str) -> KeypointRCNNPredictor:
    return KeypointRCNNPredictor(load_keypoint_rcnn(options.checkpoint, options.sha256), device)


BUILDER = Builder(KeypointRCNNOptions, _build, _fetch)
