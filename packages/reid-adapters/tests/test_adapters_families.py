"""Every family of backbones, two models each at small sizes with random weights, under the same tests."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
import torchvision
from open_clip.timm_model import TimmModel
from torch import Tensor, nn

from reid_adapters import (
    LoRAConfig,
    PBPConfig,
    SetEncoder,
    VSLAConfig,
    attach,
    detach,
    load_pretrained,
    save_pretrained,
)
from reid_adapters.backbones import table

SIZE = (32, 32)
SMALL = VSLAConfig(bottleneck=64)
LORA = LoRAConfig(rank=2, targets=("attention", "mlp"))


SIZES = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2.0, num_classes=0)


def timm_vit(**options: Any) -> nn.Module:
    return timm.models.VisionTransformer(**{**SIZES, **options})


def eva(**options: Any) -> nn.Module:
    return timm.models.Eva(**{**SIZES, **options})


def beit(**options: Any) -> nn.Module:
    return timm.models.Beit(**{**SIZES, **options})


def hybrid(stem: nn.Module, **options: Any) -> nn.Module:
    from functools import partial

    from timm.layers import HybridEmbed

    return timm_vit(embed_layer=partial(HybridEmbed, backbone=stem), **options)


def convolutional_stem() -> nn.Module:
    from timm.models.vision_transformer_hybrid import ConvStem

    return ConvStem(channels=(4, 8), depth=2, stride=(2, 2), kernel_size=3, act_layer=nn.GELU)


def tower(trunk: nn.Module, **options: Any) -> nn.Module:
    model = TimmModel("test_vit", embed_dim=16, image_size=32, **options)
    model.trunk = trunk
    if options["proj"] == "linear":
        model.head.proj = nn.Linear(32, 16, bias=False)
    return model


def open_clip_vit(**options: Any) -> nn.Module:
    return open_clip.transformer.VisionTransformer(
        32, 8, width=32, layers=2, heads=2, mlp_ratio=2.0, output_dim=16, **options
    )


def torchvision_vit(**options: Any) -> nn.Module:
    model = torchvision.models.VisionTransformer(32, 8, 2, 2, 32, 64, **options)
    model.heads.head = nn.Identity()
    return model


def hugging_face(name: str, config: str, **options: Any) -> Any:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    sizes = dict(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        mlp_ratio=2,
    )
    return getattr(transformers, name)(getattr(transformers, config)(**{**sizes, **options}))


CONVS = [
    torchvision.models.vision_transformer.ConvStemConfig(8, 3, 4),
    torchvision.models.vision_transformer.ConvStemConfig(16, 3, 2),
]
EVA02 = dict(use_rot_pos_emb=True, swiglu_mlp=True, scale_mlp=True, qkv_fused=False, global_pool="avg")
DINOV3 = dict(
    use_abs_pos_emb=False,
    use_rot_pos_emb=True,
    rope_type="dinov3",
    rope_rotate_half=True,
    num_reg_tokens=2,
    init_values=0.5,
    global_pool="token",
)
MODELS: dict[str, Callable[[], nn.Module]] = {
    "open_clip": open_clip_vit,
    "open_clip, own attention": lambda: open_clip_vit(block_type="custom", qk_norm=True, scale_attn=True),
    "open_clip, attentional pooling": lambda: open_clip_vit(attentional_pool=True, attn_pooler_heads=2),
    "open_clip TimmModel, SigLIP": lambda: tower(
        timm_vit(class_token=False, global_pool="map"), pool="avg", proj="none"
    ),
    "open_clip TimmModel, EVA-02": lambda: tower(eva(**EVA02, num_classes=16), pool="avg", proj=""),
    "open_clip TimmModel, projected": lambda: tower(timm_vit(), pool="token", proj="linear"),
    "timm, DINOv2": lambda: timm_vit(reg_tokens=2, init_values=0.5, no_embed_class=True),
    "timm, no class token": lambda: timm_vit(class_token=False, global_pool="avg", dynamic_img_size=True),
    "timm, norm behind": lambda: timm_vit(block_fn=timm.models.vision_transformer.ResPostBlock),
    "timm, parallel": lambda: timm_vit(block_fn=timm.models.vision_transformer.ParallelThingsBlock),
    "timm Eva, EVA-02": lambda: eva(**EVA02),
    "timm Eva, DINOv3": lambda: eva(**DINOV3),
    "timm Eva, EVA": lambda: eva(global_pool="token", qkv_bias=True),
    "timm Eva, mixed": lambda: eva(
        use_abs_pos_emb=False, use_rot_pos_emb=True, rope_type="mixed", attn_type="rope", use_post_norm=True
    ),
    "timm Beit, shared": lambda: beit(use_shared_rel_pos_bias=True, init_values=0.1),
    "timm Beit, own": lambda: beit(use_rel_pos_bias=True, use_abs_pos_emb=False, global_pool="token"),
    "timm Beit, absolute": lambda: beit(),
    "timm hybrid, normalised stem": lambda: hybrid(convolutional_stem(), patch_size=2),
    "timm hybrid, plain stem": lambda: hybrid(nn.Conv2d(3, 8, 4, 4), patch_size=2),
    "torchvision": torchvision_vit,
    "torchvision, stem": lambda: torchvision_vit(conv_stem_configs=CONVS, representation_size=16),
    "transformers CLIP": lambda: hugging_face("CLIPVisionModel", "CLIPVisionConfig"),
    "transformers CLIP, projected": lambda: hugging_face(
        "CLIPVisionModelWithProjection", "CLIPVisionConfig", projection_dim=16
    ),
    "transformers SigLIP": lambda: hugging_face("SiglipVisionModel", "SiglipVisionConfig"),
    "transformers SigLIP, ReLU": lambda: hugging_face(
        "SiglipVisionModel", "SiglipVisionConfig", hidden_act="relu"
    ),
    "transformers Dinov2": lambda: hugging_face("Dinov2Model", "Dinov2Config"),
    "transformers Dinov2, SwiGLU": lambda: hugging_face("Dinov2Model", "Dinov2Config", use_swiglu_ffn=True),
    "transformers DINOv3": lambda: hugging_face("DINOv3ViTModel", "DINOv3ViTConfig", num_register_tokens=2),
    "transformers DINOv3, gated": lambda: hugging_face(
        "DINOv3ViTModel", "DINOv3ViTConfig", use_gated_mlp=True, num_register_tokens=0
    ),
    "transformers ViT": lambda: hugging_face("ViTModel", "ViTConfig"),
    "transformers ViT, QuickGELU": lambda: hugging_face("ViTModel", "ViTConfig", hidden_act="quick_gelu"),
}
RELATIVE = ("timm Beit, shared", "timm Beit, own")
"""Models in which prompts have no place."""

ONE_EACH = [
    "open_clip",
    "open_clip TimmModel, EVA-02",
    "timm, parallel",
    "timm Eva, DINOv3",
    "timm Beit, shared",
    "timm hybrid, normalised stem",
    "torchvision",
    "transformers CLIP",
    "transformers SigLIP",
    "transformers Dinov2",
    "transformers DINOv3",
    "transformers ViT",
]


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    with torch.no_grad():  # zeros and equal values would hide what is wrong
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def own_features(model: nn.Module, images: Tensor) -> Tensor:
    """What a model gives by itself."""
    found = model(images)
    if isinstance(found, Tensor):
        return found
    return found.image_embeds if hasattr(found, "image_embeds") else found.pooler_output


def trained(encoder: SetEncoder) -> SetEncoder:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder.eval()


def prompts_for(name: str) -> PBPConfig | None:
    return None if name in RELATIVE else PBPConfig(depth=1, length=3)


def clips(size: tuple[int, int] = SIZE, frames: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, frames, 3, *size, generator=generator), torch.tensor([1, 0])


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_attaching_changes_no_feature_before_training_nor_for_the_base_alone(name: str) -> None:
    model, images = build(name), clips()[0][:, 0]
    with torch.no_grad():
        expected = own_features(model, images)
        encoder = attach(model, SMALL)
        torch.testing.assert_close(encoder(images), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(own_features(model, images), expected, atol=1e-5, rtol=1e-5)
        trained(encoder)
        changed = encoder(images)
        assert encoder.features == changed.shape[1]
        assert (changed - expected).abs().max() > 1e-3
        torch.testing.assert_close(own_features(model, images), changed, atol=1e-5, rtol=1e-5)


def test_the_order_of_frames_is_irrelevant_at_another_image_size(name: str) -> None:
    encoder = trained(attach(build(name), SMALL, prompts_for(name), image_size=(48, 16)))
    given, platform = clips((48, 16), frames=4)
    with torch.no_grad():
        features = encoder(given, platform)
        torch.testing.assert_close(features, encoder(given[:, [2, 0, 3, 1]], platform), atol=1e-5, rtol=1e-4)
        assert (features - encoder(given[:, :2], platform)).abs().max() > 1e-4


def test_prompts_are_seen_or_refused_with_the_reason(name: str) -> None:
    model = build(name)
    given, platform = clips()
    if name in RELATIVE:
        with pytest.raises(ValueError, match="table of relative positions, where prompts have no place"):
            attach(model, SMALL, PBPConfig(depth=1))
        return
    encoder = attach(model, SMALL, PBPConfig(depth=1, length=3)).eval()
    with torch.no_grad():
        assert (encoder(given, platform) - encoder(given, 1 - platform)).abs().max() > 1e-6


@pytest.mark.parametrize("config", [VSLAConfig(bottleneck=64, tune_norms=True), LORA])
def test_detach_returns_the_base_bit_for_bit(name: str, config: Any) -> None:
    model, images = build(name), clips()[0][:, 0]
    before = copy.deepcopy({**model.state_dict(), **dict(model.named_buffers())})
    expected = own_features(model, images)
    if name == "open_clip, own attention" and config is LORA:
        with pytest.raises(ValueError, match="peft can't put updates beside Attention"):
            attach(model, config)
        config = LoRAConfig(rank=2, targets=("mlp",))
    encoder = attach(model, config, prompts_for(name), image_size=(48, 16)).train()
    given, platform = clips((48, 16))
    encoder(given, platform).sum().backward()
    trained(encoder)(given, platform)
    detach(encoder)
    after = {**model.state_dict(), **dict(model.named_buffers())}
    assert set(after) == set(before) and all(torch.equal(after[key], before[key]) for key in before)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(own_features(model.eval(), images), expected)


def test_a_saved_adapter_gives_the_same_features_on_its_base(name: str, tmp_path: Path) -> None:
    encoder = trained(attach(build(name), SMALL, prompts_for(name), image_size=(48, 16)))
    given, platform = clips((48, 16))
    with torch.no_grad():
        expected = encoder(given, platform)
        save_pretrained(encoder, tmp_path)
        assert torch.equal(load_pretrained(build(name), tmp_path).eval()(given, platform), expected)


@pytest.mark.parametrize("config", [SMALL, LORA])
def test_gradients_reach_only_what_is_meant(name: str, config: Any) -> None:
    if name == "open_clip, own attention" and config is LORA:
        config = LoRAConfig(rank=2, targets=("mlp",))
    encoder = trained(attach(build(name), config, prompts_for(name)))
    given, platform = clips()
    features = encoder(given, platform)
    (features * torch.randn(features.shape)).sum().backward()
    for key, parameter in encoder.named_parameters():
        meant = any(part in key for part in ("ifa", "cfaa", "prompts", "lora_"))
        assert parameter.requires_grad == meant, key
        assert (parameter.grad is not None and bool(parameter.grad.any())) == meant, key


@pytest.mark.parametrize("name", ONE_EACH)
def test_checkpointing_changes_no_gradient_and_autocast_few(name: str) -> None:
    given, platform = clips()
    found = []
    for mode in ("plain", "checkpointing", "autocast"):
        encoder = trained(attach(build(name), SMALL, prompts_for(name)))
        encoder.set_grad_checkpointing(mode == "checkpointing")
        with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
            encoder(given, platform).float().pow(2).mean().backward()
        found.append([parameter.grad for parameter in encoder.parameters() if parameter.requires_grad])
    torch.testing.assert_close(found[1], found[0])
    whole, half = (torch.cat([grad.flatten() for grad in grads]) for grads in (found[0], found[2]))
    assert torch.cosine_similarity(whole, half, dim=0) > 0.97


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_EACH)
def test_compiled_without_a_graph_break_gives_the_same(name: str) -> None:
    torch.compiler.reset()  # it gives up on code that was compiled for many other models
    given, platform = clips()
    encoder = trained(attach(build(name), SMALL, prompts_for(name)))
    compiled = torch.compile(encoder, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(given, platform), encoder(given, platform), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "name", ["timm, DINOv2", *(pytest.param(name, marks=pytest.mark.slow) for name in ONE_EACH)]
)
def test_exported_it_takes_any_number_of_sets(name: str) -> None:
    encoder = trained(attach(build(name), SMALL))
    sets = {0: torch.export.Dim("batch")}
    program = torch.export.export(encoder, (clips()[0],), dynamic_shapes=(sets,)).module()
    for number in (1, 2, 3, 5):
        given = torch.randn(number, 3, 3, *SIZE)
        torch.testing.assert_close(program(given), encoder(given), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["timm Eva, EVA-02", "timm Eva, DINOv3", "timm Eva, mixed"])
def test_prompts_of_eva_are_not_rotated(name: str) -> None:
    model = build(name)
    encoder = attach(model, None, PBPConfig(depth=1, length=3))
    block, backbone = model.blocks[0], encoder.attachment.backbone
    tokens, rope = backbone.embed(model, clips()[0][:, 0])
    prompts = torch.randn(2, 3, 32)
    mixed = backbone.attention(block.block, tokens, prompts, rope[0])
    attention = copy.deepcopy(block.block.attn)
    attention.num_prefix_tokens += 3  # prompts in front, where Eva rotates nothing
    after = isinstance(block.block, timm.models.eva.EvaBlockPostNorm)
    normed = tokens if after else block.block.norm1(tokens)
    expected = attention(torch.cat([prompts, normed], dim=1), rope=rope[0])[:, 3:]
    if after:
        expected = block.block.norm1(expected)
    elif block.block.gamma_1 is not None:
        expected = block.block.gamma_1 * expected
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=1e-5)


def test_prompts_of_dinov3_are_not_rotated() -> None:
    model = build("transformers DINOv3")
    backbone = table.backbone_of(model)
    block = backbone.blocks(model)[0]
    tokens, rope = backbone.embed(model, clips()[0][:, 0])
    prompts = torch.randn(2, 3, 32)
    front = torch.cat([prompts, block.norm1(tokens)], dim=1)  # transformers rotates the last tokens alone
    expected = block.layer_scale1(block.attention(front, position_embeddings=rope[0])[0][:, 3:])
    torch.testing.assert_close(
        backbone.attention(block, tokens, prompts, rope[0]), expected, atol=1e-5, rtol=1e-5
    )


def test_batch_normalisation_of_a_frozen_stem_keeps_its_statistics() -> None:
    model = build("timm hybrid, normalised stem")
    encoder = attach(model, SMALL).train()
    before = {key: value.clone() for key, value in model.named_buffers()}
    encoder(clips()[0])
    assert any("running_mean" in key for key in before)
    assert all(torch.equal(value, before[key]) for key, value in model.named_buffers())
    assert all(module.training for module in detach(encoder).modules())
