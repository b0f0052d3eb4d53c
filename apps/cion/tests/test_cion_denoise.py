"""The extractor's features and the criteria that belong to them."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cion.cli import main
from reid_core.data.manifest import Manifest


def summary(folder, stage):
    return json.loads((folder / stage / "stage.json").read_text())["summary"]


def write_onnx(path):
    """A model that averages the channels of images of 32 x 16."""
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 16])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])]
    graph = helper.make_graph([node], "mean", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)


def test_a_model_folder_extracts_as_the_stage_that_wrote_it(tiny):
    folder = tiny.folder / "extractor" / "model"
    command = ["features", *tiny.command, "--name", "folder", "--extractor.source", "null"]
    assert main([*command, "--extractor.folder", str(folder)]) == 0
    found, expected = (
        np.load(place / "features" / "features.npy")
        for place in (tiny.folder.with_name("folder"), tiny.folder)
    )
    assert np.array_equal(found, expected)


def test_an_exported_model_is_an_extractor_and_its_file_is_part_of_the_result(tiny, tmp_path, capsys):
    write_onnx(tmp_path / "mean.onnx")
    command = ["features", *tiny.command, "--name", "onnx", "--extractor.source", "null"]
    command += ["--extractor.folder", str(tmp_path / "mean.onnx")]
    assert main([*command, "--extractor.preprocessing", '{"mean": [0, 0, 0], "std": [1, 1, 1]}']) == 0
    found = np.load(tiny.folder.with_name("onnx") / "features" / "features.npy")
    assert found.shape == (64, 3) and ((found > 0) & (found < 1)).all()
    assert main(command) == 1
    assert "say what the model is fed" in capsys.readouterr().err


def test_an_extractor_that_is_not_there_is_refused_before_any_work(tiny, tmp_path, capsys):
    command = ["features", *tiny.command, "--extractor.source", "null", "--runs", str(tmp_path / "runs")]
    assert main([*command, "--extractor.folder", str(tmp_path / "no.xml")]) == 1
    assert "extractor.folder (model): there is no file" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def people(tiny, tmp_path):
    """Features that tell the tiny world's people apart, but not by the paper's distances."""
    rng = np.random.default_rng(0)
    truth = np.load(tiny.folder / "tracklets" / "truth.npy")
    features = rng.normal(size=(truth.max() + 1, 64))[truth] + 0.7 * rng.normal(size=(len(truth), 64))
    np.save(tmp_path / "features.npy", features.astype(np.float32))
    return ["--extractor.features", str(tmp_path / "features.npy")]


def test_criteria_that_discard_much_are_warned_of(tiny, people, capsys):
    command = ["denoise", *tiny.command, "--name", "given_criteria", *people]
    assert main([*command, "--denoise.consistency", "0.2", "--denoise.discrimination", "0.18"]) == 0
    told = capsys.readouterr().err
    found = summary(tiny.folder.with_name("given_criteria"), "denoise")
    assert found["discarded"] > 0.3 and found["criteria"]["consistency"] == 0.2
    assert f"consistency=0.2 discarded {found['discarded']:.0%} of the images" in told
    assert "denoise.criteria=auto" in told


def test_criteria_are_chosen_for_the_features_without_labels(tiny, people, capsys):
    options = {"tracklets.switch": "0.2", "tracklets.split": "0.3", "denoise.criteria": "auto"}
    command = ["denoise", *tiny.command, "--name", "auto", *people]
    command += [word for name, value in options.items() for word in (f"--{name}", value)]
    assert main(command) == 0
    assert "chosen by" in capsys.readouterr().err
    found = summary(tiny.folder.with_name("auto"), "denoise")
    assert found["levels"]["cross_video"]["f1"] > found["levels"]["raw"]["f1"]
    assert found["discarded"] < 0.3


def test_a_sources_own_people_score_its_tracklets_and_are_seen_by_nothing_else(tiny, tmp_path):
    videos = Manifest.load(tiny.folder / "prepare" / "data.videos.parquet", tiny.data / "videos")
    people = np.load(tiny.folder / "tracklets" / "truth.npy")
    named = Manifest(videos.table.assign(pid=people), videos.root)
    named.save(tmp_path / "named.parquet")
    (empty := tmp_path / "empty").mkdir()
    command = ["tracklets", *tiny.command, "--name", "named", "--data.videos.root", str(empty)]
    assert main([*command, "--data.videos.name", str(tmp_path / "named.parquet")]) == 0
    folder = tiny.folder.with_name("named") / "tracklets"
    assert np.array_equal(np.load(folder / "truth.npy"), people)
    assert (Manifest.load(folder / "videos.parquet").pids == -1).all()
