"""Who may write: owners of runs and stages, living, dead, elsewhere and asleep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import pytest

from reid_core.cli import housekeeping
from reid_core.files import OwnershipLost, write_atomically
from reid_core.recipe import Busy
from reid_core.recipe.lease import hold, lock_file

OWNER = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from reid_core.recipe.lease import hold

    with hold(Path(sys.argv[1]), "run toy/run", wait=False):
        print("held", flush=True)
        time.sleep(float(sys.argv[2]))
    """
)


def owner(folder, seconds, **environment):
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.faults
def test_a_living_owner_on_this_machine_is_named_at_once_and_a_dead_one_taken_over(tmp_path):
    folder = tmp_path / "run"
    process = owner(folder, 60)
    began = time.monotonic()
    with (
        pytest.raises(Busy, match=f"being written by process {process.pid} on this machine"),
        hold(folder, "run toy/run", wait=False),
    ):
        pass
    assert time.monotonic() - began < 5
    process.kill()
    process.wait()
    with hold(folder, "run toy/run", wait=False):
        assert time.monotonic() - began < 20


def test_who_waits_for_a_stage_gets_it_when_its_owner_ends(tmp_path, capsys):
    process = owner(tmp_path / "stage", 1.5)
    with hold(tmp_path / "stage", "stage s", wait=True):
        assert process.wait() == 0
    assert "waiting until it ends" in " ".join(capsys.readouterr().err.split())


@pytest.mark.faults
def test_an_owner_whose_lock_is_gone_writes_nothing_more(tmp_path):
    with (
        pytest.raises(OwnershipLost, match="the lock of run r was removed"),
        hold(tmp_path / "run", "run r", wait=False),
    ):
        write_atomically(tmp_path / "before.txt", "x")
        lock_file(tmp_path / "run").unlink()
        write_atomically(tmp_path / "after.txt", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["before.txt"]


def test_unlock_refuses_a_living_owner_and_removes_a_dead_ones_lock(tmp_path):
    process = owner(tmp_path / "run", 60)
    with pytest.raises(ValueError, match="being written by"):
        housekeeping.unlock(SimpleNamespace(folder=str(tmp_path / "run")))
    process.kill()
    process.wait()
    assert housekeeping.unlock(SimpleNamespace(folder=str(tmp_path / "run"))) == 0
    assert not lock_file(tmp_path / "run").exists()


STOPPED = textwrap.dedent(
    """
    import os, signal, socket, sys
    from pathlib import Path

    socket.gethostname = lambda: "elsewhere"
    import filelock._identity
    filelock._identity.socket = socket
    from reid_core.files import OwnershipLost, write_atomically
    from reid_core.recipe.lease import hold

    folder = Path(sys.argv[1])
    try:
        with hold(folder, "run toy/run", wait=False):
            write_atomically(folder / "first.txt", "x")
            print("held", flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
            write_atomically(folder / "late.txt", "x")
    except OwnershipLost as error:
        print(error, flush=True)
        sys.exit(3)
    """
)


@pytest.mark.faults
def test_an_owner_elsewhere_that_stopped_is_waited_for_one_lease_and_writes_nothing_when_it_wakes(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("reid_core.recipe.lease.LEASE_SECONDS", 2.0)
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "REID_LEASE_SECONDS": "2"},
    )
    assert process.stdout.readline() == "held\n"
    began = time.monotonic()
    with hold(folder, "run toy/run", wait=False):
        assert time.monotonic() - began >= 1
        process.send_signal(signal.SIGCONT)
        assert process.wait(20) == 3
        assert "taken over by" in process.stdout.read()
        write_atomically(folder / "mine.txt", "x")
    assert sorted(path.name for path in folder.iterdir()) == ["first.txt", "mine.txt"]
