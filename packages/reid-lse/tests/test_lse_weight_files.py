"""Files of weights that hold something else, or end too early, are named for what they are."""

import os
from io import BytesIO
from pathlib import Path

import pytest
import torch

from reid_lse.checkpoints import load_sam, read_weights
from reid_lse.predictors.keypoint_rcnn import load_keypoint_rcnn

pytestmark = pytest.mark.faults


def torchscript():
    buffer = BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), buffer)
    return buffer.getvalue()


OTHER_FILES = {
    "is empty: fetch it again": lambda: b"",
    "is a git-LFS pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n",
    "is a web page": lambda: b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
    "is a TorchScript archive": torchscript,
    "is a file of weights cut short": lambda: b"PK\x03\x04" + bytes(99),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("cause", OTHER_FILES)
def test_another_file_is_named_for_what_it_is(cause, tmp_path):
    file = tmp_path / "sam.pth"
    file.write_bytes(OTHER_FILES[cause]())
    for load in (lambda: load_sam("sam_vit_b", file, "0" * 64), lambda: load_keypoint_rcnn(file)):
        with pytest.raises(ValueError, match=rf"sam\.pth {cause}"):
            load()


def test_an_exported_model_that_is_a_pointer_is_named(tmp_path):
    pytest.importorskip("openvino")
    from reid_lse.predictors.compiled import read_model

    file = tmp_path / "rtmpose.onnx"
    file.write_bytes(OTHER_FILES["is a git-LFS pointer"]())
    with pytest.raises(ValueError, match=r"rtmpose\.onnx is a git-LFS pointer"):
        read_model(file, "rtmpose")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_half_a_file_is_said_to_be_cut_short(zipped, share, tmp_path):
    file = tmp_path / "sam.pth"
    torch.save({"weight": torch.zeros(200, 300)}, file, _use_new_zipfile_serialization=zipped)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"sam\.pth is a file of weights cut short .*: fetch it again"):
        read_weights(file)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_the_message_on_a_torchscript_archive_converts_it(tmp_path):
    file = tmp_path / "sam.pt"
    file.write_bytes(torchscript())
    with pytest.raises(ValueError, match="TorchScript") as caught:
        read_weights(file)
    exec("\n".join(str(caught.value).splitlines()[1:]), {"torch": torch})
    assert set(read_weights(tmp_path / "sam_state_dict.pth")) == {"weight", "bias"}


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_code_is_not_run_and_the_advice_is_not_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Harmful()}, "sam.pth")
    with pytest.raises(ValueError, match=r"sam\.pth: expected a state dict .*mkdir") as caught:
        read_weights("sam.pth")
    assert "weights_only" not in str(caught.value) and not Path("harmed").exists()
