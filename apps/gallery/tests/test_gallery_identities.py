"""`reid-gallery identities` on two tiny cameras: files, answers, kills, Ray, and the page in Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from reid_core.video import Detections, read_mot, write_mot
from reid_gallery.cli import main
from reid_gallery.identities.quality import Quality

av = pytest.importorskip("av")
pytest.importorskip("trackers")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 90
HEIGHT, WIDTH, FRAMES = 64, 192, 16
COATS = [(230, 30, 30), (30, 200, 40), (40, 60, 230), (220, 200, 30)]
CHANGED = (150, 190, 30)
"""The coat of the last person before the second camera: too far from the first one to be linked."""
CAMERAS = ("<b>hall & co", "yard")
OUTPUTS = ("tracklets.parquet", "images.parquet", "report.json", "page.html", "mot/<b>hall & co/a.mp4.txt")


def write_video(path: Path, coats: list[tuple[int, int, int]]) -> pd.DataFrame:
    """Four people side by side, who move a little; returns their boxes, without ids."""
    path.parent.mkdir(parents=True)
    rows = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 4_000_000
        for frame in range(FRAMES):
            picture = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
            for place, coat in enumerate(coats):
                left = 8 + 46 * place + frame // 2
                picture[8:56, left : left + 24] = coat
                rows.append((frame, -1, left, 8, left + 24, 56, 0.95))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return pd.DataFrame(rows, columns=["frame", "track", "left", "top", "right", "bottom", "score"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of two cameras, boxes, a model that sees colours, and criteria."""
    root = tmp_path_factory.mktemp("world")
    for camera, coats in zip(CAMERAS, (COATS, [*COATS[:3], CHANGED]), strict=True):
        boxes = write_video(root / "videos" / camera / "a.mp4", coats)
        write_mot(root / "boxes" / camera / "a.txt", boxes)
    model = torch.jit.trace(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), torch.rand(2, 3, 16, 8))
    model.save(str(root / "model.torchscript"))
    criteria = {"consistency": 0.5, "discrimination": 0.02, "half_range": 1000, "metric": "cosine"}
    (root / "criteria.json").write_text(json.dumps({"criteria": criteria}))
    return root


def command(world: Path, out: Path, *more: str) -> list[str]:
    preprocessing = {"size": [16, 8], "mean": [0.5] * 3, "std": [0.5] * 3}
    given = ["identities", str(world / "videos"), str(world / "model.torchscript"), str(out)]
    given += ["--boxes", str(world / "boxes"), "--preprocessing", json.dumps(preprocessing)]
    return [*given, "--criteria", str(world / "criteria.json"), "--every", "1", *more]


def copy_parts(source: Path, out: Path) -> Path:
    """An output folder in which all videos are done."""
    shutil.copytree(source / "videos", out / "videos")
    return out


@pytest.fixture(scope="module")
def whole(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert main(command(world, out)) == 0
    return out


def persons(out: Path) -> dict[str, int]:
    table = pd.read_parquet(out / "tracklets.parquet")
    return dict(zip(table["name"], table["person"].tolist(), strict=True))


def changed(out: Path) -> tuple[str, str]:
    """Names of the tracklets of the person whose coat changed: the last one before each camera."""
    table = pd.read_parquet(out / "tracklets.parquet")
    last = table.groupby("camera")["name"].max()
    return last[CAMERAS[0]], last[CAMERAS[1]]


def answer(path: Path, first: str, second: str, text: str) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [("first", "second", "answer"), (first, second, text)]
        )


def test_one_person_has_one_number_over_all_cameras(whole: Path) -> None:
    found = persons(whole)
    assert len(found) == 8 and len(set(found.values())) == 5
    first, second = changed(whole)
    assert found[first] != found[second]
    report = json.loads((whole / "report.json").read_text())
    assert report["people_before_several_cameras"] == 3 and report["cameras"] == sorted(CAMERAS)


def test_mot_files_have_the_people_as_ids(whole: Path) -> None:
    files = [read_mot(whole / "mot" / camera / "a.mp4.txt") for camera in CAMERAS]
    ids = [set(boxes["track"]) for boxes in files]
    assert len(ids[0]) == len(ids[1]) == 4 and len(ids[0] & ids[1]) == 3
    assert (files[0].groupby("frame")["track"].nunique() == files[0].groupby("frame").size()).all()


def test_quality_without_labels_is_told(whole: Path) -> None:
    quality = json.loads((whole / "report.json").read_text())["quality"]
    assert quality["constrained"] == 12 and quality["violated"] == 0.0 and quality["stability"] == 1.0
    assert quality["verdict"].startswith("They can be trusted")
    assert quality["links"] == 3
    assert quality["noise_after"] <= quality["noise_before"]


@pytest.mark.parametrize(
    ("violated", "stability", "links", "words"),
    [
        (0.0, 0.95, 9, "They can be trusted"),
        (0.03, 0.95, 9, "Look at the uncertain links"),
        (0.0, 0.5, 9, "Don't trust them"),
        (0.2, 1.0, 9, "Don't trust them"),
        (None, 1.0, 9, "Look at the uncertain links"),
        (0.0, 1.0, 0, "No two tracklets were linked"),
    ],
)
def test_the_verdict_follows_from_what_was_measured(
    violated: float | None, stability: float, links: int, words: str
) -> None:
    assert Quality(1.0, 0.5, violated, 100, stability, links, 20).verdict.startswith(words)


def test_a_confirmed_link_holds_and_a_refused_one_too(world: Path, whole: Path, tmp_path: Path) -> None:
    out = copy_parts(whole, tmp_path / "out")
    first, second = changed(whole)
    answer(out / "decisions.csv", first, second, "same")
    assert main(command(world, out)) == 0
    assert persons(out)[first] == persons(out)[second] and len(set(persons(out).values())) == 4
    found = persons(whole)
    red, other = (name for name, person in found.items() if person == 1)
    answer(out / "decisions.csv", red, other, "different")
    assert main(command(world, out)) == 0
    assert persons(out)[red] != persons(out)[other]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "b")], "line 1: expected first,second,answer"),
        ([("first", "second", "answer"), ("x#1", "y#2", "same")], "line 2: there is no tracklet 'x#1'"),
        ([("first", "second", "answer"), ("x#1", "y#2", "perhaps")], "line 2: got 'x#1,y#2,perhaps'"),
    ],
)
def test_bad_answers_are_named(
    world: Path, whole: Path, tmp_path: Path, rows: Any, message: str, capsys: Any
) -> None:
    out = copy_parts(whole, tmp_path / "out")
    with open(tmp_path / "answers.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert main(command(world, out, "--decisions", str(tmp_path / "answers.csv"))) == 1
    assert message in capsys.readouterr().err


def test_answers_that_contradict_each_other_are_refused(
    world: Path, whole: Path, tmp_path: Path, capsys: Any
) -> None:
    out = copy_parts(whole, tmp_path / "out")
    a, b, c = sorted(persons(whole))[:3]
    with open(out / "decisions.csv", "w", newline="") as file:
        rows = [("first", "second", "answer"), (a, b, "same"), (b, c, "same"), (a, c, "different")]
        csv.writer(file).writerows(rows)
    assert main(command(world, out)) == 1
    assert "other answers join them" in capsys.readouterr().err


def test_a_folder_of_other_settings_is_refused(world: Path, whole: Path, tmp_path: Path, capsys: Any) -> None:
    out = copy_parts(whole, tmp_path / "out")
    assert main([*command(world, out), "--images", "4"]) == 1
    assert "was begun with" in capsys.readouterr().err


def test_cameras_and_starts_come_from_a_file(world: Path, whole: Path, tmp_path: Path, capsys: Any) -> None:
    out, file = copy_parts(whole, tmp_path / "out"), tmp_path / "cameras.csv"
    first, second = (f"{camera}/a.mp4" for camera in CAMERAS)
    file.write_text(f"video,camera,start\n{first},north,0\n{second},south,100\n")
    assert main(command(world, out, "--cameras", str(file))) == 0
    table = pd.read_parquet(out / "tracklets.parquet")
    assert dict(zip(table["video"], table["camera"], strict=True)) == {first: "north", second: "south"}
    begins = table.groupby("camera")["start"].min()
    assert begins["south"] - begins["north"] == pytest.approx(100) and begins["north"] < FRAMES / 10
    file.write_text(f"video,camera\n{first},north\n")
    capsys.readouterr()
    assert main(command(world, out, "--cameras", str(file))) == 1
    assert f"names no camera for {second}" in capsys.readouterr().err


def test_a_detector_s_weights_find_the_people(
    world: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A stand-in for torchvision's detector that finds coats in front of grey."""
    made = []

    class Coats:
        def __init__(self, *given: str) -> None:
            made.append(given)

        def __call__(self, frames: list[np.ndarray]) -> list[Detections]:
            found = []
            for frame in frames:
                coat = np.r_[False, (np.ptp(frame, axis=2) > 60).mean(axis=0) > 0.4, False]
                edges = np.flatnonzero(coat[1:] != coat[:-1]).reshape(-1, 2)
                boxes = np.array([(left, 8, right, 56) for left, right in edges], dtype=np.float32)
                found.append(Detections(boxes, np.full(len(boxes), 0.95, dtype=np.float32)))
            return found

    monkeypatch.setattr("reid_core.video.PersonDetector", Coats)
    given, out = command(world, tmp_path / "out"), tmp_path / "out"
    at = given.index("--boxes")
    given = given[:at] + given[at + 2 :]
    weights = ["--weights", "w.pth", "--detector_model", "ssdlite320_mobilenet_v3_large"]
    assert main([*given, *weights]) == 0
    assert made == [("w.pth", "ssdlite320_mobilenet_v3_large", "auto")]
    assert sorted(persons(out).values()) == sorted(persons(whole).values())
    assert main([*given, "--weights", "other.pth"]) == 1  # tracks of one detector are none of another's
    assert "was begun with" in capsys.readouterr().err


def test_weights_that_are_not_there_are_told_before_any_video(
    world: Path, tmp_path: Path, capsys: Any
) -> None:
    given = command(world, tmp_path / "out")
    at = given.index("--boxes")
    assert main([*given[:at], *given[at + 2 :], "--weights", str(tmp_path / "none.pth")]) == 1
    assert f"there is no file {tmp_path / 'none.pth'}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_too_few_tracklets_to_calibrate_say_what_to_give(
    world: Path, whole: Path, tmp_path: Path, capsys: Any
) -> None:
    out = copy_parts(whole, tmp_path / "out")
    given = command(world, out)
    at = given.index("--criteria")
    assert main(given[:at] + given[at + 2 :]) == 1
    assert "give --criteria" in capsys.readouterr().err


def kill_at(world: Path, out: Path, function: str) -> int | None:
    """Exit code of the command in a process that dies when it comes to a function."""

    def work() -> None:
        import importlib

        module, _, name = function.rpartition(".")
        setattr(importlib.import_module(module), name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        main(command(world, out))

    process = get_context("fork").Process(target=work)
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.faults
def test_killed_three_times_the_output_is_the_same(world: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for step in ("videos.write_features", "run.find_uncertain", "run.write_page"):
        assert kill_at(world, out, f"reid_gallery.identities.{step}") == -signal.SIGKILL
    assert main(command(world, out)) == 0
    for name in OUTPUTS:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_people(world: Path, whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    assert main(command(world, tmp_path / "out", "--ray", "local")) == 0
    for name in OUTPUTS:
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_manifest_of_tracklets_needs_no_video(world: Path, whole: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(whole / "images.parquet")
    tracklet = pd.factorize(table["tracklet"])[0]
    camera = table["path"].str.startswith("yard").astype(int)
    rows = {"path": table["path"], "split": "unlabeled", "tracklet": tracklet, "frame": table["frame"]}
    manifest = whole / "videos" / "m.csv"
    pd.DataFrame(rows | {"camid": camera, "video": camera}).to_csv(manifest, index=False)
    given = command(world, tmp_path / "out")
    given[1] = str(manifest)
    at = given.index("--boxes")
    assert main(given[:at] + given[at + 2 :]) == 0
    found = pd.read_parquet(tmp_path / "out" / "tracklets.parquet")["person"]
    assert len(found) == 8 and found.nunique() == 5 and not (tmp_path / "out" / "mot").exists()


def test_names_are_no_markup_on_the_page(whole: Path) -> None:
    page = (whole / "page.html").read_text()
    assert "&lt;b&gt;hall &amp; co" in page and "<b>hall" not in page
    assert "http:" not in page and "https:" not in page and 'src="data:image/jpeg' in page


async def drive(port: str, address: str, script: str, folder: Path) -> Any:
    pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=SECONDS))
    page = next(target for target in pages if target["type"] == "page")
    aiohttp = pytest.importorskip("aiohttp")
    async with aiohttp.ClientSession() as session, session.ws_connect(page["webSocketDebuggerUrl"]) as socket:
        events: list[Any] = []
        number = 0

        async def call(method: str, **params: Any) -> Any:
            nonlocal number
            number += 1
            await socket.send_json({"id": number, "method": method, "params": params})
            while (message := await socket.receive_json()).get("id") != number:
                events.append(message)
            return message["result"]

        await call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        await call("Page.enable")
        await call("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in events):
            events.append(await socket.receive_json())
        answer_ = await call("Runtime.evaluate", expression=script, returnByValue=True, userGesture=True)
        deadline = time.monotonic() + SECONDS
        while not (folder / "decisions.csv").exists():
            assert time.monotonic() < deadline, "decisions.csv was not saved"
            await asyncio.sleep(0.1)
        return answer_["result"].get("value")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not on PATH: install Debian's chromium")
def test_a_link_confirmed_on_the_page_holds_in_the_next_run(world: Path, whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is needed to drive Chromium")
    out = copy_parts(whole, tmp_path / "out")
    first, second = changed(whole)
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--remote-debugging-port=0", f"--user-data-dir={tmp_path / 'profile'}"]
    browser = subprocess.Popen(
        [str(CHROMIUM), *flags, "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    note = tmp_path / "profile" / "DevToolsActivePort"
    try:
        deadline = time.monotonic() + SECONDS
        while not (note.exists() and len(note.read_text().splitlines()) == 2):
            assert time.monotonic() < deadline, f"Chromium did not start within {SECONDS} s"
            time.sleep(0.1)
        pair = json.dumps([first, second])
        script = f"""
            const confirm = [...document.querySelectorAll("button[data-answer=same]")].find(
                button => {pair}.includes(button.dataset.first) && {pair}.includes(button.dataset.second));
            confirm.click();
            document.getElementById("download").click();
            confirm.getAttribute("aria-pressed")
        """
        page = (whole / "page.html").as_uri()
        port = note.read_text().splitlines()[0]
        pressed = asyncio.run(asyncio.wait_for(drive(port, page, script, out), 2 * SECONDS))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(browser.pid, 9)
        browser.wait()
    assert pressed == "true"
    assert main(command(world, out)) == 0
    assert persons(out)[first] == persons(out)[second]
    assert "decisions.csv" in (out / "page.html").read_text()
