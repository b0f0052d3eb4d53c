"""The extractor's features and the criteria that belong to them."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cion.cli import main
from cion.pretraining.stages.tracklets import with_tracklets
from reid_core.data.manifest import Manifest
from reid_core.data.readers import read
from reid_denoise import Criteria, denoise


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


def test_the_sliding_range_crosses_synth_pedess_parts_and_ends_within_them(tmp_path):
    people = [0, 1, 2, 3, 3, 4, 5, 0]  # of identities 1 to 8; the second four are in the second part
    entries = [
        {"id": one, "file_path": f"Part{1 + one // 5}/{one}/{image}.jpg"}
        for one in range(1, 9)
        for image in range(2)
    ]
    (tmp_path / "synthpedes_dataset.json").write_text(json.dumps(entries))
    table = with_tracklets(read("synth_pedes", tmp_path)).table
    ids = [table[name].to_numpy() for name in ("tracklet", "video")]
    features = np.eye(6)[np.repeat(people, 2)]
    near = denoise(features, *ids, Criteria(half_range=2), valid=None)
    assert near.identity[::2].tolist() == [0, 1, 2, 3, 3, 4, 5, 6]  # 4 and 5 become one, 1 and 8 don't
    far = denoise(features, *ids, Criteria(half_range=7), valid=None)
    assert far.identity[::2].tolist() == [0, 1, 2, 3, 3, 4, 5, 0]
    within = np.eye(2)[np.repeat([0, 1, 1, 0, 1, 1, 1, 1], 2)]  # 1 and 4 are in one part, three places apart
    assert denoise(within, *ids, Criteria(half_range=2), valid=None).identity[[0, 6]].tolist() == [0, 2]


def test_features_are_centered_by_the_cameras_that_the_videos_manifest_names(tiny, people, tmp_path, capsys):
    videos = Manifest.load(tiny.folder / "prepare" / "data.videos.parquet", tiny.data / "videos")
    truth = np.load(tiny.folder / "tracklets" / "truth.npy")
    features = np.load(people[1])
    camera = videos.table["video"].to_numpy() % 2
    biased = tmp_path / "biased.npy"
    np.save(biased, features + 2 * camera[:, None].astype(np.float32))
    Manifest(videos.table.assign(pid=truth, camid=camera), videos.root).save(tmp_path / "named.parquet")
    command = ["denoise", *tiny.command, "--extractor.features", str(biased)]
    command += ["--denoise.consistency", "0.6", "--denoise.discrimination", "0.4"]
    named = ["--data.videos.name", str(tmp_path / "named.parquet"), "--data.videos.root", str(videos.root)]
    f1 = {}
    for center in ("false", "true"):
        more = ["--name", f"center_{center}", *named, "--denoise.center_cameras", center]
        assert main([*command, *more]) == 0
        found = summary(tiny.folder.with_name(f"center_{center}"), "denoise")
        f1[center] = found["levels"]["cross_video"]["f1"]
    assert f1["true"] > f1["false"]
    assert not list(tiny.folder.with_name("center_true").glob("denoise/**/centered.npy"))
    assert main([*command, "--name", "no_camera", "--denoise.center_cameras", "true"]) == 1
    assert "has no camera (64 such images); give data.videos a manifest" in capsys.readouterr().err
