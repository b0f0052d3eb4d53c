"""`index`, `search`, `decide` and `forget`: what is found, logged, and gone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reid_core.data import Manifest
from reid_gallery import forgetting
from reid_gallery.calibration import Calibration, Threshold
from reid_gallery.cli import main
from reid_gallery.features import open_features
from reid_gallery.gallery import Facts, Gallery
from reid_gallery.indexing import create_gallery
from reid_gallery.log import read_log

Draw = Callable[[Path, range], Path]


def call(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


@pytest.fixture
def made(people: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Images in people/, features in f/, a gallery in g/ and what scores mean in c.json."""
    shutil.copytree(people, tmp_path / "people")
    assert call("embed", tmp_path / "people", "--model", model, "--out", tmp_path / "f") == 0
    assert (
        call("calibrate", tmp_path / "f", "--far", "[0.1]", "--fpir", "[0.9]", "--out", tmp_path / "c.json")
        == 0
    )
    assert call("index", tmp_path / "f", "--out", tmp_path / "g") == 0
    capsys.readouterr()
    return tmp_path


def search(made: Path, *more: object) -> int:
    return call("search", made / "g", *more, "--calibration", made / "c.json")


def test_the_answers_are_those_of_brute_force(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = made / "people" / "002" / "c1_0.png"
    assert search(made, query, "--k", 5) == 0
    (found,) = lines(capsys)
    features, _ = open_features(made / "f")
    row = features.rows.files.index(query)
    scores = np.asarray(features.array) @ features.array[row]
    scores[row] = -np.inf  # the query's own image is no answer
    expected = np.argsort(-scores)[:5]
    assert [answer["number"] for answer in found["answers"]] == expected.tolist()
    assert [answer["rank"] for answer in found["answers"]] == [1, 2, 3, 4, 5]
    assert found["answers"][0]["person"] == "2" and found["answers"][0]["path"].startswith("002/")
    np.testing.assert_allclose([answer["score"] for answer in found["answers"]], scores[expected], atol=1e-5)
    chances = [answer["probability"] for answer in found["answers"]]
    assert chances == sorted(chances, reverse=True) and 0 < chances[-1] < chances[0] < 1
    assert found["nobody"] is False


def test_without_a_calibration_there_is_a_score_alone(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("search", made / "g", made / "people" / "002" / "c1_0.png") == 0
    (found,) = lines(capsys)
    assert found["nobody"] is None and found["answers"][0]["probability"] is None


def test_a_stranger_is_nobody_here(made: Path, draw: Draw, capsys: pytest.CaptureFixture[str]) -> None:
    known = Calibration.load(made / "c.json")
    strict = replace(known, nobody=(replace(known.nobody[0], threshold=1.1),))
    strict.save(made / "c.json")
    query = draw(made / "stranger", range(9, 10)) / "009" / "c1_0.png"
    assert search(made, query, "--fpir", 0.9) == 0
    assert lines(capsys)[0]["nobody"] is True
    assert search(made, query, "--fpir", 0.3) == 1
    assert "fpir=0.3 was not calibrated; there are [0.9]" in capsys.readouterr().err


def test_thresholds_of_two_cameras_count_where_the_querys_camera_is_given(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = Calibration.load(made / "c.json")
    never, always = (Threshold(0.01, score, score, score, 0.5) for score in (1.1, -1.1))
    replace(known, thresholds=(never,), cameras={"1-2": (always,)}).save(made / "c.json")
    query = made / "people" / "002" / "c1_0.png"
    assert search(made, query) == 0 and search(made, query, "--camera", 1) == 0
    without, given = lines(capsys)
    assert {answer["far"] for answer in without["answers"]} == {None}
    assert {(answer["camid"], answer["far"]) for answer in given["answers"]} == {(1, None), (2, 0.01)}


def test_a_calibration_of_another_model_is_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(Calibration.load(made / "c.json"), digest="0" * 64).save(made / "c.json")
    assert search(made, made / "people" / "002" / "c1_0.png") == 1
    assert "is of another model than the gallery" in capsys.readouterr().err


def test_every_search_is_logged_with_who_and_when(made: Path) -> None:
    queries = [made / "people" / f"00{person}" / "c1_0.png" for person in (1, 2)]
    assert search(made, *queries) == 0
    entries = read_log(made / "g" / "searches.jsonl")
    assert [entry["query"] for entry in entries] == list(map(str, queries))
    assert all(entry["user"] and entry["time"].endswith("+00:00") for entry in entries)
    assert search(made, queries[0], "--no_log") == 0
    assert len(read_log(made / "g" / "searches.jsonl")) == 2


@pytest.mark.faults
def test_a_query_that_cannot_be_read_is_said_and_the_others_are_answered(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (made / "no.png").write_bytes(b"no image")
    assert search(made, made / "no.png", made / "people" / "001" / "c1_0.png") == 1
    broken, fine = lines(capsys)
    assert "can't be read" in broken["error"] and fine["answers"]


def test_rows_are_added_without_touching_those_that_are_there(
    made: Path, model: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Gallery(made / "g").index
    draw(made / "more", range(7, 9))
    assert call("embed", made / "more", "--model", model, "--out", made / "f2") == 0
    assert call("index", made / "f2", "--out", made / "g", "--add") == 0
    assert "32 rows of 8 people" in capsys.readouterr().out
    after = Gallery(made / "g").index
    for number in range(before.ntotal):
        np.testing.assert_array_equal(after.reconstruct(number), before.reconstruct(number))
    assert search(made, made / "more" / "008" / "c1_0.png") == 0
    assert lines(capsys)[0]["answers"][0]["person"] == "8"
    assert call("index", made / "f2", "--out", made / "g", "--add") == 1, "once is enough"
    assert call("index", made / "f", "--out", made / "g") == 1, "a gallery is not overwritten"


def test_a_decision_is_shown_by_the_next_search(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = made / "people" / "002" / "c1_0.png"
    assert call("decide", made / "g", query, "2", "same") == 0
    assert search(made, query) == 0
    shown = {answer["person"]: answer["decision"] for answer in lines(capsys)[0]["answers"]}
    assert shown["2"] == "same" and set(shown.values()) == {"same", None}
    assert call("decide", made / "g", query, "nobody", "same") == 1


def leaves_traces(made: Path, person: str) -> list[str]:
    """Where a person is still to be found below the gallery and its features."""
    found = []
    features, _ = open_features(made / "f")
    if (
        features.rows.table["path"].str.startswith(f"{int(person):03d}/").any()
        or int(person) in features.rows.pids
    ):
        found.append("rows")
    for file in [*(made / "g").rglob("*.jsonl"), *made.glob("*.html"), *(made / "f").glob("*")]:
        if f"/{int(person):03d}/".encode() in file.read_bytes():
            found.append(file.name)
    return found


def test_forgetting_takes_rows_features_index_thumbnails_pages_logs_and_decisions(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = (made / "people" / name / "c1_0.png" for name in ("002", "005"))
    assert search(made, mine, "--html", made / "mine.html") == 0
    assert search(made, other, "--k", 3, "--html", made / "other.html") == 0
    assert call("decide", made / "g", other, "2", "different") == 0
    assert call("decide", made / "g", other, "5", "same") == 0
    features, _ = open_features(made / "f")
    rows = np.flatnonzero(features.rows.pids == 2)
    kept = np.array(features.array[features.rows.pids != 2])
    assert leaves_traces(made, "2")
    assert call("forget", made / "g", "2") == 0
    said = capsys.readouterr().out
    assert "4 index rows, 3 thumbnails, 1 pages, 1 searches, 1 decisions, 4 features" in said
    assert leaves_traces(made, "2") == []
    assert not (made / "mine.html").exists() and (made / "other.html").exists()
    after, _ = open_features(made / "f")
    assert not after.array[rows].any() and not after.valid[rows].any()
    np.testing.assert_array_equal(np.delete(after.array, rows, axis=0), kept)
    assert [entry["query"] for entry in read_log(made / "g" / "searches.jsonl")] == [str(other)]
    assert search(made, mine, "--k", 30) == 0
    answers = lines(capsys)[0]["answers"]
    assert len(answers) == 20 and {answer["person"] for answer in answers} == {"1", "3", "4", "5", "6"}
    assert call("forget", made / "g", "2") == 1, "there is nobody of that name any more"


@pytest.mark.faults
@pytest.mark.parametrize("step", ["replace_index", "_remove_pages", "drop", "open_memmap", "Manifest"])
def test_forgetting_that_was_cut_off_resumes(made: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert search(made, made / "people" / "002" / "c1_0.png", "--html", made / "mine.html") == 0

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(forgetting, step, stop)
        assert call("forget", made / "g", "2") == 130
    assert call("forget", made / "g", "2") == 0
    assert leaves_traces(made, "2") == [] and Gallery(made / "g").size == 20


def test_people_with_names_are_forgotten_by_name(model: Path, tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path / "people", range(1, 4))
    for number, name in enumerate(("alice", "bob", "carol"), 1):
        (tmp_path / "people" / f"{number:03d}").rename(tmp_path / "people" / name)
    assert call("embed", tmp_path / "people", "--model", model, "--out", tmp_path / "f") == 0
    assert call("index", tmp_path / "f", "--out", tmp_path / "g") == 0
    assert call("forget", tmp_path / "g", "alice", "2") == 1, "a pid is no name, and nobody is forgotten"
    assert call("forget", tmp_path / "g", "bob") == 0
    assert b"bob" not in (tmp_path / "f" / "rows.parquet").read_bytes()
    assert set(Manifest.load(tmp_path / "f" / "rows.parquet").names["pid"].values()) == {"alice", "carol"}


def random_features(folder: Path, rows: int, dim: int, metric: str) -> Path:
    import pandas as pd

    from reid_core.files import claim, finish
    from reid_core.recipe.features import save_features
    from reid_gallery.features import Made, plain

    rng = np.random.default_rng(0)
    people = rng.integers(0, 40, rows)
    array = rng.normal(size=(40, dim))[people] + 0.7 * rng.normal(size=(rows, dim))
    if metric == "cosine":
        array /= np.linalg.norm(array, axis=1, keepdims=True)
    table = pd.DataFrame(
        {"path": [f"{row}.jpg" for row in range(rows)], "split": "gallery", "pid": people + 1}
    )
    claim(folder, {})
    Manifest(table, folder).save(folder / "rows.parquet")
    save_features(folder / "features.npy", [array.astype(np.float32)], np.ones(rows, dtype=bool))
    finish(folder, plain(Made("none", "0" * 64, {}, metric, dim, rows, 0)))
    return folder


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.filterwarnings("ignore:.*clustering")
def test_a_compressed_index_gives_exact_scores_and_nearly_all_the_exact_answers(
    metric: str, tmp_path: Path
) -> None:
    features = random_features(tmp_path / "f", 3000, 32, metric)
    exact = create_gallery(features, tmp_path / "exact", exact=True)
    small = create_gallery(features, tmp_path / "small", exact=False)
    assert (exact.facts.kind, small.facts.kind) == ("exact", "ivfpq")
    queries = np.array(open_features(features)[0].array[:50])
    (truth, best), (found, scores) = exact.search(queries, 10), small.search(queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)])
    assert recall > 0.9
    lookup = [{int(n): s for n, s in zip(*pair, strict=True)} for pair in zip(truth, best, strict=True)]
    for known, numbers, values in zip(lookup, found, scores, strict=True):
        for number, value in zip(numbers.tolist(), values, strict=True):
            if number in known:
                assert value == pytest.approx(known[number], abs=1e-4)


def test_a_compressed_index_forgets_without_being_trained_again(tmp_path: Path) -> None:
    create_gallery(random_features(tmp_path / "f", 3000, 32, "cosine"), tmp_path / "g", exact=False)
    rows = int((open_features(tmp_path / "f")[0].rows.pids == 7).sum())
    assert call("forget", tmp_path / "g", "7") == 0
    assert Gallery(tmp_path / "g").size == 3000 - rows


@pytest.mark.faults
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "gallery.json").unlink(), "is no gallery"),
        (lambda folder: (folder / "gallery.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "index-0.faiss").write_bytes(b"IxMp"), "is no whole index"),
        (
            lambda folder: (folder / "gallery.json").write_text(
                (folder / "gallery.json").read_text().replace("index-0.faiss", "../index-0.faiss")
            ),
            "is no file name",
        ),
    ],
)
def test_a_damaged_gallery_is_one_line(
    made: Path, damage, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(made / "g")
    assert search(made, made / "people" / "001" / "c1_0.png") == 1
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1


@pytest.mark.faults
def test_a_killed_addition_leaves_the_gallery_that_was(
    made: Path, model: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(made / "more", range(7, 9))
    assert call("embed", made / "more", "--model", model, "--out", made / "f2") == 0

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Facts, "write", stop)
        assert call("index", made / "f2", "--out", made / "g", "--add") == 130
    assert Gallery(made / "g").size == 24
    assert call("index", made / "f2", "--out", made / "g", "--add") == 0
    assert Gallery(made / "g").size == 32


@pytest.mark.parametrize("command", ["search", "forget", "index"])
def test_a_feature_folder_that_was_moved_is_named_with_what_to_do(
    made: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (made / "f").rename(made / "moved")
    given = {
        "search": (made / "g", made / "people" / "002" / "c1_0.png"),
        "forget": (made / "g", "2"),
        "index": (made / "moved", "--out", made / "g", "--add"),
    }
    assert call(command, *given[command]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert f"{made / 'f'} is gone" in said and "Move it there again" in said


def test_a_gallery_and_its_features_move_together(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / "elsewhere").mkdir()
    for name in ("f", "g"):
        (made / name).rename(made / "elsewhere" / name)
    given = made / "elsewhere" / "g", made / "people" / "002" / "c1_0.png"
    assert call("search", *given) == 0
    assert lines(capsys)[0]["answers"][0]["person"] == "2"


def test_distractors_and_junk_are_answers_without_a_person(tmp_path: Path) -> None:
    features = random_features(tmp_path / "f", 60, 16, "cosine")
    table = Manifest.load(features / "rows.parquet").table
    table.loc[:9, "pid"], table.loc[10:19, "pid"] = 0, -1
    Manifest(table, features).save(features / "rows.parquet")
    gallery = create_gallery(features, tmp_path / "g")
    assert [gallery.row(number)["person"] for number in (0, 10)] == [None, None]
    assert not gallery.has_person("0") and gallery.has_person(gallery.row(20)["person"])
