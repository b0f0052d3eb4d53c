"""SAM 2.1, SAM-HQ, EdgeTAM and SAM 3's tracker as the segmenter, through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from reid_lse.builder import Builder
from reid_lse.hub import Precision, fetch_checkpoint, load_pretrained
from reid_lse.prompts import Prompts, prompt_boxes

SAM2, SAM_HQ = ("Sam2Model", "Sam2Processor"), ("SamHQModel", "SamHQProcessor")

PUBLISHED = {
    "sam2.1_hiera_tiny": (SAM2, "facebook/sam2.1-hiera-tiny"),
    "sam2.1_hiera_small": (SAM2, "facebook/sam2.1-hiera-small"),
    "sam2.1_hiera_base_plus": (SAM2, "facebook/sam2.1-hiera-base-plus"),
    "sam2.1_hiera_large": (SAM2, "facebook/sam2.1-hiera-large"),
    "sam_hq_vit_b": (SAM_HQ, "syscv-community/sam-hq-vit-base"),
    "sam_hq_vit_l": (SAM_HQ, "syscv-community/sam-hq-vit-large"),
    "sam_hq_vit_h": (SAM_HQ, "syscv-community/sam-hq-vit-huge"),
    "edgetam": (("EdgeTamModel", "Sam2Processor"), "yonigozlan/EdgeTAM-hf"),
    "sam3_tracker": (("Sam3TrackerModel", "Sam3TrackerProcessor"), "facebook/sam3"),
}
"""Classes of transformers and hub ids of the published checkpoints."""


@dataclass(frozen=True)
class PromptableOptions:
    """Options of a promptable segmenter of transformers.

    Args:
        checkpoint: folder of a checkpoint, or a hub id; by default the published one
        revision: of the hub id, such as a commit
        batch: crops in one pass
        precision: of the multiplications
        box: prompt with the box around the positives too
    """

    checkpoint: str | None = None
    revision: str | None = None
    batch: int = 8
    precision: Precision = "float32"
    box: bool = False


class PromptableSegmenter:
    """Masks by a promptable model of transformers: all areas of a crop in one pass of its decoder.

    Args:
        model: Sam2Model, SamHQModel, EdgeTamModel or Sam3TrackerModel, moved to the device and put into
            evaluation mode.
        processor: the model's own, which resizes crops and scales points.
        device: where it runs.
        batch: crops in one pass.
        precision: of the multiplications; "bfloat16" and "float16" by autocast.
        box: prompt with the box around the positives too.

    Raises:
        ValueError: a batch below 1, an unknown precision.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        device: str | torch.device = "cpu",
        batch: int = 8,
        precision: Precision = "float32",
        box: bool = False,
    ) -> None:
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        if precision not in get_args(Precision):
            raise ValueError(f"precision must be one of {get_args(Precision)}, got {precision!r}")
        self.model, self.processor = model.to(device).eval(), processor
        self.device, self.dtype = torch.device(device), getattr(torch, precision)
        self.batch, self.box = batch, box

    @torch.inference_mode()
    def __call__(self, images: Sequence[Tensor], keypoints: Tensor, prompts: Prompts) -> list[Tensor]:
        """Segment every area of every crop (Eq. 3 of VILLS); see `Segmenter`."""
        prompts, keypoints = prompts.cpu(), keypoints.cpu().float()
        masks = [
            torch.zeros(prompts.positive.shape[1], *image.shape[1:], dtype=torch.bool) for image in images
        ]
        for (_, areas), rows in _group_alike(prompts).items():
            for at in range(0, len(rows), self.batch):
                part = rows[at : at + self.batch]
                found = self._masks([images[row] for row in part], keypoints[part], prompts.of(part), areas)
                for row, mask in zip(part, found, strict=True):
                    masks[row][list(areas)] = mask
        return masks

    def _masks(
        self, crops: list[Tensor], keypoints: Tensor, prompts: Prompts, areas: tuple[int, ...]
    ) -> list[Tensor]:
        """Masks bool [len(areas) h w] of crops that have as many points in each of these areas."""
        said = prompts.positive | prompts.negative
        points, labels = [], []
        for row in range(len(crops)):
            used = [said[row, area] for area in areas]
            points.append([keypoints[row, which, :2].tolist() for which in used])
            labels.append(
                [
                    prompts.positive[row, area, which].int().tolist()
                    for area, which in zip(areas, used, strict=True)
                ]
            )
        boxes = prompt_boxes(keypoints, prompts)[:, list(areas)].tolist() if self.box else None
        inputs = self.processor(
            images=[crop.cpu() for crop in crops],
            input_points=points,
            input_labels=labels,
            **({} if boxes is None else {"input_boxes": boxes}),
            return_tensors="pt",
        )
        sizes = [inputs.pop(name) for name in ("original_sizes", "reshaped_input_sizes") if name in inputs]
        moved = {
            name: value.to(self.device, torch.float32 if value.is_floating_point() else value.dtype)
            for name, value in inputs.items()
        }
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = self.model(**moved, multimask_output=False).pred_masks
        return [mask[:, 0].cpu() for mask in self.processor.post_process_masks(logits.float(), *sizes)]


def _group_alike(prompts: Prompts) -> dict[tuple[int, tuple[int, ...]], list[int]]:
    """Crops by a number of points and the areas that are prompted with so many.

    Padding points would change the model's answer, so only crops and areas of as many points go together.
    Under one threshold all areas of a crop have equally many.
    """
    counts = (prompts.positive | prompts.negative).sum(dim=2) * prompts.positive.any(dim=2)
    alike: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for row, of_areas in enumerate(counts.tolist()):
        for count in sorted(set(of_areas) - {0}):
            areas = tuple(area for area, number in enumerate(of_areas) if number == count)
            alike.setdefault((count, areas), []).append(row)
    return alike


def _build(name: str, options: PromptableOptions, device: str) -> PromptableSegmenter:
    classes, published = PUBLISHED[name]
    model, processor = load_pretrained(classes, options.checkpoint or published, options.revision)
    return PromptableSegmenter(model, processor, device, options.batch, options.precision, options.box)


BUILDER = Builder(PromptableOptions, _build, lambda name: fetch_checkpoint(PUBLISHED[name][1]))
