"""The embedder: every kind of input gives the same descriptor, in order, whatever the batch."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from reid_core.data.datasets import ImageDataset
from reid_core.data.decoding import UnreadableImage, read_image
from reid_core.data.manifest import Manifest
from reid_core.data.transforms import eval_transform
from reid_core.models import Embedder, Preprocessing, extract

SIZE = (16, 8)
PLAIN = Preprocessing(SIZE, mean=(0, 0, 0), std=(1, 1, 1))


class Colours(nn.Module):
    """Mean and greatest value of each channel, over a clip's frames too; remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.given.append(x)
        pixels = x.movedim(-3, 1).flatten(2)
        return torch.cat([pixels.mean(2), pixels.amax(2)], dim=1)


def embedder(preprocessing: Preprocessing = PLAIN, metric: str = "euclidean", **options) -> Embedder:
    return Embedder(Colours(), preprocessing, metric=metric, **options)


def pixels(seed: int, size: tuple[int, int] = (20, 10)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def feature(image: np.ndarray) -> np.ndarray:
    """The euclidean descriptor, step by step."""
    resized = functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None], SIZE, mode="bilinear", antialias=True
    )
    values = resized[0].flatten(1) / 255
    return torch.cat([values.mean(1), values.amax(1)]).numpy()


@pytest.fixture
def folder(tmp_path) -> Path:
    """Images 0.png to 5.png, and broken.png."""
    for number in range(6):
        Image.fromarray(pixels(number)).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "0.png").read_bytes()[:50])
    return tmp_path


def manifest(root: Path, **columns) -> Manifest:
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(6)], "split": "query", **columns})
    return Manifest(table, root)


def test_every_kind_of_image_gives_the_same_descriptor(folder) -> None:
    file = folder / "0.png"
    kinds = [file, str(file), pixels(0), read_image(file), Image.open(file), pixels(0)[..., ::-1][..., ::-1]]
    rows = embedder().embed(kinds)
    assert rows.dtype == np.float32
    for row in rows:
        np.testing.assert_allclose(row, feature(pixels(0)), atol=1e-6)


def test_descriptors_are_those_that_extract_gives(folder) -> None:
    preprocessing = Preprocessing((24, 12))
    rows = embedder(preprocessing, flip=True).embed(manifest(folder), batch_size=4)
    dataset = ImageDataset(manifest(folder), eval_transform((24, 12)))
    expected = extract(
        Colours(), dataset, folder / "features.npy", batch_size=4, flip=True, device="cpu"
    ).array
    assert np.array_equal(rows, expected)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3), max_size=9), st.integers(1, 5), st.integers(1, 3))
def test_order_batches_and_threads_change_no_descriptor(lengths, batch_size, workers) -> None:
    """0 is an image, other numbers are lengths of tracklets."""
    inputs = [
        [pixels(10 * i + j) for j in range(length)] if length else pixels(i)
        for i, length in enumerate(lengths)
    ]
    model = embedder()
    rows = model.embed(iter(inputs), batch_size=batch_size, workers=workers)
    assert rows.shape == (len(inputs), 6)
    for row, value in zip(rows, inputs, strict=True):
        frames = value if isinstance(value, list) else [value]
        np.testing.assert_allclose(row, np.mean([feature(frame) for frame in frames], axis=0), atol=1e-5)


def test_cosine_descriptors_are_of_unit_length_and_so_is_a_tracklet_s_mean() -> None:
    frames = [pixels(seed) for seed in range(3)]
    row, tracklet = embedder(metric="cosine").embed([frames[0], frames])
    unit = [feature(frame) / np.linalg.norm(feature(frame)) for frame in frames]
    np.testing.assert_allclose(row, unit[0], atol=1e-6)
    mean = np.mean(unit, axis=0)
    np.testing.assert_allclose(tracklet, mean / np.linalg.norm(mean), atol=1e-6)


def test_a_tracklet_may_be_an_array_a_tensor_a_tuple_or_paths(folder) -> None:
    array = np.stack([pixels(1), pixels(2)])
    kinds = [
        array,
        torch.from_numpy(array).permute(0, 3, 1, 2),
        tuple(array),
        [folder / "1.png", folder / "2.png"],
    ]
    rows = embedder().embed(kinds)
    np.testing.assert_allclose(rows, np.tile(rows[0], (4, 1)), atol=1e-6)


def test_a_manifest_gives_a_descriptor_per_row_or_per_tracklet(folder) -> None:
    rows = manifest(folder, tracklet=[1, 0, 1, -1, 0, 1])
    np.testing.assert_allclose(
        embedder().embed(rows), [feature(pixels(number)) for number in range(6)], atol=1e-6
    )
    expected = [np.mean([feature(pixels(n)) for n in numbers], axis=0) for numbers in ((1, 4), (0, 2, 5))]
    np.testing.assert_allclose(embedder().embed(rows, tracklets=True), expected, atol=1e-6)
    one = rows.where(rows.table["tracklet"].to_numpy() == 0)
    np.testing.assert_allclose(embedder().embed([one]), expected[:1], atol=1e-6)
    with pytest.raises(ValueError, match="input 0 is Manifest.* of 2 tracklets"):
        embedder().embed([rows])


def test_a_model_of_clips_gets_frames_spread_evenly_over_a_tracklet() -> None:
    model = embedder(Preprocessing(SIZE, mean=(0, 0, 0), std=(1, 1, 1), frames=2))
    frames = [np.full((16, 8, 3), 50 * number, dtype=np.uint8) for number in range(5)]
    rows = model.embed([frames, frames[4]])
    assert model.model.given[-1].shape == (2, 2, 3, 16, 8)
    np.testing.assert_allclose(rows[0], [100 / 255] * 3 + [150 / 255] * 3, atol=1e-6)  # frames 1 and 3
    np.testing.assert_allclose(rows[1], [200 / 255] * 6, atol=1e-6)


def test_a_model_of_both_gets_images_and_clips_each_at_its_size() -> None:
    model = embedder(Preprocessing(SIZE, frames=2, frame_size=(6, 4)))
    model.model.given.clear()
    rows = model.embed([pixels(0), [pixels(1)], pixels(2)])
    assert [tuple(x.shape) for x in model.model.given] == [(1, 3, 16, 8), (1, 2, 3, 6, 4), (1, 3, 16, 8)]
    assert rows.shape == (3, 6)


@pytest.mark.parametrize("name", ["broken.png", "missing.png"])
@pytest.mark.faults
def test_an_unreadable_image_is_named(folder, name) -> None:
    with pytest.raises(UnreadableImage, match=name):
        embedder().embed([folder / "0.png", [folder / "1.png", folder / name]])


def test_what_can_t_be_read_is_masked_and_a_tracklet_goes_on_without_it(folder) -> None:
    broken = folder / "broken.png"
    inputs = [broken, folder / "1.png", [folder / "2.png", broken], [broken, broken]]
    rows, valid = embedder().embed(inputs, errors="mask", batch_size=2)
    assert valid.tolist() == [False, True, True, False]
    expected = [np.zeros(6), feature(pixels(1)), feature(pixels(2)), np.zeros(6)]
    np.testing.assert_allclose(rows, expected, atol=1e-6)


@pytest.mark.faults
def test_a_clip_s_unreadable_frame_is_replaced_by_the_nearest(folder) -> None:
    model = embedder(Preprocessing(SIZE, mean=(0, 0, 0), std=(1, 1, 1), frames=2))
    broken = folder / "broken.png"
    tracklet = [folder / "0.png", folder / "1.png", folder / "2.png", broken]  # frames 1 and 3 are asked for
    expected = model.embed([[folder / "1.png", folder / "2.png"]])
    rows, valid = model.embed([tracklet, [broken]], errors="mask")
    assert valid.tolist() == [True, False]
    np.testing.assert_array_equal(rows[:1], expected)


def test_inputs_are_read_as_they_are_needed() -> None:
    asked = 0

    def endless():
        nonlocal asked
        while True:
            asked += 1
            yield pixels(0)

    stream = embedder().stream(endless(), batch_size=4)
    features, valid = next(stream)
    assert features.shape == (4, 6) and valid.all()
    assert asked <= 4 * 4
    stream.close()


def test_threads_end_with_the_stream() -> None:
    before = threading.active_count()
    stream = embedder().stream((pixels(0) for _ in range(100)), batch_size=2, workers=3)
    next(stream)
    assert threading.active_count() > before
    stream.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((4, 4, 3)), r"input 1 is an array of float64 \(4, 4, 3\); expected uint8 \[h w 3\]"),
        (np.zeros((3, 4, 4), np.uint8), "input 1 is an array"),
        (np.zeros((0, 4, 3), np.uint8), "input 1 is an array"),
        (torch.zeros(3, 4, 4), r"input 1 is a tensor of torch.float32 \(3, 4, 4\)"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), "input 1 is a tensor"),
        ([pixels(0), np.zeros((4, 4), np.uint8)], "input 1, frame 1 is an array"),
        ([], "input 1 is a tracklet without frames"),
        (7, "input 1 is of type int; expected a path"),
    ],
)
@pytest.mark.parametrize("errors", ["raise", "mask"])
def test_what_is_no_image_is_an_error_that_names_the_input(value, message, errors) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        embedder().embed([pixels(0), value], errors=errors)


def test_one_image_in_place_of_several_is_refused() -> None:
    with pytest.raises(TypeError, match="inputs is one image, 'a.jpg'; expected several"):
        embedder().embed("a.jpg")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"workers": 0}, "workers=0"),
        ({"errors": "skip"}, "errors='skip'"),
        ({"device": "cuda:99"}, "device=cuda:99, but torch sees . GPUs here"),
        ({"tracklets": True}, "tracklets=True is for a Manifest"),
    ],
)
def test_an_argument_that_can_t_be_is_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        embedder().embed([pixels(0)], **options)


def test_no_input_gives_no_row() -> None:
    assert embedder().embed([]).shape == (0, 6)


class Broken(nn.Module):
    """Not a number where an image is black."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.flatten(1).sum(1, keepdim=True)
        return total / total


def test_a_feature_that_is_not_finite_names_its_input() -> None:
    black = np.zeros((16, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="the feature of input 2 is not finite"):
        Embedder(Broken(), PLAIN, metric="euclidean").embed([pixels(0), pixels(1), black])


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (Colours(), {"dim": 5}, "features are of length 6; expected 5"),
        (nn.Identity(), {}, r"returned \(2, 3, 16, 8\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(384, 2), nn.Threshold(1e9, float("nan"))), {}, "not finite"),
    ],
)
def test_a_model_that_gives_something_else_is_refused_at_once(model, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        Embedder(model, PLAIN, **options)


def test_a_wrapped_model_is_used_in_eval_mode_and_gets_its_modes_back() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.BatchNorm1d(384).eval())
    rows = Embedder(model, PLAIN, metric="euclidean").embed([pixels(0), pixels(0)])
    np.testing.assert_array_equal(rows[0], rows[1])
    assert [module.training for module in model] == [True, True, False]


def test_a_mirrored_image_has_the_same_descriptor_with_flip() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(384, 4))
    image = pixels(0, SIZE)
    rows = Embedder(model, PLAIN, flip=True).embed([image, image[:, ::-1]])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


@pytest.mark.parametrize("per_image", [False, True])
def test_preprocessing_is_that_of_evaluation(per_image) -> None:
    preprocessing = Preprocessing(SIZE, per_image=per_image)
    image = torch.from_numpy(pixels(0)).permute(2, 0, 1)
    found = preprocessing.normalise(preprocessing.resize(image)[None])[0]
    assert torch.equal(found, eval_transform(SIZE, per_image=per_image)(image))


def test_channels_and_range_are_the_model_s() -> None:
    preprocessing = Preprocessing(SIZE, mean=(1, 2, 3), std=(2, 4, 8), channels="BGR", max_value=255)
    image = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1).expand(3, *SIZE)
    found = preprocessing.normalise(image)[:, 0, 0]
    torch.testing.assert_close(found, torch.tensor([(30 - 1) / 2, (20 - 2) / 4, (10 - 3) / 8]))


def test_bicubic_is_another_interpolation() -> None:
    image = torch.from_numpy(pixels(0)).permute(2, 0, 1)
    expected = functional.interpolate(image[None], SIZE, mode="bicubic", antialias=True)[0]
    assert torch.equal(Preprocessing(SIZE, interpolation="bicubic").resize(image), expected)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", (16,)),
        ("size", (16.0, 8)),
        ("size", (0, 8)),
        ("size", None),
        ("frame_size", (6, 4)),
        ("mean", (0, 0)),
        ("mean", (0, 0, float("nan"))),
        ("std", (1, 1, 0)),
        ("std", 1),
        ("interpolation", "nearest"),
        ("channels", "GRB"),
        ("per_image", None),
        ("max_value", 100),
        ("frames", 0),
        ("frames", True),
    ],
)
def test_a_field_of_preprocessing_that_can_t_be_is_named(field, value) -> None:
    with pytest.raises(ValueError, match=f"preprocessing.{field}: got"):
        Preprocessing(**{"size": SIZE, field: value})
