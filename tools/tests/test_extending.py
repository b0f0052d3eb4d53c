"""The page on extending builds a whole app: its code blocks are written out, run and ablated."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
WORLD = (
    "{world: {identities: 8, cameras: 2, height: 32, width: 16}, "
    "layouts: {market1501: {train_identities: 4, images_per_camera: 2, progress: false}}}"
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the page's app."""
    folder = tmp_path_factory.mktemp("extending")
    blocks = re.findall(r"```python\n# (colours/\w+\.py)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for name, code in blocks:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    return folder


def call(app: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "colours.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(app), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=app, env=environment, capture_output=True, text=True, timeout=300)


def test_a_paper_is_an_app_of_under_200_lines(app: Path) -> None:
    files = sorted(path.name for path in (app / "colours").iterdir())
    assert files == ["cli.py", "config.py", "recipe.py", "stages.py"]
    assert sum(len(path.read_text().splitlines()) for path in (app / "colours").iterdir()) < 200


def test_it_runs_resumes_and_refuses_what_cannot_work(app: Path) -> None:
    options = ["--synthetic", WORLD, "--tracking_uri", "http://127.0.0.1:9"]
    first = call(app, "run", *options)
    assert first.returncode == 0, first.stderr
    assert (app / "runs" / "colours" / "run" / "train" / "final.pt").exists()
    second = call(app, "run", *options)
    assert second.stderr.count("reused") == 3
    bad = call(app, "run", *options, "--stripes", "0")
    assert bad.returncode == 1 and bad.stderr.strip() == "colours: stripes=0: expected 1 to 32"
    assert "20.0" in call(app, "ablate", "--list").stdout
    table = call(app, "ablate", "stripes", *options)
    assert table.returncode == 0, table.stderr
    assert "4 stripes" in (app / "runs" / "colours" / "run" / "tables" / "stripes.md").read_text()
