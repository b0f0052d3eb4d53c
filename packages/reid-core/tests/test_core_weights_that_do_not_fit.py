"""A checkpoint that doesn't fit a backbone is refused, whichever side of the two has too much."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from reid_core.models.backbones import build_backbone
from reid_core.models.weights import load_weights

pytestmark = pytest.mark.faults

SIZE = (64, 32)


def tiny(size: tuple[int, int] = SIZE, name: str = "vit_nano_patch8", **options):
    """A small ViT with random tensors, none of them right by its initial value."""
    encoder = build_backbone(name, size, **{"depth": 2, **options}).eval()
    for value in encoder.trunk.state_dict().values():
        value.normal_(std=0.2)
    return encoder


def state_of(encoder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in encoder.trunk.state_dict().items()}


def smooth_positions(height: int, width: int, dim: int) -> torch.Tensor:
    """[1 1+h*w d]: alike where patches are near, as learnt positions are; the class token's are zeros."""
    rows = torch.linspace(0, 1, height)[:, None, None] * torch.linspace(1, 5, dim)
    columns = torch.linspace(0, 1, width)[None, :, None] * torch.linspace(5, 1, dim)
    grid = (rows + columns).sin().flatten(0, 1)
    return torch.cat([torch.zeros(1, dim), grid])[None]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "checkpoint.pth"


def test_four_blocks_are_refused_by_a_backbone_of_two(file):
    torch.save(state_of(tiny(depth=4)), file)
    encoder = tiny(depth=2)
    before = state_of(encoder)
    with pytest.raises(ValueError, match=r"24 surplus \(blocks\.2\.norm1\.weight.* Expected at least 100%"):
        load_weights(encoder, file)
    assert all(torch.equal(value, before[name]) for name, value in state_of(encoder).items())


def test_a_part_is_taken_over_where_a_lower_minimum_allows_it(file):
    torch.save(state_of(tiny(depth=4)), file)
    report = load_weights(tiny(depth=2), file, minimum=0.5)
    assert (report.filled, report.tensors, report.used, report.held) == (30, 30, 30, 54)
    assert len(report.surplus) == 24


@pytest.mark.parametrize("large", [True, False], ids=["few large", "many small"])
def test_the_share_is_of_the_tensors_or_of_their_elements_whichever_is_less(large, file):
    state = state_of(tiny())
    kept = {name: value for name, value in state.items() if (value.numel() > 1000) != large}
    elements = sum(map(torch.numel, kept.values())) / sum(map(torch.numel, state.values()))
    torch.save(kept | {"cls_token": state["cls_token"]}, file)
    report = load_weights(tiny(), file, minimum=0.0)
    assert (elements < 0.1 and report.share < 0.1) if large else (elements > 0.9 and report.share < 0.7)


def test_repvits_further_blocks_are_refused_too(file):
    state = {"features.0.0.c.weight": torch.zeros(24, 3, 3, 3), "features.99.se.weight": torch.zeros(1)}
    torch.save(state, file)
    with pytest.raises(ValueError, match=r"1 surplus \(stages\.features\.99\.se\.weight\)"):
        load_weights(build_backbone("repvit_m0_9", SIZE), file)


@pytest.mark.parametrize("name", ["pos_embed", "norm.weight", "blocks.1.norm2.bias", "cls_token"])
def test_a_missing_tensor_is_an_error(name, file):
    state = state_of(tiny())
    del state[name]
    torch.save(state, file)
    with pytest.raises(ValueError, match=rf"1 missing \({name}\)|this backbone has 1"):
        load_weights(tiny(), file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_an_error(value, file):
    torch.save({name: torch.full_like(tensor, value) for name, tensor in state_of(tiny()).items()}, file)
    with pytest.raises(ValueError, match="30 tensors hold NaN or infinity"):
        load_weights(tiny(), file)


def test_registers_are_not_taken_for_patches(file):
    torch.save(state_of(tiny(reg_tokens=4)), file)
    with pytest.raises(ValueError, match=r"5 tokens before its patches \(cls_token 1, reg_token 4\)"):
        load_weights(tiny(), file)
    assert load_weights(tiny((128, 64), reg_tokens=4), file).resized == ("pos_embed",)


def test_a_distillation_token_is_not_taken_for_a_patch(file):
    options = {"depth": 2, "embed_dim": 48, "num_heads": 2}
    torch.save(state_of(tiny(name="deit_tiny_distilled_patch16_224", **options)), file)
    with pytest.raises(ValueError, match=r"2 tokens before its patches .*dist_token 1"):
        load_weights(tiny((128, 64), "deit_tiny_patch16_224", **options), file)


def test_positions_without_the_class_token_are_not_taken_for_patches(file):
    torch.save(state_of(tiny(no_embed_class=True)), file)
    with pytest.raises(ValueError, match="build it with no_embed_class=True"):
        load_weights(tiny(), file)
    torch.save(state_of(tiny()), file)
    with pytest.raises(ValueError, match="build it with no_embed_class=False"):
        load_weights(tiny(no_embed_class=True), file)


def test_positions_of_a_turned_grid_are_noticed(file):
    """Both have 32 positions, so that shapes alone say nothing."""
    wide = tiny((32, 64))
    wide.vit.pos_embed.data = smooth_positions(4, 8, wide.dim)
    torch.save(state_of(wide), file)
    with pytest.raises(ValueError, match=r"look like those of 4x8 patches, not this backbone's 8x4"):
        load_weights(tiny((64, 32)), file)
    assert load_weights(tiny((32, 64)), file).resized == ()


def test_the_grid_of_the_checkpoint_can_be_given(file):
    wide = tiny((32, 64))
    torch.save(state_of(wide), file)
    encoder = tiny((64, 32))
    report = load_weights(encoder, file, grid=(4, 8))
    assert (report.resized, report.grid) == (("pos_embed",), (4, 8))
    image = wide.vit.pos_embed[:, 1:].unflatten(1, (4, 8)).permute(0, 3, 1, 2)
    want = F.interpolate(image, (8, 4), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder.vit.pos_embed[:, 1:], want)
    with pytest.raises(ValueError, match="grid=5x8, but the checkpoint has positions for 32 patches"):
        load_weights(tiny(), file, grid=(5, 8))


def test_positions_are_interpolated_as_dino_does_by_option(file):
    source, encoder = tiny((64, 64)), tiny((64, 32))
    torch.save(state_of(source), file)
    load_weights(encoder, file, interpolation="dino")
    image = source.vit.pos_embed[:, 1:].reshape(1, 8, 8, -1).permute(0, 3, 1, 2)
    want = F.interpolate(image, scale_factor=(8.1 / 8, 4.1 / 8), mode="bicubic").permute(0, 2, 3, 1)
    torch.testing.assert_close(encoder.vit.pos_embed[:, 1:], want.reshape(1, 32, -1))


def test_the_averaged_weights_are_taken_and_the_report_says_so(file):
    last, averaged = state_of(tiny()), state_of(tiny())
    torch.save({"state_dict": last, "state_dict_ema": averaged}, file)
    encoder = tiny()
    report = load_weights(encoder, file)
    assert report.entry == "state_dict_ema"
    assert "checkpoint.pth (state_dict_ema): " in str(report)
    assert torch.equal(encoder.vit.pos_embed, averaged["pos_embed"])
    assert load_weights(encoder, file, entry="state_dict").entry == "state_dict"
    assert torch.equal(encoder.vit.pos_embed, last["pos_embed"])
    with pytest.raises(ValueError, match="no entry 'model' of tensors; there are state_dict, state_dict_ema"):
        load_weights(encoder, file, entry="model")


def test_a_token_that_the_backbone_lacks_is_surplus_whatever_the_structure(file):
    """A backbone without positions of tokens has nothing else that would tell."""
    state = state_of(build_backbone("repvit_m0_9", SIZE))
    torch.save({**state, "prompt_tokens": torch.zeros(1, 2, 4)}, file)
    with pytest.raises(ValueError, match=r"1 surplus \(prompt_tokens\)"):
        load_weights(build_backbone("repvit_m0_9", SIZE), file)


def test_a_layer_scale_that_the_backbone_lacks_is_an_error(file):
    torch.save(state_of(tiny(init_values=0.1)), file)
    with pytest.raises(ValueError, match=r"4 surplus \(blocks\.0\.ls1\.gamma"):
        load_weights(tiny(), file)


def test_heads_and_what_only_training_uses_may_be_left_over(file):
    state = state_of(tiny())
    heads = {"head.weight": 3, "mask_token": 1, "sie_embed": 6, "fc.bias": 3}
    torch.save({**state, **{name: torch.zeros(count) for name, count in heads.items()}}, file)
    report = load_weights(tiny(), file)
    assert (report.unused, report.surplus) == (tuple(heads), ())
