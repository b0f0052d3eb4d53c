"""Areas through a tracklet: keypoints filled in over time, prompts on confident frames, masks on all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from reid_lse.keypoints import Pose
from reid_lse.lse import LocalSemanticExtractor
from reid_lse.results import Regions

SPREAD = 1.5
"""Standard deviation in frames over which keypoints are filled in, chosen on synthetic tracklets
(benchmarks/lse_tracklets.py)."""

PROMPTED = 4
"""At most so many frames give prompts to a segmenter with memory."""


def smooth_keypoints(keypoints: Tensor, sizes: Sequence[tuple[int, int]], spread: float = SPREAD) -> Tensor:
    """Fill in keypoints that few frames miss, from the frames around them.

    A keypoint becomes the mean of its own place, weighted by its confidence c, and of the mean m of the
    frames around, weighted by their confidence and nearness in time: c * own + (1 - c) * m. Places are
    shares of their crops. The confidence is the higher one of its own and of the mean around. What is
    confidently seen stays, for people move between frames.

    Args:
        keypoints: float [t k 3] of one person's frames in their order, x, y in pixels, confidence.
        sizes: height and width of each crop in pixels.
        spread: standard deviation in frames; 0 changes nothing.

    Returns:
        float [t k 3].

    Example:
        >>> points = torch.tensor([[[4.0, 8.0, 0.9]], [[9.0, 9.0, 0.0]], [[4.0, 8.0, 0.9]]])
        >>> smooth_keypoints(points, [(16, 8)] * 3)[1, 0, :2].tolist()
        [4.0, 8.0]
    """
    if spread <= 0 or len(keypoints) == 1:
        return keypoints
    frames = torch.arange(len(keypoints), dtype=keypoints.dtype)
    near = torch.exp(-((frames[:, None] - frames) ** 2) / (2 * spread**2)).fill_diagonal_(0)
    near = near / near.sum(dim=1, keepdim=True).clamp(min=1e-12)
    scale = torch.tensor([[width, height] for height, width in sizes], dtype=keypoints.dtype)[:, None]
    places, confidence = keypoints[..., :2] / scale, keypoints[..., 2]
    around = torch.einsum("ts,sk->tk", near, confidence)
    means = torch.einsum("ts,sk,skc->tkc", near, confidence, places) / around.clamp(min=1e-6)[..., None]
    own = torch.where(around > 0, confidence.clamp(0, 1), 1.0)[..., None]
    points = (own * places + (1 - own) * means) * scale
    return torch.cat([points, torch.maximum(confidence, around)[..., None]], dim=-1)


def extract_tracklet(
    frames: Tensor | Sequence[Tensor],
    extractor: LocalSemanticExtractor | None = None,
    keypoints: Tensor | Pose | None = None,
    spread: float = SPREAD,
    prompted: int = PROMPTED,
) -> Regions:
    """Extract the areas of every frame of one person's tracklet.

    A segmenter with memory (`MemorySegmenter`) is prompted on the most confident frames and follows the areas
    through all. Any other segments each frame, from keypoints filled in over time.

    Args:
        frames: crops of one person in their order, uint8 [t 3 h w] or a list whose sizes may differ.
        extractor: how; the default one if None.
        keypoints: float [t k 3], or a Pose, if they are known already; else predicted.
        spread: standard deviation in frames over which keypoints are filled in; 0 does not.
        prompted: frames at most that a segmenter with memory is prompted on.

    Returns:
        Regions, one row per frame.

    Raises:
        TypeError, ValueError: as a LocalSemanticExtractor's call.

    Example:
        >>> frames = torch.randint(256, (3, 3, 64, 32), dtype=torch.uint8)
        >>> extract_tracklet(frames).masks.shape
        torch.Size([3, 3, 64, 32])
    """
    extractor = extractor or LocalSemanticExtractor()
    images, pose = extractor.pose(frames, keypoints)
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    pose = Pose(smooth_keypoints(pose.keypoints, sizes, spread), pose.person)
    track = getattr(extractor.segment, "track", None)
    if track is None:
        return extractor(images, pose)
    sure = pose.keypoints[..., 2].mean(dim=1)
    best = sure.argsort(descending=True, stable=True)[: max(1, prompted)].tolist()

    def segment(images, keypoints, prompts):  # type: ignore[no-untyped-def]
        return track(images, keypoints, prompts, best)

    return extractor.with_segmenter(segment)(images, pose)
