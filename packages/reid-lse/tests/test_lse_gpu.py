"""Regions, SAM in batches and packed, and Keypoint R-CNN on a GPU give what they give on the CPU."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from reid_lse import (
    KeypointRCNNPredictor,
    SamSegmenter,
    crop_regions,
    make_prompts,
    prior,
)
from reid_lse.predictors.keypoint_rcnn import build_keypoint_rcnn

pytestmark = pytest.mark.gpu

SIDE, PATCH, DIM = 128, 8, 32


@pytest.fixture(scope="module")
def sam() -> Any:
    """SAM's own classes, tiny and random; the decoder's weights are enlarged so that masks have two sides."""
    modeling = pytest.importorskip("segment_anything.modeling", reason="needs segment-anything")
    torch.manual_seed(0)
    cells = SIDE // PATCH
    model = modeling.Sam(
        modeling.ImageEncoderViT(
            img_size=SIDE,
            patch_size=PATCH,
            embed_dim=32,
            depth=2,
            num_heads=2,
            out_chans=DIM,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=4,
            global_attn_indexes=(1,),
        ),
        modeling.PromptEncoder(DIM, (cells, cells), (SIDE, SIDE), 16),
        modeling.MaskDecoder(
            transformer_dim=DIM,
            transformer=modeling.TwoWayTransformer(2, DIM, 2, 64),
            iou_head_hidden_dim=DIM,
        ),
    ).eval()
    with torch.no_grad():
        for parameter in model.mask_decoder.parameters():
            parameter.mul_(3)
    return model


def crops() -> tuple[list[Tensor], Tensor]:
    """Crops of several shapes and their keypoints."""
    generator = torch.Generator().manual_seed(1)
    sizes = 3 * [(64, 32), (50, 40), (30, 60), (128, 64)]
    images = [torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes]
    return images, prior(images)


def overlap(first: Tensor, second: Tensor) -> float:
    return (first & second).sum().item() / max(1, (first | second).sum().item())


@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize("pack", [1, 2, 8])
@pytest.mark.parametrize(("precision", "least"), [("float32", 0.97), ("bfloat16", 0.8)])
def test_sam_gives_the_masks_of_the_cpu(sam, device, pack, box, precision, least):
    # In float32 too some pixels at an outline differ: the CPU resizes crops of bytes in fixed point.
    images, keypoints = crops()
    prompts = make_prompts(keypoints)
    want = SamSegmenter(sam, pack=pack, box=box)(images, keypoints, prompts)
    there = SamSegmenter(copy.deepcopy(sam), device, pack=pack, box=box, precision=precision)
    found = there([image.to(device) for image in images], keypoints.to(device), prompts)
    assert all(0 < mask.float().mean() < 1 for mask in want)
    assert all(mask.device.type == "cpu" for mask in found)
    assert overlap(torch.cat([m.flatten() for m in found]), torch.cat([m.flatten() for m in want])) >= least


def test_regions_of_an_image_on_the_device_are_the_same(device):
    image = crops()[0][0]
    masks = torch.zeros(3, *image.shape[1:], dtype=torch.bool)
    masks[0, 5:30, 4:20] = masks[1, 30:60, 2:30] = True
    for fill in ("zero", "mean", "blur"):
        want, found = (crop_regions(image.to(at), masks.to(at), fill=fill) for at in ("cpu", device))
        assert torch.equal(found[0].cpu(), want[0])
        assert found[1].tolist() == [True, True, False]


def test_keypoint_rcnn_finds_points_inside_its_crops(device):
    torch.manual_seed(0)
    images = crops()[0][:2]
    keypoints = KeypointRCNNPredictor(build_keypoint_rcnn(), device)(images)
    assert keypoints.shape == (2, 17, 3) and keypoints.device.type == "cpu"
    assert keypoints.isfinite().all()
    for row, image in zip(keypoints, images, strict=True):
        assert (row[:, 0] <= image.shape[2]).all() and (row[:, 1] <= image.shape[1]).all()
        assert (row[:, :2] >= 0).all()
