"""Checkpoints of other projects, made here with their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from open_clip.model import CLIP
from torch import Tensor

from reid_adapters import load_initial, load_released, load_released_prompts
from reid_adapters.prompts import IDPromptLearner

WIDTH, LAYERS, BOTTLENECK = 64, 3, 128


Released = Callable[..., dict[str, Tensor]]


def clip() -> CLIP:
    vision = {"layers": LAYERS, "width": WIDTH, "patch_size": 8, "image_size": 32}
    return CLIP(16, vision, {"width": 32, "layers": 1, "heads": 2}, quick_gelu=True).eval()


@pytest.fixture
def released(released_adapters: Released) -> Released:
    """Makes a state dict as the released code writes it, of a 32 x 16 model, 5 identities and 2 platforms."""

    def make(prompts: bool = True) -> dict[str, Tensor]:
        torch.manual_seed(3)
        model = clip()
        state = {f"image_encoder.{name}": value for name, value in model.visual.state_dict().items()}
        state["image_encoder.positional_embedding"] = torch.randn(1 + 4 * 2, WIDTH)
        state |= released_adapters(LAYERS, WIDTH, BOTTLENECK)
        for name, value in model.state_dict().items():
            if name.startswith(("transformer.", "ln_final.")) or name in (
                "positional_embedding",
                "text_projection",
            ):
                state[f"text_encoder.{name}"] = value
        if prompts:
            state["cv_embed"] = torch.randn(2, 4, 2, WIDTH)
            state["prompt_learner.cls_ctx"] = torch.randn(5, 4, 32)
            state["prompt_learner.prefix_prompt"] = torch.randn(1, 8, 32)
            state["prompt_learner.suffix_prompt"] = torch.randn(1, 8, 32)
            state["prompt_learner.token_prefix"] = torch.randn(1, 1, 32)
            state["prompt_learner.token_suffix"] = torch.randn(1, 56, 32)
        state["classifier.weight"] = torch.randn(5, WIDTH)
        return state

    return make


def transcription(
    state: dict[str, Tensor], images: Tensor, frames: int, platform: Tensor
) -> dict[str, Tensor]:
    """The released image encoder's forward pass, from its weights alone: features of three depths."""
    part = {key.removeprefix("image_encoder."): value for key, value in state.items()}

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ part[f"{name}.weight"].T + part[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        return torch.nn.functional.layer_norm(x, (WIDTH,), part[f"{name}.weight"], part[f"{name}.bias"])

    def attention(x: Tensor, name: str, heads: int) -> Tensor:
        layer = torch.nn.MultiheadAttention(x.shape[-1], heads, batch_first=True)
        layer.load_state_dict(
            {key.removeprefix(f"{name}."): part[key] for key in part if key.startswith(f"{name}.")}
        )
        return layer(x, x, x)[0]

    def quick_gelu(x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)

    x = torch.nn.functional.conv2d(images, part["conv1.weight"], stride=8).flatten(2).mT
    x = torch.cat([part["class_embedding"].expand(len(x), 1, -1), x], 1) + part["positional_embedding"]
    x = norm(x, "ln_pre")
    tokens = x.shape[1]
    for number in range(LAYERS):
        before, block = x, f"transformer.resblocks.{number}"
        h = norm(x, f"{block}.ln_1")
        if number < len(state["cv_embed"]):
            prompts = state["cv_embed"][number][:, platform].transpose(0, 1)
            h = torch.cat([h, prompts.repeat_interleave(frames, 0)], 1)
        attended = attention(h, f"{block}.attn", 1)[:, :tokens]
        cross = linear(x, f"{block}.dat_cross.down").unflatten(0, (-1, frames)).transpose(1, 2).flatten(0, 1)
        cross = attention(cross, f"{block}.dat_cross.temporal_block.temporal_attn", BOTTLENECK // 64)
        cross = cross.unflatten(0, (-1, tokens)).transpose(1, 2).flatten(0, 1)
        x = x + attended + linear(cross, f"{block}.dat_cross.up")
        mlp = linear(quick_gelu(linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")), f"{block}.mlp.c_proj")
        x = x + mlp + linear(quick_gelu(linear(x, f"{block}.dat.down")), f"{block}.dat.up")
    pooled = norm(x, "ln_post")[:, 0]
    levels = {"penultimate": before[:, 0], "pooled": pooled, "projected": pooled @ part["proj"]}
    return {name: level.unflatten(0, (-1, frames)).mean(1) for name, level in levels.items()}


def test_the_released_model_is_reproduced(released: Released, tmp_path: Path) -> None:
    state = released()
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "best.pth")
    encoder, report = load_released(clip().visual, tmp_path / "best.pth", image_size=(32, 16))
    assert not report.missing and not report.mismatched
    assert len(report.matched) == len(list(encoder.parameters()))
    assert "classifier.weight" in report.unused and "cv_embed" not in report.unused
    clips, platform = torch.randn(2, 3, 3, 32, 16), torch.tensor([1, 0])
    with torch.no_grad():
        expected = transcription(state, clips.flatten(0, 1), 3, platform)
        levels = encoder.eval().levels(clips, platform)
        torch.testing.assert_close(levels, expected, atol=1e-4, rtol=1e-4)
        assert torch.equal(encoder(clips, platform), levels["projected"])
    assert encoder.level_widths() == {name: level.shape[1] for name, level in levels.items()}


def test_the_released_prompts_are_reproduced(released: Released) -> None:
    state = released()
    learner = IDPromptLearner(clip(), 5)
    report = load_released_prompts(learner, state)
    assert not report.missing and not report.mismatched
    assert torch.equal(learner.id_prompts, state["prompt_learner.cls_ctx"])
    assert torch.equal(learner.shared_prompts[8:], state["prompt_learner.suffix_prompt"][0])
    assert torch.equal(learner.suffix, state["prompt_learner.token_suffix"][0, :2])
    assert torch.equal(learner.ln_final.weight, state["text_encoder.ln_final.weight"])
    assert set(report.unused) == {"cv_embed", "classifier.weight"}


def test_what_does_not_match_is_reported(released: Released) -> None:
    state = released(prompts=False)
    state["image_encoder.proj"] = torch.zeros(3, 3)
    del state["image_encoder.ln_post.bias"]
    encoder, report = load_released(clip().visual, state, image_size=(32, 16))
    assert encoder.attachment.pbp is None
    assert report.missing == ["ln_post.bias"]
    assert report.mismatched == ["proj [64, 16], not [3, 3]"]
    assert "1 missing: ln_post.bias" in str(report)


def test_vifi_clip_s_and_openai_s_names_fill_a_clip(tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs, vifi = clip(), {}
    for name, value in theirs.named_parameters():
        if name.startswith("visual."):
            vifi[name.replace("visual.", "module.image_encoder.")] = value.detach()
        elif name == "logit_scale":
            vifi[f"module.{name}"] = value.detach()
        elif name != "token_embedding.weight":
            vifi[f"module.text_encoder.{name}"] = value.detach()
    vifi["module.prompt_learner.token_prefix"] = torch.zeros(1)
    torch.save({"model": vifi, "epoch": 3}, tmp_path / "vifi.pth")
    ours = clip()
    report = load_initial(ours, tmp_path / "vifi.pth")
    assert report.missing == ["token_embedding.weight"] and report.unused == ["prompt_learner.token_prefix"]
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours.visual(images), theirs.visual(images))

    openai = {name: value.half() for name, value in theirs.named_parameters()}
    report = load_initial(ours, openai | {"input_resolution": torch.tensor(32)})
    assert not report.missing and report.unused == ["input_resolution"]

    inside = {f"clip.{name}": value for name, value in theirs.named_parameters()}
    assert not load_initial(clip(), inside).missing


def test_position_embeddings_of_another_grid_are_resampled() -> None:
    torch.manual_seed(1)
    state = {name: value.detach().clone() for name, value in clip().named_parameters()}
    state["visual.positional_embedding"] = torch.randn(1 + 8 * 8, WIDTH)
    ours = clip()
    report = load_initial(ours, state)
    assert report.resized == ["visual.positional_embedding from 8 x 8 to 4 x 4"]
    assert not report.mismatched and not report.missing and "1 resized" in str(report)
    assert torch.equal(ours.visual.positional_embedding[0], state["visual.positional_embedding"][0])


def test_bad_files_are_named(released: Released, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_released(clip().visual, tmp_path / "none.pth")
    (tmp_path / "bad.pth").write_bytes(b"PK")
    with pytest.raises(ValueError, match="bad.pth is no file of weights"):
        load_initial(clip(), tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="prompts of 2 platforms, but platforms is"):
        load_released(clip().visual, released(), platforms=("ground",))
    with pytest.raises(ValueError, match="nothing matched: the state dict has keys such as conv"):
        load_initial(clip(), {"conv": torch.zeros(1)})
    with pytest.raises(ValueError, match="no tensors"):
        load_initial(clip(), {})
