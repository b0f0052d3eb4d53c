"""Tracklets: keypoints over time, and areas followed by a model with memory."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_lse import LocalSemanticExtractor, MemorySegmenter, extract_tracklet, prior, smooth_keypoints

SIDE, DIM = 128, 128


def frames(count=3):
    generator = torch.Generator().manual_seed(0)
    sizes = [(64, 32), (50, 40), (64, 32)][:count]
    return [torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes]


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 6), st.floats(0.5, 3.0), st.integers(0, 99))
def test_smoothing_is_its_equation(count, spread, seed):
    keypoints = torch.rand(count, 2, 3, generator=torch.Generator().manual_seed(seed))
    sizes = [(4 + frame, 2 + frame) for frame in range(count)]
    smooth = smooth_keypoints(keypoints, sizes, spread)
    for frame in range(count):
        others = [other for other in range(count) if other != frame]
        near = {other: math.exp(-((frame - other) ** 2) / (2 * spread**2)) for other in others}
        for point in range(2):
            own = keypoints[frame, point, 2].item()
            weights = {other: near[other] * keypoints[other, point, 2].item() for other in others}
            for axis, of_size in ((0, 1), (1, 0)):
                shares = {o: keypoints[o, point, axis].item() / sizes[o][of_size] for o in others}
                mean = sum(weights[o] * shares[o] for o in others) / sum(weights.values())
                place = own * keypoints[frame, point, axis].item() + (1 - own) * mean * sizes[frame][of_size]
                assert smooth[frame, point, axis].item() == pytest.approx(place, abs=1e-3)
            expected = max(own, sum(weights.values()) / sum(near.values()))
            assert smooth[frame, point, 2].item() == pytest.approx(expected, abs=1e-4)


def test_without_spread_frames_are_single_crops():
    images = frames()
    extractor = LocalSemanticExtractor()
    regions = extract_tracklet(images, extractor, spread=0)
    alone = extractor(images)
    assert torch.equal(regions.masks, alone.masks)
    assert torch.equal(regions.keypoints, alone.keypoints)


def test_a_keypoint_hidden_in_one_frame_follows_from_its_neighbours():
    images = [frames()[0]] * 3
    keypoints = prior(images)
    keypoints[1, 0] = torch.tensor([31.0, 63.0, 0.0])
    regions = extract_tracklet(images, keypoints=keypoints)
    assert torch.allclose(regions.keypoints[1, 0, :2], keypoints[0, 0, :2], atol=1e-3)
    assert regions.keypoints[1, 0, 2] > 0.3


class Follower:
    """Stands for a segmenter with memory: says which frames it is prompted on."""

    def __call__(self, images, keypoints, prompts):
        raise AssertionError("frames are not single crops here")

    def track(self, images, keypoints, prompts, prompted):
        self.prompted = prompted
        return [torch.ones(3, *image.shape[1:], dtype=torch.bool) for image in images]


def test_a_segmenter_with_memory_is_prompted_on_the_most_confident_frames():
    images = frames()
    keypoints = prior(images)
    keypoints[..., 2] = torch.tensor([0.4, 0.9, 0.6])[:, None]
    follower = Follower()
    regions = extract_tracklet(
        images, LocalSemanticExtractor(segmenter=follower), keypoints, spread=0, prompted=2
    )
    assert follower.prompted == [1, 2]
    assert regions.masks[0, :, :, :32].all()


@pytest.fixture(scope="module")
def memory():
    transformers = pytest.importorskip("transformers", minversion="5.0")
    video = pytest.importorskip("transformers.models.sam2_video.video_processing_sam2_video")
    torch.manual_seed(0)
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=16, image_size=[SIDE, SIDE], blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128], num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 4, 4, 4], global_attention_blocks=[3],
    )  # fmt: skip
    cells = SIDE // 4
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[128, 64, 32, 16], fpn_hidden_size=DIM,
        backbone_feature_sizes=[[cells, cells], [cells // 2, cells // 2], [cells // 4, cells // 4]],
    )  # fmt: skip
    config = transformers.Sam2VideoConfig(
        vision_config=vision,
        image_size=SIDE,
        prompt_encoder_config={"hidden_size": DIM, "image_size": SIDE},
        mask_decoder_config={
            "hidden_size": DIM, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": DIM
        },
        memory_attention_hidden_size=DIM, memory_attention_feed_forward_hidden_size=64,
        memory_attention_num_layers=1, memory_encoder_hidden_size=DIM,
        memory_attention_rope_feat_sizes=[cells // 4, cells // 4], mask_downsampler_embed_dim=DIM,
        memory_fuser_embed_dim=DIM, memory_fuser_intermediate_dim=64,
    )  # fmt: skip
    size = {"height": SIDE, "width": SIDE}
    processor = transformers.Sam2VideoProcessor(
        transformers.Sam2ImageProcessor(size=size), video.Sam2VideoVideoProcessor(size=size)
    )
    return MemorySegmenter(transformers.Sam2VideoModel(config), processor)


@pytest.mark.parametrize("prompted", [1, 3])
def test_sam2s_memory_gives_every_frame_masks_of_its_own_size(memory, prompted):
    images = frames()
    regions = extract_tracklet(images, LocalSemanticExtractor(segmenter=memory), prompted=prompted)
    assert regions.masks.shape == (3, 3, 64, 40)
    assert not regions.masks[0, :, :, 32:].any() and not regions.masks[1, :, 50:].any()


def test_areas_without_a_positive_are_empty_and_single_crops_are_tracklets_of_one(memory):
    images = frames()
    keypoints = prior(images)
    keypoints[:, :5, 2] = 0
    extractor = LocalSemanticExtractor(segmenter=memory)
    assert not extract_tracklet(images, extractor, keypoints).masks[:, 0].any()
    assert extractor(images).masks.shape == (3, 3, 64, 40)
