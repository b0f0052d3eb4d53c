"""Regions are tight, centred, keep their aspect and show nothing outside the mask; packed masks come back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_lse import crop_regions


def box_mask(height, width, top, left, tall, wide):
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[0, top : top + tall, left : left + wide] = True
    return mask


@settings(deadline=None)
@given(st.integers(4, 60), st.integers(4, 60), st.data())
def test_what_is_outside_the_mask_never_shows(height, width, data):
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    mask = box_mask(
        height, width, top, left, data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    )
    mask &= torch.rand(mask.shape, generator=torch.Generator().manual_seed(top)) < 0.8
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[0] = 255  # red outside
    image[:, mask[0]] = torch.tensor([[0], [255], [0]], dtype=torch.uint8)  # green inside
    crops, valid = crop_regions(image, mask, min_share=0)
    assert valid.item() == bool(mask.any())
    assert (crops[:, 0] == 0).all()
    assert (crops[:, 1] > 0).any() == bool(mask.any())


def test_a_tall_mask_fills_the_height_and_is_centred():
    image = torch.full((3, 100, 100), 200, dtype=torch.uint8)
    crops, _ = crop_regions(image, box_mask(100, 100, 10, 5, 80, 20), size=(128, 64))
    shown = (crops[0] == 200).all(dim=0)
    rows, columns = shown.any(dim=1).nonzero().flatten(), shown.any(dim=0).nonzero().flatten()
    assert (rows[0], rows[-1]) == (0, 127)
    assert (columns[0], columns[-1]) == (16, 47)  # 80 x 20 becomes 128 x 32
    assert shown.sum() == 128 * 32


def test_a_wide_mask_fills_the_width():
    image = torch.full((3, 100, 100), 200, dtype=torch.uint8)
    crops, _ = crop_regions(image, box_mask(100, 100, 10, 5, 20, 40), size=(128, 64))
    assert (crops[0] == 200).all(dim=0).sum() == 32 * 64


def test_a_region_of_its_own_size_is_cut_out_unchanged():
    image = torch.randint(256, (3, 128, 64), dtype=torch.uint8)
    crops, _ = crop_regions(image, torch.ones(1, 128, 64, dtype=torch.bool))
    assert torch.equal(crops[0], image)


def test_a_blurred_background_shows_colours_but_no_outline_of_zeros():
    image = torch.full((3, 64, 64), 100, dtype=torch.uint8)
    image[:, 20:40, 20:40] = 180
    disc = (torch.arange(64) - 30)[:, None] ** 2 + (torch.arange(64) - 30) ** 2 < 64
    crops, valid = crop_regions(image, disc[None], fill="blur")
    assert valid.all()
    assert crops.min() >= 100
    assert (crops[0, 0, 60:68, 28:36] == 180).all()
    empty, valid = crop_regions(image, torch.zeros_like(disc)[None], fill="blur")
    assert not valid.any() and (empty == image.float().mean().round()).all()


def test_mean_fill_stands_where_zero_would():
    image = torch.full((3, 64, 64), 100, dtype=torch.uint8)
    crops, valid = crop_regions(
        image, torch.cat([box_mask(64, 64, 8, 8, 20, 9), box_mask(64, 64, 0, 0, 0, 0)]), fill="mean"
    )
    assert (crops == 100).all()
    assert valid.tolist() == [True, False]


def test_tiny_masks_are_invalid_and_black():
    image = torch.full((3, 128, 64), 200, dtype=torch.uint8)
    crops, valid = crop_regions(
        image, torch.cat([box_mask(128, 64, 5, 5, 3, 5), box_mask(128, 64, 5, 5, 4, 5)])
    )
    assert valid.tolist() == [False, True]
    assert (crops[0] == 0).all()


IMAGE, MASKS = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(2, 8, 8, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: crop_regions(IMAGE.float(), MASKS),
            TypeError,
            "image must be a uint8 tensor .* got torch.float32",
        ),
        (lambda: crop_regions(IMAGE[:1], MASKS), ValueError, "image must be RGB"),
        (lambda: crop_regions(IMAGE, MASKS.int()), TypeError, "masks must be a bool tensor, got torch.int32"),
        (lambda: crop_regions(IMAGE, MASKS[:, :4]), ValueError, "masks must be .* like the image"),
        (lambda: crop_regions(IMAGE, MASKS, fill="blue"), ValueError, "fill must be one of"),
        (lambda: crop_regions(IMAGE, MASKS, size=(0, 5)), ValueError, "size must be"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
