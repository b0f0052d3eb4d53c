"""ONNX and OpenVINO files: the features of the module that they were made of, and published figures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import nn

from reid_core.data.readers import read
from reid_core.models import Embedder, ModelConfig, Preprocessing, load
from reid_core.models.builders import build

onnxruntime = pytest.importorskip("onnxruntime", reason="extra onnx")
openvino = pytest.importorskip("openvino", reason="extra openvino")

pytestmark = pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript:DeprecationWarning")

SIZE, DIM = (32, 16), 12
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 40, 20, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, DIM))
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory) -> Path:
    """Folder of any.onnx and any.xml, of any number of images, and two.xml, of two."""
    folder = tmp_path_factory.mktemp("exported")
    axes, inputs = {"input": {0: "batch"}}, (torch.rand(2, 3, *SIZE),)
    # The older exporter takes a quarter of a second, the one of torch.export six.
    torch.onnx.export(
        network, inputs, folder / "any.onnx", input_names=["input"], dynamic_axes=axes, dynamo=False
    )
    model = openvino.Core().read_model(folder / "any.onnx")
    openvino.save_model(model, folder / "any.xml", compress_to_fp16=False)
    model.reshape([2, 3, *SIZE])
    openvino.save_model(model, folder / "two.xml", compress_to_fp16=False)
    return folder


@pytest.mark.parametrize("name", ["any.onnx", "any.xml", "two.xml"])
@pytest.mark.parametrize("fields", [{"channels": "BGR"}, {"per_image": True}], ids=str)
def test_features_are_those_of_the_module(network, exported, name, fields) -> None:
    expected = Embedder(network, Preprocessing(SIZE, **fields)).embed(IMAGES, device="cpu")
    rows = load(exported / name, **fields).embed(IMAGES, batch_size=3)
    np.testing.assert_allclose(rows, expected, atol=1e-4)


@pytest.mark.slow
def test_a_vision_transformer_of_torch_s_own_exporter_has_the_module_s_features(tmp_path) -> None:
    network = build("bnneck", {"backbone": "vit_nano_patch8", "image_size": SIZE}).eval()
    shapes = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(network, (torch.rand(2, 3, *SIZE),), tmp_path / "vit.onnx", dynamic_shapes=shapes)
    openvino.save_model(
        openvino.Core().read_model(tmp_path / "vit.onnx"), tmp_path / "vit.xml", compress_to_fp16=False
    )
    expected = Embedder(network, Preprocessing(SIZE)).embed(IMAGES, device="cpu")
    for name in ("vit.onnx", "vit.xml"):
        np.testing.assert_allclose(
            load(tmp_path / name, channels="RGB").embed(IMAGES), expected, atol=1e-4, err_msg=name
        )


def test_a_config_beside_the_file_says_how_it_is_fed(network, exported) -> None:
    config = ModelConfig(Preprocessing(SIZE, channels="BGR"), DIM, ("nobody",), "apache-2.0", flip=True)
    config.save(exported / "config.json")
    try:
        model = load(exported / "any.onnx")
        with pytest.raises(ValueError, match="names no builder: give the .onnx or .xml file"):
            (exported / "model.safetensors").touch()
            load(exported)
    finally:
        (exported / "config.json").unlink()
    assert model.config == config and model.flip
    expected = Embedder(network, config.preprocessing, flip=True).embed(IMAGES, device="cpu")
    np.testing.assert_allclose(model.embed(IMAGES), expected, atol=1e-4)
    with pytest.raises(ValueError, match="has no builder, so no folder can be made of it"):
        model.save_pretrained(exported / "again")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "any.onnx has no config.json beside it: say what the model is fed"),
        ({"size": (64, 32)}, r"any.onnx takes .None, 3, 32, 16. .None: any., not .2, 3, 64, 32."),
        ({"frames": 2}, "any.onnx takes"),
        ({"bgr": True}, "any.onnx: .*'bgr'.*give fields of reid_core.models.Preprocessing"),
        ({"channels": "GBR"}, "preprocessing.channels: got 'GBR'"),
    ],
)
def test_fields_that_do_not_fit_the_file_are_refused(exported, fields, message) -> None:
    with pytest.raises(ValueError, match=message):
        load(exported / "any.onnx", **fields)


def test_an_exported_model_runs_on_the_cpu(exported) -> None:
    with pytest.raises(ValueError, match="device='cuda': an exported model runs on the CPU"):
        load(exported / "any.xml", channels="RGB").embed(IMAGES, device="cuda")


@pytest.mark.parametrize("name", ["model.onnx", "model.xml", "model.bin"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "is a git-LFS pointer"),
        (b"<!doctype html><html>", "is a web page"),
        (b"something else", "can't be opened as"),
    ],
)
def test_files_that_are_something_else_are_refused(exported, tmp_path, name, content, message) -> None:
    for suffix in (".xml", ".bin"):
        (tmp_path / f"model{suffix}").write_bytes((exported / f"any{suffix}").read_bytes())
    (tmp_path / name).write_bytes(content)
    opened = "model.onnx" if name == "model.onnx" else "model.xml"
    with pytest.raises(ValueError, match=message):
        load(tmp_path / opened, channels="RGB")


def test_openvino_s_weights_must_be_beside_it(exported, tmp_path) -> None:
    (tmp_path / "model.xml").write_bytes((exported / "any.xml").read_bytes())
    with pytest.raises(FileNotFoundError, match="needs model.bin beside it"):
        load(tmp_path / "model.xml", channels="RGB")


@pytest.mark.parametrize("fault", ["two outputs", "no image"])
def test_a_model_of_something_else_is_refused(tmp_path, fault) -> None:
    shape = [-1, 3, 32, 16] if fault == "two outputs" else [-1, 4]
    given = openvino.opset13.parameter(shape, np.float32)
    outputs = [openvino.opset13.relu(given)] * (2 if fault == "two outputs" else 1)
    openvino.save_model(openvino.Model(outputs, [given]), tmp_path / "model.xml")
    with pytest.raises(ValueError, match="1 inputs and 2 outputs|expected floats .n 3 h w."):
        load(tmp_path / "model.xml", channels="RGB")


@pytest.mark.slow
@pytest.mark.skipif(
    not {"REID_WEIGHTS_ROOT", "REID_PKU_ROOT"} <= os.environ.keys(),
    reason="set REID_WEIGHTS_ROOT and REID_PKU_ROOT to the folders of the weights and of PKU-Reid",
)
@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        (
            "person-reidentification-retail-0277.xml",
            {"mean": (0, 0, 0), "std": (1, 1, 1), "max_value": 255, "channels": "BGR"},
            84.6,
        ),
        ("osnet_x0_25_msmt17.onnx", {"size": (256, 128)}, 53.4),
    ],
)
def test_published_weights_reach_their_figures_on_pku_reid(name, fields, expected) -> None:
    """All 62 people, camera 1 against camera 2, mAP by cosine."""
    manifest = read("pku_reid", os.environ["REID_PKU_ROOT"])
    manifest = manifest.select("train", "gallery")  # each image once
    features = load(Path(os.environ["REID_WEIGHTS_ROOT"], name), **fields).embed(manifest)
    query, gallery = manifest.camids == 1, manifest.camids == 2
    assert (len(manifest), query.sum()) == (992, 496)
    scores = features[query] @ features[gallery].T
    matches = manifest.pids[query, None] == manifest.pids[gallery]
    found = 100 * np.mean([average_precision_score(m, s) for m, s in zip(matches, scores, strict=True)])
    print(f"{name}: {found:.2f} % mAP")
    assert abs(found - expected) < 0.5
