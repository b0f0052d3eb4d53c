"""Block masks and schedules."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_pretrain import block_mask
from reid_pretrain.schedules import cosine

grids = st.tuples(st.integers(1, 16), st.integers(1, 16))
seeds = st.integers(0, 2**31)


@settings(max_examples=60, deadline=None)
@given(grid=grids, ratio=st.floats(0, 1), spread=st.floats(0, 0.5), seed=seeds)
def test_the_share_of_hidden_patches_never_exceeds_the_ratio_and_its_spread(grid, ratio, spread, seed):
    torch.manual_seed(seed)
    mask = block_mask(grid, ratio, spread, probability=1.0)
    patches = grid[0] * grid[1]
    assert mask.shape == (patches,)
    assert mask.dtype == torch.bool
    assert mask.sum() <= round(patches * min(ratio + spread, 1.0))


@settings(max_examples=60, deadline=None)
@given(grid=grids, ratio=st.floats(0, 1), seed=seeds)
def test_the_share_is_reached_and_not_exceeded(grid, ratio, seed):
    torch.manual_seed(seed)
    mask = block_mask(grid, ratio, spread=0.0, probability=1.0)
    target = round(grid[0] * grid[1] * ratio)
    assert target - 2 <= mask.sum() <= target  # the last patches may escape all the blocks that are tried


@settings(max_examples=30, deadline=None)
@given(grid=grids, seed=seeds)
def test_a_seed_fixes_the_mask(grid, seed):
    torch.manual_seed(seed)
    first, following = block_mask(grid), torch.rand(())
    torch.manual_seed(seed)
    assert torch.equal(block_mask(grid), first)
    assert torch.equal(torch.rand(()), following)


def test_nothing_is_hidden_at_probability_zero():
    torch.manual_seed(0)
    assert not block_mask((8, 4), probability=0.0).any()


def test_the_probability_is_the_share_of_images_with_a_mask():
    torch.manual_seed(0)
    some = sum(bool(block_mask((8, 4), probability=0.25).any()) for _ in range(400)) / 400
    assert some == pytest.approx(0.25, abs=0.08)


def test_hidden_patches_come_in_blocks_rather_than_scattered():
    """A hidden patch's right-hand neighbour is hidden far more often than an average patch."""
    torch.manual_seed(0)
    masks = torch.stack([block_mask((16, 8), 0.3, 0.0, 1.0).view(16, 8) for _ in range(50)])
    left, right = masks[..., :-1], masks[..., 1:]
    assert right[left].float().mean() > 1.5 * masks.float().mean()


@given(start=st.floats(0, 1), end=st.floats(0, 1), steps=st.integers(1, 1000), data=st.data())
def test_a_cosine_schedule_goes_monotonically_from_start_to_end(start, end, steps, data):
    step = data.draw(st.integers(0, steps - 1))
    now, later = cosine(start, end, step, steps), cosine(start, end, step + 1, steps)
    assert min(start, end) - 1e-12 <= now <= max(start, end) + 1e-12
    assert abs(later - end) <= abs(now - end) + 1e-12
    assert cosine(start, end, 0, steps) == pytest.approx(start)
    assert cosine(start, end, steps, steps) == cosine(start, end, 2 * steps, steps) == end


def test_a_cosine_schedule_is_dinos():
    for step in range(11):
        want = 1 - (1 - 0.996) * (math.cos(math.pi * step / 10) + 1) / 2
        assert cosine(0.996, 1.0, step, 10) == pytest.approx(want)
