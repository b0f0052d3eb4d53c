"""SAM in batches gives what SamPredictor gives one by one; packing saves encoder passes; weights checked."""

from functools import partial

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

import reid_lse.checkpoints as checkpoints
from reid_lse import LocalSemanticExtractor, SamSegmenter, build_segmenter, load_sam, make_prompts, prior

SIZE, PATCH, DIM = 128, 8, 32


@pytest.fixture(scope="module")
def sam():
    """SAM's own classes, tiny and random; the decoder's weights are enlarged so that masks have two sides."""
    torch.manual_seed(0)
    cells = SIZE // PATCH
    model = Sam(
        ImageEncoderViT(
            img_size=SIZE,
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
        PromptEncoder(DIM, (cells, cells), (SIZE, SIZE), 16),
        MaskDecoder(
            transformer_dim=DIM, transformer=TwoWayTransformer(2, DIM, 2, 64), iou_head_hidden_dim=DIM
        ),
    ).eval()
    with torch.no_grad():
        for parameter in model.mask_decoder.parameters():
            parameter.mul_(3)
    return model


def crops():
    """Crops of three shapes, their keypoints (two of them dropped in the second crop) and the prompts."""
    generator = torch.Generator().manual_seed(1)
    sizes = (64, 32), (50, 40), (30, 60)
    images = [torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes]
    keypoints = prior(images)
    keypoints[1, 3:5, 2] = 0.1
    return images, keypoints, make_prompts(keypoints)


def overlap(first, second):
    return (first & second).sum().item() / max(1, (first | second).sum().item())


def loop(sam, images, keypoints, prompts):
    """What a user would write: set_image once a crop, predict once an area."""
    predictor = SamPredictor(sam)
    masks = []
    for row, image in enumerate(images):
        predictor.set_image(image.permute(1, 2, 0).numpy())
        areas = []
        for positive, negative in zip(prompts.positive[row], prompts.negative[row], strict=True):
            said = positive | negative
            points, labels = keypoints[row, said, :2].numpy(), positive[said].int().numpy()
            areas.append(predictor.predict(points, labels, multimask_output=False)[0][0])
        masks.append(torch.from_numpy(np.stack(areas)))
    return masks


def test_a_batch_equals_the_predictor_one_by_one(sam):
    images, keypoints, prompts = crops()
    for ours, theirs in zip(
        SamSegmenter(sam)(images, keypoints, prompts), loop(sam, images, keypoints, prompts), strict=True
    ):
        assert 0 < ours.float().mean() < 1
        for area in range(3):
            assert overlap(ours[area], theirs[area]) >= 0.99


def test_thresholds_of_their_own_still_prompt_with_as_many_points_as_there_are(sam):
    images, keypoints, _ = crops()
    prompts = make_prompts(keypoints, ("head", "feet"), {"head": 0.1, "feet": 0.3})
    counts = (prompts.positive | prompts.negative).sum(dim=2)
    assert counts[0, 0] != counts[0, 1]
    for ours, theirs in zip(
        SamSegmenter(sam)(images, keypoints, prompts), loop(sam, images, keypoints, prompts), strict=True
    ):
        for area in range(2):
            assert overlap(ours[area], theirs[area]) >= 0.99


@pytest.mark.parametrize("pack", [1, 2, 8])
def test_the_order_of_crops_and_the_rest_of_the_batch_move_packed_masks_only_a_little(sam, pack):
    images, keypoints, prompts = crops()
    segment = SamSegmenter(sam, pack=pack)
    together = segment(images, keypoints, prompts)
    for row, image in enumerate(images):
        alone = segment([image], keypoints[row : row + 1], make_prompts(keypoints[row : row + 1]))[0]
        assert alone.shape == together[row].shape
        for area in range(3):
            assert overlap(alone[area], together[row][area]) > (0.99 if pack == 1 else 0.5)


def test_packed_crops_share_an_encoder_pass(sam):
    images, keypoints, prompts = crops()
    passes = []
    handle = sam.image_encoder.register_forward_pre_hook(lambda _, inputs: passes.append(inputs[0].shape[0]))
    SamSegmenter(sam, pack=8)(images, keypoints, prompts)
    SamSegmenter(sam)(images, keypoints, prompts)
    handle.remove()
    assert passes == [1, 3]  # canvases in each pass


def test_areas_without_positives_are_empty_and_a_crop_without_any_is_never_encoded(sam):
    images, keypoints, _ = crops()
    keypoints[0, :, 2] = 0
    keypoints[1, :5, 2] = 0
    encoded = []
    handle = sam.image_encoder.register_forward_pre_hook(lambda _, inputs: encoded.extend(inputs[0]))
    masks = SamSegmenter(sam)(images, keypoints, make_prompts(keypoints))
    handle.remove()
    assert not masks[0].any()
    assert masks[1].flatten(1).any(dim=1).tolist() == [False, True, True]
    assert len(encoded) == 2


def test_the_box_prompt_and_half_precision_change_masks_without_breaking_them(sam):
    images, keypoints, prompts = crops()
    plain = SamSegmenter(sam)(images, keypoints, prompts)
    boxed = SamSegmenter(sam, box=True)(images, keypoints, prompts)
    half = SamSegmenter(sam, precision="bfloat16")(images, keypoints, prompts)
    assert any(not torch.equal(a, b) for a, b in zip(plain, boxed, strict=True))
    assert all(overlap(a, b) > 0.9 for a, b in zip(plain, half, strict=True))


def test_the_extractor_takes_it_as_any_segmenter(sam):
    images, *_ = crops()
    regions = LocalSemanticExtractor(segmenter=SamSegmenter(sam, pack=4))(images)
    assert regions.masks.shape == (3, 3, 64, 60)
    assert regions.crops.shape == (3, 3, 3, 128, 64)


@pytest.fixture
def small_official(sam, monkeypatch):
    """The tiny model under the name of an official size."""
    monkeypatch.setitem(checkpoints.SAM_CHECKPOINTS, "sam_vit_b", checkpoints._Official("b", "0" * 64, 32, 2))
    monkeypatch.setitem(sam_model_registry, "vit_b", lambda: sam)
    return sam


def test_a_checkpoint_comes_back(small_official, tmp_path):
    file = tmp_path / "sam.pth"
    torch.save(small_official.state_dict(), file)
    digest = checkpoints._sha256(file)
    images, keypoints, prompts = crops()
    before = SamSegmenter(small_official)(images, keypoints, prompts)
    segment = build_segmenter("sam_vit_b", checkpoint=file, sha256=digest.upper())
    assert all(map(torch.equal, before, segment(images, keypoints, prompts)))


def test_wrong_checkpoints_are_refused_by_name(small_official, tmp_path):
    file = tmp_path / "sam.pth"
    torch.save(small_official.state_dict(), file)
    with pytest.raises(ValueError, match=r"sam.pth: SHA-256 is .* expected 0000"):
        load_sam("sam_vit_b", file, "0" * 64)
    with pytest.raises(ValueError, match="expected the weights of sam_vit_l, but it holds sam_vit_b"):
        load_sam("sam_vit_l", file)
    torch.save({"weight": torch.ones(1)}, file)
    with pytest.raises(ValueError, match="it holds no official SAM"):
        load_sam("sam_vit_b", file)
    torch.save({"model": SIZE}, file)
    with pytest.raises(ValueError, match="expected a state dict, names to tensors"):
        load_sam("sam_vit_b", file)
    torch.save(print, file)
    with pytest.raises(ValueError, match="expected a state dict of tensors alone"):
        load_sam("sam_vit_b", file)
    file.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="sam.pth: expected a state dict"):
        load_sam("sam_vit_b", file)
    with pytest.raises(FileNotFoundError, match="nothing.pth: no such checkpoint"):
        load_sam("sam_vit_b", tmp_path / "nothing.pth")
    with pytest.raises(ValueError, match="weights from the network need sha256"):
        load_sam("sam_vit_b", "https://example.org/sam.pth")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"pack": 0}, ValueError, "pack must be from 1 to"),
        ({"pack": 10_000}, ValueError, "pack must be from 1 to"),
        ({"precision": "int8"}, ValueError, "precision must be one of"),
    ],
)
def test_bad_options_are_named(sam, options, error, message):
    with pytest.raises(error, match=message):
        SamSegmenter(sam, **options)
    with pytest.raises(TypeError, match="model has no image_encoder"):
        SamSegmenter(torch.nn.Identity())
