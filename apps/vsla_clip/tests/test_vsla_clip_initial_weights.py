"""The weights to begin with, in each form that they are published in: what matched is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from reid_core.cli.recipes import parse_config
from vsla_clip.cli import APP
from vsla_clip.clip import build_architecture, build_clip
from vsla_clip.config import architecture

SIZE = (32, 16)
SMALL = architecture(
    parse_config(APP, ["run", "--config", str(Path(__file__).parents[1] / "configs/tiny.yaml")])
)


class Holder(nn.Module):
    """A module that holds parameters under dotted names, and computes nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture()
def weights():
    """A CLIP's parameters by open_clip's names, which are OpenAI's."""
    torch.manual_seed(5)
    return {
        name: value.detach().clone() for name, value in build_architecture(SMALL, SIZE).named_parameters()
    }


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_openai_s_archive_is_converted_as_the_message_says(weights, tmp_path, capsys):
    root = Holder()
    for name, value in weights.items():
        *path, last = name.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, Holder())
            module = getattr(module, part)
        module.register_parameter(last, nn.Parameter(value.half()))
    root.register_buffer("input_resolution", torch.tensor(224))
    archive = tmp_path / "ViT-B-16.pt"
    torch.jit.save(torch.jit.script(root), archive)
    with pytest.raises(ValueError, match="is a TorchScript archive, such as OpenAI publishes") as caught:
        build_clip(SMALL, SIZE, archive)
    exec("\n".join(str(caught.value).splitlines()[1:]), {"torch": torch})
    converted = tmp_path / "ViT-B-16_state_dict.pth"
    clip = build_clip(SMALL, SIZE, converted)
    said = capsys.readouterr().out
    assert said == f"initial weights from {converted}: {len(weights)} loaded, 0 missing, 0 resized\n"
    assert torch.equal(clip.visual.proj, weights["visual.proj"].half().float())


def test_vifi_clip_s_checkpoint_lies_over_open_clip_s_weights_for_want_of_its_embedding(
    weights, tmp_path, capsys, monkeypatch
):
    vifi = {}
    for name, value in weights.items():
        if name.startswith("visual."):
            vifi[f"module.image_encoder.{name.removeprefix('visual.')}"] = value
        elif name == "logit_scale":
            vifi[f"module.{name}"] = value
        elif name != "token_embedding.weight":
            vifi[f"module.text_encoder.{name}"] = value
    file = tmp_path / "vifi.pth"
    torch.save({"model": vifi, "epoch": 10}, file)
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **__: build_architecture(SMALL, SIZE))
    clip = build_clip(replace(SMALL, pretrained="openai"), SIZE, file)
    assert capsys.readouterr().out.splitlines() == [
        f"initial weights from open_clip's small, openai: {len(weights)} loaded, 0 missing, 0 resized",
        f"initial weights from {file}: {len(weights) - 1} loaded, 1 missing, 0 resized",
    ]
    assert torch.equal(
        clip.transformer.resblocks[0].ln_1.weight, weights["transformer.resblocks.0.ln_1.weight"]
    )
    assert torch.equal(clip.visual.proj, weights["visual.proj"])


def test_open_clip_s_file_for_another_image_size_is_resampled(weights, tmp_path, capsys):
    positions = torch.randn(1 + 4 * 4, weights["visual.positional_embedding"].shape[1])
    file = tmp_path / "open_clip_model.safetensors"
    save_file(weights | {"visual.positional_embedding": positions}, file)
    clip = build_clip(SMALL, SIZE, file)
    assert f"{len(weights)} loaded, 0 missing, 1 resized" in capsys.readouterr().out
    assert torch.equal(clip.visual.positional_embedding[0], positions[0])
