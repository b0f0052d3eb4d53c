"""Builders of model folders: declared by whichever distribution can build a model, or refused by name."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from reid_core.models import Embedder, Preprocessing, builders, load, save
from reid_core.models.builders import GROUP, OWN, build, find_builder

SIZE = (64, 32)
FACTS = {"training_data": ["nobody"], "license": "apache-2.0"}
TINY = {"backbone": "vit_nano_patch8", "image_size": SIZE, "options": {"depth": 1}}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 40, 20, 3), dtype=np.uint8)


def declare(site: Path, distribution: str, line: str) -> None:
    """Install a distribution's metadata."""
    metadata = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{line}\n")


def test_an_installed_distribution_declares_a_builder(tmp_path, monkeypatch) -> None:
    """As vills does for its resampler."""
    declare(tmp_path / "site", "vills-like", "resampled = vills_like:build")
    (tmp_path / "site" / "vills_like.py").write_text(
        "from reid_core.models.retrieval import bnneck\n\n\ndef build(depth):\n"
        "    return bnneck('vit_nano_patch8', (64, 32), {'depth': depth})\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    model = build("bnneck", TINY)
    save(tmp_path / "a", model, "resampled", {"depth": 1}, Preprocessing(SIZE), **FACTS)
    expected = Embedder(model, Preprocessing(SIZE)).embed(IMAGES, device="cpu")
    assert np.array_equal(load(tmp_path / "a").embed(IMAGES, device="cpu"), expected)


def test_a_builder_of_two_distributions_is_refused(tmp_path, monkeypatch) -> None:
    declare(tmp_path, "a", "bnneck = json:loads")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="'bnneck' is declared twice, as .* and json:loads: uninstall one"):
        find_builder("bnneck")


def test_a_builder_whose_package_is_broken_is_said(tmp_path, monkeypatch) -> None:
    declare(tmp_path, "a", "gone = not_installed.models:build")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="'gone' is declared as not_installed.models:build, but: No module"):
        build("gone", {})


def test_a_builder_that_returns_no_module_is_refused(tmp_path, monkeypatch) -> None:
    declare(tmp_path, "a", "parsed = json:loads")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="builder 'parsed' returned dict; expected an nn.Module"):
        build("parsed", {"s": "{}"})


def test_own_builders_are_found_without_metadata(tmp_path, monkeypatch) -> None:
    save(tmp_path / "tiny", build("bnneck", TINY), "bnneck", TINY, Preprocessing(SIZE), **FACTS)
    monkeypatch.setattr(builders, "entry_points", lambda group: ())
    assert load(tmp_path / "tiny").dim == 128


def test_own_builders_are_declared() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][GROUP] == {point.name: point.value for point in OWN}
