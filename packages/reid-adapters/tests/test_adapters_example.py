"""The example trains both stages on folders of frames, and the README's Train section is what it does."""

from __future__ import annotations

import re
import runpy
import sys
import textwrap
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE, README = ROOT / "examples" / "train_adapters.py", Path(__file__).parent.parent / "README.md"
pytestmark = pytest.mark.skipif(not EXAMPLE.is_file(), reason="the examples are not beside the package here")


def tiny_clip(name: str, pretrained: str | None) -> torch.nn.Module:
    torch.manual_seed(0)
    vision = {"layers": 3, "width": 64, "patch_size": 32, "image_size": 64}
    return open_clip.model.CLIP(16, vision, {"width": 64, "layers": 1, "heads": 2}, quick_gelu=True)


def test_the_example_trains_both_stages_and_saves_the_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for person in ("ada", "bob"):
        for platform in ("ground", "uav"):
            folder = tmp_path / "tracklets" / person / platform
            folder.mkdir(parents=True)
            for frame in range(2):
                pixels = rng.integers(0, 255, (32, 16, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{frame}.jpg")
    monkeypatch.setattr(open_clip, "create_model", tiny_clip)
    command = [str(EXAMPLE), str(tmp_path / "tracklets"), str(tmp_path / "out"), "--steps", "2"]
    monkeypatch.setattr(sys, "argv", [*command, "--device", "cpu"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    assert "i2t" in printed and "v2sce" in printed and "8 clips -> features of 16 channels" in printed
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "adapter.safetensors",
        "config.json",
    ]


def test_the_readme_s_train_section_is_parts_of_the_example() -> None:
    section = re.search(r"^## Train$(.*?)^## ", README.read_text(), re.MULTILINE | re.DOTALL)
    assert section is not None
    blocks = re.findall(r"^```python\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    source = EXAMPLE.read_text()
    assert len(blocks) >= 2
    for block in blocks:
        assert block in source or textwrap.indent(block, "    ") in source, block
