"""A full disk, a read-only folder: an error of one line that names the file, never a half file or SIGBUS."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from reid_core import files
from reid_core.cli.data import main
from reid_core.data.manifest import Manifest
from reid_core.files import atomic, create_memmap, sync_folder, write_atomically
from reid_core.recipe.features import save_features
from reid_core.training.checkpoints import write_checkpoint

pytestmark = pytest.mark.faults

IMAGES = 40


@contextmanager
def files_up_to(size):
    """Let no file of this process grow beyond a number of bytes; Python gets EFBIG, as of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def manifest(tmp_path):
    """Images of noise, 3 KB each."""
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(IMAGES):
        pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number:03}.png")
    table = pd.DataFrame({"path": [f"{number:03}.png" for number in range(IMAGES)], "split": "train"})
    return Manifest(table, tmp_path / "images", "toy").save(tmp_path / "toy.parquet")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_safetensors(state, path):
    with atomic(path) as temporary:
        save_file(state, temporary)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_atomically(path, "x" * 5000),
        lambda path: save_features(path, [np.ones((100, 64), np.float32)], np.ones(100, bool)),
        lambda path: create_memmap(path, (100, 64), np.float32),
        lambda path: write_checkpoint({"state_dict": {"a": torch.ones(9999)}, "step": 1}, path),
        lambda path: write_safetensors({"a": torch.ones(9999)}, path),
    ],
)
def test_a_full_disk_names_the_file(write, tmp_path):
    with files_up_to(4096), pytest.raises(OSError) as caught:
        write(tmp_path / "a.npy")
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "a.npy"))


def test_a_full_disk_leaves_the_old_file_whole_and_no_other(tmp_path):
    write_atomically(tmp_path / "a.txt", "old")
    with files_up_to(4096), pytest.raises(OSError):
        write_atomically(tmp_path / "a.txt", "x" * 5000)
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic(tmp_path / "a.txt"):
        (tmp_path / "nothing").read_text()
    assert caught.value.filename == str(tmp_path / "nothing")


def test_packing_on_a_full_disk_is_one_line_and_the_same_command_resumes(manifest, tmp_path, capsys):
    command = ["pack", str(manifest), str(tmp_path / "out"), "--shard_images", "15"]
    assert main(command) == 0
    (tmp_path / "out").rename(tmp_path / "whole")
    capsys.readouterr()
    with files_up_to(20_000):
        assert main(command) == 1
    said = capsys.readouterr().err
    assert "File too large" in said and str(tmp_path / "out" / "000000.tar") in said and said.count("\n") == 1
    assert names(tmp_path / "out") == ["begun.json"]
    assert main(command) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()
    }


def test_a_check_on_a_full_disk_is_one_line_and_the_same_command_resumes(manifest, tmp_path, capsys):
    command = ["check", str(manifest), "--resume", str(tmp_path / "record")]
    with files_up_to(300):
        assert main(command) == 1
    said = capsys.readouterr().err
    assert f"File too large: '{tmp_path / 'record'}'" in said and said.count("\n") == 1
    assert main(command) == 0


def test_converting_on_a_full_disk_is_one_line_and_leaves_nothing(manifest, tmp_path, capsys):
    with files_up_to(300):
        assert main(["convert", str(manifest), str(tmp_path / "out" / "b.parquet")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("reid-data: ") and "b.parquet" in said and said.count("\n") == 1
    assert names(tmp_path / "out") == []


def blocks(path):
    return os.stat(path).st_blocks * 512


def test_a_mapped_file_has_all_its_blocks_before_it_is_written(tmp_path):
    array = create_memmap(tmp_path / "a.npy", (1000, 512), np.float32)
    assert blocks(tmp_path / "a.npy") >= array.nbytes
    array[-1] = 1
    array.flush()
    assert np.load(tmp_path / "a.npy").sum() == 512


@pytest.mark.parametrize("why", [errno.EOPNOTSUPP, errno.EINVAL, None])
def test_zeros_are_written_where_blocks_cannot_be_reserved(why, tmp_path, monkeypatch):
    def refuses(*_):
        raise AttributeError if why is None else OSError(why, "no")

    monkeypatch.setattr(files.os, "posix_fallocate", refuses)
    array = create_memmap(tmp_path / "a.npy", (1000, 512), np.float32)
    assert blocks(tmp_path / "a.npy") >= array.nbytes
    assert np.load(tmp_path / "a.npy").shape == (1000, 512) and not np.load(tmp_path / "a.npy").any()


def test_the_maps_of_the_packages_are_reserved():
    """What makes a memory-mapped file makes it by `create_memmap`."""
    source = Path(files.__file__).parent
    sparse = [
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if 'mode="w+"' in path.read_text(encoding="utf-8")
    ]
    assert set(sparse) == {"files.py"}


ON_A_SMALL_DISK = """
set -e
mount -t tmpfs -o size=1m none "$1"
exec "$2" -c 'import sys
import numpy as np
from reid_core.files import create_memmap
try:
    create_memmap(sys.argv[1] + "/a.npy", (1000, 1000), np.float32)[:] = 1
except OSError as error:
    print(error)
    sys.exit(7)' "$1"
"""


def test_mapping_more_than_the_disk_holds_is_an_error_and_no_sigbus(tmp_path):
    unshare = ["unshare", "-rm"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*unshare, "mount", "-t", "tmpfs", "x", tmp_path]).returncode
    ):
        pytest.skip("no small disk can be mounted here: unshare -rm is not allowed")
    command = [*unshare, "bash", "-c", ON_A_SMALL_DISK, "bash", tmp_path, sys.executable]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, "No space left on device" in done.stdout) == (7, True), done
    assert "a.npy" in done.stdout


def cannot_pass_modes():
    """Take from root what lets it write to anything, as in a container's other users."""
    import ctypes

    cap_dac_override, pr_capbset_drop = 1, 24
    ctypes.CDLL(None).prctl(pr_capbset_drop, cap_dac_override)


@pytest.mark.parametrize(
    "command",
    ["convert", *(pytest.param(name, marks=pytest.mark.slow) for name in ("pack", "check"))],
)
def test_a_read_only_folder_is_one_line(command, manifest, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    options = {
        "pack": [folder / "out"],
        "check": ["--resume", folder / "record"],
        "convert": [folder / "b.parquet"],
    }[command]
    folder.chmod(0o555)
    probe = subprocess.run(["touch", folder / "x"], capture_output=True, preexec_fn=cannot_pass_modes)
    if probe.returncode == 0:
        pytest.skip("this user may write everywhere, and no capability can be given up")
    code = "import sys; from reid_core.cli.data import main; sys.exit(main(sys.argv[1:]))"
    given = [sys.executable, "-c", code, command, manifest, *options]
    done = subprocess.run(given, capture_output=True, text=True, preexec_fn=cannot_pass_modes)
    lines = [line for line in done.stderr.splitlines() if "Permission denied" in line]
    assert done.returncode == 1 and len(lines) == 1 and str(folder) in lines[0], done.stderr
    assert "Traceback" not in done.stderr


def test_a_system_that_opens_no_folders_writes_files_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Access is denied")

    monkeypatch.setattr("reid_core.files.os", SimpleNamespace(name="nt", open=refuse))  # Windows
    sync_folder(tmp_path)
