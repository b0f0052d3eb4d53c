"""Checkpoints made in each published key layout load, and what does not fit is an error."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.volo import VOLO
from torch import nn

from reid_core.models.backbones import VOLOEncoder, build_backbone
from reid_core.models.weights import load_weights

SIZE = (64, 32)
TINY = {
    "resnet50": {"layers": (1, 1, 1, 1), "base_width": 8},
    "resnet50_ibn": {"layers": (1, 1, 1, 1), "base_width": 8},
    "convnext_tiny": {"depths": (1, 2, 1, 1), "dims": (8, 16, 24, 32)},
    "edgenext_x_small": {},
    "ghostnet_0_5": {},
    "repvit_m0_9": {},
    "fastvit_s12": {"layers": (1, 2, 1, 1), "embed_dims": (16, 32, 64, 128)},
    "fastvit_sa12": {"layers": (1, 2, 1, 1), "embed_dims": (16, 32, 64, 128)},
    "vit_small": {"depth": 2, "embed_dim": 48},
    "swin_tiny": {"depths": (2, 2, 1, 1), "embed_dim": 24, "num_heads": (1, 2, 4, 8)},
    "hiera_tiny_224": {"stages": (1, 1, 1, 1), "embed_dim": 24},
    "beit_base_patch16_224": {"depth": 2, "embed_dim": 48, "num_heads": 2},
    "eva02_tiny_patch14_224": {"depth": 2, "embed_dim": 48, "num_heads": 2},
}


def tiny(name: str, seed: int = 0, size: tuple[int, int] = SIZE, **options):
    """A small backbone whose every tensor is random, so that none is right by its initial value."""
    torch.manual_seed(seed)
    if name == "volo":  # timm's named VOLOs can't be made smaller
        sizes = {"layers": (1, 1, 1, 1), "embed_dims": (24, 48, 48, 48), "num_heads": (2, 4, 4, 4)}
        encoder = VOLOEncoder(VOLO(img_size=size, num_classes=0, **sizes)).eval()
    else:
        encoder = build_backbone(name, size, **{**TINY.get(name, {}), **options}).eval()
    for key, value in encoder.trunk.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5) if key.endswith("running_var") else value.normal_(std=0.2)
    return encoder


def state_of(encoder) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in encoder.trunk.state_dict().items()}


def same(ours, theirs, size: tuple[int, int] = SIZE) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(x).cls, theirs(x).cls)
        torch.testing.assert_close(ours(x).patches, theirs(x).patches)


def renamed(state, *pairs):
    """The state with each (pattern, replacement) applied to its names in turn."""
    out = {}
    for name, value in state.items():
        for pattern, replacement in pairs:
            name = re.sub(pattern, replacement, name)
        out[name] = value
    return out


def facebook(state):
    """ConvNeXt's own names, and EdgeNeXt's."""
    return renamed(
        state,
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
        ("conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
        (r"^head\.norm\.", "norm."),
    )


def apple(state):
    """FastViT's own names: stages and what is between them are one list; sa12 has a position encoding."""
    encoded = any("pos_enc" in name for name in state)
    return renamed(
        state,
        (r"^stem\.", "patch_embed."),
        (r"^stages\.(\d)\.downsample\.", lambda m: f"network.{2 * int(m[1]) - 1}."),
        (r"^stages\.3\.pos_emb\.pos_enc\.", "network.6.pe."),
        (r"^stages\.(\d)\.blocks\.", lambda m: f"network.{2 * int(m[1]) + (encoded and m[1] == '3')}."),
        ("conv_kxk", "rbr_conv"),
        ("conv_scale", "rbr_scale"),
        (r"\bidentity\b", "rbr_skip"),
        ("final_conv", "conv_exp"),
        ("large_conv", "lkb_origin"),
        (r"\.mlp\.", ".convffn."),
        (r"se\.fc1", "se.reduce"),
        (r"se\.fc2", "se.expand"),
        (r"(layer_scale\w*)\.gamma", r"\1"),
    )


def repvit(state):
    """RepViT's own names for m0.9: one list, each stage but the first begins with a downsampling."""
    starts = {0: 1, 1: 4, 2: 8, 3: 24}  # the feature of each stage's first block or downsampling
    block = (
        (r"token_mixer\.", "token_mixer.0."),
        (r"(?<=\d\.)se\.", "token_mixer.1."),
        (r"channel_mixer\.conv1", "channel_mixer.m.0"),
        (r"channel_mixer\.conv2", "channel_mixer.m.2"),
    )
    out = {}
    for name, value in state.items():
        if match := re.match(r"stages\.(\d)\.blocks\.(\d+)\.(.+)", name):
            number = starts[int(match[1])] + int(match[2]) + (match[1] != "0")
            name = f"features.{number}.{match[3]}"
        elif match := re.match(r"stages\.(\d)\.downsample\.pre_block\.(.+)", name):
            name = f"features.{starts[int(match[1])] - 1}.{match[2]}"
        elif match := re.match(r"stages\.(\d)\.downsample\.(.+)", name):
            rest = match[2].replace("spatial_downsample", "token_mixer_0").replace("ffn.", "channel_mixer.")
            rest = rest.replace("channel_downsample", "token_mixer_2")
            name = f"features.{starts[int(match[1])]}.{rest}"
        for pattern, replacement in block:
            name = re.sub(pattern, replacement, name)
        name = re.sub(r"token_mixer_(\d)", r"token_mixer.\1", name)
        name = name.replace("stem.conv1", "features.0.0").replace("stem.conv2", "features.0.2")
        out[name.replace(".fc1.", ".conv_reduce.").replace(".fc2.", ".conv_expand.")] = value
    return out


def microsoft(state):
    """Swin's own names: a stage ends with the downsampling; the last stage's norm is numbered."""
    return renamed(
        state,
        (r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample"),
        (r"^norm\.", "norm3."),
    )


REIDZOO = {
    "resnet50": dict,
    "resnet50_ibn": dict,
    "convnext_tiny": facebook,
    "edgenext_x_small": facebook,
    "ghostnet_0_5": dict,
    "repvit_m0_9": repvit,
    "fastvit_s12": apple,
    "fastvit_sa12": apple,
    "vit_small": dict,
    "swin_tiny": microsoft,
    "volo": dict,
}


@pytest.mark.parametrize("name", REIDZOO)
def test_reidzoo(name, tmp_path):
    """DINO's checkpoint with the structures' own names; the teacher is in DDP where it has batch norms."""
    source, encoder = tiny(name), tiny(name, seed=1)
    published = REIDZOO[name](state_of(source))
    prefix = "module.backbone." if any("running_mean" in key for key in published) else "backbone."
    teacher = {prefix + key: value for key, value in published.items()}
    teacher[prefix.replace("backbone", "head") + "last_layer.weight_v"] = torch.zeros(3, 4)
    student = {key: torch.zeros_like(value) for key, value in teacher.items()}
    content = {"student": student, "teacher": teacher, "epoch": 100, "args": argparse.Namespace(arch=name)}
    torch.save(content, tmp_path / "checkpoint.pth")
    report = load_weights(encoder, tmp_path / "checkpoint.pth")
    assert (report.share, report.missing, report.unused, report.resized) == (1, (), (), ())
    same(encoder, source)


def test_repvits_own_features_are_in_the_published_order():
    """Widths of the depthwise convolutions, in the order of the published code's table for m0.9."""
    state = repvit(state_of(tiny("repvit_m0_9")))
    convolutions = ["c" if i in (4, 8, 24) else "conv.c" for i in range(1, 27)]
    widths = [len(state[f"features.{i}.token_mixer.0.{c}.weight"]) for i, c in enumerate(convolutions, 1)]
    assert widths == [48] * 4 + [96] * 4 + [192] * 16 + [384] * 2
    assert not any(name.startswith("features.27.") for name in state)


def test_timm(tmp_path):
    source, encoder = tiny("vit_tiny_patch16_224", depth=2), tiny("vit_tiny_patch16_224", seed=1, depth=2)
    state = state_of(source)
    save_file({**state, "head.weight": torch.zeros(10, 192)}, tmp_path / "model.safetensors")
    report = load_weights(encoder, tmp_path / "model.safetensors")
    assert (report.share, report.unused) == (1, ("head.weight",))
    same(encoder, source)


def test_transreid_ssl_with_its_stem_at_another_image_size(tmp_path):
    source = tiny("vit_small", size=(256, 128))
    encoder = tiny("vit_small", seed=1, size=(384, 128))
    torch.save({"teacher": {f"backbone.{k}": v for k, v in state_of(source).items()}}, tmp_path / "ics.pth")
    report = load_weights(encoder, tmp_path / "ics.pth")
    assert report.resized == ("pos_embed",)
    old = source.vit.pos_embed
    grid = old[:, 1:].unflatten(1, (16, 8)).permute(0, 3, 1, 2)
    want = F.interpolate(grid, (24, 8), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder.vit.pos_embed[:, 1:], want)
    torch.testing.assert_close(encoder.vit.pos_embed[:, :1], old[:, :1])


def test_transreid_fine_tuned(tmp_path):
    """The base's tensors with a classifier, jigsaw branches and side information beside them."""
    options = {"depth": 2, "stride": 12}
    source = tiny("vit_tiny_patch16_224", size=(256, 128), **options)
    state = {f"module.base.{key}": value for key, value in state_of(source).items()}
    state |= {"module.base.sie_embed": torch.zeros(6, 1, 192), "module.b1.0.norm1.weight": torch.zeros(192)}
    torch.save({**state, "module.classifier.weight": torch.zeros(4, 192)}, tmp_path / "transformer_120.pth")
    encoder = tiny("vit_tiny_patch16_224", seed=1, size=(256, 128), **options)
    report = load_weights(encoder, tmp_path / "transformer_120.pth")
    assert (report.share, report.unused) == (1, ("sie_embed",))
    same(encoder, source, (256, 128))


def test_imagenets_square_positions_become_a_persons(tmp_path):
    source = tiny("vit_tiny_patch16_224", size=(224, 224), depth=1)
    save_file(state_of(source), tmp_path / "model.safetensors")
    encoder = tiny("vit_tiny_patch16_224", seed=1, size=(256, 128), depth=1)
    load_weights(encoder, tmp_path / "model.safetensors")
    grid = source.vit.pos_embed[:, 1:].unflatten(1, (14, 14)).permute(0, 3, 1, 2)
    want = F.interpolate(grid, (16, 8), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder.vit.pos_embed[:, 1:], want)


def test_pass_keeps_its_part_tokens_with_their_positions(tmp_path):
    source = tiny("vit_small", reg_tokens=3)
    state = state_of(source)
    parts, positions = state.pop("reg_token"), state.pop("pos_embed")
    for i in range(3):
        state[f"part_token{i + 1}"] = parts[:, i : i + 1].clone()
        state[f"part{i + 1}_pos"] = positions[:, i + 1 : i + 2].clone()
    state |= {"cls_pos": positions[:, :1].clone(), "pos_embed": positions[:, 4:].clone()}
    torch.save({"teacher": {f"module.backbone.{k}": v for k, v in state.items()}}, tmp_path / "pass.pth")
    encoder = tiny("vit_small", seed=1, reg_tokens=3)
    assert load_weights(encoder, tmp_path / "pass.pth").share == 1
    same(encoder, source)
    with pytest.raises(ValueError, match="build it with reg_tokens=3"):
        load_weights(tiny("vit_small"), tmp_path / "pass.pth")


def test_lup_is_mocos_query_encoder(tmp_path):
    source, encoder = tiny("resnet50"), tiny("resnet50", seed=1)
    state = {f"module.encoder_q.{k}": v for k, v in state_of(source).items()}
    state |= {f"module.encoder_k.{k}": torch.zeros_like(v) for k, v in state_of(source).items()}
    state |= {"module.encoder_q.fc.0.weight": torch.zeros(2, 2), "module.queue": torch.zeros(2, 8)}
    torch.save({"epoch": 200, "arch": "resnet50", "state_dict": state}, tmp_path / "lup.pth")
    report = load_weights(encoder, tmp_path / "lup.pth")
    assert (report.share, report.unused) == (1, ("fc.0.weight",))
    same(encoder, source)


class UnfoldMerging(nn.Module):
    """SOLIDER's patch merging, from its description: an unfold of 2x2 windows, norm, linear map."""

    def __init__(self, norm: dict, reduction: torch.Tensor):
        super().__init__()
        self.norm, self.reduction = norm, reduction

    def forward(self, x):
        batch, height, width, channels = x.shape
        windows = F.unfold(x.permute(0, 3, 1, 2), 2, stride=2).transpose(1, 2)
        windows = F.layer_norm(windows, (4 * channels,), self.norm["weight"], self.norm["bias"])
        return (windows @ self.reduction.T).view(batch, height // 2, width // 2, -1)


def test_solider_merges_patches_in_the_order_of_an_unfold(tmp_path):
    """The loaded network computes what the published one does with the checkpoint's own tensors."""
    source = tiny("swin_tiny", semantic_weight=0.2)
    published = renamed(
        microsoft(state_of(source)),
        (r"^layers\.", "stages."),
        (r"\.attn\.", ".attn.w_msa."),
        (r"\.mlp\.fc1\.", ".ffn.layers.0.0."),
        (r"\.mlp\.fc2\.", ".ffn.layers.1."),
        (r"^patch_embed\.proj\.", "patch_embed.projection."),
        (r"^semantic\.(\d)\.scale\.", r"semantic_embed_w.\1."),
        (r"^semantic\.(\d)\.shift\.", r"semantic_embed_b.\1."),
    )
    published["norm0.weight"] = torch.zeros(24)
    published["stages.0.blocks.0.attn.w_msa.relative_position_index"] = torch.zeros(64, 64).long()
    state = {f"module.backbone.{key}": value for key, value in published.items()}
    torch.save({"teacher": state}, tmp_path / "solider.pth")
    encoder = tiny("swin_tiny", seed=1, semantic_weight=0.2)
    report = load_weights(encoder, tmp_path / "solider.pth")
    assert (report.share, report.unused) == (1, ("norm0.weight",))
    for i in range(3):
        where = f"stages.{i}.downsample."
        norm = {part: published[f"{where}norm.{part}"] for part in ("weight", "bias")}
        source.swin.layers[i + 1].downsample = UnfoldMerging(norm, published[f"{where}reduction.weight"])
    same(encoder, source)


def test_swins_position_tables_are_resized_to_the_window(tmp_path):
    options = {"depths": (1, 1, 1, 1), "embed_dim": 24, "num_heads": (1, 2, 4, 8)}
    torch.save(state_of(tiny("swin_tiny_patch4_window7_224", **options)), tmp_path / "swin.pth")
    report = load_weights(tiny("swin_tiny", seed=1, **options), tmp_path / "swin.pth")
    assert report.share == 1
    assert len(report.resized) == 4
    assert all(name.endswith("relative_position_bias_table") for name in report.resized)


def test_volos_positions_are_resized(tmp_path):
    torch.save({"state_dict": state_of(tiny("volo", size=(224, 224)))}, tmp_path / "volo.pth")
    assert load_weights(tiny("volo", seed=1), tmp_path / "volo.pth").resized == ("pos_embed",)


@pytest.mark.parametrize(
    ("name", "side", "resized"),
    [
        ("hiera_tiny_224", 64, ("pos_embed",)),
        ("eva02_tiny_patch14_224", 70, ("pos_embed",)),
        ("beit_base_patch16_224", 64, tuple(f"blocks.{i}.attn.relative_position_bias_table" for i in (0, 1))),
    ],
)
def test_timms_square_checkpoints_of_other_transformers_become_a_persons(name, side, resized, tmp_path):
    source = tiny(name, size=(side, side))
    save_file(state_of(source), tmp_path / "square.safetensors")
    report = load_weights(tiny(name, seed=1, size=(side, side // 2)), tmp_path / "square.safetensors")
    assert (report.share, report.missing, report.resized) == (1, (), resized)


def test_clip_reid(tmp_path):
    pytest.importorskip("open_clip")
    name, options = "open_clip:ViT-B-16-quickgelu", {"layers": 2, "width": 64, "head_width": 32}
    source = tiny(name, **options)
    state = {f"image_encoder.{key}": value.half() for key, value in state_of(source).items()}
    state |= {"text_encoder.ln_final.bias": torch.zeros(2), "prompt_learner.cls_ctx": torch.zeros(2)}
    torch.save(state, tmp_path / "ViT-B-16_60.pth")
    encoder = tiny(name, seed=1, **options)
    assert load_weights(encoder, tmp_path / "ViT-B-16_60.pth").share == 1
    torch.testing.assert_close(encoder.clip.conv1.weight, source.clip.conv1.weight, rtol=1e-3, atol=1e-3)
    larger = tiny(name, seed=1, size=(128, 64), **options)
    assert load_weights(larger, tmp_path / "ViT-B-16_60.pth").resized == ("positional_embedding",)


@pytest.mark.parametrize("name", ["resnet50_ibn", "eva02_tiny_patch14_224"])
def test_this_packages_own_encoder(name, tmp_path):
    source, encoder = tiny(name), tiny(name, seed=1)
    torch.save(
        {"state_dict": {f"encoder.{k}": v for k, v in source.state_dict().items()}}, tmp_path / "own.pt"
    )
    assert load_weights(encoder, tmp_path / "own.pt").share == 1
    same(encoder, source)


def test_too_little_is_an_error_and_loads_nothing(tmp_path):
    """A plain ResNet has nearly all of an IBN-a's elements, but not of its tensors."""
    torch.save(state_of(tiny("resnet50")), tmp_path / "plain.pth")
    encoder = tiny("resnet50_ibn", seed=1)
    before = state_of(encoder)
    with pytest.raises(ValueError, match=r"80\.2%.*missing .*layer1\.0\.bn1\.IN.*Expected at least 100%"):
        load_weights(encoder, tmp_path / "plain.pth")
    assert all(torch.equal(value, before[key]) for key, value in state_of(encoder).items())
    assert load_weights(encoder, tmp_path / "plain.pth", minimum=0.5).share < 0.95


def test_a_tensor_of_another_shape_is_an_error(tmp_path):
    torch.save(state_of(tiny("repvit_m0_9", hard_excitation=False)), tmp_path / "timm.pth")
    with pytest.raises(ValueError, match=r"of another shape .*se\.fc1\.bias \(16,\) instead of \(12,\)"):
        load_weights(tiny("repvit_m0_9"), tmp_path / "timm.pth")


def test_another_structure_is_an_error(tmp_path):
    torch.save(state_of(tiny("resnet50")), tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match="Expected at least 100%"):
        load_weights(tiny("vit_small"), tmp_path / "resnet.pth")
    torch.save(state_of(tiny("vit_small")), tmp_path / "vit.pth")
    with pytest.raises(ValueError, match="another structure than ConvNeXt"):
        load_weights(tiny("convnext_tiny"), tmp_path / "vit.pth")


def test_positions_that_make_no_grid_are_an_error(tmp_path):
    state = state_of(tiny("vit_small"))
    state["pos_embed"] = torch.zeros(1, 1 + 127, 48)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match="positions for 127 patches, which make no grid like.* 4x2"):
        load_weights(tiny("vit_small"), tmp_path / "odd.pth")


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": state_of(tiny("vit_small")), "x": Harmful()}, "bad.pth")
    with pytest.raises(ValueError, match="can't be read as weights alone"):
        load_weights(tiny("vit_small"), "bad.pth")
    assert not Path("harmed").exists()


def test_a_file_without_tensors_is_an_error(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match="holds no tensors"):
        load_weights(tiny("vit_small"), tmp_path / "empty.pth")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_weights(tiny("vit_small"), tmp_path / "none.pth")


def test_the_report_reads_as_a_sentence(tmp_path):
    torch.save({**state_of(tiny("vit_small")), "fc.bias": torch.zeros(2)}, tmp_path / "vit.pth")
    report = str(load_weights(tiny("vit_small", seed=1), tmp_path / "vit.pth"))
    assert report.endswith(
        "vit.pth: 49 of the backbone's 49 tensors filled (100.0%) by 49 of the file's 50; "
        "1 unused (fc.bias); positions taken for 4x2 patches"
    )
