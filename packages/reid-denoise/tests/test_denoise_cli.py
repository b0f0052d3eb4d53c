"""The command line on files: results, resuming after kill -9, bad files, and the page to inspect."""

from __future__ import annotations

import json
import os
import re
import signal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reid_denoise import (
    Criteria,
    calibrate_criteria,
    center_by_camera,
    denoise,
    inspection,
    saved,
    score,
    simultaneous,
)
from reid_denoise.cli import main
from reid_denoise.inspection import write_inspection


def write_world(folder: Path, **columns: Any) -> pd.DataFrame:
    """Features and manifest of 12 people in 8 videos; one image in eight is of somebody else."""
    rng = np.random.default_rng(3)
    tracklet = np.arange(320) // 8
    person = np.where(rng.random(320) < 0.125, rng.integers(0, 12, 320), tracklet % 12)
    features = rng.normal(size=(12, 24))[person] + 0.2 * rng.normal(size=(320, 24))
    np.save(folder / "f.npy", features.astype(np.float16))
    paths = [f"{t:03}/{row:04}.png" for row, t in enumerate(tracklet)]
    table = pd.DataFrame({"path": paths, "tracklet": tracklet, "video": tracklet // 5, **columns})
    table.to_parquet(folder / "m.parquet")
    return table


def run(folder: Path, *more: str, out: str = "identities.parquet") -> int:
    files = [f"--features={folder}/f.npy", f"--manifest={folder}/m.parquet", f"--out={folder}/{out}"]
    return main(["run", *files, *more])


def test_run_writes_the_identities_and_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_world(tmp_path)
    assert run(tmp_path) == 0
    written = pd.read_parquet(tmp_path / "identities.parquet")
    expected = denoise(
        np.load(tmp_path / "f.npy"), table["tracklet"].to_numpy(), table["video"].to_numpy(), valid=None
    )
    assert written["identity"].tolist() == expected.identity.tolist()
    assert written[list(table)].equals(table)
    report = json.loads((tmp_path / "identities.json").read_text())
    assert [level["identities"] for level in report["levels"]][-1] == 12
    assert report["left_out"] == 0
    assert "cross_video" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "f.npy",
        "identities.json",
        "identities.parquet",
        "m.parquet",
    ]


def test_level_and_criteria_are_options(tmp_path: Path) -> None:
    write_world(tmp_path)
    assert run(tmp_path, "--level=video", "--consistency=0.3", "--report", f"{tmp_path}/r.json") == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert [level["level"] for level in report["levels"]] == ["tracklet", "video"]
    assert report["criteria"]["consistency"] == 0.3


@pytest.mark.faults
def test_images_without_feature_or_tracklet_are_left_out_and_counted(tmp_path: Path) -> None:
    tracklet = np.arange(320) // 8
    tracklet[10] = -1
    write_world(tmp_path, tracklet=tracklet)
    features = np.load(tmp_path / "f.npy")
    features[20] = 0
    np.save(tmp_path / "f.npy", features)
    np.save(tmp_path / "f.valid.npy", np.arange(320) != 20)
    assert run(tmp_path) == 0
    identity = pd.read_parquet(tmp_path / "identities.parquet")["identity"]
    assert identity[10] == identity[20] == -1
    report = json.loads((tmp_path / "identities.json").read_text())
    assert (report["left_out"], report["without_feature"], report["images"]) == (2, 1, 318)
    first = report["levels"][0]
    assert first["removed"] + first["images"] == 318


def killed(folder: Path, puts: int, torn: bool) -> int | None:
    """Run in another process that is killed at its n-th save, in the middle of the file or just after it."""

    def work() -> None:
        left = [puts]
        savez = np.savez

        def dying(file: Any, *arguments: Any, **arrays: Any) -> None:
            left[0] -= 1
            if not left[0] and torn:
                file.write(b"PK\x03\x04")
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            savez(file, *arguments, **arrays)
            if not left[0]:
                file.flush()
                os.replace(file.name, Path(file.name).parent / f"{name_of(file.name)}")
                os.kill(os.getpid(), signal.SIGKILL)

        np.savez = dying
        run(folder)

    process = get_context("fork").Process(target=work)
    process.start()
    process.join()
    return process.exitcode


def name_of(temporary: str) -> str:
    """The name that a temporary file is renamed to."""
    stem, _, _, suffix = Path(temporary).name.removeprefix(".").split(".")
    return f"{stem}.{suffix}"


@pytest.mark.faults
def test_killed_three_times_and_resumed_it_writes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reid_denoise.pipeline.BLOCK", 64)
    write_world(tmp_path)
    for puts, torn in ((2, False), (2, True), (3, False)):
        assert killed(tmp_path, puts, torn) == -signal.SIGKILL
    blocks = sorted(path.name for path in (tmp_path / ".identities.parquet.work").glob("block-*.npz"))
    assert len(blocks) == 2 + 1 + 3
    put: list[str] = []
    original = saved.Saved.put
    monkeypatch.setattr(
        saved.Saved, "put", lambda self, name, **arrays: (put.append(name), original(self, name, **arrays))
    )
    assert run(tmp_path) == 0
    assert not {f"{name}.npz" for name in put} & set(blocks), "a finished block was done again"
    assert run(tmp_path, out="whole.parquet") == 0
    for ending in ("parquet", "json"):
        assert (tmp_path / f"identities.{ending}").read_bytes() == (tmp_path / f"whole.{ending}").read_bytes()


@pytest.mark.faults
def test_work_on_other_features_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid_denoise.pipeline.BLOCK", 64)
    write_world(tmp_path)
    assert killed(tmp_path, 3, False) == -signal.SIGKILL
    features = np.load(tmp_path / "f.npy")[::-1]
    np.save(tmp_path / "f.npy", features)
    assert run(tmp_path) == 0
    assert run(tmp_path, out="whole.parquet") == 0
    assert (tmp_path / "identities.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_calibrate_writes_criteria_that_run_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_world(tmp_path, pid=np.arange(320) // 8 % 12, frame=np.arange(320))
    files = [f"--features={tmp_path}/f.npy", f"--manifest={tmp_path}/m.parquet", f"--out={tmp_path}/c.json"]
    assert main(["calibrate", *files, "--linking=average", "--pids=true"]) == 0
    written = json.loads((tmp_path / "c.json").read_text())
    expected = calibrate_criteria(
        np.load(tmp_path / "f.npy"),
        table["tracklet"].to_numpy(),
        table["video"].to_numpy(),
        valid=None,
        pids=table["pid"].to_numpy(),
        linking="average",
    )
    assert Criteria(**written["criteria"]) == expected.criteria
    assert written["report"]["source"] == "labels"
    line = capsys.readouterr().out.splitlines()[-1]
    assert run(tmp_path, *line.split()) == 0
    identity = pd.read_parquet(tmp_path / "identities.parquet")["identity"]
    assert score(identity.to_numpy(), table["pid"].to_numpy()).f1 > 0.7


def test_features_are_centered_by_camera_where_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_world(tmp_path, camid=np.arange(320) // 160)
    features = np.load(tmp_path / "f.npy")
    features[160:] += 1  # what the second camera adds
    np.save(tmp_path / "f.npy", features)
    ids = [table[name].to_numpy() for name in ("tracklet", "video")]
    centered = center_by_camera(features, ids[0], table["camid"].to_numpy(), valid=None)
    expected = calibrate_criteria(centered, *ids, valid=None).criteria
    files = [f"--features={tmp_path}/f.npy", f"--manifest={tmp_path}/m.parquet", f"--out={tmp_path}/c.json"]
    assert main(["calibrate", *files, "--center_cameras=true"]) == 0
    found = json.loads((tmp_path / "c.json").read_text())["criteria"]
    assert found["discrimination"] == pytest.approx(expected.discrimination, abs=0.01)  # stored as float16
    assert run(tmp_path, "--center_cameras=true", "--consistency=0.3", "--discrimination=0.3") == 0
    identity = pd.read_parquet(tmp_path / "identities.parquet")["identity"]
    whole = denoise(centered, *ids, Criteria(0.3, 0.3), valid=None)
    np.testing.assert_array_equal(identity, whole.identity)
    plain = denoise(features, *ids, Criteria(0.3, 0.3), valid=None)
    assert (whole.identity != plain.identity).any()
    assert not list(tmp_path.glob("**/centered.npy"))
    write_world(tmp_path, camid=np.arange(320) - 5)
    assert run(tmp_path, "--center_cameras=true") == 1
    assert "m.parquet: column 'camid', row 0: is -5; centering needs the camera" in capsys.readouterr().err
    write_world(tmp_path)
    assert run(tmp_path, "--center_cameras=true") == 1
    assert "column 'camid' is missing" in capsys.readouterr().err


def test_run_takes_pairs_by_file_and_by_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_world(tmp_path, frame=np.arange(320) % 8)  # the tracklets of a video all at one time
    np.save(tmp_path / "cannot.npy", simultaneous(table["tracklet"], table["video"], table["frame"]))
    np.save(tmp_path / "must.npy", np.array([[0, 13]]))
    more = ["--discrimination=1.2", "--linking=average", f"--must_link={tmp_path}/must.npy"]
    written = []
    for pairs in ("simultaneous", f"{tmp_path}/cannot.npy"):
        assert run(tmp_path, *more, f"--cannot_link={pairs}") == 0
        written.append(pd.read_parquet(tmp_path / "identities.parquet")["identity"].to_numpy())
    np.testing.assert_array_equal(*written)
    expected = denoise(
        np.load(tmp_path / "f.npy"),
        *(table[name].to_numpy() for name in ("tracklet", "video")),
        Criteria(discrimination=1.2),
        valid=None,
        linking="average",
        cannot_link=np.load(tmp_path / "cannot.npy"),
        must_link=np.load(tmp_path / "must.npy"),
    )
    np.testing.assert_array_equal(written[0], expected.identity)
    table.drop(columns="frame").to_parquet(tmp_path / "m.parquet")
    assert run(tmp_path, "--cannot_link=simultaneous") == 1
    assert "cannot_link=simultaneous: the manifest has no column 'frame'" in capsys.readouterr().err
    files = [f"--features={tmp_path}/f.npy", f"--manifest={tmp_path}/m.parquet", f"--out={tmp_path}/c.json"]
    assert main(["calibrate", *files, "--pids=true"]) == 1
    assert "column 'pid' is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"tracklet": np.linspace(0, 1, 320)}, "column 'tracklet' is double; expected integers"),
        ({"video": np.arange(320) % 2}, "row 1: tracklet 0 is in video 1 here and in video 0 in row 0"),
        ({"video": pd.array([None, *range(319)], dtype="Int64")}, "column 'video', row 0: is empty"),
    ],
)
def test_a_bad_manifest_is_refused_by_column_and_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: dict[str, Any], message: str
) -> None:
    write_world(tmp_path, **columns)
    assert run(tmp_path) == 1
    assert message in capsys.readouterr().err


def test_files_that_do_not_fit_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_world(tmp_path)
    table.drop(columns="video").to_parquet(tmp_path / "m.parquet")
    assert run(tmp_path) == 1
    assert "m.parquet: column 'video' is missing" in capsys.readouterr().err
    table[:300].to_parquet(tmp_path / "m.parquet")
    assert run(tmp_path) == 1
    assert "row 300 is the first without a partner" in capsys.readouterr().err
    np.savez(tmp_path / "f.npz", np.ones((320, 2)))
    (tmp_path / "f.npz").rename(tmp_path / "f.npy")
    assert run(tmp_path) == 1
    assert "f.npy: expected one array (*.npy), got an archive" in capsys.readouterr().err
    (tmp_path / "f.npy").write_text("no array")
    assert run(tmp_path) == 1
    assert "f.npy: expected a NumPy file" in capsys.readouterr().err
    assert run(tmp_path, "--discrimination=3") == 1
    assert "discrimination=3.0: expected a cosine distance in (0, 2]" in capsys.readouterr().err


def test_inspect_shows_merged_identities_links_and_discarded_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_world(tmp_path)
    for row, path in enumerate(table["path"]):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 32), (row % 255, 90, 40)).save(tmp_path / path)
    (tmp_path / table["path"][0]).write_bytes(b"no picture")
    assert run(tmp_path) == 0
    identity = pd.read_parquet(tmp_path / "identities.parquet")["identity"]
    discarded = int((identity == -1).sum())
    assert discarded
    page = tmp_path / "page.html"
    command = [
        "inspect",
        f"--identities={tmp_path}/identities.parquet",
        f"--out={page}",
        "--count=2",
        "--images=5",
    ]
    assert main(command) == 0
    text = page.read_text()
    assert "12 of 12 identities hold several tracklets" in text
    assert f"{discarded} images belong to no identity" in text
    assert text.count("<h3>Identity") == text.count("<h3>Distance") == 2
    assert text.count("<figure>") == 2 * 5 + 4 * 5 + min(20, discarded)
    assert "1 pictures could not be read" in text and "1 pictures" in capsys.readouterr().out
    assert "http" not in text.replace("http-equiv", "")


@pytest.mark.faults
@pytest.mark.parametrize("path", ["/data/a.png", "C:/a.png", "../a.png", "a\\b.png", ""])
def test_run_refuses_the_paths_that_inspect_refuses_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    table = write_world(tmp_path)
    table.loc[3, "path"] = path
    table.to_parquet(tmp_path / "m.parquet")
    assert run(tmp_path) == 1
    message = f"row 3: path {path!r} leaves the root; expected one relative to it (1 such rows)"
    assert f"m.parquet, {message}" in capsys.readouterr().err
    assert not list(tmp_path.glob("*identities*"))
    with pytest.raises(ValueError, match=re.escape(message)):
        write_inspection(tmp_path / "page.html", table.assign(identity=0), tmp_path)


@pytest.mark.faults
def test_nothing_of_a_report_or_a_table_becomes_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    features = np.eye(2)[[0, 0, 1]]
    report = denoise(features, [0, 0, 1], [0, 0, 0], valid=None).report.to_dict()
    report = json.loads(json.dumps(report))  # as read from a file
    report |= {name: evil for name in ("images", "tracklets", "videos")} | {"implausible": [evil]}
    report["criteria"] = {evil: evil}
    report["levels"][0] |= {"level": evil, "images": evil}
    names = ["<script>1.png", "b.png", "c.png"]
    table = pd.DataFrame({"path": names, "tracklet": [0, 0, 1], "video": evil, "identity": 0})
    write_inspection(tmp_path / "page.html", table, tmp_path, report)
    text = (tmp_path / "page.html").read_text()
    assert "<script" not in text and text.count("&lt;script&gt;") >= 7
    report["levels"][0]["before"]["n_s"] = evil
    with pytest.raises(ValueError, match="report: expected what `run` wrote"):
        write_inspection(tmp_path / "page.html", table, tmp_path, report)


@pytest.mark.faults
def test_run_says_what_looks_wrong_and_inspect_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_world(tmp_path)
    assert run(tmp_path, "--discrimination=1.5") == 0
    printed = capsys.readouterr()
    assert (
        printed.err.startswith("reid-denoise: identity 0 holds 95 %")
        and "reid-denoise calibrate" in printed.err
    )
    files = [f"--identities={tmp_path}/identities.parquet", f"--out={tmp_path}/page.html"]
    assert main(["inspect", *files]) == 0
    assert "<p class=note>identity 0 holds 95 %" in (tmp_path / "page.html").read_text()


@pytest.mark.faults
def test_inspect_refuses_a_path_that_leaves_the_root(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_world(tmp_path)
    table.assign(path="../secret.png", identity=0).to_parquet(tmp_path / "i.parquet")
    (tmp_path / "i.json").write_text("{}")
    assert main(["inspect", f"--identities={tmp_path}/i.parquet", f"--out={tmp_path}/page.html"]) == 1
    assert "row 0: path '../secret.png' leaves the root" in capsys.readouterr().err


def test_a_picture_of_too_many_pixels_is_missing_from_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "large.png")
    page = inspection.Album(tmp_path, 1)
    assert "<img" in page._picture("large.png") and page.unreadable == 0
    monkeypatch.setattr(inspection, "MAX_PIXELS", 199)
    assert "<img" not in page._picture("large.png") and page.unreadable == 1
