"""Any timm model is a backbone by what it returns, or is refused when it is built with the reason."""

from __future__ import annotations

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.models.eva import Eva
from torch import nn

from reid_core.models.backbones import CNNEncoder, SequenceEncoder, build_backbone
from reid_core.models.backbones.geometry import Sizes
from reid_core.models.parts import ClassFeature

SIZE = (256, 128)
SMALL = (64, 32)

# Name -> (grid at 256x128, whether there is a class token, whether patches can be hidden).
NAMES: dict[str, tuple[tuple[int, int], bool, bool]] = {
    "vit_small_patch16_224": ((16, 8), True, True),
    "vit_small_patch14_reg4_dinov2": ((19, 10), True, True),
    "vit_small_patch16_dinov3": ((16, 8), True, True),
    "vit_so150m_patch16_reg4_gap_256": ((16, 8), False, True),
    "vit_base_patch16_siglip_224": ((16, 8), False, True),
    "vit_betwixt_patch16_reg4_gap_256": ((16, 8), False, True),
    "deit3_small_patch16_224": ((16, 8), True, True),
    "eva02_tiny_patch14_224": ((19, 10), True, True),
    "beit_base_patch16_224": ((16, 8), True, True),
    "naflexvit_base_patch16_gap": ((16, 8), False, True),
    "xcit_nano_12_p16_224": ((16, 8), True, True),
    "volo_d1_224": ((16, 8), True, False),
    "swinv2_tiny_window8_256": ((8, 4), False, False),
    "hiera_tiny_224": ((8, 4), False, False),
    "sam2_hiera_tiny": ((8, 4), False, False),
    "maxvit_nano_rw_256": ((8, 4), False, False),
    "davit_tiny": ((8, 4), False, False),
    "pvt_v2_b0": ((8, 4), False, False),
    "tiny_vit_5m_224": ((8, 4), False, False),
    "efficientvit_b0": ((8, 4), False, False),
    "fastvit_t8": ((8, 4), False, False),
    "convnextv2_nano": ((8, 4), False, False),
    "repvit_m1": ((8, 4), False, False),
    "mobilenetv4_conv_small": ((8, 4), False, False),
    "regnety_004": ((8, 4), False, False),
    "efficientnet_b0": ((8, 4), False, False),
}
ONE_SIZE = {"beit_base_patch16_224", "hiera_tiny_224", "maxvit_nano_rw_256"}
"""Those that take the size alone that they were built for."""
REAL = ["efficientvit_b0", "mobilenetv4_conv_small", "eva02_tiny_patch14_224"]
"""Small enough to be run for real in every test run; the others are slow."""
NO_STOCHASTIC_DEPTH = {"repvit_m1", "efficientvit_b0"}

TINY = {
    "vit_small_patch16_dinov3": {"depth": 2, "embed_dim": 64, "num_heads": 2},
    "vit_so150m_patch16_reg4_gap_256": {"depth": 2, "embed_dim": 48, "num_heads": 2},
    "vit_base_patch16_siglip_224": {"depth": 2, "embed_dim": 48, "num_heads": 2},
    "eva02_tiny_patch14_224": {"depth": 2, "embed_dim": 48, "num_heads": 2},
    "beit_base_patch16_224": {"depth": 2, "embed_dim": 48, "num_heads": 2},
    "naflexvit_base_patch16_gap": {"depth": 2, "embed_dim": 48, "num_heads": 2},
    "xcit_nano_12_p16_224": {"depth": 2, "embed_dim": 32, "num_heads": 2},
    "hiera_tiny_224": {"stages": (1, 1, 1, 1), "embed_dim": 24},
    "swinv2_tiny_window8_256": {"depths": (1, 1, 1, 1), "embed_dim": 24, "num_heads": (1, 1, 2, 2)},
}
HIDING = [name for name in TINY if NAMES[name][2] and name != "xcit_nano_12_p16_224"]  # its stem overlaps


def tiny(name: str, size: tuple[int, int] = SMALL, **options):
    torch.manual_seed(0)
    return build_backbone(name, size, **TINY[name], **options).eval()


def images(size: tuple[int, int] = SMALL, number: int = 2) -> torch.Tensor:
    return torch.randn(number, 3, *size, generator=torch.Generator().manual_seed(size[0] * size[1]))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_gives_tokens_on_its_grid_and_says_whether_it_has_a_class_token_and_hides_patches(name):
    with torch.device("meta"):
        encoder = build_backbone(name, SIZE)
        tokens = encoder.eval()(torch.empty(2, 3, *SIZE))
    height, width = tokens.grid
    assert tokens.patches.shape == (2, height * width, encoder.dim)
    assert tokens.cls.shape == (2, encoder.dim)
    assert (tokens.grid, encoder.has_class_token, encoder.takes_mask) == NAMES[name]
    assert encoder.grid(SIZE) == tokens.grid


@pytest.mark.parametrize(
    "name", [name if name in REAL else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_tokens_differ_by_image_and_gradients_reach_every_parameter(name):
    torch.manual_seed(0)
    encoder = build_backbone(name, SIZE)
    tokens = encoder(images(SIZE))
    (tokens.cls * torch.randn_like(tokens.cls)).sum().backward(retain_graph=True)
    (tokens.patches * torch.randn_like(tokens.patches)).sum().backward()
    for parameter_name, parameter in encoder.trunk.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
    with torch.no_grad():
        tokens = encoder.eval()(images(SIZE))
        alone = encoder(images(SIZE)[:1])
    assert not torch.allclose(tokens.cls[0], tokens.cls[1])
    assert not torch.allclose(tokens.patches[0], tokens.patches[1])
    torch.testing.assert_close(alone.patches[0], tokens.patches[0], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(384, 128), (64, 32), (64, 44)])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_built_for_other_sizes_too(name, size):
    with torch.device("meta"):
        encoder = build_backbone(name, size).eval()
        tokens = encoder(torch.empty(2, 3, *size))
    stride = encoder.patch_size[0]
    assert tokens.grid == encoder.grid(size) == (-(-size[0] // stride), -(-size[1] // stride))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_name_takes_other_sizes_than_it_was_built_for_or_says_that_it_does_not(name):
    with torch.device("meta"):
        encoder = build_backbone(name, SIZE).eval()
        if name in ONE_SIZE:
            with pytest.raises(ValueError, match="takes images of 256x128 alone, got 100x44"):
                encoder(torch.empty(2, 3, 100, 44))
        else:
            assert encoder(torch.empty(2, 3, 100, 44)).grid == encoder.grid((100, 44))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_stochastic_depth_reaches_the_blocks_or_is_refused(name):
    with torch.device("meta"):
        if name in NO_STOCHASTIC_DEPTH:
            with pytest.raises(ValueError, match=f"{name} can't be built .* has no stochastic depth"):
                build_backbone(name, drop_path=0.5)
        else:
            encoder = build_backbone(name, drop_path=0.5)
            assert max(getattr(m, "drop_prob", 0.0) or 0.0 for m in encoder.modules()) > 0.4


@pytest.mark.parametrize("name", [name for name in TINY if name != "swinv2_tiny_window8_256"])
def test_a_sequences_patch_tokens_are_what_follows_its_prefix_with_the_heads_norm(name):
    encoder, x = tiny(name), images()
    features = encoder.trunk.forward_features(encoder.sizes.pad(x) if hasattr(encoder, "sizes") else x)
    prefix = getattr(encoder.trunk, "num_prefix_tokens", 0)
    norm = getattr(encoder.trunk, "fc_norm", None) or getattr(encoder.trunk.head, "norm", nn.Identity())
    tokens = encoder(x)
    torch.testing.assert_close(tokens.patches, norm(features[:, prefix:]))
    assert tokens.patches.shape[1] == tokens.grid[0] * tokens.grid[1]
    if encoder.has_class_token:
        torch.testing.assert_close(tokens.cls, norm(features[:, 0]))
    else:
        torch.testing.assert_close(tokens.cls, encoder.trunk.forward_head(features, pre_logits=True))


def test_the_class_token_is_the_one_that_the_parameter_starts():
    """Only the class token's row of what the blocks get moves with the parameter."""
    encoder = tiny("vit_small_patch16_dinov3")
    seen = []
    handle = encoder.trunk.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    encoder(images())
    encoder.trunk.cls_token.data += 1
    encoder(images())
    handle.remove()
    moved = (seen[1] - seen[0]).abs().amax((0, 2)) > 0
    assert moved.nonzero().flatten().tolist() == [0]
    assert encoder.trunk.num_prefix_tokens == 5


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "vit_small_patch16_dinov3"])
@pytest.mark.parametrize("built", [(70, 42), (140, 84)])
def test_rotary_positions_are_those_of_the_grid_at_hand(name, built):
    """Whatever size it was built for, as a model of that one size alone (no dynamic positions) has them."""
    size = (70, 42) if "patch14" in name else (80, 48)
    encoder = tiny(name, built)
    fixed: Eva = timm.create_model(name, img_size=size, num_classes=0, **TINY[name]).eval()
    state = encoder.trunk.state_dict()
    if "pos_embed" in state:  # learned positions are interpolated, rotary ones are not
        state["pos_embed"] = torch.zeros_like(fixed.pos_embed)
        encoder.trunk.pos_embed.data.zero_()
    fixed.load_state_dict(state)
    want, tokens = fixed.forward_features(images(size)), encoder(images(size))
    norm = fixed.fc_norm
    torch.testing.assert_close(tokens.patches, norm(want[:, fixed.num_prefix_tokens :]))
    assert tokens.grid == fixed.patch_embed.grid_size


def test_hieras_tokens_are_in_raster_order():
    encoder = tiny("hiera_tiny_224", (128, 96))
    x = images((128, 96))
    feature_map = encoder.trunk.forward_intermediates(x, indices=1, intermediates_only=True)[0]
    want = encoder.trunk.head.norm(feature_map.flatten(2).transpose(1, 2))
    torch.testing.assert_close(encoder(x).patches, want)


def test_a_map_of_channels_last_is_read_as_one_of_channels_first():
    encoder, x = tiny("swinv2_tiny_window8_256", (128, 64)), images((128, 64))
    assert isinstance(encoder, CNNEncoder)
    tokens, feature_map = encoder(x), encoder.trunk.forward_features(x)
    torch.testing.assert_close(tokens.patches, feature_map.flatten(1, 2))
    torch.testing.assert_close(tokens.cls, encoder.trunk(x))


@pytest.mark.parametrize("name", HIDING)
def test_the_pixels_of_hidden_patches_do_not_matter(name):
    encoder, x = tiny(name), images()
    patch = encoder.patch_size[0]
    mask = torch.zeros(2, encoder.grid(SMALL)[0] * encoder.grid(SMALL)[1], dtype=torch.bool)
    width = encoder.grid(SMALL)[1]
    mask[:, width + 1] = True  # row 1, column 1
    changed = x.clone()
    changed[..., patch : 2 * patch, patch : 2 * patch] = 9.0
    assert torch.equal(encoder(x, mask).patches, encoder(changed, mask).patches)
    assert not torch.equal(encoder(x).patches, encoder(changed).patches)


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "beit_base_patch16_224", "xcit_nano_12_p16_224"])
def test_a_mask_of_nothing_changes_nothing_and_the_mask_token_learns(name):
    encoder, x = tiny(name), images()
    mask = torch.zeros(2, encoder(x).patches.shape[1], dtype=torch.bool)
    assert torch.equal(encoder(x, mask).patches, encoder(x).patches)
    mask[:, 0] = True
    encoder(x, mask).patches[:, 1].sum().backward()
    assert encoder.mask_token.grad.any()
    assert not encoder.trunk.get_submodule(encoder.embedding)._forward_hooks


def test_a_structure_that_merges_patches_can_hide_none():
    encoder = tiny("hiera_tiny_224")
    with pytest.raises(ValueError, match="a Hiera backbone can't hide patches"):
        encoder(images(), torch.zeros(2, 2, dtype=torch.bool))


def test_a_structure_of_one_size_names_it_and_another_size():
    encoder = tiny("beit_base_patch16_224")
    assert encoder(images((60, 30))).grid == (4, 2)  # padded to the size that it was built for
    with pytest.raises(ValueError, match="takes images of 64x32 alone, got 128x64"):
        encoder(images((128, 64)))
    with pytest.raises(ValueError, match="takes images of 64x32 alone, got 128x64"):
        encoder.grid((128, 64))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("efficientvim_m1", "its features are a list, expected a map"),
        ("mvitv2_tiny", r"fails on images of 256x128 \(assert feat_size\[0\] == feat_size\[1\]\)"),
        ("pit_ti_224", r"patch tokens, grid and global feature are \[\(2, 1, 256\), \(8, 4\)"),
        ("levit_128", "fails on images of 256x128"),
    ],
)
def test_a_model_that_gives_no_tokens_is_refused_when_it_is_built_with_the_reason(name, reason):
    with pytest.raises(ValueError, match=f"{name} can't be used as a backbone: .*{reason}"):
        build_backbone(name)


def test_a_structure_without_stochastic_depth_says_so():
    with torch.device("meta"), pytest.raises(ValueError, match="EfficientVit has no stochastic depth"):
        build_backbone("efficientvit_b0", drop_path=0.1)


def test_pooling_by_name_is_for_maps():
    with pytest.raises(ValueError, match="pool=gem is for maps, and Eva gives a sequence"):
        tiny("eva02_tiny_patch14_224", pool="gem")


def test_trying_a_model_draws_no_random_number():
    torch.manual_seed(0)
    build_backbone("eva02_tiny_patch14_224", SMALL, **TINY["eva02_tiny_patch14_224"])
    ours = torch.rand(1)
    torch.manual_seed(0)
    options = {"dynamic_img_size": True, "num_classes": 0, "drop_path_rate": 0.0}
    timm.create_model(
        "eva02_tiny_patch14_224", img_size=(70, 42), **options, **TINY["eva02_tiny_patch14_224"]
    )
    assert torch.equal(ours, torch.rand(1))


def test_a_global_feature_stands_in_for_a_class_token():
    encoder = tiny("naflexvit_base_patch16_gap")
    assert isinstance(encoder, SequenceEncoder)
    assert not encoder.has_class_token
    torch.testing.assert_close(ClassFeature(encoder)(images()), encoder.trunk(images()))


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([1, 14, 16, 32]))
def test_a_padded_image_is_whole_units_and_has_the_grid_of_the_given_one(height, width, unit):
    sizes = Sizes(max(unit, 14), unit)
    padded = sizes.padded_size((height, width))
    assert all(
        0 <= after - before < unit and after % unit == 0
        for after, before in zip(padded, (height, width), strict=True)
    )
    assert sizes.grid(padded) == sizes.grid((height, width))
