"""People in plain colours, and a model of random weights that tells colours apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PEOPLE, CAMERAS, SHOTS = 6, 2, 2


def draw_people(root: Path, people: range, seed: int = 0) -> Path:
    """A folder per person, PERSON/cCAMERA_SHOT.png: one colour each, with some noise."""
    rng = np.random.default_rng(seed)
    for person in people:
        colour = np.random.default_rng(person).integers(40, 215, (4, 1, 3))  # stripes: head to feet
        for camera in range(1, CAMERAS + 1):
            for shot in range(SHOTS):
                noise = rng.integers(-20, 21, (32, 16, 3))
                pixels = (np.repeat(colour, 8, axis=0) + noise).clip(0, 255).astype(np.uint8)
                file = root / f"{person:03d}" / f"c{camera}_{shot}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
    return root


@pytest.fixture(scope="session")
def draw() -> Callable[[Path, range], Path]:
    return draw_people


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_people(tmp_path_factory.mktemp("images") / "people", range(1, PEOPLE + 1))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from reid_core.models import Preprocessing, save
    from reid_core.models.builders import build

    arguments = {"backbone": "vit_nano_patch8", "image_size": (32, 16), "options": {"depth": 1}}
    folder = tmp_path_factory.mktemp("models") / "model"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build("bnneck", arguments).eval()
    save(folder, network, "bnneck", arguments, Preprocessing((32, 16)), training_data=["none"], license="mit")
    return folder


@pytest.fixture(scope="session")
def save_model() -> Callable[[Path, int], Path]:
    """Writes the model folder of a small untrained network, by its seed."""
    import torch

    from reid_core.models import Preprocessing, save
    from reid_core.models.builders import build

    size = (64, 32)

    def save_one(folder: Path, seed: int) -> Path:
        arguments = {"backbone": "vit_nano_patch8", "image_size": list(size), "options": {"depth": 1}}
        torch.manual_seed(seed)
        network = build("bnneck", arguments)
        facts = {"training_data": ["people"], "license": "mit"}
        save(folder, network, "bnneck", arguments, Preprocessing(size), **facts)
        return folder

    return save_one


FRAMES, HEIGHT, WIDTH = 8, 96, 128


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Eight frames of two colours that stand still."""
    av = pytest.importorskip("av", reason="extra track")
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, : WIDTH // 2], image[:, WIDTH // 2 :] = (200, 30, 30), (30, 30, 200)
    with av.open(str(tmp_path / "video.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return tmp_path / "video.mp4"


@pytest.fixture
def write_boxes() -> Callable[[Path, Callable[[int], int]], str]:
    """Writes two boxes a frame, of the track that each is said to be of."""

    def write(path: Path, track: Callable[[int], int]) -> str:
        lines = [
            f"{frame},{track(number)},{left},10,30,60,0.9,-1,-1,-1"
            for frame in range(1, FRAMES + 1)
            for number, left in ((1, 10), (2, 80))
        ]
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    return write
