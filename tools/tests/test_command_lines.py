"""What every command promises: it starts at once, statuses mean one thing, it can be stopped and resumed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
HEAVY = (
    *("torch", "torchvision", "lightning", "mlflow", "sklearn", "segment_anything", "open_clip", "pandas"),
    "scipy",
)
"""What must not be loaded before it is used; the first imports alone take seconds."""
APPS = {
    "vills": "vills/configs/tiny.yaml",
    "cion": "cion/configs/tiny.yaml",
    "cion unsupervised": "cion/configs/tiny_usl.yaml",
    "vsla-clip": "vsla_clip/configs/tiny.yaml",
}
"""Command of a recipe -> the smallest whole run of it, below apps/."""
KILLS = {"vills": 20}
"""Times that a recipe is killed at random; others are 10 times."""
COMMANDS = {
    "reid-data": "reid_core.cli.data",
    "reid-models": "reid_core.cli.models",
    "reid-eval": "reid_eval.cli",
    "reid-denoise": "reid_denoise.cli",
    "reid-lse": "reid_lse.cli",
    "vills": "vills.cli",
    "cion": "cion.cli",
    "vsla-clip": "vsla_clip.cli",
    "reid-gallery": "reid_gallery.cli",
}
FACES = (
    *("reid_core", "reid_core.data", "reid_core.models", "reid_core.training", "reid_core.recipe"),
    *("reid_core.tracking", "reid_core.video", "reid_core.synthetic", "reid_eval", "reid_eval.figures"),
    *("reid_lse", "reid_denoise", "reid_adapters", "reid_pretrain", "reid_pretrain.losses"),
    *("reid_core.training.config", "reid_pretrain.config", "vills.config"),
    *("reid_adapters.config", "vsla_clip.config"),
    *("cion.config", "cion.pretraining.config", "cion.unsupervised.config"),
)


def heavy_modules(code: str) -> list[str]:
    """Those of HEAVY that a fresh process has loaded after running the code."""
    ends = f"\nimport sys, json; print(json.dumps([m for m in {HEAVY} if m in sys.modules]), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code + ends], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


@pytest.mark.parametrize("face", FACES)
def test_importing_a_face_or_a_configuration_loads_nothing_heavy(face: str) -> None:
    assert heavy_modules(f"import {face}") == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing_heavy(command: str) -> None:
    assert heavy_modules(helps(COMMANDS[command], [])) == []


@pytest.mark.parametrize("app", APPS)
def test_help_of_every_command_loads_nothing_heavy(app: str) -> None:
    listed = run(app, "--help").stdout
    commands = [
        line.split()[0] for line in listed.partition("commands:\n")[2].splitlines() if line[:2] == "  "
    ]
    assert {"run", "ablate", "status", "sync", "gc", "unlock", "config"} <= set(commands)
    program, *group = app.split()
    code = "\n".join(helps(COMMANDS[program], [*group, name]) for name in commands)
    assert heavy_modules(code) == []


def test_help_of_every_command_of_the_gallery_loads_nothing_heavy() -> None:
    from reid_gallery.cli import list_commands

    code = "\n".join(helps("reid_gallery.cli", [name]) for name in list_commands())
    assert heavy_modules(code) == []


def helps(module: str, command: list[str]) -> str:
    """Code that prints a command's help."""
    arguments = [*command, "--help"]
    return f"from {module} import main\ntry:\n    main({arguments})\nexcept SystemExit:\n    pass"


@pytest.mark.parametrize("command", COMMANDS)
def test_version_is_printed(command: str) -> None:
    said = subprocess.run([BIN / command, "--version"], capture_output=True, text=True, check=True).stdout
    module = COMMANDS[command].split(".")[0]
    assert said.split() == [command, __import__(module).__version__]


def call(app: str, *arguments: object) -> list[str]:
    """The command line of an app's command."""
    program, *group = app.split()
    return [str(BIN / program), *group, *map(str, arguments)]


def run(app: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(call(app, *arguments), capture_output=True, text=True, timeout=600, **options)  # type: ignore[call-overload, no-any-return]


def tiny(app: str, runs: Path, *more: object) -> list[object]:
    """Options of an app's tiny recipe below a folder of runs."""
    return ["--config", ROOT / "apps" / APPS[app], "--runs", runs, *more]


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runn"], "no command 'runn'; there are run,"),
        (["run", "--bogus", 1], "--bogus"),
        (["run", "--see", 1], "--see"),  # no abbreviations
        (["run", "--name", "a/b"], "name='a/b': expected letters, digits"),
        (["run", "--name", ".."], "name='..': expected"),
        (["run", "--experiment", "stages"], "experiment='stages'"),
        (["run", "--seed", "x"], "seed"),
        (["run", "--force", "nothing"], "no such stage"),
        (["run", "--runtime.devices", 3], "torchrun --nproc_per_node 3"),
        (["sync", "nowhere"], "give a run folder"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_status_1(
    app: str, arguments: list[object], said: str, tmp_path: Path
) -> None:
    options = tiny(app, tmp_path) if arguments[0] == "run" else []
    done = run(app, arguments[0], *options, *arguments[1:], cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("app", APPS)
def test_the_whole_configuration_is_printed_and_read_again(app: str, tmp_path: Path) -> None:
    first = run(app, "config", *tiny(app, tmp_path, "--seed", 7)).stdout
    (tmp_path / "all.yaml").write_text(first)
    assert "seed: 7" in first
    assert run(app, "config", "--config", tmp_path / "all.yaml").stdout == first


@pytest.mark.parametrize("app", ["vills", "cion", "vsla-clip"])
def test_tables_are_listed_with_the_papers_numbers(app: str) -> None:
    done = run(app, "ablate", "--list")
    assert done.returncode == 0 and "in per cent" in done.stdout


class Run:
    """A tiny recipe in a process of its own."""

    def __init__(self, app: str, runs: Path, *more: object, **environment: str) -> None:
        command = call(app, "run", *tiny(app, runs, *more))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def until(self, sign: str, runs: Path) -> None:
        """Wait until a file of that name has been written."""
        while not list(runs.rglob(sign)):
            assert self.process.poll() is None, self.process.communicate()[1]
            time.sleep(0.05)

    def end(self, number: int = 0) -> tuple[int, str]:
        """Send a signal, and wait: exit status and what was said."""
        if number:
            self.process.send_signal(number)
        said = self.process.communicate(timeout=600)[1]
        return self.process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.faults
def test_a_stopped_training_says_how_to_resume_and_its_run_is_killed(
    app: str, number: int, status: int, tmp_path: Path
) -> None:
    one = Run(app, tmp_path)
    one.until("last.ckpt", tmp_path)
    code, said = one.end(number)
    assert code == status, said
    assert said.splitlines()[-1] == f"{app}: stopped; the same command resumes"
    assert set(statuses(tmp_path)) <= {"KILLED", "FINISHED"} and "KILLED" in statuses(tmp_path)
    assert Run(app, tmp_path).end()[0] == 0
    assert set(statuses(tmp_path)) <= {"FINISHED", "KILLED"}


def statuses(runs: Path) -> list[str]:
    """Those of all MLflow runs of the folder's database."""
    with sqlite3.connect(runs / "mlflow.db") as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        return [row[0] for row in database.execute("select status from runs")]


def weights(runs: Path) -> dict[str, bytes]:
    """Content of every trained file by the stage that made it."""
    names = ("final.pt", "*.safetensors", "teacher.pt", "results.json")
    files = [path for name in names for path in (runs / "stages").glob(f"*/{name}")]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}


@pytest.fixture(scope="module", params=APPS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An app's tiny recipe that nothing happened to."""
    runs = tmp_path_factory.mktemp(request.param)
    began = time.monotonic()
    assert Run(request.param, runs).end()[0] == 0
    (runs / "seconds").write_text(str(time.monotonic() - began))
    return request.param, runs


@pytest.mark.slow
@pytest.mark.faults
def test_killed_at_random_it_ends_with_the_same_bytes(whole: tuple[str, Path], tmp_path: Path) -> None:
    import random

    app, undisturbed = whole
    seconds = float((undisturbed / "seconds").read_text())
    chance = random.Random(0)
    killed = 0
    for _ in range(KILLS.get(app, 10)):
        one = Run(app, tmp_path)
        time.sleep(chance.uniform(0.1, 0.8) * seconds)
        killed += one.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert killed > 0
    assert Run(app, tmp_path).end()[0] == 0
    assert weights(tmp_path) == weights(undisturbed)
    assert "RUNNING" not in statuses(tmp_path)


@pytest.mark.slow
@pytest.mark.faults
def test_of_two_processes_with_one_run_name_the_second_ends_at_once(
    whole: tuple[str, Path], tmp_path: Path
) -> None:
    app, undisturbed = whole
    first = Run(app, tmp_path)
    first.until("tracking.jsonl", tmp_path)
    first.process.send_signal(signal.SIGSTOP)  # it lives, and can't end before the others have started
    for more in ((), ("--seed", 5)):
        code, said = Run(app, tmp_path, *more).end()
        assert code == 1 and f"being written by process {first.process.pid} on this machine" in said
    first.process.send_signal(signal.SIGCONT)
    assert first.end()[0] == 0
    assert weights(tmp_path) == weights(undisturbed)


@pytest.mark.slow
@pytest.mark.faults
def test_two_runs_that_share_stages_at_once_have_the_results_of_undisturbed_ones(
    whole: tuple[str, Path], tmp_path: Path
) -> None:
    app, undisturbed = whole
    both = [Run(app, tmp_path, "--name", name) for name in ("one", "two")]
    assert [one.end()[0] for one in both] == [0, 0]
    assert weights(tmp_path) == weights(undisturbed)
    assert "RUNNING" not in statuses(tmp_path)


@pytest.mark.slow
@pytest.mark.faults
def test_a_full_disk_is_one_line_and_the_same_command_resumes(
    whole: tuple[str, Path], tmp_path: Path
) -> None:
    app, undisturbed = whole
    command = call(app, "run", *tiny(app, tmp_path))
    limited = ["bash", "-c", 'ulimit -f 200; exec "$@"', "bash", *command]  # files up to 100 KiB
    done = subprocess.run(limited, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr.splitlines()[-1]
    assert Run(app, tmp_path).end()[0] == 0
    assert weights(tmp_path) == weights(undisturbed)
