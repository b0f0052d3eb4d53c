"""What save_pretrained writes, load_pretrained attaches, and refuses where it doesn't fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from safetensors.torch import load_file, save_file
from torch import nn

from reid_adapters import LoRAConfig, PBPConfig, VSLAConfig, attach, load_pretrained, save_pretrained

PBP = PBPConfig(platforms=("ground", "uav", "indoor"), depth=2, length=3)


def vit(width: int = 32, layers: int = 3) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(32, 8, width=width, layers=layers, heads=2, mlp_ratio=2.0, output_dim=16)


def perturb(encoder: nn.Module) -> None:
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize(
    "config",
    [
        VSLAConfig(bottleneck=64, activation="quick_gelu"),
        VSLAConfig(bottleneck=64, cfaa=False, tune_norms=True, tune_biases=True),
        LoRAConfig(rank=2, targets=("mlp", "attention")),
    ],
)
def test_a_round_trip_keeps_the_features(tmp_path: Path, config: Any) -> None:
    encoder = attach(vit(), config, PBP, image_size=(48, 32), stride=4)
    perturb(encoder)
    clips, platform = torch.randn(2, 3, 3, 48, 32), torch.tensor([2, 0])
    with torch.no_grad():
        expected = encoder.eval()(clips, platform)
        save_pretrained(encoder, tmp_path / "adapter", base_name="tiny")
        again = load_pretrained(vit(), tmp_path / "adapter").eval()
        assert torch.equal(again(clips, platform), expected)
        # On a base that has adapters: they are taken off first.
        again = load_pretrained(encoder.base, tmp_path / "adapter").eval()
        assert torch.equal(again(clips, platform), expected)
    assert again.attachment.config == config and again.attachment.pbp == PBP
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter.safetensors",
        "config.json",
    ]


def test_only_what_was_trained_is_in_the_file(tmp_path: Path) -> None:
    encoder = attach(vit(), VSLAConfig(bottleneck=64, tune_norms=True), PBP)
    save_pretrained(encoder, tmp_path)
    saved = load_file(tmp_path / "adapter.safetensors")
    trainable = {name for name, parameter in encoder.base.named_parameters() if parameter.requires_grad}
    assert set(saved) == trainable


@pytest.mark.parametrize(
    "other, message", [(vit(width=64), "width 32, not 64"), (vit(layers=4), "depth 3, not 4")]
)
def test_an_adapter_for_another_base_is_refused(tmp_path: Path, other: nn.Module, message: str) -> None:
    save_pretrained(attach(vit(), VSLAConfig(bottleneck=64)), tmp_path, base_name="tiny")
    with pytest.raises(ValueError, match=f"of a base 'tiny' .* {message}"):
        load_pretrained(other, tmp_path)
    assert not hasattr(other, "reid_adapters")


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="config.json"):
        load_pretrained(vit(), tmp_path)
    encoder = attach(vit(), VSLAConfig(bottleneck=64))
    save_pretrained(encoder, tmp_path)
    config, weights = tmp_path / "config.json", tmp_path / "adapter.safetensors"
    record = json.loads(config.read_text())
    for wrong in ({**record, "method": "ifa"}, {**record, "config": {"alpha": 1}}, [], {"method": "vsla"}):
        config.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match="config.json is not what save_pretrained writes"):
            load_pretrained(vit(), tmp_path)
    config.write_text("[" * 5000)
    with pytest.raises(ValueError, match="config.json is not what save_pretrained writes"):
        load_pretrained(vit(), tmp_path)
    for changed in ({"bottleneck": 128}, {"ifa": False}):
        config.write_text(json.dumps({**record, "config": {**record["config"], **changed}}))
        with pytest.raises(ValueError, match="safetensors doesn't hold what config.json beside it says"):
            load_pretrained(base := vit(), tmp_path)
        assert not hasattr(base, "reid_adapters")
    config.write_text(json.dumps(record))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(
        ValueError, match="adapter.safetensors is no safetensors file, or cut short or damaged"
    ):
        load_pretrained(vit(), tmp_path)


def test_full_fine_tuning_has_no_adapter_to_save(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="state_dict"):
        save_pretrained(attach(vit(), None), tmp_path)
    with pytest.raises(TypeError, match="Linear"):
        save_pretrained(nn.Linear(2, 2), tmp_path)


def other_base(change: str) -> nn.Module:
    """The base of `vit`, but for one thing."""
    model = vit()
    for block in model.transformer.resblocks:
        if change == "activation":
            block.mlp.gelu = QuickGELU()
        if change == "heads":
            block.attn.num_heads, block.attn.head_dim = 4, 8
        if change == "epsilon":
            block.ln_1.eps = 1e-6
    if change == "weights":
        with torch.no_grad():
            model.proj += 0.01
    return model


@pytest.mark.parametrize(
    "change, message",
    [
        ("activation", r"activation GELU\(approximate='none'\), not QuickGELU\(\)"),
        ("heads", "heads 2, not 4"),
        ("epsilon", "eps 1e-05, not 1e-06, 1e-05"),
        ("weights", "other weights, by a sample of them"),
    ],
)
def test_another_base_of_the_same_shapes_is_refused_unless_asked_for(
    tmp_path: Path, change: str, message: str
) -> None:
    save_pretrained(attach(vit(), VSLAConfig(bottleneck=64), PBP, image_size=(48, 32)), tmp_path, "tiny")
    base = other_base(change)
    with pytest.raises(ValueError, match=f"'tiny' that is not this VisionTransformer: {message}; .*check_b"):
        load_pretrained(base, tmp_path)
    assert not hasattr(base, "reid_adapters")
    assert load_pretrained(base, tmp_path, check_base=False).attachment.pbp == PBP


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_base_in_another_precision_is_the_same(tmp_path: Path, dtype: torch.dtype) -> None:
    save_pretrained(attach(vit(), VSLAConfig(bottleneck=64)), tmp_path)
    load_pretrained(vit().to(dtype), tmp_path)
    save_pretrained(attach(vit().to(dtype), VSLAConfig(bottleneck=64)), tmp_path)
    load_pretrained(vit(), tmp_path)


def test_the_base_that_is_described_is_the_one_without_adapters(tmp_path: Path) -> None:
    encoder = attach(vit(), VSLAConfig(bottleneck=64, tune_norms=True), PBP, image_size=(48, 32))
    perturb(encoder)
    named = [name for name, parameter in encoder.named_parameters() if parameter.requires_grad]
    features = encoder(torch.ones(1, 2, 3, 48, 32), "uav")
    save_pretrained(encoder, tmp_path)
    assert named == [name for name, parameter in encoder.named_parameters() if parameter.requires_grad]
    assert torch.equal(encoder(torch.ones(1, 2, 3, 48, 32), "uav"), features)
    load_pretrained(vit(), tmp_path)  # with the norms as they were


def test_folders_of_the_earlier_format_are_loaded(tmp_path: Path) -> None:
    encoder = attach(vit(), VSLAConfig(bottleneck=64), PBP)
    perturb(encoder)
    save_pretrained(encoder, tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())
    del record["base"]["identity"]
    (tmp_path / "config.json").write_text(json.dumps(record))
    weights = load_file(tmp_path / "adapter.safetensors")
    earlier = {name.replace(".pbp.prompts", ".prompts"): tensor for name, tensor in weights.items()}
    assert set(earlier) != set(weights)
    save_file(earlier, tmp_path / "adapter.safetensors")
    clips = torch.randn(2, 3, 3, 32, 32)
    expected = encoder.eval()(clips, "uav")
    assert torch.equal(load_pretrained(other_base("none"), tmp_path).eval()(clips, "uav"), expected)
    state = {
        name.replace(".pbp.prompts", ".prompts"): tensor for name, tensor in encoder.state_dict().items()
    }
    fresh = attach(vit(), VSLAConfig(bottleneck=64), PBP).eval()
    fresh.load_state_dict(state)
    assert torch.equal(fresh(clips, "uav"), expected)
