"""Synthetic people in a folder each, as a user's own data are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from reid_core.models import Preprocessing, save
from reid_core.models.builders import build
from reid_core.synthetic import World, write_market1501


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight persons before two cameras, three images each: PERSON/NAME_WITH_CAMERA.jpg."""
    return write_people(tmp_path_factory.mktemp("people"), identities=8)


def write_people(folder: Path, identities: int, images: int = 3) -> Path:
    """A folder per person with the images of Market-1501's layout in it."""
    market, people = folder / "market", folder / "people"
    world = World(seed=0, identities=identities, cameras=2, height=64, width=32)
    write_market1501(world, market, images_per_camera=images, distractors=0, junk=0, progress=False)
    for file in sorted(market.rglob("*.jpg")):
        person = people / file.name.partition("_")[0]
        person.mkdir(parents=True, exist_ok=True)
        file.rename(person / file.name)
    return people


@pytest.fixture(scope="session")
def save_model() -> Callable[[Path, int], Path]:
    """Writes the model folder of a small untrained network, by its seed."""
    size = (64, 32)

    def save_one(folder: Path, seed: int) -> Path:
        arguments = {"backbone": "vit_nano_patch8", "image_size": list(size), "options": {"depth": 1}}
        torch.manual_seed(seed)
        model = build("bnneck", arguments)
        facts = {"training_data": ["people"], "license": "mit"}
        save(folder, model, "bnneck", arguments, Preprocessing(size), **facts)
        return folder

    return save_one
