"""Models of transformers, tiny and random: results in the crop's own pixels, alone as in a batch."""

import pytest
import torch

from reid_lse import (
    HeatmapPredictor,
    LocalSemanticExtractor,
    PromptableSegmenter,
    build_keypoints,
    build_segmenter,
    make_prompts,
    prior,
)

transformers = pytest.importorskip("transformers", minversion="5.0")
SIDE, DIM = 128, 32
DECODER = {"hidden_size": DIM, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": DIM}


def sam2():
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=16,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 4, 4, 4],
        global_attention_blocks=[3],
    )
    cells = SIDE // 4
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[128, 64, 32, 16],
        backbone_feature_sizes=[[cells, cells], [cells // 2, cells // 2], [cells // 4, cells // 4]],
        fpn_hidden_size=DIM,
    )
    prompts = {"hidden_size": DIM, "image_size": SIDE}
    config = transformers.Sam2Config(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=DECODER
    )
    images = transformers.Sam2ImageProcessor(size={"height": SIDE, "width": SIDE})
    return transformers.Sam2Model(config), transformers.Sam2Processor(images)


def sam_hq():
    vision = {
        "hidden_size": 16,
        "output_channels": DIM,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 8,
        "window_size": 4,
        "global_attn_indexes": [1],
        "num_pos_feats": 16,
        "mlp_dim": 32,
    }
    prompts = {"hidden_size": DIM, "image_size": SIDE, "patch_size": 8}
    config = transformers.SamHQConfig(
        vision_config=vision,
        prompt_encoder_config=prompts,
        mask_decoder_config={**DECODER, "vit_dim": 16},
    )
    images = transformers.SamImageProcessor(
        size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE}
    )
    return transformers.SamHQModel(config), transformers.SamHQProcessor(images)


def sam3_tracker():
    side = 112
    backbone = transformers.Sam3ViTConfig(
        hidden_size=DIM, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=side,
        patch_size=14, window_size=4, global_attn_indexes=[1], pretrain_image_size=56,
    )  # fmt: skip
    vision = transformers.Sam3VisionConfig(
        backbone_config=backbone, fpn_hidden_size=DIM, backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]]
    )
    prompts = {"hidden_size": DIM, "image_size": side, "patch_size": 14}
    config = transformers.Sam3TrackerConfig(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=DECODER
    )
    images = transformers.Sam3ImageProcessor(size={"height": side, "width": side})
    return transformers.Sam3TrackerModel(config), transformers.Sam3TrackerProcessor(images)


def edgetam():
    pytest.importorskip("timm")
    backbone = transformers.TimmWrapperConfig(
        architecture="repvit_m0_9",
        do_pooling=False,
        num_labels=2,
        model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
    )
    cells = SIDE // 4
    vision = transformers.EdgeTamVisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[384, 192, 96, 48],
        backbone_feature_sizes=[[cells, cells], [cells // 2, cells // 2], [cells // 4, cells // 4]],
        fpn_hidden_size=DIM,
    )
    prompts = {"hidden_size": DIM, "image_size": SIDE}
    config = transformers.EdgeTamConfig(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=DECODER
    )
    images = transformers.Sam2ImageProcessor(size={"height": SIDE, "width": SIDE})
    return transformers.EdgeTamModel(config), transformers.Sam2Processor(images)


NAMES = {
    "Sam2Model": "sam2.1_hiera_tiny",
    "SamHQModel": "sam_hq_vit_b",
    "Sam3TrackerModel": "sam3_tracker",
    "EdgeTamModel": "edgetam",
}


@pytest.fixture(scope="module", params=[sam2, sam_hq, sam3_tracker, edgetam])
def promptable(request):
    torch.manual_seed(0)
    model, processor = request.param()
    with torch.no_grad():
        for parameter in model.mask_decoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval(), processor


def crops():
    generator = torch.Generator().manual_seed(1)
    sizes = (64, 32), (50, 40), (64, 32)
    images = [torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes]
    keypoints = prior(images)
    keypoints[1, 3:5, 2] = 0.1
    return images, keypoints


def test_a_batch_equals_its_crops_one_by_one(promptable):
    images, keypoints = crops()
    segment = PromptableSegmenter(*promptable, batch=2)
    together = segment(images, keypoints, make_prompts(keypoints))
    assert any(0 < mask.float().mean() < 1 for mask in together)
    for row, image in enumerate(images):
        points = keypoints[row : row + 1]
        alone = segment([image], points, make_prompts(points))[0]
        assert alone.shape == together[row].shape == (3, *image.shape[1:])
        assert (alone != together[row]).float().mean() < 0.01


def test_prompts_are_scaled_from_the_crops_own_pixels(promptable):
    """The same crop, enlarged with its keypoints, is prompted at the same place of the model's input."""
    model, processor = promptable
    seen = []
    handle = model.prompt_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_points"]), with_kwargs=True
    )
    images, keypoints = crops()
    large = images[0].repeat_interleave(2, 1).repeat_interleave(2, 2)
    doubled = keypoints[:1] * torch.tensor([2.0, 2.0, 1.0])
    segment = PromptableSegmenter(model, processor)
    segment([images[0]], keypoints[:1], make_prompts(keypoints[:1]))
    segment([large], doubled, make_prompts(doubled))
    handle.remove()
    assert torch.allclose(seen[0], seen[1], atol=0.01)
    used = keypoints[0, :, 2] > 0.3
    side = model.config.prompt_encoder_config.image_size
    scale = torch.tensor([side / 64 if type(model).__name__ == "SamHQModel" else side / 32, side / 64])
    assert torch.allclose(seen[0][0, 0], keypoints[0, used, :2] * scale, atol=0.01)


def test_areas_without_positives_are_empty_and_thresholds_of_their_own_fit(promptable):
    images, keypoints = crops()
    keypoints[0, :5, 2] = 0
    segment = PromptableSegmenter(*promptable, box=True)
    masks = segment(images, keypoints, make_prompts(keypoints))
    assert not masks[0][0].any()
    areas, own = ("head", "feet"), {"head": 0.1, "feet": 0.3}
    assert segment(images, keypoints, make_prompts(keypoints, areas, own))[1].shape == (2, 50, 40)


def test_checkpoints_are_read_from_a_folder(promptable, tmp_path, monkeypatch):
    model, processor = promptable
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    name = NAMES[type(model).__name__]
    segment = build_segmenter(name, checkpoint=str(tmp_path))
    images, keypoints = crops()
    prompts = make_prompts(keypoints)
    before = PromptableSegmenter(model, processor)(images, keypoints, prompts)
    assert all(map(torch.equal, before, segment(images, keypoints, prompts)))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OSError, match=r"nowhere: could not be loaded .* pass the folder"):
        build_segmenter(name, checkpoint=str(tmp_path / "nowhere"))


def vitpose():
    backbone = transformers.VitPoseBackboneConfig(
        image_size=[64, 48], patch_size=[16, 16], hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        out_indices=[2],
    )  # fmt: skip
    config = transformers.VitPoseConfig(backbone_config=backbone, num_labels=17)
    processor = transformers.VitPoseImageProcessor(size={"height": 64, "width": 48})
    return transformers.VitPoseForPoseEstimation(config), processor


def sapiens2():
    config = transformers.Sapiens2Config(
        image_size=[64, 48], patch_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, num_key_value_attention_heads=2, num_labels=308,
        head_config={"upsample_out_channels": [16, 16], "conv_out_channels": [16]},
    )  # fmt: skip
    processor = transformers.Sapiens2ImageProcessor(size={"height": 64, "width": 48})
    return transformers.Sapiens2ForPoseEstimation(config), processor


@pytest.fixture(scope="module", params=[vitpose, sapiens2])
def pose_model(request):
    if not hasattr(transformers, "Sapiens2ForPoseEstimation"):
        pytest.skip("this version of transformers has no Sapiens 2")
    torch.manual_seed(0)
    model, processor = request.param()
    return model.eval(), processor


def test_heat_maps_become_keypoints_in_the_crops_own_pixels(pose_model):
    """A heat map of one peak puts its keypoint to the same share of every crop of the input's aspect."""
    model, processor = pose_model
    predict = HeatmapPredictor(model, processor, batch=2)

    def peak(module, args, kwargs, output):
        output.heatmaps = torch.zeros_like(output.heatmaps)
        output.heatmaps[..., output.heatmaps.shape[2] // 2, output.heatmaps.shape[3] // 2] = 0.9
        return output

    handle = model.register_forward_hook(peak, with_kwargs=True)
    images = [torch.zeros(3, *size, dtype=torch.uint8) for size in ((64, 48), (128, 96), (32, 24))]
    keypoints = predict(images)
    handle.remove()
    assert keypoints.shape == (3, len(predict.names), 3)
    sizes = torch.tensor([[image.shape[2], image.shape[1]] for image in images])
    assert ((keypoints[:, 0, :2] / sizes - 0.5).abs() < 0.08).all()
    assert torch.allclose(keypoints[..., 2], torch.tensor(0.9), atol=0.05)


def test_keypoints_of_a_batch_are_those_of_single_crops(pose_model):
    predict = HeatmapPredictor(*pose_model, batch=2)
    images, _ = crops()
    together = predict(images)
    for row, image in enumerate(images):
        assert torch.allclose(predict([image])[0], together[row], atol=0.05)
    assert {"nose", "left_wrist", "right_ankle"} <= set(predict.names)
    regions = LocalSemanticExtractor(predict)(images)
    assert regions.keypoints.shape == (3, len(predict.names), 3)


def test_pose_checkpoints_are_read_from_a_folder(pose_model, tmp_path):
    model, processor = pose_model
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    name = "vitpose" if model.config.num_labels == 17 else "sapiens2"
    images, _ = crops()
    again = build_keypoints(name, checkpoint=str(tmp_path))
    assert torch.equal(again(images), HeatmapPredictor(model, processor)(images))
