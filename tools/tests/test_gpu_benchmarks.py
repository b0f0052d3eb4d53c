"""The script that checks and measures on a GPU: its runner, its tables, and all of it at tiny sizes."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
GPU = ROOT / "benchmarks" / "gpu"

PARTS = """
import os, subprocess, sys, time
sys.path.insert(0, {gpu!r})
import runner
from runner import DEVICE, Group, Part

def device(context): context.report("machine", device="cpu")
def good(context): context.report("thing", seconds=1.5, tiny=context.tiny)
def bad(context): context.report("thing", seconds=2.5); raise ValueError("what went wrong")
def slow(context):
    child = subprocess.Popen(["sleep", "60"])
    context.report("child", pid=child.pid)
    time.sleep(60)

if __name__ == "__main__":
    runner.PRELOADED = ()
    parts = [Part(DEVICE, 30, "parts:device"), Part("bad", 30, "parts:bad"), Part("slow", 1, "parts:slow"),
             Part("lacking", 30, "parts:good", ("no_such_module",)), Part("good", 30, "parts:good")]
    goals = lambda results: [{{"name": "a goal", "target": "at least 1", "measured": None, "met": None}}]
    sys.exit(runner.main({{"some": Group("a claim", 60, parts, goals)}}, ""))
"""


def gpu_module(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(GPU)
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("runner")
    script = folder / "parts.py"
    script.write_text(PARTS.format(gpu=str(GPU)))
    command = [sys.executable, str(script), "some", "--out", str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120)
    assert (folder / "out" / "some.json").exists(), done.stderr
    return done, json.loads((folder / "out" / "some.json").read_text())


def test_a_part_that_fails_is_reported_and_the_next_ones_run(ran):
    done, record = ran
    assert done.returncode == 1
    assert {name: part["status"] for name, part in record["parts"].items()} == {
        "device": "passed",
        "bad": "failed",
        "slow": "cut off",
        "lacking": "left out",
        "good": "passed",
    }
    assert "what went wrong" in "\n".join(record["parts"]["bad"]["output"])
    assert record["parts"]["lacking"]["why"] == "not installed: no_such_module"


def test_what_a_part_found_before_it_failed_is_kept(ran):
    _, record = ran
    assert record["parts"]["bad"]["results"] == {"thing": {"seconds": 2.5}}
    assert record["parts"]["good"]["results"] == {"thing": {"seconds": 1.5, "tiny": False}}


def test_a_part_over_its_time_is_ended_with_all_that_it_started(ran):
    _, record = ran
    child = record["parts"]["slow"]["results"]["child"]["pid"]
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"
    assert record["parts"]["slow"]["seconds"] < 20


def test_the_table_names_parts_results_and_goals(ran):
    done, _ = ran
    assert re.search(r"^slow +cut off .*took longer than 1 s$", done.stdout, re.M)
    assert "  thing: seconds 1.5" in done.stdout
    assert "goal: a goal: at least 1; not measured" in done.stdout


def test_every_part_names_a_function_that_there_is(monkeypatch):
    functions = {
        path.stem: {
            node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)
        }
        for path in GPU.glob("*.py")
    }
    groups = [gpu_module(name, monkeypatch).GROUP for name in ("core", "speed")]
    named = [part.run.split(":")[:2] for group in groups for part in group.parts]
    assert [(module, function) for module, function in named if function not in functions[module]] == []


def test_goals_are_compared_with_what_was_found(monkeypatch):
    speed = gpu_module("speed", monkeypatch)
    results = {
        "VILLS": {"vills_vit_small, bfloat16": {"share_of_bf16_peak": 0.31, "seconds": 0.05}},
        "compiled": {"vills_vit_small, compiled": {"share_of_bf16_peak": 0.36}},
        "VSLA-CLIP": {"vsla to full fine-tuning": {"measured_over_counted": 0.9}},
        "loading": {"VILLS": {"seconds": 0.1}},
    }
    met = {goal["name"].split(":")[0]: (goal["measured"], goal["met"]) for goal in speed.goals(results)}
    assert met == {
        "VILLS, ViT-S": (0.36, True),
        "VSLA": (0.9, False),
        "CION's loss": (None, None),
        "VILLS": (0.5, False),
        "CION": (None, None),
    }


def test_a_profile_accounts_for_kernels_and_for_the_time_between_them(monkeypatch):
    measure = gpu_module("measure", monkeypatch)
    kernels = [
        ("nvjet_hsh_128x256_64x4_2x1_v_bz_coopA_TNT", 0.0, 600.0),
        ("void flash_fwd_kernel<Flash_fwd_kernel_traits>", 500.0, 800.0),
        ("fmha_cutlassF_bf16_aligned", 1000.0, 1100.0),
    ]
    found = measure.account(kernels, calls=1)
    assert found["kinds"] == {"matrix products": 0.6, "attention": 0.4}
    assert found["idle_share"] == pytest.approx(200 / 1100, abs=1e-3)
    assert (found["kernels"], found["busy_s"], found["longest_gap_ms"]) == (3, 0.001, 0.2)
    assert found["top"].splitlines()[0].split()[:3] == ["0.600", "ms", "60.0%"]
    assert "no kernel" in measure.account([], calls=1)["top"]


def record(**changes: Any) -> dict[str, Any]:
    numbers = {"seconds": 0.0321, "images_per_s": 5012.4, "peak_gib": 31.2, "share_of_bf16_peak": 0.362}
    profile = {"top": "  1.000 ms  kernel", "idle_share": 0.12}
    return {
        "command": "benchmarks/gpu.sh speed",
        "date": "2026-12-01",
        "revision": "abc1234",
        "machine": {"device": "cuda", "gpu": "NVIDIA H100", "torch": "2.11", "cuda": "13.0", "cores": 16},
        "seconds": 200.0,
        "goals": [{"name": "a goal", "target": "at least 1", "measured": 2, "met": True}],
        "parts": {
            "VILLS": {"status": "passed", "seconds": 9.0, "results": {"step": numbers, "profile": profile}},
            "SAM": {
                "status": "left out",
                "seconds": 0.0,
                "results": {},
                "why": "not installed: segment_anything",
            },
        },
        **changes,
    }


def test_the_page_shows_a_cards_numbers_between_its_marks(monkeypatch):
    table = gpu_module("table", monkeypatch)
    page = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    filled = table.fill(page, table.section({"speed": record()}))
    assert filled.startswith("before\n") and filled.endswith("after\n") and "old" not in filled
    assert "| VILLS | step | 32.1 | 5012 |  | 31.2 | 36.2% |" in filled
    assert "| SAM | left out: not installed: segment_anything |" in filled
    assert "NVIDIA H100, torch 2.11, CUDA 13.0, 16 cores, 200 s" in filled
    assert "device idle 12%" in filled
    assert table.fill(filled, table.section({"speed": record()})) == filled


@pytest.mark.parametrize(
    "changes", [{"command": "benchmarks/gpu.sh speed --tiny"}, {"machine": {"device": "cpu"}}]
)
def test_the_page_takes_no_numbers_but_a_cards(monkeypatch, changes):
    table = gpu_module("table", monkeypatch)
    with pytest.raises(ValueError, match="speed.json is of"):
        table.section({"speed": record(**changes)})


def test_the_page_in_the_repository_shows_the_committed_results(monkeypatch):
    table = gpu_module("table", monkeypatch)
    files = sorted((ROOT / "benchmarks" / "results" / "gpu_h100").glob("*.json"))
    records = {file.stem: json.loads(file.read_text()) for file in files}
    assert sorted(records) == ["core", "speed"]
    page = table.PAGE.read_text()
    assert table.fill(page, table.section(records)) == page


def test_wheels_of_what_is_installed_are_left_alone(monkeypatch, tmp_path):
    wheels = gpu_module("wheels", monkeypatch)
    for name in ("pytest-1.0-py3-none-any.whl", "no_such_distribution-1.0-py3-none-any.whl"):
        with zipfile.ZipFile(tmp_path / name, "w") as wheel:
            wheel.writestr(f"{name.split('-')[0]}/__init__.py", "")
    assert wheels.unpack(tmp_path, tmp_path / "site") == ["no_such_distribution"]
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["no_such_distribution"]


def test_the_wheels_to_collect_are_pinned_in_the_lock():
    script = (ROOT / "tools" / "gpu_wheels.sh").read_text()
    names = re.search(r"names=\((.+?)\)", script, re.S)[1].split()
    lock = (ROOT / "requirements.lock").read_text()
    assert [name for name in names if not re.search(rf"^{re.escape(name)}==", lock, re.M)] == []
    assert not re.search(r"https?://|--index", script)


@pytest.mark.slow
@pytest.mark.parametrize("group", ["core", "speed"])
def test_a_group_runs_to_its_end_without_a_gpu(group, tmp_path):
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), group, "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True
    )
    record = json.loads((tmp_path / f"{group}.json").read_text())
    status = {name: part["status"] for name, part in record["parts"].items()}
    assert set(status.values()) <= {"passed", "left out"}, done.stderr[-5000:]
    assert all(part["results"] or part.get("why") for part in record["parts"].values())
    assert done.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == [f"{group}.json"]
