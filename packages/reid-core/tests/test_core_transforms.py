"""Transforms: shapes, one set of parameters a clip, and agreement with torchvision's slower operations."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from reid_core.data.datasets import seed_torch
from reid_core.data.transforms import (
    DINO_JITTER,
    IMAGENET_MEAN,
    IMAGENET_STD,
    MultiCrop,
    colour_matrix,
    eval_transform,
    gaussian_blur,
    normalise,
    resize,
    ssl_transform,
    train_transform,
)

SIZE = (32, 16)
TRANSFORMS = [
    train_transform(SIZE, jitter=DINO_JITTER),
    ssl_transform(SIZE),
    eval_transform(SIZE),
]


def image(height=48, width=20, seed=0):
    return torch.randint(
        0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_uint8_becomes_float_of_the_wanted_size_and_the_input_is_left_alone(transform):
    for given in (image(), image(*SIZE)):
        before = given.clone()
        for seed in range(10):
            with seed_torch(seed):
                result = transform(given)
            assert result.shape == (3, *SIZE) and result.dtype == torch.float32
        assert torch.equal(given, before)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_all_frames_of_a_clip_get_the_same_parameters(transform):
    clip = image().expand(4, -1, -1, -1).contiguous()
    for seed in range(10):
        with seed_torch(seed):
            frames = transform(clip)
        assert frames.shape == (4, 3, *SIZE)
        torch.testing.assert_close(frames[1:], frames[:1].expand(3, -1, -1, -1))


@pytest.mark.parametrize("transform", TRANSFORMS[:2])
def test_the_seed_decides_and_the_transform_survives_pickling(transform):
    def run(function, seed):
        with seed_torch(seed):
            return function(image())

    assert torch.equal(run(transform, 3), run(pickle.loads(pickle.dumps(transform)), 3))
    assert not torch.equal(run(transform, 3), run(transform, 4))


def test_evaluation_is_torchvisions_resize_and_normalise():
    expected = TF.resize(image(), list(SIZE), antialias=True)
    expected = TF.normalize(TF.to_dtype(expected, torch.float32, scale=True), IMAGENET_MEAN, IMAGENET_STD)
    torch.testing.assert_close(eval_transform(SIZE)(image()), expected)


@pytest.mark.parametrize("given", [image(), image().expand(2, -1, -1, -1), image().float() / 3])
def test_normalising_is_its_equation_bit_for_bit(given):
    mean, std = (
        torch.tensor([255 * value for value in of]).view(3, 1, 1) for of in (IMAGENET_MEAN, IMAGENET_STD)
    )
    before = given.clone()
    for _ in range(2):  # the constants are kept, and must stay what they are
        assert torch.equal(normalise(given, list(IMAGENET_MEAN)), (given - mean) / std)
    assert torch.equal(given, before)


def test_normalising_in_inference_mode_leaves_nothing_that_gradients_meet_later():
    std = (0.11, 0.12, 0.13)  # seen by no other test
    with torch.inference_mode():
        normalise(image(), std=std)
    given = image().float().requires_grad_()
    normalise(given, std=std).sum().backward()
    torch.testing.assert_close(given.grad[0], torch.full((48, 20), 1 / (255 * 0.11)))


def test_enlarging_is_plain_bilinear():
    small = image(8, 4).float()
    plain = torch.nn.functional.interpolate(small[None], SIZE, mode="bilinear", antialias=False)[0]
    torch.testing.assert_close(resize(small, SIZE), plain)


@pytest.mark.parametrize(("b", "c", "s"), [(0.8, 1, 1), (1, 0.7, 1), (1, 1, 0.6), (0.9, 0.8, 0.9)])
def test_colour_matrix_is_torchvisions_jitter_where_nothing_clips(b, c, s):
    x = 0.3 + 0.4 * image().float() / 255
    expected = TF.adjust_saturation(TF.adjust_contrast(TF.adjust_brightness(x, b), c), s)
    matrix, offset = colour_matrix(b, c, s, 0.0, x.mean((1, 2)).numpy())
    got = np.einsum("ij,jhw->ihw", matrix, x.numpy()) + offset[:, None, None]
    np.testing.assert_allclose(got, expected.numpy(), atol=2e-3)  # torchvision rounds luma's weights


def test_turning_the_hue_keeps_grey_and_luma_and_a_whole_turn_changes_nothing():
    matrix, _ = colour_matrix(1, 1, 1, 0.07, np.zeros(3))
    np.testing.assert_allclose(matrix @ np.ones(3), np.ones(3), atol=1e-3)
    np.testing.assert_allclose(np.array([0.299, 0.587, 0.114]) @ matrix, [0.299, 0.587, 0.114], atol=1e-9)
    np.testing.assert_allclose(colour_matrix(1, 1, 1, 1.0, np.zeros(3))[0], np.eye(3), atol=1e-9)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_torchvisions(sigma):
    x = image().float()
    kernel = 2 * int(np.ceil(3 * sigma)) + 1
    expected = TF.gaussian_blur(x, [kernel, kernel], [sigma, sigma])
    torch.testing.assert_close(gaussian_blur(x, sigma), expected, atol=1e-3, rtol=1e-4)


def test_grey_leaves_one_channel_thrice():
    transform = ssl_transform(SIZE, grey=1.0, mean=(0, 0, 0), std=(1, 1, 1))
    result = transform(image())
    torch.testing.assert_close(result, result[:1].expand(3, -1, -1))


def test_solarization_is_torchvisions():
    options = dict(flip=0.0, jitter=None, grey=0.0, blur=0.0, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    transform = ssl_transform(SIZE, **options, solarize=1.0, mean=(0, 0, 0), std=(1, 1, 1))
    given = image(*SIZE)
    torch.testing.assert_close(transform(given) * 255, TF.solarize(given, 128).float())


def test_multi_crop_is_a_pure_function_of_the_seed_with_different_views_of_images_and_clips():
    views = MultiCrop(SIZE, (16, 8), local_views=5)
    for given, frames in ((image(), ()), (image().expand(3, -1, -1, -1), (3,))):
        with seed_torch(1):
            first = views(given)
        with seed_torch(1):
            again = pickle.loads(pickle.dumps(views))(given)
        assert first["global"].shape == (2, *frames, 3, *SIZE)
        assert first["local"].shape == (5, *frames, 3, 16, 8)
        for kind in ("global", "local"):
            assert torch.equal(first[kind], again[kind])
            assert not torch.equal(first[kind][0], first[kind][1])
    assert "local" not in MultiCrop(SIZE, local_views=0)(image())


def test_crops_stay_within_scale_and_ratio_of_the_input():
    from reid_core.data.transforms import _crop_box

    for _ in range(200):
        top, left, height, width = _crop_box(128, 48, (0.4, 1.0), (0.75, 4 / 3))
        assert 0 <= top <= 128 - height and 0 <= left <= 48 - width
        assert 0.37 < height * width / (128 * 48) <= 1
        assert 0.7 < (width / height) / (48 / 128) < 1.42


def test_erasing_sets_a_rectangle_to_the_mean():
    transform = train_transform(SIZE, flip=0, padding=0, erasing=1.0)
    clean = eval_transform(SIZE)(image(*SIZE))
    erased = transform(image(*SIZE))
    changed = (erased != clean).any(0)
    assert changed.any() and (erased[:, changed] == 0).all()
    rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
    assert changed.sum() == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)


def test_an_impossible_size_is_refused():
    with pytest.raises(ValueError, match="expected .height, width."):
        train_transform((0, 4))


def test_per_image_statistics_take_a_cameras_exposure_away():
    image = torch.randint(40, 120, (2, 3, 20, 10), dtype=torch.uint8)
    bright = (image.float() * 2 + torch.tensor([10.0, 0.0, 5.0]).view(3, 1, 1)).to(torch.uint8)
    whole = eval_transform((20, 10), per_image=True)
    torch.testing.assert_close(whole(image), whole(bright), atol=1e-5, rtol=0)
    assert not torch.allclose(eval_transform((20, 10))(image), eval_transform((20, 10))(bright))
    still = train_transform((20, 10), flip=0, padding=0, erasing=0, per_image=True)
    torch.testing.assert_close(still(image), whole(image))
    assert whole(torch.full((3, 4, 2), 7, dtype=torch.uint8)).abs().max() == 0  # an even picture
