"""Shards: every image's own bytes, resumed to the same files, read by everything, by each rank its own."""

from __future__ import annotations

import json
import tarfile

import numpy as np
import pandas as pd
import pytest
import torch
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from reid_core.cli.data import main
from reid_core.data import packing, shard_images
from reid_core.data.checks import check
from reid_core.data.datasets import ImageDataset, TrackletDataset, collate
from reid_core.data.decoding import UnreadableImage, read_image
from reid_core.data.lmdb_images import image_bytes
from reid_core.data.manifest import COLUMNS, Manifest
from reid_core.data.packing import pack, unreadable_images
from reid_core.data.samplers import RandomBatches
from reid_core.data.streaming import ShardBatches, shard_numbers

IMAGES, BROKEN = 23, 7


@pytest.fixture
def manifest(tmp_path):
    """Images of a color each: PNGs, JPEGs, one broken; one in two splits; the last six are two tracklets."""
    rows = []
    for number in range(IMAGES):
        name = f"deep/{number:02}.{'png' if number % 3 else 'jpg'}"
        (tmp_path / "deep").mkdir(exist_ok=True)
        Image.new("RGB", (4, 8), (10 * number, 5, 99)).save(tmp_path / name)
        tracklet = (number - 17) // 3 if number >= 17 else -1
        pid = 100 + tracklet if tracklet >= 0 else number
        rows.append((name, pid, 3, "train", tracklet, number))
    rows.append(("deep/01.png", 1, 3, "query", -1, -1))
    (tmp_path / "deep" / f"{BROKEN:02}.png").write_bytes(b"no image")
    table = pd.DataFrame(rows, columns=["path", "pid", "camid", "split", "tracklet", "frame"])
    return Manifest(table, tmp_path, "toy")


def originals(packed):
    return packed.table["path"].str.split("/", n=2).str[2].tolist()


def test_every_readable_image_is_packed_with_its_own_bytes_and_columns(manifest, tmp_path):
    packed = pack(manifest, tmp_path / "out", shard_images=5, progress=False)
    assert len(packed) == IMAGES and packed.name == "toy"
    for path, name in zip(packed.table["path"], originals(packed), strict=True):
        assert image_bytes(packed.root / path) == (manifest.root / name).read_bytes()
    expected = manifest.where(manifest.table["path"].ne(f"deep/{BROKEN:02}.png").to_numpy()).table
    found = packed.table.assign(path=originals(packed))
    key = ["path", "split"]
    pd.testing.assert_frame_equal(
        found.sort_values(key, ignore_index=True), expected.sort_values(key, ignore_index=True)
    )
    assert found["path"].tolist() != expected["path"].tolist()
    assert Manifest.load(tmp_path / "out" / "manifest.parquet").digest == packed.digest


def test_a_shard_is_read_where_the_system_has_no_pread(tmp_path, monkeypatch):
    (tmp_path / "0.tar").write_bytes(bytes(range(256)))
    monkeypatch.delattr("os.pread")
    assert shard_images.shard_bytes(str(tmp_path / "0.tar"), "3+2/a.jpg") == b"\x03\x04"


@pytest.mark.parametrize("place", ["0+9999999999999999/a.jpg", f"0+{'9' * 30}/a.jpg", "255+2/a.jpg"])
def test_a_place_beyond_a_shard_asks_for_no_memory(place, tmp_path):
    (tmp_path / "1.tar").write_bytes(bytes(256))
    with pytest.raises(OSError, match="1.tar: ends before the image"):
        shard_images.shard_bytes(str(tmp_path / "1.tar"), place)


def test_webdataset_reads_the_shards(manifest, tmp_path):
    pack(manifest, tmp_path / "out", shard_images=10, progress=False)
    shards = [str(path) for path in sorted((tmp_path / "out").glob("*.tar"))]
    assert len(shards) == 3
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"))
    assert len(samples) == IMAGES
    for sample in samples:
        columns = sample["json"]
        assert list(columns) == list(COLUMNS)
        image = sample["png" if columns["path"].endswith("png") else "jpg"]
        np.testing.assert_array_equal(image, read_image(manifest.root / columns["path"]).permute(1, 2, 0))


@pytest.mark.faults
def test_a_broken_image_is_left_out_listed_and_counted(manifest, tmp_path, capsys):
    manifest.save(tmp_path / "toy.parquet")
    command = ["pack", str(tmp_path / "toy.parquet"), str(tmp_path / "out"), "--shard_images", "6"]
    assert main(command) == 1  # more than one in a hundred
    said = capsys.readouterr().out
    assert f"left out deep/{BROKEN:02}.png: can't be read as an image" in said
    assert f"{IMAGES} images in 4 shards; 1 unreadable images" in said
    assert len(unreadable_images(tmp_path / "out")) == 1
    assert main([*command, "--allow_unreadable", "0.05"]) == 0


@pytest.mark.faults
def test_work_that_was_cut_off_goes_on_to_the_same_bytes(manifest, tmp_path, monkeypatch):
    whole = pack(manifest, tmp_path / "whole", shard_images=5, progress=False)
    real, calls = packing.read_intact, []

    def dies(root, path):
        calls.append(path)
        if len(calls) == 12:
            raise RuntimeError("killed")
        return real(root, path)

    monkeypatch.setattr(packing, "read_intact", dies)
    with pytest.raises(RuntimeError, match="killed"):
        pack(manifest, tmp_path / "out", shard_images=5, workers=1, progress=False)
    calls[:] = [None] * 12
    resumed = pack(manifest, tmp_path / "out", shard_images=5, workers=1, progress=False)
    assert len(calls) - 12 == len(manifest) - 10  # the first two shards were whole
    assert resumed.digest == whole.digest
    for shard in sorted((tmp_path / "whole").glob("*.tar")):
        assert shard.read_bytes() == (tmp_path / "out" / shard.name).read_bytes()


def test_a_folder_of_other_images_or_settings_is_refused(manifest, tmp_path):
    pack(manifest, tmp_path / "out", shard_images=5, progress=False)
    with pytest.raises(ValueError, match='was begun with .*"shard_images": 5.*name another folder'):
        pack(manifest, tmp_path / "out", shard_images=6, progress=False)
    with pytest.raises(ValueError, match="was begun with"):
        pack(manifest.select("train"), tmp_path / "out", shard_images=5, progress=False)
    with pytest.raises(ValueError, match="holds files of something else"):
        pack(manifest, tmp_path / "deep", progress=False)
    broken = manifest.where(manifest.table["path"].eq(f"deep/{BROKEN:02}.png").to_numpy())
    with pytest.raises(ValueError, match="none of the 1 images of .* can be read"):
        pack(broken, tmp_path / "none", progress=False)


def test_a_tracklet_stays_together_and_everything_reads_from_shards(manifest, tmp_path):
    packed = pack(manifest, tmp_path / "out", shard_images=30, progress=False)
    rows = np.flatnonzero(packed.table["tracklet"] == 0)
    assert np.diff(rows).tolist() == [1, 1]
    clip = TrackletDataset(packed, frames=3, sampling="even")[0]["clip"]
    assert clip[:, 0, 0, 0].tolist() == pytest.approx([170, 180, 190], abs=2)
    assert check(packed, progress=False).unreadable == {}
    (tmp_path / "other").mkdir()
    (tmp_path / "out" / "000000.tar").rename(tmp_path / "other" / "000000.tar")
    moved = Manifest.load(tmp_path / "out" / "manifest.parquet", tmp_path / "other")
    assert ImageDataset(moved)[0]["valid"]


@pytest.mark.faults
def test_a_shard_that_ends_too_soon_is_unreadable_and_named(manifest, tmp_path):
    packed = pack(manifest, tmp_path / "out", shard_images=30, progress=False)
    shard = tmp_path / "out" / "000000.tar"
    shard.write_bytes(shard.read_bytes()[:9000])
    with pytest.raises(UnreadableImage, match="000000.tar: ends before the image"):
        read_image(packed.files[-1])
    with pytest.raises(UnreadableImage, match="expected START"):
        read_image(shard / "1.jpg")


def test_a_shard_in_use_is_read_ahead_once(manifest, tmp_path, monkeypatch):
    packed = pack(manifest, tmp_path / "out", shard_images=12, progress=False)
    asked = []
    monkeypatch.setattr(shard_images.os, "posix_fadvise", lambda *args: asked.append(args[1:]), raising=False)
    for file in packed.files[:11]:
        read_image(file)
    assert len(asked) == 1 and asked[0][:2] == (0, 0)


def test_members_lie_where_the_paths_say(manifest, tmp_path):
    packed = pack(manifest, tmp_path / "out", shard_images=30, progress=False)
    with tarfile.open(tmp_path / "out" / "000000.tar") as tar:
        names = tar.getnames()
        about = json.load(tar.extractfile("000000002.json"))
    assert "000000002.png" in names and about["path"] == "deep/02.png" and about["camid"] == 3
    assert shard_numbers(packed).tolist() == [0] * IMAGES


@st.composite
def layouts(draw):
    world, each = draw(st.sampled_from([1, 2, 4])), draw(st.integers(1, 3))
    streams = world * each
    return (
        draw(st.lists(st.integers(1, 9), min_size=1, max_size=8)),
        streams * draw(st.integers(1, 3)),
        streams,
        world,
        draw(st.integers(1, 3)),
        draw(st.integers(0, 5)),
    )


@settings(max_examples=60, deadline=None)
@given(layouts())
def test_an_epoch_is_one_pass_and_ranks_share_it(layout):
    counts, batch, streams, world, window, seed = layout
    shards = np.repeat(np.arange(len(counts)), counts)
    size = len(shards)
    steps = 2 * -(-size // batch)

    def batches(rank, ranks):
        return ShardBatches(shards, batch, steps, seed, rank, ranks, streams, window)

    alone = [batches(0, 1).batch(step) for step in range(steps)]
    ranks = [[batches(rank, world).batch(step) for rank in range(world)] for step in range(steps)]
    assert alone == [sum(parts, []) for parts in ranks]  # whatever the ranks, the same global batch
    for first in (0, steps // 2):
        rows = [draw.index for drawn in alone[first : first + steps // 2] for draw in drawn]
        assert sorted(rows[:size]) == list(range(size))
    if size >= batch:
        assert all(len({draw.index for draw in drawn}) == batch for drawn in alone)


def test_a_rank_reads_shards_of_its_own_and_few_at_a_time():
    shards = np.repeat(np.arange(32), 64)
    ranks = [ShardBatches(shards, 64, 32, seed=1, rank=rank, world_size=4) for rank in range(4)]
    read = [{int(shards[draw.index]) for batch in rank for draw in batch} for rank in ranks]
    assert sum(map(len, read)) <= 32 + 4 * 2  # a stream's end may tear a window of two
    for rank in ranks:
        for step in range(0, 32, 4):
            used = {int(shards[draw.index]) for s in range(step, step + 4) for draw in rank.batch(s)}
            assert len(used) <= 2 * (2 + 2)  # two streams: a window each, and the next one at its end


def test_epochs_differ_and_mix_neighbours():
    shards = np.repeat(np.arange(16), 20)
    batches = ShardBatches(shards, 16, 40, streams=4)
    first, second = (
        [d.index for step in epoch for d in batches.batch(step)] for epoch in (range(20), range(20, 40))
    )
    assert sorted(first) == sorted(second) and first != second
    together = [{int(shards[draw.index]) for draw in batches.batch(step)} for step in range(20)]
    assert np.mean([len(used) for used in together]) > 4


def test_training_reads_the_same_items_with_any_number_of_workers(manifest, tmp_path):
    packed = pack(manifest, tmp_path / "out", shard_images=5, progress=False)
    batches = ShardBatches(shard_numbers(packed), 4, 6, streams=2)

    def load(workers):
        loader = DataLoader(
            ImageDataset(packed), batch_sampler=batches, num_workers=workers, collate_fn=collate
        )
        return [batch["image"] for batch in loader]

    alone, shared = load(0), load(2)
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))
    batches.start = 4
    assert torch.equal(load(0)[0], alone[4])


def test_numbers_that_do_not_fit_are_refused(manifest):
    with pytest.raises(ValueError, match="that a multiple of world_size"):
        ShardBatches([0, 1], 6, 1, world_size=2, streams=3)
    with pytest.raises(ValueError, match="which lies in no shard"):
        shard_numbers(manifest)
    assert isinstance(ShardBatches([0, 1], 2, 1, streams=2), RandomBatches)


def test_a_folder_that_is_called_like_a_shard_is_read_as_a_folder(tmp_path):
    file = tmp_path / "old.tar" / "0+3" / "1.jpg"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"image")
    assert image_bytes(file) == b"image"
