"""docs/your-own-data.md: its five commands, as they stand there, lead from a folder to an answer."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reid_core.synthetic import World, write_market1501

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "your-own-data.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


def draw_crops(folder: Path) -> Path:
    """Synthetic people in a folder each; the camera is in the file's name."""
    world = World(seed=0, identities=20, cameras=2, height=64, width=32)
    write_market1501(world, folder / "market", images_per_camera=3, distractors=0, junk=0, progress=False)
    for file in sorted((folder / "market").rglob("*.jpg")):
        person = folder / "crops" / file.name.partition("_")[0]
        person.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, person)
    return folder / "crops"


@pytest.mark.slow
@pytest.mark.skipif(not PAGE.is_file(), reason="the page is not beside the app here")
def test_the_five_commands_lead_from_a_folder_to_an_answer(tmp_path) -> None:
    crops = draw_crops(tmp_path)
    query = next(crops.glob("*/*.jpg"))
    shutil.copy(query, tmp_path / "query.jpg")
    block = BLOCK.search(PAGE.read_text())
    assert block is not None
    commands = [shlex.split(line) for line in block[1].splitlines()]
    assert len(commands) == 5
    for program, *options in commands:
        script = Path(sys.executable).parent / program
        options = [str(ROOT / one) if one.startswith("apps/") else one for one in options]
        if program == "cion":
            options += ["--finetune.train.steps", "30", "--finetune.identities", "8"]
        done = subprocess.run([script, *options], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{program} {options}: {done.stderr}"
    (line,) = done.stdout.splitlines()
    first = json.loads(line)["answers"][0]
    assert int(first["person"]) == int(query.parent.name)  # a copy of an image of the gallery
    proof = json.loads((tmp_path / "exported" / "export.json").read_text())
    assert proof["largest_difference"] < 1e-4 and proof["queries"] > 0
    assert (tmp_path / "answers.html").stat().st_size > 1000
