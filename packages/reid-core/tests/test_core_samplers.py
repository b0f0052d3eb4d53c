"""Samplers: pure functions of the step; the global batch doesn't depend on the number of ranks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_core.samplers import Draw, PKBatches, RandomBatches, mix

few = settings(max_examples=40, deadline=None)


@few
@given(size=st.integers(1, 60), local=st.integers(1, 8), world=st.integers(1, 4), seed=st.integers(0, 2**40))
def test_random_batches_of_all_ranks_make_the_single_rank_batch(size, local, world, seed):
    batch, steps = local * world, 7
    whole = RandomBatches(size, batch, steps, seed)
    ranks = [RandomBatches(size, batch, steps, seed, rank, world) for rank in range(world)]
    for step in range(steps):
        parts = [rank.batch(step) for rank in ranks]
        assert sum(parts, []) == whole.batch(step)
        if batch <= size:
            assert len({draw.index for part in parts for draw in part}) == batch


@few
@given(size=st.integers(1, 60), batch=st.integers(1, 20), epoch=st.integers(0, 3))
def test_an_epoch_covers_the_pool(size, batch, epoch):
    batches = RandomBatches(size, batch, 10_000)
    per_epoch = batches.steps_per_epoch
    steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
    assert {draw.index for step in steps for draw in batches.batch(step)} == set(range(size))


@few
@given(
    counts=st.lists(st.integers(1, 9), min_size=6, max_size=12),
    local=st.integers(1, 2),
    world=st.integers(1, 3),
    instances=st.integers(1, 5),
)
def test_pk_batches_hold_p_identities_k_times_and_the_ranks_make_the_whole(counts, local, world, instances):
    pids = np.repeat(np.arange(len(counts)) * 3, counts)
    arguments = (local * world, instances, 9)
    whole = PKBatches(pids, *arguments, seed=5)
    ranks = [PKBatches(pids, *arguments, seed=5, rank=rank, world_size=world) for rank in range(world)]
    for step in range(9):
        parts = [rank.batch(step) for rank in ranks]
        assert sum(parts, []) == whole.batch(step)
        for part in parts:
            drawn = Counter(int(pids[draw.index]) for draw in part)
            assert len(drawn) == local and set(drawn.values()) == {instances}
        assert len({int(pids[draw.index]) for part in parts for draw in part}) == local * world


def test_pk_batches_show_each_identity_once_an_epoch_and_each_image_within_a_round():
    pids = np.repeat(np.arange(6), 8)
    batches = PKBatches(pids, identities=3, instances=4, steps=4)
    epoch = [draw.index for step in (0, 1) for draw in batches.batch(step)]
    assert Counter(pids[epoch].tolist()) == dict.fromkeys(range(6), 4)
    assert {draw.index for step in range(4) for draw in batches.batch(step)} == set(range(48))


def test_pk_batches_never_draw_junk_and_repeat_the_images_of_a_small_identity():
    pids = np.array([-1, 4, -1, 7, 7])
    drawn = Counter(draw.index for draw in PKBatches(pids, 2, 4, steps=1).batch(0))
    assert drawn == {1: 4, 3: 2, 4: 2}


@pytest.mark.parametrize(
    "make", [lambda: RandomBatches(50, 8, 30), lambda: PKBatches(np.arange(50) // 5, 4, 2, 30)]
)
def test_resuming_gives_the_batches_the_unbroken_run_would_have_had(make):
    unbroken = list(make())
    resumed = make()
    resumed.start = 13
    assert list(resumed) == unbroken[13:] and len(resumed) == 30
    assert make().batch(29) == unbroken[29]  # whatever was asked for before


def test_epochs_are_shuffled_differently_and_draws_have_their_own_seeds():
    batches = RandomBatches(64, 64, 2)
    first, second = batches.batch(0), batches.batch(1)
    assert [draw.index for draw in first] != [draw.index for draw in second]
    assert len({draw.seed for draw in first + second}) == 128
    assert all(isinstance(draw, Draw) and 0 <= draw.seed < 2**63 for draw in first)


def test_the_hash_is_the_same_everywhere():
    assert mix(0) == 0xE220A8397B1DCDAF >> 1  # splitmix64's first output from state 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomBatches(0, 4, 1), "at least one row"),
        (lambda: RandomBatches(9, 5, 1, world_size=2), "multiple of world_size 2"),
        (lambda: RandomBatches(9, 4, 1, rank=2, world_size=2), "rank 2 of world_size 2"),
        (lambda: PKBatches(np.array([1, 2]), 3, 2, 1), "got 3, but the rows hold 2"),
        (lambda: PKBatches(np.array([0.5]), 1, 2, 1), "expected integers"),
    ],
)
def test_impossible_batches_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
