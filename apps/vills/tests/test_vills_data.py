"""What pre-training and fine-tuning are fed with: pools, views, regions and batches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_core.data.joint import JointBatches
from reid_core.data.samplers import Draw
from reid_core.recipe import Synthetic, run
from reid_core.recipe.sources import write_world
from reid_lse import Extraction, SavedMasks, extract
from vills.data import Grids, ManifestMasks, VillsDataset, collate, load_pool
from vills.recipe import RECIPE
from vills.sources import find_pool
from vills.stages.evaluate import load_sides
from vills.stages.finetune import load_labelled
from vills.stages.lse import load_masks
from vills.stages.pretrain import make_batches


@pytest.fixture(scope="module")
def config(tiny):
    return tiny.config()


def pool_of(tiny, config, **options):
    job = tiny.job("pretrain", config, **options)
    return load_pool(job, job.section.pool)


@pytest.fixture(scope="module")
def pool(tiny, config):
    return pool_of(tiny, config)


@pytest.fixture(scope="module")
def dataset(tiny, config, pool):
    job = tiny.job("pretrain", config)
    masks = load_masks(job, job.section.pool, pool, job.section.areas)
    return VillsDataset(pool, masks, 3, config.pretrain, Grids((4, 2), (4, 2)))


def test_the_pool_holds_training_images_and_unlabeled_ones_and_no_test_person(pool):
    market, mars, folder = pool.manifests
    assert set(market.table["split"]) == set(mars.table["split"]) == {"train"}
    assert set(folder.table["split"]) == {"unlabeled"}
    assert len(pool.images) == len(market) + 8 * 2  # one single image a person and camera
    assert len(pool.videos) == len(mars.tracklets()) + 8 * 2
    assert pool.rows == len(market) + len(mars) + len(folder)


def test_videos_are_rows_of_the_video_source_in_frame_order(pool):
    files = [pool.file(int(row)) for row in pool.videos[0]]
    assert all(Path(file).exists() for file in files)
    assert files == sorted(files)
    assert len({Path(file).name[:11] for file in files}) == 1  # one person, camera and tracklet


def test_one_data_set_for_images_and_videos_is_held_once(tiny, tmp_path):
    config = tiny.config("--data.image.name", "mars", "--name", "once", "--runs", str(tmp_path), on_disk=True)
    config.data.image.root = config.data.video.root
    config.data.pretrain = []
    run(RECIPE, config, "prepare")
    pool = pool_of(tiny, config, prepared=config.folder / "prepare")
    assert len(pool.manifests) == 1
    assert pool.rows == len(pool.images) == sum(len(rows) for rows in pool.videos)


def test_a_repeated_source_weighs_more_in_the_pool(config, pool, tiny):
    again = tiny.config("--data.image.repeat", "3", "--data.video.repeat", "2")
    repeated = pool_of(tiny, again)
    market, mars, _ = pool.manifests
    assert len(repeated.images) == len(pool.images) + 2 * len(market)
    assert len(repeated.videos) == len(pool.videos) + len(mars.tracklets())
    assert repeated.rows == pool.rows  # a row more in the batches, none in the region cache


def test_unlabeled_people_may_lie_beyond_the_labelled_ones(tmp_path):
    layouts = {"folder": {"identities": [4, 6], "frames": 1, "progress": False}}
    world = {"identities": 3, "cameras": 1, "height": 32, "width": 16}
    write_world(Synthetic(world, layouts), tmp_path, workers=1)
    truth = pd.read_parquet(tmp_path / "folder" / "truth.parquet")
    assert set(truth.identity) == {4, 5}


def test_a_batch_has_the_shapes_of_the_objective(dataset, pool):
    videos = len(pool.images)
    batch = collate([dataset[Draw(0, 1)], dataset[Draw(1, 2)], dataset[Draw(videos, 3)]])
    hidden, valid = (
        {kind: int(batch[f"{kind}_{part}"].sum()) for kind in ("image", "video")}
        for part in ("masks", "regions_valid")
    )
    shapes = {name: tuple(value.shape) for name, value in batch.items() if torch.is_tensor(value)}
    assert shapes == {
        "images": (2, 2, 3, 32, 16),
        "image_masks": (2, 2, 8),
        "image_regions": (2, 3, 3, 16, 8),
        "image_regions_valid": (2, 3),
        "videos": (1, 2, 2, 3, 32, 16),
        "video_masks": (1, 2, 2, 8),
        "video_regions": (1, 3, 2, 3, 16, 8),
        "video_regions_valid": (1, 3),
        "frames": (1, 3, 32, 16),
        "image_hidden": (hidden["image"],),
        "image_region_places": (valid["image"],),
        "video_hidden": (hidden["video"],),
        "video_region_places": (valid["video"],),
    }
    assert {kind: sum(batch[f"{kind}_region_counts"]) for kind in valid} == valid
    assert batch["unreadable"] == []
    assert batch["image_masks"].dtype == batch["video_regions_valid"].dtype == torch.bool


def test_an_item_is_a_function_of_its_draw_alone(dataset, pool):
    for index in (3, len(pool.images) + 3):
        torch.manual_seed(0)
        first = dataset[Draw(index, 5)]
        torch.manual_seed(1)
        second = dataset[Draw(index, 5)]
        third = dataset[Draw(index, 6)]
        assert torch.equal(first["views"], second["views"])
        assert torch.equal(first["regions"], second["regions"])
        assert not torch.equal(first["views"], third["views"])


def test_the_two_views_of_an_image_differ(dataset):
    views = dataset[Draw(0, 1)]["views"]
    assert not torch.equal(views[0], views[1])


def test_evaluation_may_see_more_frames_than_training(config, tiny):
    chosen = replace(config, evaluate=replace(config.evaluate, frames=3))
    sides = load_sides(tiny.job("evaluate", chosen))
    assert sides["gallery_clips"][0]["clip"].shape[0] == 3
    assert load_sides(tiny.job("evaluate", config))["gallery_clips"][0]["clip"].shape[0] == 2


def test_every_step_draws_images_and_videos_in_the_configured_numbers(tiny, config, pool):
    batches, _ = make_batches(tiny.job("pretrain", config).section, config.runtime, pool)
    for step in (0, 11):
        indices = [draw.index for draw in batches.batch(step)]
        assert sum(index < len(pool.images) for index in indices) == config.pretrain.image_batch
        assert sum(index >= len(pool.images) for index in indices) == config.pretrain.video_batch


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2**31))
def test_joint_batches_hold_images_and_clips_of_the_same_people(step, images, clips, seed):
    image_pids = np.repeat(np.arange(1, 7), 3)
    clip_pids = np.repeat(np.arange(3, 10), 2)
    batches = JointBatches(image_pids, clip_pids, 4, images, clips, True, steps=1, seed=seed)
    draws = batches.batch(step)
    first = len(image_pids)
    people = [int(image_pids[draw.index]) for draw in draws if draw.index < first]
    others = [int(clip_pids[draw.index - first]) for draw in draws if draw.index >= first]
    assert sorted(people) == sorted(np.repeat(np.unique(people), images).tolist())
    assert sorted(others) == sorted(np.repeat(np.unique(people), clips).tolist())
    assert len(set(people)) == 4
    assert draws == JointBatches(image_pids, clip_pids, 4, images, clips, True, 1, seed).batch(step)


@pytest.mark.parametrize("step", [0, 5])
def test_ranks_share_one_batch_out_among_them(step):
    pids = np.repeat(np.arange(1, 9), 4)
    whole = JointBatches(pids, pids, 4, 2, 1, True, 10).batch(step)
    parts = [JointBatches(pids, pids, 4, 2, 1, True, 10, 0, rank, 2).batch(step) for rank in range(2)]
    assert sorted(whole) == sorted(parts[0] + parts[1])


def test_different_people_get_different_classes(tiny, config):
    other = replace(config, data=replace(config.data, same_people=False))
    data = load_labelled(tiny.job("finetune/scratch", other))
    images = set(data.images.manifest.pids.tolist())
    clip = data[Draw(data.first_clip, 0)]
    assert clip["clip_pid"] not in images
    assert data[Draw(0, 0)]["pid"] in images


def test_areas_are_views_of_one_cache_and_none_needs_no_cache(tiny, config, pool):
    fewer = tiny.config("--pretrain.areas", "[legs]")
    job = tiny.job("pretrain", fewer)
    legs = VillsDataset(
        pool, load_masks(job, job.section.pool, pool, ["legs"]), 1, config.pretrain, Grids((4, 2), (4, 2))
    )
    job = tiny.job("pretrain", config)
    every = VillsDataset(
        pool,
        load_masks(job, job.section.pool, pool, config.lse.areas),
        3,
        config.pretrain,
        Grids((4, 2), (4, 2)),
    )
    keys = [next(one for one in RECIPE.stages(each) if one.name == "lse").key({}) for each in (config, fewer)]
    assert keys[0] == keys[1]
    for index in (0, len(pool.images)):
        assert torch.equal(legs[Draw(index, 1)]["valid"], every[Draw(index, 1)]["valid"][2:])
    none = tiny.config("--pretrain.areas", "[]")
    assert "lse" not in {one.name for one in RECIPE.stages(none)}
    bare = VillsDataset(pool, [], 0, config.pretrain, Grids((4, 2), (4, 2)))
    batch = collate([bare[Draw(0, 1)], bare[Draw(len(pool.images), 1)]])
    assert batch["image_regions"].shape == (1, 0, 3, 16, 8)
    assert batch["video_regions"].shape == (1, 0, 2, 3, 16, 8)


def test_frames_that_training_cannot_draw_are_not_segmented(tiny, tmp_path):
    config = tiny.config("--pretrain.track_frames", "2", "--name", "thin", on_disk=True)
    run(RECIPE, config, "lse")
    job = tiny.job("lse", config, prepared=config.folder / "prepare")
    pool = load_pool(job, job.section.pool)
    assert {len(rows) for rows in pool.videos} == {2}
    mars = 1  # tracklets of three frames and no image: two of three frames are segmented
    segmented = SavedMasks(config.folder / "lse" / str(mars))
    assert len(segmented) == len(pool.drawable_rows(mars)) == 2 * len(pool.manifests[mars]) // 3
    alone = tiny.config("--pretrain.video_batch", "0", "--name", "images")
    images = load_pool(tiny.job("pretrain", alone), find_pool(alone))
    assert not images.videos and len(images.manifests) == 2  # the tracklets' source isn't read


def test_regions_that_the_user_has_segmented_are_found_by_path(tiny, tmp_path, pool):
    extract(str(tiny.data / "folder"), str(tmp_path / "folder"), Extraction())
    source = f"{{name: folder, root: {tiny.data / 'folder'}, regions: {tmp_path / 'folder'}}}"
    config = tiny.config("--data.pretrain", f"[{source}]", "--name", "named", on_disk=True)
    run(RECIPE, config, "pretrain")
    assert sorted(path.name for path in (config.folder / "lse").iterdir() if path.is_dir()) == ["0", "1"]
    job = tiny.job("pretrain", config)
    masks = load_masks(job, job.section.pool, pool, ["head", "legs"])[2]
    row = int(pool.images[-1]) - int(pool.starts[2])
    assert masks[row].name == pool.manifests[2].table["path"].iloc[row]
    assert masks[row].masks.shape == (2, 32, 16)


def test_images_without_regions_are_named_before_training(tiny, tmp_path, pool):
    extract(str(tiny.data / "market1501"), str(tmp_path / "other"), Extraction())
    with pytest.raises(ValueError, match="lacks .* of the .* images that are pre-trained on, such as"):
        ManifestMasks(tmp_path / "other", ["head"], pool.manifests[2], pool.drawable_rows(2))
    with pytest.raises(ValueError, match="none of feet"):
        ManifestMasks(tmp_path / "other", ["feet"], pool.manifests[0], pool.drawable_rows(0))
