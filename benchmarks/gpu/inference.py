"""Features, keypoints and masks of many crops: what is computed once over a data set."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from device import device_of
from measure import operations, share_of_peak, timed
from runner import Context

PACK = 32
"""Crops on one of SAM's canvases."""


def features(context: Context) -> None:
    """Images a second of ViT-B, in bfloat16 and float32, and crops a second of Keypoint R-CNN."""
    from reid_core.models.backbones import build_backbone
    from reid_core.models.parts import ClassFeature

    device, tiny = device_of(context), context.tiny
    count, size = (8, (64, 32)) if tiny else (512, (256, 128))
    torch.manual_seed(0)
    name, options = ("vit_nano_patch8", {"depth": 1}) if tiny else ("vit_base_patch16_224", {})
    model = ClassFeature(build_backbone(name, size, **options)).to(device).eval()
    images = torch.randn(count, 3, *size, device=device)
    for way in ("bfloat16", "float32"):
        half = way == "bfloat16"

        @torch.inference_mode()
        def extract(half: bool = half) -> None:
            with torch.autocast(device, torch.bfloat16, enabled=half):
                model(images)

        found = timed(extract, 3 if tiny else 20)
        rate = share_of_peak(operations(extract), found["seconds"])
        context.report(
            f"ViT-B features, {way}", **found, images_per_s=round(count / found["seconds"], 1), **rate
        )
    keypoints(context)


def keypoints(context: Context) -> None:
    """Crops a second of Keypoint R-CNN, with random weights: it finds somebody in each all the same."""
    from reid_lse import KeypointRCNNPredictor
    from reid_lse.predictors.keypoint_rcnn import build_keypoint_rcnn

    device = device_of(context)
    count = 1 if context.tiny else 64
    predictor = KeypointRCNNPredictor(build_keypoint_rcnn(), device)
    crops = torch.randint(256, (count, 3, 256, 128), dtype=torch.uint8)
    found = timed(lambda: predictor(crops), 1 if context.tiny else 3, warm_up=1)
    context.report("Keypoint R-CNN", **found, crops_per_s=round(count / found["seconds"], 1))


def sam(context: Context) -> None:
    """Crops a second of SAM ViT-B with three areas each, alone and 32 on a canvas."""
    from segment_anything import sam_model_registry

    from reid_lse import SamSegmenter, make_prompts, prior

    device, tiny = device_of(context), context.tiny
    torch.manual_seed(0)
    model = small_sam() if tiny else sam_model_registry["vit_b"]()
    for precision in ("bfloat16", "float32"):
        for pack in (PACK, 1):
            count = (2 if pack == 1 else PACK) if tiny else (32 if pack == 1 else 16 * PACK)
            crops = list(torch.randint(256, (count, 3, 256, 128), dtype=torch.uint8))
            points = prior(crops)
            segmenter: Any = SamSegmenter(model, device, pack=pack, precision=precision)
            call = partial(segmenter, crops, points, make_prompts(points))
            found = timed(call, 1 if tiny else 3, warm_up=1)
            name = f"{'packed' if pack > 1 else 'unpacked'}, {precision}"
            context.report(name, **found, crops_per_s=round(count / found["seconds"], 1))


def small_sam() -> torch.nn.Module:
    """SAM's classes at the smallest size that holds 32 crops."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    side, patch, width = 128, 8, 32
    cells = (side // patch, side // patch)
    norm = partial(torch.nn.LayerNorm, eps=1e-6)
    encoder = ImageEncoderViT(
        side, patch, embed_dim=width, depth=1, num_heads=2, out_chans=width, norm_layer=norm
    )
    transformer = TwoWayTransformer(1, width, 2, 64)
    decoder = MaskDecoder(transformer_dim=width, transformer=transformer, iou_head_hidden_dim=width)
    return Sam(encoder, PromptEncoder(width, cells, (side, side), 16), decoder)
