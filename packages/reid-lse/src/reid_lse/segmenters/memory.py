"""SAM 2.1 and EdgeTAM with memory: areas prompted on some frames of a tracklet and followed through all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_lse.builder import Builder
from reid_lse.hub import fetch_checkpoint, load_pretrained
from reid_lse.prompts import Prompts

SAM2_VIDEO = ("Sam2VideoModel", "Sam2VideoProcessor")

PUBLISHED = {
    "sam2.1_hiera_tiny_video": (SAM2_VIDEO, "facebook/sam2.1-hiera-tiny"),
    "sam2.1_hiera_small_video": (SAM2_VIDEO, "facebook/sam2.1-hiera-small"),
    "sam2.1_hiera_base_plus_video": (SAM2_VIDEO, "facebook/sam2.1-hiera-base-plus"),
    "sam2.1_hiera_large_video": (SAM2_VIDEO, "facebook/sam2.1-hiera-large"),
    "edgetam_video": (("EdgeTamVideoModel", "Sam2VideoProcessor"), "yonigozlan/EdgeTAM-hf"),
}
"""Classes of transformers and hub ids of the published checkpoints."""


@dataclass(frozen=True)
class MemoryOptions:
    """Options of a segmenter with memory.

    Args:
        checkpoint: folder of a checkpoint, or a hub id; by default the published one
        revision: of the hub id, such as a commit
    """

    checkpoint: str | None = None
    revision: str | None = None


class MemorySegmenter:
    """Masks of a tracklet by a model of transformers that remembers the frames before.

    As a `Segmenter` it takes each crop as a tracklet of one frame; `track` is what `extract_tracklet` calls.

    Args:
        model: Sam2VideoModel or EdgeTamVideoModel, moved to the device and put into evaluation mode.
        processor: the model's own.
        device: where it runs.
    """

    def __init__(self, model: Any, processor: Any, device: str | torch.device = "cpu") -> None:
        self.model, self.processor = model.to(device).eval(), processor
        self.device = torch.device(device)

    def __call__(self, images: Sequence[Tensor], keypoints: Tensor, prompts: Prompts) -> list[Tensor]:
        """Segment every area of every crop (Eq. 3 of VILLS); see `Segmenter`."""
        return [
            self.track([image], keypoints[row : row + 1], prompts.of([row]), [0])[0]
            for row, image in enumerate(images)
        ]

    @torch.inference_mode()
    def track(
        self, frames: Sequence[Tensor], keypoints: Tensor, prompts: Prompts, prompted: Sequence[int]
    ) -> list[Tensor]:
        """Segment every area of every frame from prompts on some of them.

        Args:
            frames: of one person in their order, uint8 [3 h w] each; sizes may differ.
            keypoints: float [t k 3].
            prompts: bool [t a k] each.
            prompted: numbers of the frames whose prompts are used, the most confident first. Areas are those
                that have a positive on it; frames on which one of them has none are left out.

        Returns:
            bool [a h w] for each frame; all False for the other areas.
        """
        prompts, keypoints = prompts.cpu(), keypoints.cpu().float()
        height, width = (max(frame.shape[axis] for frame in frames) for axis in (1, 2))
        # The model sees all frames at one size and stretches them to its own square anyway.
        video = [_stretch(frame.cpu(), (height, width)) for frame in frames]
        session = self.processor.init_video_session(
            video=[frame.permute(1, 2, 0).numpy() for frame in video],
            inference_device=self.device,
            dtype=next(self.model.parameters()).dtype,
        )
        areas = prompts.positive[prompted[0]].any(dim=1)
        asked = areas.nonzero().flatten().tolist()
        chosen = [frame for frame in prompted if prompts.positive[frame].any(dim=1)[areas].all()]
        logits = torch.full((len(frames), len(areas), height, width), -1.0)
        if asked:
            for frame in sorted(chosen):
                scale = torch.tensor([width / frames[frame].shape[2], height / frames[frame].shape[1]])
                self._prompt(session, frame, keypoints[frame, :, :2] * scale, prompts.of([frame]), asked)
            first = min(chosen)
            for backwards in (False, True) if first else (False,):
                for output in self.model.propagate_in_video_iterator(session, first, reverse=backwards):
                    (found,) = self.processor.post_process_masks(
                        [output.pred_masks], [[height, width]], binarize=False
                    )
                    logits[output.frame_idx, list(output.object_ids)] = found[:, 0].float().cpu()
        return [
            F.interpolate(logits[None, row], tuple(frame.shape[1:]), mode="bilinear", align_corners=False)[0]
            > 0
            for row, frame in enumerate(frames)
        ]

    def _prompt(self, session: Any, frame: int, points: Tensor, prompts: Prompts, areas: list[int]) -> None:
        """Prompt areas on a frame; points [k 2] are in pixels of the session's frames."""
        positive, said = prompts.positive[0], (prompts.positive | prompts.negative)[0]
        self.processor.add_inputs_to_inference_session(
            session,
            frame_idx=frame,
            obj_ids=list(areas),  # the session empties the list that it is given
            input_points=[[points[said[area]].tolist() for area in areas]],
            input_labels=[[positive[area, said[area]].int().tolist() for area in areas]],
            original_size=(session.video_height, session.video_width),
        )
        self.model(inference_session=session, frame_idx=frame)


def _stretch(frame: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(frame.shape[1:]) == size:
        return frame
    resized = F.interpolate(frame[None].float(), size, mode="bilinear", antialias=True, align_corners=False)
    return resized[0].round().clamp(0, 255).to(torch.uint8)


def _build(name: str, options: MemoryOptions, device: str) -> MemorySegmenter:
    classes, published = PUBLISHED[name]
    model, processor = load_pretrained(classes, options.checkpoint or published, options.revision)
    return MemorySegmenter(model, processor, device)


BUILDER = Builder(MemoryOptions, _build, lambda name: fetch_checkpoint(PUBLISHED[name][1]))
