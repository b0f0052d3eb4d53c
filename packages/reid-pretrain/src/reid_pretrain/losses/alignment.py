"""The alignment loss: a video and a frame of it belong together (VILLS Eq. 11)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_pretrain.distributed import gather, rank
from reid_pretrain.losses.distillation import full_precision

MAX_SCALE = 100.0  # CLIP clips its scale there


class AlignmentLoss(nn.Module):
    """Symmetric cross-entropy between video and frame embeddings, the label being the video's index (Eq. 11).

    The paper prints CE(h^v(z^v, y)) and CE(h^i(z^vi, y)), "inspired by CLIP": we read it as CLIP's loss
    (Radford et al., ICML 2021) between heads' outputs, each video against all frames of the batch and each
    frame against all videos, over every rank.

    Args:
        temperature: CLIP's initial 0.07; its inverse is learnt in log space and never above 100.

    Example:
        >>> loss = AlignmentLoss()
        >>> loss(torch.eye(4), torch.eye(4)).item() < 1e-5
        True
    """

    def __init__(self, temperature: float = 0.07):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))

    def forward(self, videos: Tensor, frames: Tensor) -> Tensor:
        """Embeddings [v e] of videos and of one frame of each, row by row -> a scalar."""
        if videos.shape != frames.shape:
            raise ValueError(
                f"videos {tuple(videos.shape)} and frames {tuple(frames.shape)} must be pairs of rows"
            )
        videos = F.normalize(full_precision(videos), dim=-1)
        frames = F.normalize(full_precision(frames), dim=-1)
        with torch.no_grad():  # the parameter, as CLIP does: clamping its exponential would stop its gradient
            self.log_scale.clamp_(max=math.log(MAX_SCALE))
        scale = self.log_scale.exp()
        labels = torch.arange(len(videos), device=videos.device) + rank() * len(videos)
        # in full precision: a scale of 100 would magnify half precision's rounding
        with torch.autocast(videos.device.type, enabled=False):
            video_to_frame = F.cross_entropy(scale * videos @ gather(frames).T, labels)
            frame_to_video = F.cross_entropy(scale * frames @ gather(videos).T, labels)
        return (video_to_frame + frame_to_video) / 2
