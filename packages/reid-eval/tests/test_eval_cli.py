"""The command line: files in, table, JSON and report out, and errors that name file and row."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reid_eval import PROTOCOLS, Result, evaluate, rank
from reid_eval.cli import main
from reid_eval.files import read_sides
from reid_eval.rerank import k_reciprocal


@pytest.fixture
def data(tmp_path):
    """Eight persons, two cameras, three frames a tracklet; features, images and manifest in a folder."""
    rng = np.random.default_rng(0)
    rows = [(pid, camid, frame) for pid in range(1, 9) for camid in (0, 1) for frame in range(3)]
    table = pd.DataFrame(rows, columns=["pid", "camid", "frame"])
    table["split"] = np.where(table["camid"] == 0, "query", "gallery")
    table["tracklet"] = 100 - 2 * table["pid"] + table["camid"]
    table["path"] = [f"images/{pid}_{camid}_{frame}.png" for pid, camid, frame in rows]
    (tmp_path / "images").mkdir()
    for path in table["path"]:
        Image.fromarray(rng.integers(0, 255, (16, 8, 3), dtype=np.uint8)).save(tmp_path / path)
    table.to_parquet(tmp_path / "m.parquet")
    features = rng.normal(size=(9, 6))[table["pid"]] + rng.normal(size=(len(table), 6))
    for split, name in (("query", "q.npy"), ("gallery", "g.npy")):
        np.save(tmp_path / name, features[table["split"] == split].astype(np.float32))
    return tmp_path


def command(folder, *options):
    files = ["--query", folder / "q.npy", "--gallery", folder / "g.npy", "--manifest", folder / "m.parquet"]
    return ["run", *map(str, files), *map(str, options)]


def side(folder, split):
    table = pd.read_parquet(folder / "m.parquet")
    table = table[table["split"] == split]
    return np.load(folder / f"{split[0]}.npy"), table["pid"].to_numpy(), table["camid"].to_numpy()


@pytest.mark.faults
def test_run_writes_the_result_and_the_report(data, capsys):
    out = data / "out"
    assert main(command(data, "--json", out / "a.json", "--report", out / "a.html", "--far", "[0.1]")) == 0
    result = Result.from_dict(json.loads((out / "a.json").read_text()))
    (query, pids, camids), (gallery, others, cameras) = side(data, "query"), side(data, "gallery")
    expected = evaluate(query, gallery, pids, others, camids, cameras, far=(0.1,))
    assert result.summary() == expected.summary()
    page = (out / "a.html").read_text()
    assert f'data-metric="mAP" data-value="{expected.mAP}"' in page
    assert page.count("AP ") >= 10 and "could not be read" not in page
    assert f"{100 * expected.mAP:.1f}" in capsys.readouterr().out
    assert sorted(file.name for file in out.iterdir()) == ["a.html", "a.json"]


def test_a_row_is_a_tracklet_in_the_order_of_ids_shown_by_its_middle_frame(data):
    np.save(data / "g.npy", np.load(data / "g.npy")[::3])
    _, gallery = read_sides(data / "q.npy", data / "g.npy", data / "m.parquet", mode="mix")
    assert gallery.table["tracklet"].tolist() == sorted(gallery.table["tracklet"])
    assert gallery.table["pid"].tolist() == [8, 7, 6, 5, 4, 3, 2, 1]
    assert gallery.picture(0) == data / "images" / "8_1_1.png"
    assert main(command(data, "--mode", "mix", "--protocol", "mix")) == 0


def mark_unreadable(folder, file="q.valid.npy"):
    """Two of the 24 queries get no feature."""
    valid = np.ones(24, bool)
    valid[[0, 5]] = False
    np.save(folder / file, valid)
    features = np.load(folder / "q.npy")
    features[~valid] = 0
    np.save(folder / "q.npy", features)
    return valid


@pytest.mark.faults
@pytest.mark.parametrize("command_name", ["run", "rerank"])
def test_rows_marked_as_without_a_feature_count_as_misses(data, capsys, command_name):
    mark_unreadable(data)
    options = [*command(data, "--json", data / "a.json", "--report", data / "a.html")[1:]]
    more = ["--k1", "4", "--k2", "2"] if command_name == "rerank" else []
    assert main([command_name, *options, *more]) == 0
    found = json.loads((data / "a.json").read_text())
    assert (found["num_queries"], found["num_unreadable_queries"]) == (24, 2)
    assert found["ap"][0] == found["ap"][5] == 0
    line = "2 of 24 queries hold no feature and count as misses: images/1_0_0.png, images/2_0_2.png."
    assert line in capsys.readouterr().out.replace("\n", " ")
    assert "2 of 24 queries hold no feature" in (data / "a.html").read_text()


@pytest.mark.faults
@pytest.mark.parametrize("command_name", ["run", "rerank"])
@pytest.mark.parametrize("side_name", ["q", "g"])
def test_an_unreadable_image_of_either_side_ends_no_run(data, command_name, side_name):
    """Its features are not even finite, and its picture for the report is not there either."""
    split = {"q": "query", "g": "gallery"}[side_name]
    table = pd.read_parquet(data / "m.parquet")
    (data / table[table["split"] == split]["path"].iloc[3]).unlink()
    valid = np.arange(24) != 3
    features = np.load(data / f"{side_name}.npy")
    features[3] = np.nan
    np.save(data / f"{side_name}.npy", features)
    options = ["--json", data / "a.json", "--report", data / "a.html"]
    more = ["--k1", "4", "--k2", "2"] if command_name == "rerank" else []
    given = [command_name, *command(data, *options)[1:], *more]
    assert main(given) == 1 and not (data / "a.json").exists()  # not finite, and nobody said why
    np.save(data / f"{side_name}.valid.npy", valid)
    assert main(given) == 0
    found = json.loads((data / "a.json").read_text())
    counts = {"q": found["num_unreadable_queries"], "g": found["num_unreadable_gallery"]}
    assert counts == {"q": 0, "g": 0} | {side_name: 1}


@pytest.mark.faults
def test_rows_without_a_feature_are_left_out_where_asked_for_and_named(data, capsys):
    mark_unreadable(data, "mask.npy")
    options = ["--query_valid", data / "mask.npy", "--unreadable", "leave_out", "--json", data / "a.json"]
    assert main(command(data, *options)) == 0
    assert json.loads((data / "a.json").read_text())["num_valid_queries"] == 22
    printed = capsys.readouterr()
    assert printed.err.startswith(
        "reid-eval: 2 of 24 queries have no right answer and enter no mean: query 0"
    )
    assert "hold no feature and are left out" in printed.out.replace("\n", " ")


def test_a_path_in_both_splits_never_meets_itself(data):
    table = pd.read_parquet(data / "m.parquet").assign(split="query")
    pd.concat([table, table.assign(split="gallery")]).to_parquet(data / "m.parquet")
    query, gallery = np.load(data / "q.npy"), np.load(data / "g.npy")
    both = np.empty((48, 6), np.float32)
    both[table["camid"] == 0], both[table["camid"] == 1] = query, gallery
    for name in ("q.npy", "g.npy"):
        np.save(data / name, both)
    assert main(command(data, "--protocol", "briar", "--json", data / "a.json")) == 0
    found = Result.from_dict(json.loads((data / "a.json").read_text()))
    pids, items = table["pid"].to_numpy(), {"item": np.arange(48)}
    columns = {"query_columns": items, "gallery_columns": items}
    expected = evaluate(both, both, pids, pids, protocol=PROTOCOLS["briar"], **columns)
    np.testing.assert_array_equal(found.ap, expected.ap)
    assert found.mAP < 1


def test_compare_tests_what_is_paired_and_says_where_it_is_not(data, capsys):
    assert main(command(data, "--json", data / "a.json")) == 0
    np.save(data / "q.npy", np.load(data / "q.npy") + 1)
    assert main(command(data, "--json", data / "b.json")) == 0
    capsys.readouterr()
    assert main(["compare", str(data / "a.json"), str(data / "b.json")]) == 0
    printed = capsys.readouterr().out
    assert "mAP" in printed and "Rank-1" in printed and "paired randomisation test" in printed
    other = json.loads((data / "b.json").read_text()) | {"digest": "other"}
    (data / "b.json").write_text(json.dumps(other))
    assert main(["compare", str(data / "a.json"), str(data / "b.json")]) == 0
    assert "no paired test" in capsys.readouterr().out


def test_rerank_evaluates_the_re_ranked_answers_and_writes_them(data, capsys):
    options = ["--k1", 4, "--k2", 2, "--weight", 0.2, "--json", data / "r.json", "--report", data / "r.html"]
    assert main(["rerank", *command(data, "--indices", data / "top.npy", "--top", 5, *options)[1:]]) == 0
    (query, pids, camids), (gallery, others, cameras) = side(data, "query"), side(data, "gallery")
    reranking = k_reciprocal(query, gallery, k1=4, k2=2, weight=0.2)
    sides = (query, gallery, pids, others, camids, cameras)
    result = Result.from_dict(json.loads((data / "r.json").read_text()))
    assert result.mAP == evaluate(*sides, reranking=reranking).mAP != evaluate(*sides).mAP
    assert result.metric == "cosine, k-reciprocal"
    expected = rank(*sides, k=5, reranking=reranking).indices
    np.testing.assert_array_equal(np.load(data / "top.npy"), expected)
    assert f'data-value="{result.mAP}"' in (data / "r.html").read_text()


def swap_rows(folder):
    table = pd.read_parquet(folder / "m.parquet")
    paths = table.loc[table["split"] == "gallery", "path"].tolist()
    paths[3], paths[4] = paths[4], paths[3]
    (folder / "g.paths.txt").write_text("\n".join(paths))


def change(**columns):
    def write(folder):
        table = pd.read_parquet(folder / "m.parquet").assign(**columns)
        table.drop(columns=[name for name, value in columns.items() if value is None]).to_parquet(
            folder / "m.parquet"
        )

    return write


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (lambda folder: (folder / "q.npy").unlink(), [], "q.npy"),
        (lambda folder: (folder / "q.npy").write_text("text"), [], "q.npy: expected a NumPy file"),
        (lambda folder: np.save(folder / "q.npy", np.array([{}])), [], "q.npy: expected a NumPy file"),
        (
            lambda folder: np.save(folder / "q.npy", np.zeros((24, 6), int)),
            [],
            r"q.npy: expected float \[n d\]",
        ),
        (lambda folder: np.save(folder / "q.npy", np.zeros((23, 6))), [], "q.npy has 23 rows but .* has 24"),
        (lambda folder: np.save(folder / "q.npy", np.full((24, 6), np.nan)), [], "row 0 holds NaN"),
        (
            lambda folder: np.savez(folder / "q.npy.npz", first=np.ones((24, 6))),
            ["--query", "q.npy.npz"],
            r"q.npy.npz: expected one array .*archive \(.npz\) of first.*numpy.save",
        ),
        (
            lambda folder: np.save(folder / "q.npy", np.zeros(24)),
            [],
            r"q.npy: expected float \[n d\].*\(24,\)",
        ),
        (lambda folder: np.save(folder / "q.npy", np.zeros((24, 6, 1))), [], r"expected float \[n d\]"),
        (lambda folder: (folder / "q.npy").write_bytes(b""), [], "q.npy: expected a NumPy file"),
        (
            lambda folder: np.save(folder / "q.valid.npy", np.ones(3, bool)),
            [],
            r"q.valid.npy: expected bool \[24\]",
        ),
        (lambda folder: (folder / "m.parquet").write_text("text"), [], "m.parquet: expected a manifest"),
        (change(pid=None), [], "m.parquet: column 'pid' is missing"),
        (change(pid=0.5), [], "m.parquet: column 'pid' is float64"),
        (change(camid=3.7), [], "m.parquet: column 'camid' is float64"),
        (change(pid=np.uint64(2**64 - 1)), [], r"'pid', row 0 is 18446744073709551615; expected a signed"),
        (
            lambda folder: (folder / "q.npy").write_bytes(b"PK\x03\x04" + bytes(99)),
            [],
            "q.npy: expected a NumPy file",
        ),
        (change(split="train"), [], "no row has split 'query'"),
        (change(path="../up.png"), [], "row 0: path '../up.png' leaves the root"),
        (change(tracklet=None), ["--mode", "video"], "column 'tracklet' is missing"),
        (change(camid=None), [], "camid"),
        (swap_rows, [], r"g.npy: row 3 is of 'images/2_1_1.png' .*different order"),
        (lambda folder: None, ["--top", "0"], "top=0"),
        (
            lambda folder: None,
            ["--device", "cuda:99"],
            r"device=cuda:99, but torch sees \d GPUs",
        ),
        (lambda folder: None, ["--device", "gpu"], "device=gpu: expected cpu or cuda"),
        (lambda folder: None, ["--protocol", "duke"], "protocol=duke: expected one of market1501"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(data, capsys, monkeypatch, spoil, options, message):
    spoil(data)
    monkeypatch.chdir(data)
    assert main(command(data, "--json", data / "a.json", "--report", data / "a.html", *options)) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (data / "a.json").exists() and not (data / "a.html").exists()


def test_re_ranking_refuses_a_device_that_is_not_there(data, capsys):
    assert main(["rerank", *command(data)[1:], "--k1", "4", "--k2", "2", "--device", "cuda:99"]) == 1
    assert "device=cuda:99, but torch sees" in capsys.readouterr().err


def test_a_byte_order_mark_belongs_to_no_path(data):
    paths = pd.read_parquet(data / "m.parquet").query("split == 'query'")["path"]
    (data / "q.paths.txt").write_text("\n".join(paths), encoding="utf-8-sig")
    assert main(command(data)) == 0


def test_compare_names_a_file_that_is_no_result(data, capsys):
    for text in ("{", "[]", '{"mAP": 1}'):
        (data / "bad.json").write_text(text)
        assert main(["compare", str(data / "bad.json"), str(data / "bad.json")]) == 1
        assert "bad.json: expected a result" in capsys.readouterr().err
