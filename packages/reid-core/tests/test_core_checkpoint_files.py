"""Checkpoints with plain values beside the weights are read; a file that is none says what it is."""

from __future__ import annotations

import argparse
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from reid_core.models.checkpoint_files import read_checkpoint_file

pytestmark = pytest.mark.faults

WEIGHTS = {"layer.weight": torch.arange(6.0).view(2, 3)}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.pth"


def stand_in(monkeypatch, name, **content):
    """Have a module be found under a dotted name while a checkpoint is written."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        module = types.ModuleType(".".join(parts[:end]))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    vars(module).update(content)


@pytest.fixture(params=["yacs.config", "fvcore.common.config"])
def config_node(monkeypatch, request):
    """yacs' and fvcore's CfgNode as the pickle of a checkpoint names it; neither is needed."""

    class CfgNode(dict):
        def __init__(self, items):
            super().__init__(items)
            self.__dict__["__immutable__"] = True

    CfgNode.__module__, CfgNode.__qualname__ = request.param, "CfgNode"
    stand_in(monkeypatch, request.param, CfgNode=CfgNode)
    return CfgNode({"MODEL": CfgNode({"NAME": "vit"})})


@pytest.mark.parametrize("zipped", [True, False])
def test_plain_values_beside_the_weights_are_no_hindrance(zipped, file, config_node):
    beside = {
        "best": np.float64(0.5),
        "epoch": np.int64(3),
        "curve": np.arange(3.0),
        "names": np.array(["a"]),
        "args": argparse.Namespace(arch="vit", seed=np.int64(1)),
        "cfg": config_node,
    }
    torch.save({"model": WEIGHTS, **beside}, file, _use_new_zipfile_serialization=zipped)
    assert torch.equal(read_checkpoint_file(file)["model"]["layer.weight"], WEIGHTS["layer.weight"])


@pytest.mark.parametrize("function", ["scalar", "_reconstruct"])
def test_values_of_numpy_1_are_no_hindrance(function, file, monkeypatch):
    """NumPy 2 has moved the functions that the pickles of NumPy 1 name."""

    def build(*_):
        raise AssertionError

    build.__module__, build.__qualname__ = "old_numpy.core", function

    class Old:
        def __reduce__(self):
            return build, (1,)

    with monkeypatch.context() as patch:
        stand_in(patch, "old_numpy.core", **{function: build})
        torch.save({"model": WEIGHTS, "best": Old()}, file, _use_new_zipfile_serialization=False)
    content = file.read_bytes().replace(b"cold_numpy.core\n", b"cnumpy.core.multiarray\n")
    file.write_bytes(content)
    assert b"cnumpy.core.multiarray\n" + function.encode() in content
    assert torch.equal(read_checkpoint_file(file)["model"]["layer.weight"], WEIGHTS["layer.weight"])


def test_an_object_of_numpy_runs_no_code_of_numpys(file):
    """A crafted dtype makes NumPy read memory that isn't its own: what stands in its place does nothing."""

    class Crafted:
        def __reduce__(self):
            return np.dtype, ("V8", False, True), (3, "|", None, ("f",), {"f": (np.dtype("O"), 0)}, 8, 1, 27)

    torch.save({"x": Crafted()}, file)
    assert not isinstance(read_checkpoint_file(file)["x"], np.dtype)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_code_is_not_run_and_the_advice_is_not_to(file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Harmful()}, file)
    with pytest.raises(ValueError, match=r"can't be read as weights alone \(.*mkdir") as caught:
        read_checkpoint_file(file)
    assert "weights_only" not in str(caught.value)
    assert not Path("harmed").exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_the_message_on_a_torchscript_archive_converts_it(file):
    module = torch.nn.Linear(3, 2)
    torch.jit.script(module).save(str(file))
    with pytest.raises(ValueError, match="is a TorchScript archive") as caught:
        read_checkpoint_file(file)
    exec("\n".join(str(caught.value).splitlines()[1:]), {"torch": torch})
    converted = read_checkpoint_file(file.with_name("model_state_dict.pth"))
    assert torch.equal(converted["weight"], module.weight)


OTHER_FILES = {
    "is empty": b"",
    "is a git-LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n",
    "is a web page": b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
    "is a packed archive": b"\x1f\x8b\x08\x00" + bytes(99),
    "is an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(99),
    "is no checkpoint": b"layer.weight: 0.5\n" * 9,
    "cut short": b"PK\x03\x04" + bytes(99),
}


@pytest.mark.parametrize("message", OTHER_FILES)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_another_file_is_named_for_what_it_is(message, suffix, file):
    file = file.with_suffix(suffix)
    file.write_bytes(OTHER_FILES[message])
    with pytest.raises(ValueError, match=rf"{file.name} .*{message}"):
        read_checkpoint_file(file)


def test_a_class_name_without_an_end_is_refused_at_once(file):
    file.write_bytes(b"\x80\x02c" + b"[" * 10_000_000)  # torch would look through it for weeks
    with pytest.raises(ValueError, match=r"model\..* names a class of over 1,000 letters"):
        read_checkpoint_file(file)


def save_old(state, file):
    torch.save(state, file, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("save", [torch.save, save_old, save_file])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
def test_half_a_file_is_said_to_be_cut_short(save, share, file):
    save({"layer.weight": torch.zeros(100, 200)}, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"model\.pth is a (checkpoint|safetensors file) cut short .*again"):
        read_checkpoint_file(file)


def test_safetensors_are_known_by_their_bytes(file):
    save_file(WEIGHTS, file)
    assert torch.equal(read_checkpoint_file(file)["layer.weight"], WEIGHTS["layer.weight"])
