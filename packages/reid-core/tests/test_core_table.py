"""The readers' table: it imports no reader, and so do the faces and the help of the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from reid_core import __version__
from reid_core.cli import data as command_line
from reid_core.data import readers
from reid_core.data.readers import COUNTS, READERS

HEAVY = ("torch", "torchvision", "pandas", "pyarrow", "scipy", "numpy", "cv2")


def run(code):
    """What a fresh interpreter prints and which of HEAVY it has loaded in the end."""
    whole = f"import json, sys\ntry:\n    {code}\nexcept SystemExit: pass\n"
    whole += f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=True)
    *lines, loaded = done.stdout.splitlines()
    return lines, json.loads(loaded)


@pytest.mark.parametrize(
    "command", [[], ["list"], ["stats"], ["check"], ["convert"], ["tracklets"], ["pack"]], ids="-".join
)
def test_help_loads_nothing_heavy(command):
    lines, loaded = run(f"from reid_core.cli.data import main; main({[*command, '--help']})")
    assert lines[0].startswith("usage: reid-data") and loaded == []


def test_the_faces_and_the_table_load_nothing_heavy():
    assert run("from reid_core.data.readers import COUNTS, READERS; import reid_core.data") == ([], [])


def test_the_version_is_the_packages():
    lines, loaded = run("from reid_core.cli.data import main; main(['--version'])")
    assert lines == [f"reid-data {__version__}"] and loaded == []


@pytest.mark.parametrize("name", READERS)
def test_a_reader_is_the_faces_function_and_makes_manifests_of_its_name(name):
    function = READERS[name].load()
    assert function is getattr(readers, function.__name__)
    assert all(manifest == name or manifest.startswith(f"{name}_") for manifest in READERS[name].counts)
    assert name in READERS[name].counts


def test_counts_are_of_known_splits_and_things():
    for counts in COUNTS.values():
        assert counts.keys() <= {"all", "train", "query", "gallery", "unlabeled"}
        for counted in counts.values():
            assert counted.keys() <= {"images", "identities", "cameras", "tracklets"}


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of a POSIX shell")
def test_output_that_nobody_reads_to_its_end_is_no_error():
    command = f"set -o pipefail; {sys.executable} -m {command_line.__name__} list | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stderr, done.returncode) == ("", 0)
