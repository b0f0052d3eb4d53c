"""The methods to compare with, each against a transcription of its paper, on each kind of attention."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import reid_adapters.methods as methods
from reid_adapters import (
    VPT,
    AdaptFormer,
    AdaptFormerConfig,
    CFAAConfig,
    IA3Config,
    IFAConfig,
    Layer,
    LoRAConfig,
    Method,
    PBPConfig,
    SetEncoder,
    Site,
    VPTConfig,
    VSLAConfig,
    attach,
    count_parameters,
    detach,
    load_pretrained,
    merge,
    save_pretrained,
)
from reid_adapters.backbones.attention import self_attention

LORA = LoRAConfig(rank=2, targets=("attention", "mlp"))
CONFIGS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "ifa": (IFAConfig(bottleneck=8), ("ifa",)),
    "cfaa": (CFAAConfig(bottleneck=64), ("cfaa",)),
    "adaptformer": (AdaptFormerConfig(bottleneck=8), ("adaptformer",)),
    "vpt": (VPTConfig(length=3), ("vpt",)),
    "ia3": (IA3Config(), ("ia3_",)),
    "lora": (LORA, ("lora_",)),
}
MERGED = ("ia3", "lora")


def timm_vit() -> nn.Module:
    sizes = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2.0, num_classes=0)
    return timm.models.VisionTransformer(**sizes)


def eva(**options: Any) -> nn.Module:
    sizes = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2.0, num_classes=0)
    return timm.models.Eva(use_rot_pos_emb=True, **sizes, **options)


def open_clip_vit() -> nn.Module:
    return open_clip.transformer.VisionTransformer(32, 8, 32, 2, 2, mlp_ratio=2.0, output_dim=16)


def torchvision_vit() -> nn.Module:
    import torchvision

    model = torchvision.models.VisionTransformer(32, 8, 2, 2, 32, 64)
    model.heads.head = nn.Identity()
    return model


def siglip() -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    sizes = dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32
    )
    return transformers.SiglipVisionModel(transformers.SiglipVisionConfig(patch_size=8, **sizes))


VITS = {
    "fused": timm_vit,
    "fused, biases apart": eva,
    "separate": lambda: eva(qkv_fused=False, swiglu_mlp=True, scale_mlp=True),
    "torch's": open_clip_vit,
    "torch's in torchvision": torchvision_vit,
    "transformers": siglip,
}
"""Models by how their blocks make queries, keys and values."""


def build(vit: str) -> nn.Module:
    torch.manual_seed(0)
    model = VITS[vit]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def trained(encoder: SetEncoder) -> SetEncoder:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder.eval()


def clips() -> Tensor:
    return torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.fixture(params=VITS)
def vit(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=CONFIGS)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_method_trains_its_own_is_saved_and_comes_off(vit: str, method: str, tmp_path: Path) -> None:
    config, parts = CONFIGS[method]
    model, given = build(vit), clips()
    before, alone = copy.deepcopy(model.state_dict()), attach(build(vit), None)(given)
    encoder = attach(model, config).eval()
    if method != "vpt":
        torch.testing.assert_close(encoder(given), alone, atol=1e-5, rtol=1e-5)
    features = trained(encoder)(given)
    assert (features - alone).abs().max() > 1e-4
    (features * torch.randn(features.shape)).sum().backward()
    for key, parameter in encoder.named_parameters():
        meant = any(part in key for part in parts)
        assert parameter.requires_grad == meant, key
        assert (parameter.grad is not None and bool(parameter.grad.any())) == meant, key
    counts = count_parameters(encoder)
    assert counts.trainable == sum(n for part, n in counts.parts.items() if part != "base")
    save_pretrained(encoder, tmp_path)
    torch.testing.assert_close(load_pretrained(build(vit), tmp_path).eval()(given), features)
    detach(encoder)
    after = model.state_dict()
    assert set(after) == set(before) and all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize("method", MERGED)
def test_merged_into_the_weights_the_features_stay(vit: str, method: str) -> None:
    encoder = trained(attach(build(vit), CONFIGS[method][0], image_size=(48, 16)))
    given = torch.randn(2, 3, 3, 48, 16)
    with torch.no_grad():
        expected = encoder(given)
        merge(encoder)
        torch.testing.assert_close(encoder(given), expected, atol=1e-4, rtol=1e-4)
    names = [name for name, _ in encoder.named_modules()] + [name for name, _ in encoder.named_parameters()]
    assert not any("lora" in name or "parametrizations" in name for name in names)
    plain = build(vit)
    assert set(detach(encoder).state_dict()) == set(plain.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("method", MERGED)
def test_a_merged_encoder_is_exported(method: str) -> None:
    encoder = merge(trained(attach(build("torch's"), CONFIGS[method][0])))
    program = torch.export.export(encoder, (clips(),))
    torch.testing.assert_close(program.module()(clips()), encoder(clips()))


def test_lora_adds_s_b_a_once_to_all_projections_of_torch_s_attention() -> None:
    model, tokens = build("torch's"), torch.randn(3, 5, 32)
    plain = copy.deepcopy(model.transformer.resblocks[0].attn)
    encoder = trained(attach(model, LoRAConfig(rank=2, alpha=6)))
    layer = model.transformer.resblocks[0].block.attn
    updated = {"in_proj_weight": (plain.in_proj_weight, layer)}
    updated["out_proj.weight"] = (plain.out_proj.weight, layer.base_layer.out_proj)
    weights = {  # W + alpha / r B A (Hu et al., Eq. 3)
        name: weight + 6 / 2 * lora.lora_B["default"].weight @ lora.lora_A["default"].weight
        for name, (weight, lora) in updated.items()
    }
    expected = torch.func.functional_call(plain, weights, (tokens,) * 3, {"need_weights": False})[0]
    found = self_attention(layer, tokens)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    parts = [
        one
        for name, one in encoder.named_parameters()
        if "resblocks.0.block.attn" in name and "lora_" in name
    ]
    ours, theirs = (torch.autograd.grad(out.pow(2).sum(), parts) for out in (found, expected))
    assert len(parts) == 4
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_what_is_no_change_of_weights_can_t_be_merged() -> None:
    model = timm_vit()
    with pytest.raises(ValueError, match="VSLAConfig can't be merged: it adds layers of its own"):
        merge(attach(model, VSLAConfig(bottleneck=64)))
    other = attach(model, LORA, name="other")
    with pytest.raises(ValueError, match="merging 'other' changes the weights under the other adapters"):
        merge(other)


def test_adaptformer_follows_its_equations() -> None:
    layer = AdaptFormer(width=8, bottleneck=4, scale=0.1)
    nn.init.normal_(layer.up.weight)
    nn.init.normal_(layer.up.bias)
    tokens = torch.randn(2, 5, 8)
    normed = F.layer_norm(tokens, (8,), layer.norm.weight, layer.norm.bias)
    hidden = torch.clamp(normed @ layer.down.weight.T + layer.down.bias, min=0)
    torch.testing.assert_close(layer(tokens), 0.1 * (hidden @ layer.up.weight.T + layer.up.bias))


def test_adaptformer_is_beside_the_mlp() -> None:
    model = build("fused")
    trained(attach(model, AdaptFormerConfig(bottleneck=8)))
    block, tokens = model.blocks[0], torch.randn(2, 5, 32)
    x = tokens + block.block.attn(block.block.norm1(tokens))
    expected = x + block.block.mlp(block.block.norm2(x)) + block.adaptformer(x)
    torch.testing.assert_close(block(tokens), expected)


def test_vpt_s_prompts_join_a_layer_s_input_and_its_outputs_there_are_dropped() -> None:
    model = build("fused")
    attach(model, VPTConfig(length=3))
    block, tokens = model.blocks[0], torch.randn(2, 5, 32)
    joined = torch.cat([tokens[:, :1], block.vpt.prompts.expand(2, -1, -1), tokens[:, 1:]], dim=1)
    out = block.block(joined)
    expected = torch.cat([out[:, :1], out[:, 4:]], dim=1)
    torch.testing.assert_close(block(tokens), expected, atol=1e-5, rtol=1e-5)


def test_vpt_s_prompts_start_within_xavier_s_bound() -> None:
    prompts = VPT(length=50, width=768).prompts
    assert prompts.abs().max() <= 0.0625 and prompts.abs().max() > 0.06  # sqrt(6 / (3 * 16^2 + 768))


@pytest.mark.parametrize("vit", ["fused", "torch's"])
def test_ia3_rescales_keys_values_and_hidden_channels(vit: str) -> None:
    model = build(vit)
    encoder = trained(attach(model, IA3Config()))
    backbone = encoder.attachment.backbone
    block = backbone.blocks(model)[0].block
    scales = {key.rpartition("ia3_")[2]: value for key, value in block.named_parameters() if "ia3_" in key}
    tokens = torch.randn(2, 5, 32)
    plain = backbone.blocks(build(vit))[0]
    attention = plain.attn
    if vit == "fused":
        weight, bias, output = attention.qkv.weight, attention.qkv.bias, attention.proj
        norm, norm2, first, second = plain.norm1, plain.norm2, plain.mlp.fc1, plain.mlp.fc2
    else:
        weight, bias, output = attention.in_proj_weight, attention.in_proj_bias, attention.out_proj
        norm, norm2, first, second = plain.ln_1, plain.ln_2, plain.mlp.c_fc, plain.mlp.c_proj
    query, key, value = (norm(tokens) @ weight.T + bias).chunk(3, dim=-1)
    heads = [
        part.unflatten(-1, (2, 16)).transpose(1, 2)
        for part in (query, key * scales["key"], value * scales["value"])
    ]
    mixed = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    torch.testing.assert_close(backbone.attention(block, tokens, None, None), output(mixed))
    hidden = scales["hidden"] * F.gelu(first(norm2(tokens)))
    torch.testing.assert_close(backbone.mlp(block, tokens), second(hidden))


def test_several_adapters_take_turns_on_one_base(tmp_path: Path) -> None:
    model, given = build("torch's"), clips()
    alone = attach(build("torch's"), None)(given)
    found = {}
    for method, (config, _) in CONFIGS.items():
        encoder = trained(attach(model, config, name=method))
        found[method] = encoder(given)
    save_pretrained(encoder, tmp_path)
    for method in ("vpt", "lora", "ifa", "ia3", "lora", "cfaa", "adaptformer"):
        encoder.set_adapter(method)
        torch.testing.assert_close(encoder(given), found[method])
        assert encoder.attachments.active == method
        trainable = [key for key, parameter in encoder.named_parameters() if parameter.requires_grad]
        assert trainable and all(any(part in key for part in CONFIGS[method][1]) for key in trainable)
    again = load_pretrained(model, tmp_path, name="again").eval()
    torch.testing.assert_close(again(given), found["lora"])
    detach(encoder, "again")  # the newest of the others is on
    torch.testing.assert_close(encoder.eval()(given), found["lora"])
    detach(encoder)
    torch.testing.assert_close(attach(model, None)(given), alone)


def test_an_adapter_that_is_off_follows_its_base_to_another_dtype() -> None:
    model = build("fused")
    attach(model, IFAConfig(bottleneck=8), image_size=(48, 16), name="first")
    encoder = attach(model, CFAAConfig(bottleneck=64), name="second").double()
    encoder.set_adapter("first")
    assert encoder.eval()(torch.randn(1, 2, 3, 48, 16).double()).dtype == torch.float64


def test_names_that_don_t_fit_are_refused() -> None:
    model = timm_vit()
    encoder = attach(model, IFAConfig(bottleneck=8), name="day")
    with pytest.raises(ValueError, match="one of them 'day': detach"):
        attach(model, IFAConfig(bottleneck=8), name="day")
    with pytest.raises(ValueError, match="there is no adapter 'night'; there are day"):
        encoder.set_adapter("night")
    with pytest.raises(ValueError, match="there is no adapter 'night'; there are day"):
        detach(encoder, "night")
    with pytest.raises(ValueError, match="full fine-tuning .* trains the weights that the other adapters"):
        attach(model, None, name="night")
    with pytest.raises(TypeError, match="config must be of a method's configuration class .*, got dict"):
        attach(timm_vit(), {"bottleneck": 8})
    features = encoder.eval()(clips())
    with pytest.raises(ValueError, match="depth is 9"):
        attach(model, IFAConfig(bottleneck=8), PBPConfig(depth=9), name="night")
    assert torch.equal(encoder(clips()), features)  # the first is on again


class Shift(Layer):
    """A method of another distribution: a vector beside each MLP."""

    place = "mlp"

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(site.width, device=site.device, dtype=site.dtype))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.vector.expand_as(tokens)


class ShiftConfig:
    method = "shift"


def test_another_distribution_adds_a_method_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name, value = "shift", "others.shift:METHOD"
        found: Any = Method(ShiftConfig, lambda config, site: {"shift": Shift(site)})

        def load(self) -> Any:
            return self.found

    entry = Entry()
    monkeypatch.setattr(
        methods, "entry_points", lambda group, name="shift": [entry] if name == "shift" else []
    )
    encoder = attach(timm_vit(), ShiftConfig())
    counts = count_parameters(encoder)
    assert counts.trainable == counts.parts["other"] == 2 * 32
    with pytest.raises(ValueError, match="unknown method 'none'; known are vsla, .*, shift"):
        methods.find_method("none")
    entry.found = Shift
    with pytest.raises(ValueError, match="others.shift:METHOD is no reid_adapters Method"):
        attach(timm_vit(), ShiftConfig())
