"""Backbones give tokens of any image, and timm's own numbers at the native size."""

from __future__ import annotations

import re

import pytest
import timm
import torch

from reid_core.models.backbones import VITS, CNNEncoder, ViTEncoder, build_backbone

SIZE = (64, 32)
NAMES = sorted(VITS)


@pytest.fixture(scope="module", params=["vit_nano_patch8", "vit_nano_conv8"])
def encoder(request):
    torch.manual_seed(0)
    return build_backbone(request.param, SIZE, depth=2).eval()


def images(height: int = SIZE[0], width: int = SIZE[1], number: int = 2) -> torch.Tensor:
    return torch.randn(number, 3, height, width, generator=torch.Generator().manual_seed(height * width))


@pytest.mark.parametrize("name", NAMES)
def test_every_own_transformer_gives_a_class_token_and_a_token_a_patch(name):
    encoder = build_backbone(name, SIZE, depth=1)
    tokens = encoder(images())
    assert tokens.cls.shape == (2, encoder.dim)
    patch = int(re.findall(r"\d+$", name)[0])  # the name ends in it
    height, width = SIZE[0] // patch, SIZE[1] // patch
    assert tokens.patches.shape == (2, height * width, encoder.dim)
    assert tokens.grid == encoder.grid(SIZE) == (height, width)
    assert encoder.patch_size == (patch, patch)


@pytest.mark.parametrize("size", [(64, 44), (63, 31), (8, 8), (7, 90), (128, 64)])
def test_an_image_of_any_size_is_padded_to_whole_patches(encoder, size):
    height, width = -(-size[0] // 8), -(-size[1] // 8)
    tokens = encoder(images(*size))
    assert tokens.grid == encoder.grid(size) == (height, width)
    assert tokens.patches.shape == (2, height * width, encoder.dim)


def test_padding_is_of_zeros_at_the_right_and_bottom(encoder):
    x = images(60, 44)
    padded = torch.zeros(2, 3, 64, 48)
    padded[..., :60, :44] = x
    torch.testing.assert_close(encoder(x).patches, encoder(padded).patches)


def test_frames_of_64_by_44_at_patch_16_are_four_by_three_tokens():
    encoder = build_backbone("vit_tiny_patch16_224", (256, 128), depth=1)
    assert encoder(images(64, 44)).grid == (4, 3)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_tokens_at_the_native_size_are_timms(name):
    torch.manual_seed(0)
    encoder = build_backbone(name, SIZE, depth=2).eval()
    vit = timm.create_model(name, img_size=SIZE, num_classes=0, depth=2).eval()
    vit.load_state_dict(encoder.vit.state_dict())
    want, tokens = vit.forward_features(images()), encoder(images())
    torch.testing.assert_close(tokens.cls, want[:, 0])
    torch.testing.assert_close(tokens.patches, want[:, vit.num_prefix_tokens :])
    assert tokens.patches.shape[1] == 8


def test_position_embeddings_are_untouched_at_the_native_size_and_resized_elsewhere(encoder):
    """A blank image shows them: without them all its patch tokens would be equal."""
    embedding = encoder.vit.pos_embed
    assert embedding.shape[1] == encoder.vit.num_prefix_tokens + 8 * 4
    dim = encoder.dim
    native = encoder.vit._pos_embed(torch.zeros(1, 8, 4, dim))
    want = embedding.clone()
    want[:, :1] += encoder.vit.cls_token
    assert torch.equal(native, want)
    larger = encoder.vit._pos_embed(torch.zeros(1, 16, 8, dim))
    assert larger.shape == (1, 1 + 16 * 8, dim)
    assert torch.equal(larger[:, 0], want[:, 0])
    map_of = native[:, 1:].unflatten(1, (8, 4)).permute(0, 3, 1, 2)
    shrunk = torch.nn.functional.avg_pool2d(
        larger[:, 1:].unflatten(1, (16, 8)).permute(0, 3, 1, 2), kernel_size=2
    )
    difference = (shrunk - map_of).norm() / map_of.norm()
    assert difference < 0.5  # the same map at twice the resolution, smoothed


def test_a_mask_of_nothing_changes_nothing(encoder):
    x = images()
    open_tokens, tokens = encoder(x), encoder(x, torch.zeros(2, 32, dtype=torch.bool))
    assert torch.equal(tokens.patches, open_tokens.patches)
    assert torch.equal(tokens.cls, open_tokens.cls)


def test_hidden_patches_are_replaced_by_the_mask_token_before_the_blocks(encoder):
    """What the blocks get differs at hidden patches only, and there it is the mask token and its position."""
    mask = torch.zeros(2, 32, dtype=torch.bool)
    mask[0, 5] = mask[0, 6] = mask[1, 31] = True
    seen = []
    handle = encoder.vit.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    encoder(images())
    encoder(images(), mask)
    handle.remove()
    without, with_mask = (x[:, 1:] for x in seen)
    assert torch.equal(with_mask[~mask], without[~mask])
    position = encoder.vit.pos_embed[:, 1:].expand(2, -1, -1)
    assert torch.equal(with_mask[mask], position[mask] + encoder.mask_token)


def test_the_pixels_of_hidden_patches_do_not_matter():
    torch.manual_seed(0)
    encoder = build_backbone("vit_nano_patch8", SIZE, depth=2).eval()
    mask = torch.zeros(1, 32, dtype=torch.bool)
    mask[0, 4 * 2 + 1] = True  # row 2, column 1
    x = images(number=1)
    changed = x.clone()
    changed[..., 16:24, 8:16] = 9.0
    assert torch.equal(encoder(x, mask).patches, encoder(changed, mask).patches)
    assert not torch.equal(encoder(x).patches, encoder(changed).patches)


def test_the_mask_token_learns(encoder):
    encoder.zero_grad()
    mask = torch.zeros(2, 32, dtype=torch.bool)
    mask[:, 3] = True
    cls = encoder(images(), mask).cls
    (cls * torch.randn_like(cls)).sum().backward()
    assert encoder.mask_token.grad.any()


def test_tokens_are_those_of_the_image_alone_in_eval_mode(encoder):
    x = images(number=3)
    torch.testing.assert_close(encoder(x).cls[1:2], encoder(x[1:2]).cls, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [SIZE, (64, 44)])
def test_class_attention_is_a_share_of_the_last_blocks_softmax(encoder, size):
    attention = encoder.class_attention(images(*size))
    heads = encoder.vit.blocks[-1].attn.num_heads
    assert attention.shape == (2, heads, *encoder.grid(size))
    total = attention.sum((2, 3))
    assert (attention >= 0).all()
    assert (total > 0).all()
    assert (total < 1).all()  # the rest is what the class token gives itself


def test_class_attention_is_the_one_that_the_block_uses(encoder):
    """The last block's class output, put together from the returned weights and the values."""
    block = encoder.vit.blocks[-1].attn
    seen = {}
    handles = [
        block.register_forward_hook(lambda _, args, out: seen.update(x=args[0], out=out)),
    ]
    attention = encoder.class_attention(images()).flatten(2)
    for handle in handles:
        handle.remove()
    x = seen["x"]
    values = block.qkv(x).unflatten(-1, (3, block.num_heads, -1))[:, :, 2].transpose(1, 2)  # b heads n c
    own = 1 - attention.sum(-1, keepdim=True)
    weights = torch.cat([own, attention], dim=-1)
    mixed = (weights[:, :, None] @ values)[:, :, 0].flatten(1)
    torch.testing.assert_close(block.proj(mixed), seen["out"][:, 0])
    assert not block._forward_pre_hooks  # the hook that saw it is gone


def test_options_reach_the_constructor():
    encoder = build_backbone("vit_nano_conv8", SIZE, depth=1, widths=(8, 8, 16), blocks=(0, 0, 0))
    assert len(encoder.vit.blocks) == 1
    assert encoder.vit.patch_embed.proj[0].out_channels == 8


def test_stochastic_depth_reaches_the_transformer():
    encoder = build_backbone("vit_nano_patch8", SIZE, depth=2, drop_path=0.5)
    assert encoder.vit.blocks[-1].drop_path1.drop_prob == pytest.approx(0.5)


def test_a_stem_whose_stages_do_not_make_the_patch_size_says_so():
    with pytest.raises(ValueError, match="2 stages, so the patch size is 4, but patch_size=8"):
        build_backbone("vit_nano_conv8", SIZE, widths=(8, 16), blocks=(0, 0))


def test_an_unknown_name_lists_own_names_and_near_ones_of_timm():
    with pytest.raises(ValueError, match=r"no backbone named 'resnet5000'.*vit_nano_conv8.*resnet50"):
        build_backbone("resnet5000")


def test_a_transformer_without_a_class_token_gives_what_its_head_pools_and_shows_no_attention():
    encoder = build_backbone("vit_nano_patch8", SIZE, depth=1, class_token=False, global_pool="avg").eval()
    assert not encoder.has_class_token
    torch.testing.assert_close(encoder(images()).cls, encoder.vit(images()))
    with pytest.raises(ValueError, match="no class token"):
        encoder.class_attention(images())


@pytest.mark.parametrize("size", [SIZE, (64, 44), (100, 50)])
def test_a_cnns_tokens_are_its_last_map_and_their_mean(size):
    torch.manual_seed(0)
    encoder = build_backbone("resnet10t", SIZE).eval()
    assert isinstance(encoder, CNNEncoder)
    x = images(*size)
    tokens = encoder(x)
    feature_map = encoder.cnn.forward_features(x)
    assert tokens.grid == encoder.grid(size) == tuple(feature_map.shape[2:])
    assert tokens.patches.shape == (2, tokens.grid[0] * tokens.grid[1], encoder.dim)
    torch.testing.assert_close(tokens.patches[:, -1], feature_map[:, :, -1, -1])
    torch.testing.assert_close(tokens.cls, tokens.patches.mean(1))


def test_a_cnn_has_no_patch_to_hide():
    encoder = build_backbone("resnet10t", SIZE)
    with pytest.raises(ValueError, match="pass mask=None, or choose a vit_"):
        encoder(images(), torch.zeros(2, 2, dtype=torch.bool))


def test_names_of_timms_transformers_are_transformers_here():
    assert isinstance(build_backbone("vit_tiny_patch16_224", SIZE, depth=1), ViTEncoder)
