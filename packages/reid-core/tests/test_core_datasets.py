"""Data sets: decoding, unreadable files, frame sampling, and draws that give the same item anywhere."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from reid_core.data import decoding
from reid_core.data.datasets import ImageDataset, TrackletDataset, collate, seed_torch
from reid_core.data.decoding import UnreachableImage, UnreadableImage, read_image
from reid_core.data.frames import sample_frames
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import Draw, RandomBatches
from reid_core.data.transforms import ssl_transform

RNG = np.random.default_rng(0)


@pytest.fixture
def manifest(tmp_path):
    """Three identities, a tracklet of four JPEG frames each; frame f of tracklet t is of grey 40 t + 10 f."""
    rows = []
    for t in range(3):
        for f in range(4):
            pixels = np.full((24, 12, 3), 40 * t + 10 * f, np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{t}_{f}.jpg")
            rows.append(
                {
                    "path": f"{t}_{f}.jpg",
                    "split": "train",
                    "pid": t + 5,
                    "camid": 1,
                    "tracklet": t,
                    "frame": f,
                }
            )
    return Manifest(pd.DataFrame(rows), tmp_path)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_every_mode_becomes_rgb(tmp_path, suffix, mode):
    if suffix == "bmp" and mode == "RGBA":
        pytest.skip("BMP has no alpha here")
    rgb = Image.fromarray(RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    made = rgb.convert(mode)
    made.save(tmp_path / f"x.{suffix}")
    image = read_image(tmp_path / f"x.{suffix}")
    assert image.dtype == torch.uint8
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), np.asarray(made.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_the_high_byte(tmp_path, suffix):
    grey = RNG.integers(0, 65536, (9, 7), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / f"x.{suffix}"), grey)
    image = read_image(tmp_path / f"x.{suffix}")
    np.testing.assert_array_equal(image.numpy(), np.broadcast_to((grey >> 8).astype(np.uint8), (3, 9, 7)))


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK").save(tmp_path / "x.jpg", quality=100)
    mean = read_image(tmp_path / "x.jpg").float().mean((1, 2))
    torch.testing.assert_close(mean, torch.tensor([200.0, 40.0, 90.0]), atol=6, rtol=0)


def test_another_format_under_a_jpegs_name_is_read(tmp_path):
    Image.new("RGB", (4, 6), (1, 2, 3)).save(tmp_path / "x.jpg", format="BMP")
    assert read_image(tmp_path / "x.jpg")[:, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif"])
@pytest.mark.parametrize("left", [0.0, 0.3, 0.9])
@pytest.mark.faults
def test_a_truncated_file_is_unreadable_and_named(tmp_path, suffix, left):
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(RNG.integers(0, 256, (48, 24, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    with pytest.raises(UnreadableImage, match=f"x.{suffix}"):
        read_image(path)


@pytest.mark.faults
def test_a_missing_file_is_unreadable(tmp_path):
    with pytest.raises(UnreadableImage, match="gone.jpg"):
        read_image(tmp_path / "gone.jpg")


def test_an_item_says_what_it_is(manifest):
    item = ImageDataset(manifest)[5]
    assert item["image"].shape == (3, 24, 12) and abs(int(item["image"][0, 0, 0]) - 50) <= 1
    assert (item["pid"], item["camid"], item["index"], item["valid"], item["unreadable"]) == (
        6,
        1,
        5,
        True,
        [],
    )
    with pytest.raises(IndexError):
        ImageDataset(manifest)[12]


def test_ids_of_all_images_are_read_once(manifest, monkeypatch):
    dataset = ImageDataset(manifest)
    assert dataset.pids.tolist() == [5] * 4 + [6] * 4 + [7] * 4 and set(dataset.camids) == {1}
    monkeypatch.setattr(Manifest, "_integers", None)
    assert dataset[5]["pid"] == 6


@pytest.mark.faults
def test_an_unreadable_image_is_replaced_by_the_next_of_its_pid_and_named(manifest):
    truncate(manifest.files[7])
    item = ImageDataset(manifest)[7]
    assert (item["index"], item["pid"], item["valid"]) == (4, 6, True)
    assert item["unreadable"] == [str(manifest.files[7])]


def test_without_a_readable_image_of_its_pid_the_next_row_stands_in(manifest):
    for row in range(4, 8):
        truncate(manifest.files[row])
    item = ImageDataset(manifest)[5]
    assert (item["index"], item["pid"], len(item["unreadable"])) == (8, 7, 4)
    unlabeled = Manifest(manifest.table.assign(pid=-1), manifest.root)
    assert ImageDataset(unlabeled)[6]["index"] == 8


def test_when_nothing_can_be_read_it_gives_up(manifest):
    for file in manifest.files:
        file.unlink()
    with pytest.raises(UnreadableImage, match="nor can the 11 images"):
        ImageDataset(manifest)[0]
    with pytest.raises(UnreadableImage, match="12 files"):
        TrackletDataset(manifest)[0]


@pytest.mark.faults
def test_for_extraction_an_unreadable_row_is_zeros_and_not_valid(manifest):
    truncate(manifest.files[2])
    dataset = ImageDataset(manifest, ssl_transform((16, 8)), replace=False)
    batch = collate([dataset[1], dataset[2]])
    assert batch["valid"].tolist() == [True, False] and batch["index"].tolist() == [1, 2]
    assert batch["image"].shape == (2, 3, 16, 8) and not batch["image"][1].any()
    assert batch["unreadable"] == [str(manifest.files[2])]


def test_a_tracklet_is_one_item_with_its_frames_in_order(manifest):
    dataset = TrackletDataset(manifest, frames=4, sampling="even")
    assert len(dataset) == 3 and dataset.pids.tolist() == [5, 6, 7] and dataset.camids.tolist() == [1, 1, 1]
    item = dataset[1]
    assert item["clip"].shape == (4, 3, 24, 12) and (item["pid"], item["index"]) == (6, 1)
    torch.testing.assert_close(
        item["clip"][:, 0, 0, 0].float(), torch.tensor([40.0, 50, 60, 70]), atol=1, rtol=0
    )


@pytest.mark.faults
def test_an_unreadable_frame_is_replaced_by_its_neighbour(manifest):
    truncate(manifest.files[5])
    item = TrackletDataset(manifest, frames=4, sampling="even")[1]
    torch.testing.assert_close(
        item["clip"][:, 0, 0, 0].float(), torch.tensor([40.0, 40, 60, 70]), atol=1, rtol=0
    )
    assert item["unreadable"] == [str(manifest.files[5])] and item["valid"]


def test_a_tracklet_without_a_readable_frame_is_replaced_or_not_valid(manifest):
    for row in range(4, 8):
        truncate(manifest.files[row])
    item = TrackletDataset(manifest, frames=2)[1]
    assert (item["index"], item["pid"], len(item["unreadable"])) == (2, 7, 4)
    item = TrackletDataset(manifest, frames=2, replace=False)[1]
    assert (item["index"], item["pid"], item["valid"]) == (1, 6, False)
    assert item["clip"].shape[:2] == (2, 3) and not item["clip"].any()


def test_frames_of_differing_size_take_the_first_ones(manifest):
    Image.new("RGB", (30, 50)).save(manifest.files[1])
    assert TrackletDataset(manifest, frames=4, sampling="even")[0]["clip"].shape == (4, 3, 24, 12)


def test_a_manifest_without_tracklets_is_refused(manifest):
    with pytest.raises(ValueError, match="no tracklet; use ImageDataset"):
        TrackletDataset(Manifest(manifest.table.assign(tracklet=-1), manifest.root))


@given(
    length=st.integers(1, 40),
    frames=st.integers(1, 12),
    sampling=st.sampled_from(["sparse", "dense", "random", "shuffled", "even", "first"]),
)
def test_sampled_frames_exist_and_are_in_order(length, frames, sampling):
    chosen = sample_frames(length, frames, sampling).tolist()
    assert len(chosen) == frames and all(0 <= frame < length for frame in chosen)
    if sampling == "dense":
        assert all(after == (before + 1) % length for before, after in zip(chosen, chosen[1:], strict=False))
    elif sampling != "shuffled":
        assert chosen == sorted(chosen)
    if sampling in ("sparse", "even"):
        assert all(
            i * length // frames <= frame <= (i + 1) * length / frames for i, frame in enumerate(chosen)
        )
    if length >= frames:
        assert len(set(chosen)) == frames


def test_first_frames_are_those_of_whole_blocks_and_a_short_tracklet_repeats_its_last():
    assert sample_frames(23, 8, "first").tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert sample_frames(3, 8, "first").tolist() == [0, 1, 2, 2, 2, 2, 2, 2]


def test_shuffled_frames_are_random_ones_in_every_order():
    with seed_torch(0):
        drawn = {tuple(sample_frames(3, 2, "shuffled").tolist()) for _ in range(100)}
        whole = sample_frames(50, 50, "shuffled").tolist()
    assert drawn == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)}
    assert sorted(whole) == list(range(50)) and whole != sorted(whole)


def test_a_draw_shuffles_the_same_frames_again_and_another_draw_others(manifest):
    dataset = TrackletDataset(manifest, frames=4, sampling="shuffled")
    first = [dataset[Draw(1, seed)]["clip"][:, 0, 0, 0].tolist() for seed in range(8)]
    assert first == [dataset[Draw(1, seed)]["clip"][:, 0, 0, 0].tolist() for seed in range(8)]
    assert all(sorted(greys) == sorted(first[0]) for greys in first) and len(set(map(tuple, first))) > 1


def test_unknown_sampling_is_refused_at_once(manifest):
    with pytest.raises(ValueError, match="expected sparse, dense, random, shuffled, even or first"):
        TrackletDataset(manifest, sampling="middle")


def test_seeded_leaves_the_randomness_outside_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with seed_torch(9):
        torch.rand(5)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("kind", [ImageDataset, TrackletDataset])
def test_a_draw_gives_the_same_item_in_any_order_and_worker(manifest, kind):
    dataset = kind(manifest, ssl_transform((16, 8), blur=1.0))
    key = "image" if kind is ImageDataset else "clip"
    batches = RandomBatches(len(dataset), batch_size=3, steps=4)

    def load(workers):
        loader = DataLoader(dataset, batch_sampler=batches, num_workers=workers, collate_fn=collate)
        return [batch[key] for batch in loader]

    alone, shared = load(0), load(2)
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))
    draw = batches.batch(3)[1]
    assert torch.equal(dataset[draw][key], alone[3][1])
    assert not torch.equal(dataset[Draw(draw.index, draw.seed + 1)][key], alone[3][1])


def bomb(folder, width=30_000, height=30_000):
    """A PNG of a few bytes whose header promises many pixels."""
    import struct
    import zlib

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    (folder / "bomb.png").write_bytes(data + chunk(b"IEND", b""))
    return folder / "bomb.png"


@pytest.mark.faults
def test_a_bomb_is_refused_by_its_header(tmp_path):
    with pytest.raises(UnreadableImage, match=r"bomb.png.*pixels"):
        read_image(bomb(tmp_path))


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "webp", "gif"])
def test_the_limit_of_pixels_holds_for_every_decoder(tmp_path, monkeypatch, kind):
    path = tmp_path / f"a.{kind}"
    Image.new("RGB", (20, 10)).save(path)
    read_image(path)
    monkeypatch.setattr("reid_core.data.decoding.MAX_PIXELS", 199)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as programs do that meet one large picture
    with pytest.raises(UnreadableImage, match="pixels"):
        read_image(path)


def test_a_jpeg_whose_header_hides_its_size_is_held_to_the_limit(tmp_path, monkeypatch):
    """libjpeg skips what lies between two segments."""
    path = tmp_path / "a.jpg"
    Image.new("RGB", (20, 10)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[:2] + bytes(3) + data[2:])
    monkeypatch.setattr("reid_core.data.decoding.MAX_PIXELS", 199)
    with pytest.raises(UnreadableImage, match="20 x 10 pixels|of no format"):
        read_image(path)


@pytest.mark.faults
def test_a_missing_file_is_unreachable_and_a_broken_one_is_not(tmp_path):
    with pytest.raises(UnreachableImage, match="nothing.jpg"):
        read_image(tmp_path / "nothing.jpg")
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(UnreadableImage, match="the file is empty") as caught:
        read_image(tmp_path / "empty.jpg")
    assert not isinstance(caught.value, UnreachableImage)


def test_a_failing_storage_is_asked_again(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    original, left = decoding.image_bytes, [2]

    def failing(path):
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(5, "Input/output error", str(path))
        return original(path)

    monkeypatch.setattr(decoding, "image_bytes", failing)
    monkeypatch.setattr(decoding, "RETRY_SECONDS", (0.0, 0.0))
    assert read_image(tmp_path / "a.png").shape == (3, 4, 4)
    left[0] = 3
    with pytest.raises(UnreachableImage, match="Input/output error"):
        read_image(tmp_path / "a.png")
