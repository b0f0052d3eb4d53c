"""Exports: the module's features at any batch size, config.json and card beside them, or a reason why not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reid_core.models import Embedder, Preprocessing, export, exporting, load

SIZE, DIM, FRAMES = (32, 16), 12, 3
IMAGES = list(np.random.default_rng(0).integers(0, 256, (5, 40, 20, 3), dtype=np.uint8))
SMALL = {"fp16": 2e-2, "int8": 0.2}
"""Greatest difference of a number of a feature of unit length in lower precision, of this network."""


class Network(nn.Module):
    """Images, or clips by their mean, to features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, DIM)
        )

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            return self.layers(x)
        return self.layers(x.flatten(0, 1)).unflatten(0, (-1, x.shape[1])).amax(1)


def embedder(**fields) -> Embedder:
    torch.manual_seed(0)
    return Embedder(Network().eval(), Preprocessing(SIZE, **fields))


@pytest.fixture(autouse=True)
def _extras() -> None:
    for name in ("onnx", "onnxruntime", "onnxscript", "openvino"):
        pytest.importorskip(name, reason="extras onnx and openvino")


def test_torchscript_has_the_module_s_features_at_any_batch_size(tmp_path) -> None:
    path = export(embedder(), tmp_path, "torchscript")
    for batch_size in (1, 4):
        np.testing.assert_allclose(
            load(path).embed(IMAGES, batch_size=batch_size), embedder().embed(IMAGES), atol=1e-5
        )
    half = load(export(embedder(), tmp_path / "half", "torchscript", "fp16")).embed(IMAGES)
    difference = np.abs(half - embedder().embed(IMAGES)).max()
    assert 0 < difference < SMALL["fp16"]


@pytest.mark.slow
def test_int8_onnx_is_close_and_takes_any_number_of_images(tmp_path) -> None:
    path = export(embedder(), tmp_path, "onnx", "int8", calibration=IMAGES)
    expected = embedder().embed(IMAGES)
    for batch_size in (1, 4):
        difference = np.abs(load(path).embed(IMAGES, batch_size=batch_size) - expected).max()
        assert 1e-4 < difference < SMALL["int8"]


def test_clips_are_exported_of_a_model_that_takes_both(tmp_path) -> None:
    model = embedder(frames=FRAMES, frame_size=(24, 16))
    clip, image = [IMAGES[0], IMAGES[1], IMAGES[2]], IMAGES[3]
    clips = load(export(model, tmp_path / "clips", "torchscript", tracklets=True))
    assert clips.preprocessing.frames == FRAMES and clips.preprocessing.size == (24, 16)
    np.testing.assert_allclose(clips.embed([clip]), model.embed([clip]), atol=1e-5)
    images = load(export(model, tmp_path / "images", "torchscript"))
    np.testing.assert_allclose(images.embed([image]), model.embed([image]), atol=1e-5)


def test_the_folder_says_what_the_model_is_fed_and_how_it_is_loaded(tmp_path) -> None:
    export(embedder(channels="BGR"), tmp_path, "torchscript")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["README.md", "config.json", "model.torchscript"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["builder"] is None and config["preprocessing"]["channels"] == "BGR"
    assert 'load("model.torchscript")' in (tmp_path / "README.md").read_text()


def test_a_network_that_fixes_the_batch_size_is_refused_and_nothing_is_left(tmp_path) -> None:
    class OfTwo(Network):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[torch.arange(int(x.shape[0])) % 2]

    torch.manual_seed(0)
    with pytest.raises(ValueError, match="fails at a batch of 1 .*out of bounds"):
        export(Embedder(OfTwo().eval(), Preprocessing(SIZE)), tmp_path, "torchscript")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_network_that_fixes_the_batch_size_is_no_onnx_either(tmp_path) -> None:
    class OfOneLength(Network):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + torch.zeros(1, DIM).expand(len(x), -1)

    torch.manual_seed(0)
    with pytest.raises(ValueError, match="OfOneLength as ONNX takes 2 inputs only: .*write x.shape"):
        export(Embedder(OfOneLength().eval(), Preprocessing(SIZE)), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_error_of_calibration_is_a_line_that_names_model_and_format(tmp_path, monkeypatch) -> None:
    broken = [torch.rand(2, 3, 8, 8)]
    monkeypatch.setattr(exporting, "_calibration_batches", lambda *_: broken)
    with pytest.raises(ValueError, match="Network can't be calibrated for onnx in int8 .*") as raised:
        export(embedder(), tmp_path / "out", "onnx", "int8")
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("format, runtime", [("openvino", "openvino"), ("onnx", "onnxruntime")])
def test_a_runtime_that_ends_the_process_is_an_error_and_nothing_is_left(
    tmp_path, monkeypatch, format, runtime
) -> None:
    """A stand-in for the library kills its process, as OpenVINO does on some graphs."""
    (tmp_path / f"{runtime}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(exporting, "_write_onnx", lambda model, example, path: path.write_text("a graph"))
    monkeypatch.setattr(exporting, "_write_openvino", lambda graph, path, half: path.write_text("a graph"))
    monkeypatch.setattr(exporting, "quantize_onnx", lambda *_: None)
    monkeypatch.setattr(exporting, "_check", lambda *_: pytest.fail("opened in this process"))
    out = tmp_path / "made" / "out"
    message = (
        r"Network: (OpenVINO|onnxruntime) [\d.]+ ends the process on this graph \(SIGSEGV\); use --format"
    )
    with pytest.raises(ValueError, match=message):
        export(embedder(), out, format, "int8", calibration=IMAGES)
    assert not list(out.parent.iterdir())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"format": "tflite"}, "format='tflite'.*expected onnx, torchscript, openvino"),
        ({"format": "torchscript", "precision": "int8"}, "for int8 choose onnx or openvino"),
        ({"precision": "int8"}, "Network as onnx in int8 .* give calibration images"),
        ({"tracklets": True}, "this model takes images"),
    ],
    ids=str,
)
def test_what_can_t_be_is_refused_before_the_export(tmp_path, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        export(embedder(), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_exported_model_is_not_exported_again(tmp_path) -> None:
    path = export(embedder(), tmp_path, "torchscript")
    with pytest.raises(ValueError, match="model.torchscript is an exported model already"):
        export(load(path), tmp_path / "again")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_every_format_and_precision_is_close_to_the_module(tmp_path, format, precision) -> None:
    path = export(embedder(), tmp_path, format, precision, calibration=IMAGES)
    tolerance = {"fp32": 1e-4, **SMALL}[precision]
    np.testing.assert_allclose(load(path).embed(IMAGES), embedder().embed(IMAGES), atol=tolerance)


@pytest.mark.slow
def test_clips_as_onnx(tmp_path) -> None:
    model, clip = embedder(frames=FRAMES), IMAGES[:3]
    path = export(model, tmp_path)
    np.testing.assert_allclose(load(path).embed([clip, clip]), model.embed([clip, clip]), atol=1e-4)
