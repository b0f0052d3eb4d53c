"""The README's example around a whole ViT-B/16, which the wheel alone can't run without open_clip."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.slow
def test_the_example_with_open_clip_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"^```python open_clip\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example, str(README), "exec"), names)
    assert names["features"].shape == (2, 512)  # type: ignore[attr-defined]
    assert capsys.readouterr().out.startswith("trainable 12.69 M of 98.83 M (12.8%)")
    assert (tmp_path / "adapter" / "adapter.safetensors").stat().st_size < 55e6
