"""Samplers: pure functions of the step; the global batch doesn't depend on the number of ranks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_core.data.samplers import (
    CameraPKBatches,
    CurriculumBatches,
    Draw,
    ImagePKBatches,
    PKBatches,
    RandomBatches,
    mix,
)

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
    "make",
    [
        lambda: RandomBatches(50, 8, 30),
        lambda: PKBatches(np.arange(50) // 5, 4, 2, 30),
        lambda: CameraPKBatches(np.arange(50) // 5, np.arange(50) % 3, 4, 2, 30),
        lambda: CurriculumBatches(np.arange(50) // 5, 10, 6, {0: 2, 1: 4, 2: 5}),
    ],
)
def test_resuming_gives_the_batches_the_unbroken_run_would_have_had(make):
    unbroken = list(make())
    resumed = make()
    resumed.start = 13
    assert list(resumed) == unbroken[13:] and len(resumed) == 30
    assert make().batch(29) == unbroken[29]  # whatever was asked for before


@few
@given(
    cameras=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=7), min_size=4, max_size=8),
    instances=st.integers(1, 5),
    step=st.integers(0, 8),
)
def test_camera_batches_put_other_cameras_beside_an_image_where_there_are_any(cameras, instances, step):
    pids = np.repeat(np.arange(len(cameras)), [len(views) for views in cameras])
    camids = np.concatenate(cameras)
    drawn = [draw.index for draw in CameraPKBatches(pids, camids, 4, instances, 9, seed=2).batch(step)]
    groups = np.reshape(drawn, (4, instances))
    assert len({int(pids[group[0]]) for group in groups}) == 4
    for group in groups:
        first, others = group[0], group[1:]
        assert set(pids[group]) == {pids[first]}
        views = cameras[pids[first]]
        if len(set(views)) > 1:
            assert camids[first] not in camids[others]
            elsewhere = sum(camera != camids[first] for camera in views)
            assert len(set(others)) == min(elsewhere, instances - 1)


def test_the_curriculum_keeps_the_batch_and_gives_identities_more_images():
    pids = np.repeat(np.arange(12), 8)
    whole = CurriculumBatches(pids, 24, epochs=100)
    ranks = [CurriculumBatches(pids, 24, epochs=100, rank=rank, world_size=2) for rank in range(2)]
    assert len(whole) == 400
    expected = {0: 2, 159: 2, 160: 4, 239: 4, 240: 6, 319: 6, 320: 8, 399: 8}  # CION: epochs 40, 60 and 80
    for step, instances in expected.items():
        assert whole.instances(step) == instances
        counts = Counter(int(pids[draw.index]) for draw in whole.batch(step))
        assert set(counts.values()) == {instances}
        if 24 // instances % 2 == 0:
            assert len(counts) == 24 // instances
            assert whole.batch(step) == ranks[0].batch(step) + ranks[1].batch(step)


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
        (lambda: CameraPKBatches([1, 2], [0], 1, 2, 1), "camids: got"),
        (lambda: CurriculumBatches([1, 2], 2, 1, {0: 4}), "N_id 4 needs at least 4"),
        (lambda: CurriculumBatches([1, 2], 2, 1, {1: 2}), "expected epochs from 0 on"),
    ],
)
def test_impossible_batches_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("instances", [1, 2, 3])
def test_image_pk_batches_begin_with_each_image_once_and_stay_within_its_identity(instances):
    pids = np.repeat([3, 8, 9], [1, 4, 7])
    batches = ImagePKBatches(pids, identities=2, instances=instances, steps=6)
    firsts = []
    for batch in batches:
        for group in np.reshape([draw.index for draw in batch], (2, instances)):
            assert len(set(pids[group])) == 1
            assert len(set(group)) == min(instances, (pids == pids[group[0]]).sum())
            firsts.append(group[0])
    assert sorted(firsts) == list(range(12))
    ranks = [ImagePKBatches(pids, 2, instances, 6, rank=rank, world_size=2) for rank in (0, 1)]
    assert batches.batch(4) == ranks[0].batch(4) + ranks[1].batch(4)
