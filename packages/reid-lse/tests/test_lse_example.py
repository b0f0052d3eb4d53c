"""The example runs on a folder of crops."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "lse_on_a_folder.py"


@pytest.mark.skipif(not EXAMPLE.is_file(), reason="the examples are not beside the package here")
def test_the_example_writes_masks_a_table_labels_and_a_picture(tmp_path):
    crops, out = tmp_path / "crops", tmp_path / "out"
    crops.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 60, (64, 32, 3)).astype(np.uint8)
        pixels[3:61, 11:21] = rng.integers(120, 250, 3)
        Image.fromarray(pixels).save(crops / f"{number}.png")
    done = subprocess.run(
        [sys.executable, EXAMPLE, crops, out], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert "3 images; regions (3, 3, 128, 64)" in done.stdout
    assert sorted(path.name for path in out.iterdir()) == ["areas.csv", "labels", "masks", "preview.png"]
