"""The figures are written whole, take every kind of image, and mark right and wrong by more than colour."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from reid_eval import Roc, ScoreHistogram, evaluate
from reid_eval.figures import (
    as_picture,
    attention_figure,
    cmc_figure,
    ranked_list_figure,
    roc_figure,
    sample_identities,
    save_figure,
    score_histogram_figure,
    tsne,
    tsne_figure,
)
from reid_eval.figures.pictures import FRAME_GAP, WIDEST_INCHES, as_strip

GREY = np.full((32, 16, 3), 127, np.uint8)


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


def with_pairs(found):
    """The result with a ROC of three impostor pairs and a histogram of four bins."""
    roc = Roc(np.array([0, 1 / 3, 1.0]), np.array([0.25, 0.5, 1.0]), np.array([0.9, 0.4, -0.5]))
    bins = ScoreHistogram(np.array([-1.0, -0.5, 0, 0.5, 1]), np.array([0, 0, 1, 3]), np.array([0, 6, 2, 0]))
    return replace(found, tar={1e-4: 0.25, 0.5: 0.5}, roc=roc, score_histogram=bins)


def test_cmc_is_drawn_for_each_result_and_no_temporary_file_stays(tmp_path):
    path = save_figure(cmc_figure({"image": result(0), "video": result(1)}), tmp_path / "figures" / "cmc.png")
    assert [file.name for file in path.parent.iterdir()] == ["cmc.png"]
    assert near(pixels(path), "#0072B2") > 50
    assert near(pixels(path), "#D55E00") > 50


def test_a_roc_goes_through_its_points_and_is_marked_where_tar_was_asked():
    axes = roc_figure({"image": with_pairs(result(0))}).axes[0]
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [[1 / 3, 50], [0.5, 50], [1, 100]])
    assert axes.get_xscale() == "log"
    assert line.get_markevery() == [1]  # 1e-4 is below what three impostor pairs can measure


def test_a_score_histogram_is_a_density_of_each_kind_of_pairs():
    figure = score_histogram_figure(with_pairs(result(0)))
    for steps, counts in zip(figure.axes[0].patches, ([0, 6, 2, 0], [0, 0, 1, 3]), strict=True):
        heights, edges, _ = steps.get_data()
        np.testing.assert_allclose(heights, np.array(counts) / np.sum(counts) / 0.5)
        assert np.sum(heights * np.diff(edges)) == pytest.approx(1)
    assert figure.axes[0].get_xlim() == (-0.5, 1.0)


def test_chosen_identities_have_as_many_images_as_asked_and_no_junk():
    pids = np.repeat([-1, 0, 3, 4, 5, 6], [40, 40, 25, 25, 25, 3])
    rows = sample_identities(pids, identities=3, images=20, seed=1)
    assert dict(zip(*np.unique(pids[rows], return_counts=True), strict=True)) == {3: 20, 4: 20, 5: 20}
    np.testing.assert_array_equal(rows, sample_identities(pids, identities=3, images=20, seed=1))
    assert not np.array_equal(rows, sample_identities(pids, identities=3, images=20, seed=2))


def test_tsne_draws_each_person_with_its_own_colour_and_shape_in_each_panel():
    pids = np.repeat(np.arange(1, 10), 2)
    features = np.random.default_rng(0).normal(size=(18, 4))
    figure = tsne_figure({"ours": features, "other": features[:, :2]}, pids)
    for axes, name in zip(figure.axes, ("ours", "other"), strict=True):
        looks = {
            (tuple(points.get_facecolor()[0]), points.get_paths()[0].vertices.tobytes())
            for points in axes.collections
        }
        assert len(looks) == len(axes.collections) == 9
        assert axes.get_xlabel() == name


@pytest.mark.parametrize(
    "draw",
    [
        lambda: cmc_figure({"a": result(0)}),
        lambda: roc_figure({"a": with_pairs(result(0))}),
        lambda: score_histogram_figure(with_pairs(result(0))),
        lambda: tsne_figure({"a": np.random.default_rng(0).normal(size=(6, 3))}, np.arange(6)),
        lambda: ranked_list_figure([GREY], [GREY], [[0]], [[True]]),
        lambda: attention_figure([GREY], {"q": np.eye(2)[None]}),
    ],
)
def test_figures_leave_pyplot_alone_and_are_written_as_vectors(draw, tmp_path):
    figure = draw()
    assert not plt.get_fignums()
    assert save_figure(figure, tmp_path / "figure.pdf").read_bytes()[:4] == b"%PDF"
    assert b"/Type3" not in (tmp_path / "figure.pdf").read_bytes()


def test_ranked_list_has_more_green_when_more_is_right(tmp_path):
    grey = [np.full((32, 16, 3), 127, np.uint8)] * 3
    indices = np.array([[0, 1, 2]])
    wrong, right = np.zeros((1, 3), bool), np.ones((1, 3), bool)
    green = [
        near(
            pixels(save_figure(ranked_list_figure(grey[:1], grey, indices, correct), tmp_path / "list.png")),
            "#009E73",
        )
        for correct in (wrong, right)
    ]
    assert green[0] < 0.5 * green[1]  # the legend alone, and three borders


def test_wrong_answers_are_dashed(tmp_path):
    grey = [np.full((32, 16, 3), 127, np.uint8)]
    counts = {
        colour: near(
            pixels(save_figure(ranked_list_figure(grey, grey, [[0]], [[right]]), tmp_path / "list.png")),
            colour,
        )
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


def test_a_tracklet_is_a_strip_of_its_frames_and_wider_than_an_image():
    clip = [np.full((32, 16, 3), shade, np.uint8) for shade in (0, 60, 120, 180, 240)]
    strip = as_strip(clip, frames=3)
    assert strip.shape == (32, 3 * 16 + 2 * FRAME_GAP, 3)
    assert [int(strip[0, column, 0]) for column in (0, 16 + FRAME_GAP, -1)] == [0, 120, 240]
    order, right = np.array([[0, 1]]), np.array([[True, False]])
    widths = [
        figure.get_figwidth()
        for frames in (1, 3)
        for figure in [ranked_list_figure([GREY], [clip, clip], order, right, frames=frames)]
    ]
    assert widths[1] > 2 * widths[0]


def test_frames_of_other_sizes_stand_side_by_side_in_one_strip():
    assert as_strip([GREY, np.zeros((16, 8, 3), np.uint8)], frames=2).shape == (32, 32 + FRAME_GAP, 3)


def test_a_figure_of_many_strips_is_no_wider_than_a_page():
    clip = [GREY] * 4
    order, right = np.zeros((1, 10), int), np.zeros((1, 10), bool)
    figure = ranked_list_figure([clip], [clip], order, right, frames=4)
    assert figure.get_figwidth() < 1.2 * WIDEST_INCHES


def test_attention_overlays_show_where_the_map_is_high(tmp_path):
    images = torch.full((2, 3, 64, 32), 127, dtype=torch.uint8)
    maps = torch.zeros(2, 8, 4)
    flat = near(
        pixels(save_figure(attention_figure(images, {"class token": maps}), tmp_path / "flat.png")), "#7F7F7F"
    )
    maps[:, 2:4] = 1
    peaked = near(
        pixels(save_figure(attention_figure(images, {"class token": maps}), tmp_path / "a.png")), "#7F7F7F"
    )
    assert peaked < 0.95 * flat


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: save_figure(cmc_figure({}), path), "at least one result"),
        (
            lambda path: save_figure(
                ranked_list_figure([], [], np.zeros((1, 2), int), np.zeros((1, 2), bool)), path
            ),
            "one row for each",
        ),
        (
            lambda path: save_figure(
                attention_figure([np.zeros((4, 4, 3), np.uint8)], {"q": np.zeros((2, 2, 2))}), path
            ),
            "'q' must be",
        ),
        (
            lambda path: save_figure(
                attention_figure([np.zeros((4, 4, 3))], {"q": np.zeros((1, 2, 2))}), path
            ),
            "float64 of shape",
        ),
        (lambda path: save_figure(cmc_figure({"a": result(0)}), path.with_suffix(".docx")), "docx"),
        (lambda path: roc_figure({"a": result(0)}), "'a' holds no ROC"),
        (lambda path: score_histogram_figure(result(0)), "no score histogram"),
        (lambda path: tsne_figure({}, []), "at least one model"),
        (lambda path: tsne_figure({"a": np.eye(50)}, np.arange(50)), "50 persons"),
        (lambda path: tsne_figure({"a": np.eye(4) - np.eye(4)[2]}, np.arange(4)), "row 2"),
        (lambda path: sample_identities([1, 1, 2], identities=3), "the 2 persons"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(call, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


def test_a_picture_of_too_many_pixels_or_damaged_is_an_error_of_its_file(tmp_path, monkeypatch):
    Image.new("RGB", (20, 10)).save(tmp_path / "large.png")
    monkeypatch.setattr("reid_eval.figures.pictures.MAX_PIXELS", 199)
    with pytest.raises(OSError, match="large.png: 20 x 10 pixels; expected at most 199"):
        as_picture(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99)  # Pillow's own error is no OSError
    with pytest.raises(OSError, match="large.png: can't be read"):
        as_picture(tmp_path / "large.png")


def test_tsne_of_rows_that_are_all_the_same_is_an_error():
    with pytest.raises(ValueError, match="all rows are the same"):
        tsne(np.ones((8, 6)))
