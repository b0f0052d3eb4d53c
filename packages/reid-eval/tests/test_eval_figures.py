"""The figures are written whole, take every kind of image, and mark right and wrong by more than colour."""

import numpy as np
import pytest
import torch
from PIL import Image

from reid_eval import evaluate, plot_attention, plot_cmc, plot_ranked_list
from reid_eval.figures import as_picture


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def near(picture, colour):
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(picture - wanted).max(-1) < 12).sum())


def result(seed):
    rng = np.random.default_rng(seed)
    pids = rng.integers(1, 6, 40)
    return evaluate(
        rng.normal(size=(40, 4)), rng.normal(size=(40, 4)), pids, pids, np.zeros(40, int), np.ones(40, int)
    )


def test_cmc_is_drawn_for_each_result_and_no_temporary_file_stays(tmp_path):
    path = plot_cmc({"image": result(0), "video": result(1)}, tmp_path / "figures" / "cmc.png")
    assert [file.name for file in path.parent.iterdir()] == ["cmc.png"]
    assert near(pixels(path), "#0072B2") > 50
    assert near(pixels(path), "#D55E00") > 50


def test_ranked_list_has_more_green_when_more_is_right(tmp_path):
    grey = [np.full((32, 16, 3), 127, np.uint8)] * 3
    indices = np.array([[0, 1, 2]])
    wrong, right = np.zeros((1, 3), bool), np.ones((1, 3), bool)
    green = [
        near(pixels(plot_ranked_list(grey[:1], grey, indices, correct, tmp_path / "list.png")), "#009E73")
        for correct in (wrong, right)
    ]
    assert green[0] == 0 < green[1]


def test_wrong_answers_are_dashed(tmp_path):
    grey = [np.full((32, 16, 3), 127, np.uint8)]
    counts = {
        colour: near(pixels(plot_ranked_list(grey, grey, [[0]], [[right]], tmp_path / "list.png")), colour)
        for right, colour in ((True, "#009E73"), (False, "#D55E00"))
    }
    assert 0 < counts["#D55E00"] < 0.8 * counts["#009E73"]


def test_pictures_come_from_paths_arrays_tensors_and_clips(tmp_path):
    array = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
    Image.fromarray(array).save(tmp_path / "a.png")
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    black = np.zeros_like(array)
    clips = [
        np.stack([black, array, black]),
        torch.stack([tensor * 0, tensor]),
        [black, tmp_path / "a.png", black],
    ]
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), array, tensor, *clips):
        np.testing.assert_array_equal(as_picture(image), array)


def test_attention_overlays_show_where_the_map_is_high(tmp_path):
    images = torch.full((2, 3, 64, 32), 127, dtype=torch.uint8)
    maps = torch.zeros(2, 8, 4)
    flat = near(pixels(plot_attention(images, {"class token": maps}, tmp_path / "flat.png")), "#7F7F7F")
    maps[:, 2:4] = 1
    peaked = near(pixels(plot_attention(images, {"class token": maps}, tmp_path / "a.png")), "#7F7F7F")
    assert peaked < 0.95 * flat


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: plot_cmc({}, path), "at least one result"),
        (
            lambda path: plot_ranked_list([], [], np.zeros((1, 2), int), np.zeros((1, 2), bool), path),
            "one row for each",
        ),
        (
            lambda path: plot_attention([np.zeros((4, 4, 3), np.uint8)], {"q": np.zeros((2, 2, 2))}, path),
            "'q' must be",
        ),
        (
            lambda path: plot_attention([np.zeros((4, 4, 3))], {"q": np.zeros((1, 2, 2))}, path),
            "float64 of shape",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(call, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())
