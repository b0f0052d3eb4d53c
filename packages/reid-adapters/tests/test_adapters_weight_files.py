"""Files of weights that hold something else, or end too early, are named for what they are."""

from __future__ import annotations

import argparse
import os
import sys
import types
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from reid_adapters import VSLAConfig, attach, load_pretrained, save_pretrained
from reid_adapters.released import read_state

pytestmark = pytest.mark.faults

WEIGHTS = {"visual.proj": torch.arange(6.0).view(2, 3)}


def torchscript() -> bytes:
    buffer = BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), buffer)
    return buffer.getvalue()


OTHER_FILES = {
    "is empty: fetch it again": lambda: b"",
    "is a git-LFS pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n",
    "is a web page": lambda: b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
    "is a TorchScript archive": torchscript,
    "is a file of weights cut short": lambda: b"PK\x03\x04" + bytes(99),
    "is no file of weights": lambda: b"visual.proj: 0.5\n" * 9,
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("cause", OTHER_FILES)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_another_file_is_named_for_what_it_is(cause: str, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"clip{suffix}"
    file.write_bytes(OTHER_FILES[cause]())
    with pytest.raises(ValueError, match=rf"clip{suffix} {cause}"):
        read_state(file)


def test_a_saved_adapter_that_is_a_pointer_is_named(tmp_path: Path) -> None:
    vit = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=0)
    save_pretrained(attach(vit, VSLAConfig(bottleneck=64)), tmp_path)
    (tmp_path / "adapter.safetensors").write_bytes(OTHER_FILES["is a git-LFS pointer"]())
    with pytest.raises(ValueError, match=r"adapter\.safetensors is a git-LFS pointer"):
        load_pretrained(vit, tmp_path)


def save_old(state: dict, file: Path) -> None:
    torch.save(state, file, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("save", [torch.save, save_old, save_file])
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_half_a_file_is_said_to_be_cut_short(save, share: float, tmp_path: Path) -> None:
    file = tmp_path / "clip.pth"
    save({"visual.proj": torch.zeros(200, 300)}, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"clip\.pth is a file of weights cut short .*: fetch it again"):
        read_state(file)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_the_message_on_a_torchscript_archive_converts_it(tmp_path: Path) -> None:
    file = tmp_path / "clip.pt"
    file.write_bytes(torchscript())
    with pytest.raises(ValueError, match="TorchScript") as caught:
        read_state(file)
    exec("\n".join(str(caught.value).splitlines()[1:]), {"torch": torch})
    assert set(read_state(tmp_path / "clip_state_dict.pth")) == {"weight", "bias"}


def test_settings_beside_the_weights_are_no_hindrance(tmp_path: Path, monkeypatch) -> None:
    """ViFi-CLIP keeps its settings as yacs' CfgNode, which pickle names; yacs itself is not needed."""

    class CfgNode(dict):
        def __init__(self, items: dict) -> None:
            super().__init__(items)
            self.__dict__["__immutable__"] = True

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    module = types.ModuleType("yacs.config")
    module.CfgNode = CfgNode  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    beside = {
        "config": CfgNode({"TRAIN": CfgNode({"LR": 0.1})}),
        "max_accuracy": np.float64(81.5),
        "args": argparse.Namespace(seed=1),
    }
    torch.save({"model": WEIGHTS, **beside}, tmp_path / "vifi.pth")
    assert torch.equal(read_state(tmp_path / "vifi.pth")["visual.proj"], WEIGHTS["visual.proj"])


class Harmful:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("harmed",)


def test_code_is_not_run_and_the_advice_is_not_to(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Harmful()}, "clip.pth")
    with pytest.raises(ValueError, match=r"clip\.pth can't be read as plain tensors \(.*mkdir") as caught:
        read_state("clip.pth")
    assert "weights_only" not in str(caught.value) and not Path("harmed").exists()
