"""Attaching to open_clip and timm transformers, and taking off again."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transformer import VisionTransformer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from reid_adapters import LoRAConfig, PBPConfig, SetEncoder, VSLAConfig, attach, detach
from reid_adapters.backbones import Backbone, Shape

SMALL = VSLAConfig(bottleneck=64)
METHODS = {
    "vsla": VSLAConfig(bottleneck=64, tune_norms=True, tune_biases=True),
    "lora": LoRAConfig(rank=2, targets=("attention", "mlp")),
    "none": None,
}


def open_clip_vit(**options: Any) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(32, 8, width=32, layers=3, heads=2, mlp_ratio=2.0, output_dim=16, **options)


def timm_vit(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    settings = dict(img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=2, mlp_ratio=2.0)
    return timm.models.VisionTransformer(**{**settings, "num_classes": 0, **options})


VITS = {"open_clip": open_clip_vit, "timm": timm_vit}


def trained(encoder: SetEncoder) -> SetEncoder:
    """As after training: every trainable parameter away from its initial value."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder.eval()


@pytest.fixture(params=VITS)
def vit(request: pytest.FixtureRequest) -> nn.Module:
    return VITS[request.param]().eval()


def test_frozen_weights_are_multiplied_once_a_layer_not_image_by_image(vit: nn.Module) -> None:
    called: list[str] = []

    class Calls(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    with Calls():
        attach(vit, VSLAConfig(cfaa=False)).train()(torch.randn(2, 3, 3, 32, 32))
    assert "addmm" in called
    assert "bmm" not in called


def test_attaching_changes_no_feature_before_training(vit: nn.Module) -> None:
    clips = torch.randn(2, 3, 3, 32, 32)
    expected = vit(clips.flatten(0, 1)).view(2, 3, -1).mean(1)
    torch.testing.assert_close(attach(vit, SMALL)(clips), expected)


def test_torch_initial_weights_are_not_the_identity(vit: nn.Module) -> None:
    clips = torch.randn(2, 3, 3, 32, 32)
    expected = vit(clips.flatten(0, 1)).view(2, 3, -1).mean(1)
    encoder = attach(vit, VSLAConfig(bottleneck=64, init="torch"))
    assert (encoder(clips) - expected).abs().max() > 1e-3


@given(frames=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_the_order_of_frames_is_irrelevant_for_any_number_of_them(frames: int, seed: int) -> None:
    encoder = trained(attach(open_clip_vit(), SMALL, PBPConfig(depth=2, length=3), image_size=(32, 16)))
    clips = torch.randn(2, frames, 3, 32, 16, generator=torch.Generator().manual_seed(seed))
    order = torch.randperm(frames, generator=torch.Generator().manual_seed(seed))
    platform = torch.tensor([0, 1])
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(clips, platform), encoder(clips[:, order], platform), atol=1e-5, rtol=0
        )


def test_without_cfaa_a_clip_is_the_mean_of_its_frames_and_with_it_is_not(vit: nn.Module) -> None:
    clips = torch.randn(2, 4, 3, 32, 32)
    for cfaa in (False, True):
        encoder = trained(attach(vit, VSLAConfig(bottleneck=64, cfaa=cfaa)))
        alone = torch.stack([encoder(clips[:, frame]) for frame in range(4)]).mean(0)
        difference = (encoder(clips) - alone).abs().max().item()
        assert difference > 1e-3 if cfaa else difference < 1e-5
        detach(encoder)


def test_a_set_does_not_see_the_other_sets_of_its_batch(vit: nn.Module) -> None:
    encoder = trained(attach(vit, SMALL))
    clips = torch.randn(3, 4, 3, 32, 32)
    torch.testing.assert_close(encoder(clips)[1:2], encoder(clips[1:2]), atol=1e-5, rtol=1e-5)


def test_prompts_of_one_platform_leave_the_other_s_features_alone(vit: nn.Module) -> None:
    encoder = attach(vit, SMALL, PBPConfig(depth=2, length=3))
    clips, platform = torch.randn(2, 2, 3, 32, 32), torch.tensor([0, 1])
    before = encoder(clips, platform)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name.endswith("prompts"):
                parameter[1] += 1
    after = encoder(clips, platform)
    assert torch.equal(before[0], after[0])
    assert (before[1] - after[1]).abs().max() > 1e-3


def test_platforms_may_be_given_by_name(vit: nn.Module) -> None:
    encoder = trained(attach(vit, SMALL, PBPConfig(depth=1)))
    clips = torch.randn(2, 2, 3, 32, 32)
    by_index = encoder(clips, torch.tensor([1, 0]))
    torch.testing.assert_close(encoder(clips, ["uav", "ground"]), by_index)
    torch.testing.assert_close(encoder(clips, "uav"), encoder(clips, torch.tensor([1, 1])))
    with pytest.raises(ValueError, match=r"platform 'drone' has no prompts; .*\('ground', 'uav'\)"):
        encoder(clips, "drone")
    with pytest.raises(ValueError, match=r"platform must be int64 \[2\]"):
        encoder(clips, ["uav"])


def test_a_classifier_is_refused_for_logits_are_no_features() -> None:
    vit = timm_vit(num_classes=5)
    with pytest.raises(ValueError, match="still has a classifier of 5 classes.*reset_classifier"):
        attach(vit, SMALL)
    vit.reset_classifier(0)
    assert attach(vit, SMALL).features == 32


def test_prompts_are_in_the_first_layers_alone_and_get_gradients_by_platform(vit: nn.Module) -> None:
    encoder = attach(vit, None, PBPConfig(depth=2, length=3))
    features = encoder(torch.randn(1, 2, 3, 32, 32), torch.tensor([1]))
    features[:, ::2].sum().backward()  # all of them would sum to a constant behind a LayerNorm
    prompts = {name: parameter for name, parameter in encoder.named_parameters() if "prompts" in name}
    assert len(prompts) == 2 and all(parameter.shape == (2, 3, 32) for parameter in prompts.values())
    for parameter in prompts.values():
        assert parameter.grad is not None
        assert not parameter.grad[0].any() and parameter.grad[1].any()


def test_prompts_follow_equation_17() -> None:
    vit = open_clip_vit().eval()
    encoder = attach(vit, None, PBPConfig(depth=1, length=3))
    block = vit.transformer.resblocks[0]
    tokens = torch.randn(2, 5, 32)
    h = torch.cat([block.block.ln_1(tokens), block.pbp.prompts[[1, 0]]], dim=1)
    x = block.block.attn(h, h, h)[0][:, :5] + tokens
    expected = block.block.mlp(block.block.ln_2(x)) + x
    torch.testing.assert_close(block(tokens, frames=1, platform=torch.tensor([1, 0])), expected)
    assert encoder.attachment.pbp is not None


@pytest.mark.parametrize(
    "config, trainable",
    [
        (SMALL, ("ifa", "cfaa")),
        (VSLAConfig(bottleneck=64, cfaa=False), ("ifa",)),
        (VSLAConfig(bottleneck=64, ifa=False, tune_norms=True), ("cfaa", "norm", "ln_")),
        (VSLAConfig(bottleneck=64, tune_biases=True), ("ifa", "cfaa", "bias")),
        (LoRAConfig(rank=2), ("lora_",)),
    ],
)
def test_gradients_reach_only_what_is_meant(vit: nn.Module, config: Any, trainable: tuple[str, ...]) -> None:
    encoder = trained(attach(vit, config, PBPConfig(depth=1, length=2)))
    encoder(torch.randn(2, 2, 3, 32, 32), torch.tensor([0, 1]))[:, ::2].pow(2).sum().backward()
    for name, parameter in encoder.named_parameters():
        meant = any(part in name for part in (*trainable, "prompts"))
        assert parameter.requires_grad == meant, name
        assert (parameter.grad is not None and bool(parameter.grad.any())) == meant, name


@pytest.mark.parametrize("method", METHODS)
def test_detach_returns_the_base_bit_for_bit(vit: nn.Module, method: str) -> None:
    next(vit.parameters()).requires_grad_(False)
    before, flags = copy.deepcopy(vit.state_dict()), [p.requires_grad for p in vit.parameters()]
    images = torch.randn(2, 3, 32, 32)
    features = vit(images)
    encoder = attach(vit, METHODS[method], PBPConfig(depth=2, length=3), image_size=(40, 24), stride=4)
    encoder(torch.randn(2, 2, 3, 40, 24), torch.tensor([0, 1])).sum().backward()
    if METHODS[method] is not None:
        trained(encoder)(torch.randn(1, 1, 3, 40, 24), torch.tensor([0])).sum().backward()
    assert detach(encoder) is vit
    after = vit.state_dict()
    assert set(after) == set(before) and all(torch.equal(after[name], before[name]) for name in before)
    assert sorted(flags) == sorted(p.requires_grad for p in vit.parameters())
    assert torch.equal(vit(images), features)
    with pytest.raises(ValueError, match="no adapters"):
        encoder(images)


def test_timm_and_open_clip_give_the_same_for_the_same_weights() -> None:
    theirs = open_clip_vit().eval()
    ours = timm_vit(pre_norm=True, class_token=True).eval()
    state = {
        "cls_token": theirs.class_embedding.view(1, 1, -1),
        "pos_embed": theirs.positional_embedding[None],
        "patch_embed.proj.weight": theirs.conv1.weight,
        "norm_pre.weight": theirs.ln_pre.weight,
        "norm_pre.bias": theirs.ln_pre.bias,
        "norm.weight": theirs.ln_post.weight,
        "norm.bias": theirs.ln_post.bias,
    }
    names = {"norm1": "ln_1", "norm2": "ln_2", "attn.proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc"}
    names["mlp.fc2"] = "mlp.c_proj"
    for number, block in enumerate(theirs.transformer.resblocks):
        weights = block.state_dict()
        for kind in ("weight", "bias"):
            for name, other in names.items():
                state[f"blocks.{number}.{name}.{kind}"] = weights[f"{other}.{kind}"]
            state[f"blocks.{number}.attn.qkv.{kind}"] = weights[f"attn.in_proj_{kind}"]
    ours.load_state_dict(state)
    for block in ours.blocks:
        block.norm1.eps = block.norm2.eps = 1e-5
    ours.norm_pre.eps = ours.norm.eps = 1e-5
    theirs.proj = None

    clips, platform = torch.randn(2, 3, 3, 40, 16), torch.tensor([1, 0])
    features = []
    for vit in (theirs, ours):
        torch.manual_seed(1)
        encoder = attach(vit, SMALL, PBPConfig(depth=2, length=3), image_size=(40, 16), stride=4)
        features.append(trained(encoder)(clips, platform))
    torch.testing.assert_close(*features, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"reg_tokens": 2},
        {"class_token": False, "global_pool": "avg"},
        {"no_embed_class": True, "init_values": 0.1, "dynamic_img_size": True},
        {"drop_path_rate": 0.1},
    ],
)
def test_timm_s_variants_keep_their_features(options: dict[str, Any]) -> None:
    vit = timm_vit(**options).eval()
    images = torch.randn(2, 3, 32, 32)
    expected = vit(images)
    torch.testing.assert_close(attach(vit, SMALL)(images), expected)
    detach(vit)
    assert attach(vit, SMALL, image_size=(48, 16))(torch.randn(1, 2, 3, 48, 16)).shape == (1, 32)


def test_the_base_still_encodes_single_images_with_its_adapters(vit: nn.Module) -> None:
    encoder = trained(attach(vit, SMALL))
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(vit(images), encoder(images))


class OwnViT(nn.Module):
    """A model that neither library made."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 8, 8)
        self.layers = nn.ModuleList([nn.TransformerEncoderLayer(16, 2, 32, 0, norm_first=True) for _ in "ab"])


class OwnBackbone(Backbone):
    lora_targets = {"attention": ("self_attn",), "mlp": ("linear1", "linear2")}

    def shape(self, model: Any) -> Shape:
        return Shape(16, 16, (32, 16))

    def blocks(self, model: Any) -> nn.ModuleList:
        return model.layers

    def embed(self, model: Any, images: torch.Tensor) -> tuple[torch.Tensor, None]:
        return model.patch(images).flatten(2).transpose(1, 2), None

    def head(self, model: Any, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.mean(1)

    def norm(self, block: Any, tokens: torch.Tensor) -> torch.Tensor:
        return block.norm1(tokens)

    def attention(
        self, block: Any, tokens: torch.Tensor, prompts: torch.Tensor | None, positions: None
    ) -> torch.Tensor:
        h = block.norm1(tokens).transpose(0, 1)
        return block.self_attn(h, h, h)[0].transpose(0, 1)

    def mlp(self, block: Any, tokens: torch.Tensor) -> torch.Tensor:
        return block.linear2(block.linear1(block.norm2(tokens)).relu())

    def resize(self, model: Any, image_size: Any, stride: Any) -> list[Any]:
        return []


def test_another_model_joins_by_the_protocol() -> None:
    encoder = attach(OwnViT(), SMALL, backbone=OwnBackbone())
    assert encoder(torch.randn(2, 3, 3, 32, 16)).shape == (2, 16)


def test_dropout_that_peft_would_leave_out_is_refused_and_the_model_unchanged() -> None:
    vit = open_clip_vit()
    before, names = [p.requires_grad for p in vit.parameters()], list(vit.state_dict())
    with pytest.raises(ValueError, match="peft has none on torch's MultiheadAttention"):
        attach(vit, LoRAConfig(rank=2, dropout=0.1, targets=("mlp", "attention")), image_size=(64, 32))
    assert [p.requires_grad for p in vit.parameters()] == before and list(vit.state_dict()) == names
    assert tuple(vit.image_size) == (32, 32) and not hasattr(vit, "reid_adapters")


def test_bad_input_is_named() -> None:
    vit = open_clip_vit()
    pbp = PBPConfig(depth=2, length=3)
    with pytest.raises(TypeError, match="Linear is none of open_clip VisionT.*derived from Backbone"):
        attach(nn.Linear(2, 2), SMALL)
    with pytest.raises(ValueError, match="depth is 4, but the model has 3 layers"):
        attach(vit, SMALL, PBPConfig(depth=4))
    with pytest.raises(ValueError, match="height 60 is no multiple of the patch size 8"):
        attach(vit, SMALL, image_size=(60, 32))
    with pytest.raises(ValueError, match="height 64 with patch 8 and stride 9"):
        attach(vit, SMALL, image_size=(64, 32), stride=9)
    with pytest.raises(ValueError, match="multiple of 64, got 100"):
        VSLAConfig(bottleneck=100)
    with pytest.raises(ValueError, match="different names"):
        PBPConfig(platforms=("uav", "uav"))
    assert not hasattr(vit, "reid_adapters")  # none of these left anything behind
    encoder = attach(vit, SMALL, pbp, image_size=(64, 32))
    for twice in (vit, encoder):
        with pytest.raises(ValueError, match="has adapters already"):
            attach(twice, SMALL)
    clips = torch.randn(2, 2, 3, 64, 32)
    for wrong in (clips[0, 0], clips[:, :0], clips[:, :, :2], clips[..., :16], clips.mT):
        with pytest.raises(ValueError, match=r"clips must be \[b t 3 64 32\]"):
            encoder(wrong, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"0 to 1 for \('ground', 'uav'\), got 2"):
        encoder(clips, torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="got -1"):
        encoder(clips, torch.tensor([-1, 0]))
    for wrong in (torch.tensor([0]), torch.tensor([0.0, 1.0])):
        with pytest.raises(ValueError, match=r"platform must be int64 \[2\]"):
            encoder(clips, wrong)
    with pytest.raises(ValueError, match="platform is needed"):
        encoder(clips)
    with pytest.raises(ValueError, match="platform is needed"):
        vit(clips[:, 0])
