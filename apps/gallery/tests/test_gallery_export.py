"""Exports by command: what was measured is in the card, and refusals are one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from reid_core.models import Preprocessing, export, exporting, load, save
from reid_core.models.builders import build
from reid_gallery.cli import main

SIZE = (64, 32)


def test_export_writes_its_proof_beside_the_model(tmp_path, people, save_model, capsys) -> None:
    model, out = save_model(tmp_path / "model", 0), tmp_path / "out"
    given = ["export", str(model), str(out), "--format", "torchscript", "--data", str(people)]
    assert main(given) == 0, capsys.readouterr().err
    proof = json.loads((out / "export.json").read_text())
    assert proof["largest_difference"] < 1e-4 and abs(proof["mAP"]["difference"]) < 1e-3
    assert proof["queries"] > 0 and 0 <= proof["mAP"]["p"] <= 1
    assert all(speed > 0 for speed in proof["images_per_second"]) and proof["megabytes"] > 0.1
    card = (out / "README.md").read_text()
    assert "## Export" in card and f"| mAP, % | {100 * proof['mAP']['first']:.2f}" in card
    exported = load(out / "model.torchscript")
    image = np.zeros((10, 5, 3), np.uint8)
    np.testing.assert_allclose(exported.embed([image]), load(model).embed([image]), atol=1e-5)


def test_without_data_the_card_says_that_map_was_not_measured(tmp_path, save_model, capsys) -> None:
    model = save_model(tmp_path / "model", 0)
    assert main(["export", str(model), str(tmp_path / "out"), "--format", "torchscript"]) == 0
    assert "mAP not measured" in (tmp_path / "out" / "README.md").read_text()


def test_int8_without_images_is_refused_before_the_model_is_loaded(tmp_path, capsys) -> None:
    given = ["export", str(tmp_path / "no-model"), str(tmp_path / "out"), "--precision", "int8"]
    assert main(given) == 1
    said = capsys.readouterr().err
    assert "--calibration" in said and len(said.splitlines()) == 1


def test_a_graph_that_ends_its_runtime_is_one_line_and_leaves_nothing(
    tmp_path, people, save_model, monkeypatch, capsys
) -> None:
    (tmp_path / "library").mkdir()
    stand_in = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    (tmp_path / "library" / "openvino.py").write_text(stand_in)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "library"))
    monkeypatch.setattr(exporting, "_write_onnx", lambda model, example, path: path.write_text("a graph"))
    monkeypatch.setattr(exporting, "_write_openvino", lambda graph, path, half: path.write_text("a graph"))
    monkeypatch.setattr(exporting, "quantize_onnx", lambda *_: None)
    model, out = save_model(tmp_path / "model", 0), tmp_path / "out"
    given = ["export", str(model), str(out), "--format", "openvino", "--precision", "int8"]
    assert main([*given, "--calibration", str(people)]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and str(model) in said
    assert "ends the process on this graph (SIGSEGV); use --format onnx" in said
    assert not out.exists() and not list(tmp_path.glob(".export-*"))


ARCHITECTURES = {
    "ViT-S": ("bnneck", {"backbone": "vit_small"}),
    "ResNet50-IBN": ("bnneck", {"backbone": "resnet50_ibn"}),
    "Swin": ("bnneck", {"backbone": "swin_tiny"}),
    "ConvNeXt": ("bnneck", {"backbone": "convnext_tiny"}),
    "FastViT": ("bnneck", {"backbone": "fastvit_s12"}),
    "VILLS": ("vills", {"frame_size": [64, 64], "frames": 2, "model": {"tokens": 4}}),
}


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino", "torchscript"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_keep_their_features_and_map(tmp_path, people, name, format) -> None:
    builder, arguments = ARCHITECTURES[name]
    arguments = {**arguments, "image_size": [64, 64]}
    torch.manual_seed(0)
    clips = {"frames": 2, "frame_size": (64, 64)} if builder == "vills" else {}
    facts = {"training_data": ["none"], "license": "mit"}
    try:
        model = build(builder, arguments)
    except ValueError as error:
        pytest.skip(str(error))
    preprocessing = Preprocessing((64, 64), **clips)
    save(tmp_path / "model", model, builder, arguments, preprocessing, **facts)
    for tracklets in (False, True)[: 1 + bool(clips)]:
        given = ["export", str(tmp_path / "model"), str(tmp_path / "out"), "--format", format]
        given += ["--data", str(people)]
        assert main([*given, "--tracklets"] if tracklets else given) == 0
        proof = json.loads((tmp_path / "out" / "export.json").read_text())
        assert proof["largest_difference"] <= 1e-4
        assert abs(proof["mAP"]["difference"]) <= 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino", "torchscript"])
def test_a_set_encoder_of_vsla_keeps_its_features_at_any_batch_size(tmp_path, format) -> None:
    adapters = pytest.importorskip("reid_adapters")
    timm = pytest.importorskip("timm")
    from reid_core.models import Embedder

    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=0, img_size=(64, 32))
    encoder = adapters.attach(vit, adapters.VSLAConfig(bottleneck=64)).eval()
    for parameter in encoder.parameters():  # adapters begin as the identity
        parameter.data += 0.02 * torch.randn_like(parameter)
    model = Embedder(encoder, Preprocessing(SIZE, frames=3))
    exported = load(export(model, tmp_path, format, tracklets=True))
    assert exported.model.shape[0] is None
    for sets in (1, 2, 3, 5):
        clips = torch.randn(sets, 3, 3, *SIZE)
        with torch.inference_mode():
            expected = encoder(clips)
        torch.testing.assert_close(exported.model(clips), expected, atol=1e-4, rtol=1e-4)
