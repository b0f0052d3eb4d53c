"""The batch job keeps what the extractor finds, resumes to the same files, and lists what it can't read."""

import csv
import json
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import reid_lse.files
import reid_lse.job
from reid_lse import (
    Extraction,
    LocalSemanticExtractor,
    RegionDataset,
    SavedMasks,
    UnreadableImage,
    decode_mask,
    encode_mask,
    extract,
    extract_images,
    list_images,
    read_image,
)
from reid_lse.cli import main
from reid_lse.shards import known_keypoints, write_shard


def write_people(folder, count=7, size=(24, 48)):
    """Small pictures of somebody, no two alike."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 40, (size[1], size[0], 3)).astype(np.uint8) + 60
        pixels[4:44, 8:17] = rng.integers(120, 250, 3)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return folder


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Seven images, of which two can't be read, extracted in shards of two."""
    folder = tmp_path_factory.mktemp("lse")
    images = write_people(folder / "images")
    (images / "001.png").write_bytes((images / "001.png").read_bytes()[:60])
    (images / "sub").mkdir()
    (images / "sub" / "none.jpg").write_text("no image")
    summary = extract(str(images), str(folder / "out"), Extraction(), batch=2, workers=2, shard=2)
    return images, folder / "out", summary


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_run_lengths_come_back(height, width, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    counts = encode_mask(mask)
    assert np.array_equal(decode_mask(counts, height, width), mask)
    assert (counts[1:] > 0).all()


def test_shards_hold_the_masks_that_the_extractor_makes(done):
    images, out, _ = done
    tables = [pq.read_table(file) for file in sorted(out.glob("*.parquet"))]
    assert [len(table) for table in tables] == [2, 2, 2, 2]
    for row in (row for table in tables for row in table.to_pylist() if row["error"] is None):
        regions = LocalSemanticExtractor()([read_image(images / row["path"])])
        size = row["height"], row["width"]
        masks = np.stack([decode_mask(np.array(counts), *size) for counts in row["masks"]])
        assert np.array_equal(masks, regions.masks[0].numpy())
        assert row["valid"] == regions.valid[0].tolist()
        assert row["quality"] == pytest.approx(regions.quality[0].tolist())
        assert np.array_equal(np.float32(row["keypoints"]).reshape(17, 3), regions.keypoints[0].numpy())


@pytest.mark.faults
def test_unreadable_images_are_listed_and_counted(done):
    _, out, summary = done
    rows = list(csv.DictReader((out / "_errors.csv").open()))
    assert [row["path"] for row in rows] == ["001.png", "sub/none.jpg"]
    assert all(row["error"] for row in rows)
    assert (summary.images, summary.unreadable, summary.shards) == (8, 2, 4)
    assert set(summary.found) == {"head", "torso", "legs"}


@pytest.mark.faults
def test_shares_and_qualities_are_those_of_the_readable_images(tmp_path):
    images = write_people(tmp_path / "images", 2)
    whole = extract_images(list_images(images), tmp_path / "whole", Extraction(), workers=1)
    (images / "none.jpg").write_text("no image")
    summary = extract_images(list_images(images), tmp_path / "out", Extraction(), workers=1)
    assert summary.unreadable == 1 and max(whole.found.values()) > 0
    assert (summary.found, summary.quality) == (whole.found, whole.quality)


@pytest.mark.faults
@pytest.mark.parametrize(
    "change", [{"shard": 0}, {"images": -1}, {"images": "8"}, {"root": 3}, {"areas": [1]}]
)
def test_damaged_settings_of_an_extraction_are_named(done, change, tmp_path):
    settings = json.loads((done[1] / "extract.json").read_text())
    (tmp_path / "extract.json").write_text(json.dumps(settings | change))
    with pytest.raises(
        ValueError, match=r"extract\.json: images and shard must be counts, root and areas text"
    ):
        RegionDataset(tmp_path)


@pytest.mark.faults
def test_images_that_were_away_are_tried_again(tmp_path):
    images = write_people(tmp_path / "images", 4)
    whole = extract_images(list_images(images), tmp_path / "whole", Extraction(), shard=2, workers=1)

    def read(path):
        if path.endswith("003.png"):
            raise OSError(5, "Input/output error", path)
        return read_image(path)

    job = list_images(images)
    blip = extract_images(job._replace(read=read), tmp_path / "out", Extraction(), shard=2, workers=1)
    assert (blip.unreadable, blip.unreachable) == (1, 1)
    rows = list(csv.DictReader((tmp_path / "out" / "_errors.csv").open()))
    assert rows == [{"path": "003.png", "error": "unreachable: Input/output error"}]
    assert extract_images(job, tmp_path / "out", Extraction(), shard=2, workers=1) == whole
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.mark.faults
def test_a_read_that_succeeds_at_the_second_attempt_is_no_fault(tmp_path, monkeypatch):
    images = write_people(tmp_path / "images", 2)
    real, calls = Path.read_bytes, []

    def blips(path):
        calls.append(path.name)
        if calls.count(path.name) == 1:
            raise OSError(5, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(reid_lse.files, "RETRY_SECONDS", (0,))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", blips)
        for path in sorted(images.iterdir()):
            assert read_image(path).shape == (3, 48, 24)
        assert calls == ["000.png", "000.png", "001.png", "001.png"]


@pytest.mark.faults
def test_a_storage_that_is_away_is_not_asked_for_the_whole_shard(tmp_path):
    images = list_images(write_people(tmp_path / "images", 200))
    asked = []

    def read(path):
        asked.append(path)
        time.sleep(0.01)
        raise OSError(5, "Input/output error", path)

    with pytest.raises(OSError, match="64 images in a row"):
        extract_images(images._replace(read=read), tmp_path / "out", Extraction(), batch=8, workers=1)
    assert len(asked) < 150


@pytest.mark.faults
def test_a_storage_that_fails_stops_the_work(tmp_path):
    images = write_people(tmp_path / "images", 66)
    job = list_images(images)

    def read(path):
        if not path.endswith("000.png"):
            raise OSError(5, "Input/output error", path)
        return read_image(path)

    with pytest.raises(OSError, match=r"65 images in a row can't be reached, the first .*001.png"):
        extract_images(job._replace(read=read), tmp_path / "out", Extraction(), workers=1)
    assert not list((tmp_path / "out").glob("*.parquet"))

    images.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="is gone: the same command resumes"):
        extract_images(job, tmp_path / "out", Extraction(), workers=1)


@pytest.mark.faults
def test_too_many_unreadable_images_make_the_exit_status_1(done, tmp_path, capsys):
    images, _, _ = done
    command = ["extract", str(images), str(tmp_path / "out"), "--workers", "1"]
    assert main(command) == 1
    assert "2 images could not be read" in capsys.readouterr().out
    assert main([*command, "--allow_unreadable", "0.25"]) == 0


@pytest.mark.faults
def test_an_image_that_was_away_makes_the_exit_status_1_whatever_share_is_allowed(tmp_path, capsys):
    images = write_people(tmp_path / "images", 2)
    pq.write_table(pa.table({"path": ["000.png", "001.png"]}), images / "rows.parquet")
    (images / "001.png").rename(tmp_path / "001.png")
    command = ["extract", str(images / "rows.parquet"), str(tmp_path / "out"), "--allow_unreadable", "1"]
    assert main(command) == 1
    assert "1 of them could not be reached: the same command tries them again" in capsys.readouterr().out
    (tmp_path / "001.png").rename(images / "001.png")
    assert main(command) == 0


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK"])
def test_other_kinds_of_images_become_rgb(tmp_path, mode):
    file = tmp_path / "image.tiff"
    Image.new("RGB", (5, 9), (255, 255, 255)).convert(mode).save(file)
    image = read_image(file)
    assert image.shape == (3, 9, 5)
    assert (image == 255).all()


@pytest.mark.faults
def test_deep_and_huge_images_are_unreadable(tmp_path, monkeypatch):
    Image.new("I;16", (5, 9)).save(tmp_path / "deep.png")
    with pytest.raises(UnreadableImage, match=r"deep.png: pixels of mode I;16: convert it to 8 bits"):
        read_image(tmp_path / "deep.png")
    monkeypatch.setattr(reid_lse.files, "MAX_PIXELS", 44)
    Image.new("RGB", (5, 9)).save(tmp_path / "huge.png")
    with pytest.raises(UnreadableImage, match="5 x 9 pixels, more than 44"):
        read_image(tmp_path / "huge.png")


def test_regions_are_cut_on_the_fly(done):
    images, out, _ = done
    dataset = RegionDataset(out, size=(32, 16), fill="mean")
    assert dataset.areas == ("head", "torso", "legs")
    assert len(dataset) == 6
    extractor = LocalSemanticExtractor(size=(32, 16), fill="mean")
    for index in (0, -1):
        item = dataset[index]
        regions = extractor([read_image(images / dataset.paths[index].as_py())])
        assert torch.equal(item["regions"], regions.crops[0])
        assert torch.equal(item["valid"], regions.valid[0])
        assert torch.equal(item["keypoints"], regions.keypoints[0])
    with pytest.raises(IndexError):
        dataset[6]


@pytest.mark.faults
def test_an_interrupted_job_ends_with_the_same_files(done, tmp_path, monkeypatch):
    images, out, summary = done
    written = []

    def cut_off(table, path):
        if len(written) == 2:
            path.with_name(f".{path.stem}.1.partial.parquet").write_bytes(b"half a shard")
            raise KeyboardInterrupt
        written.append(path.name)
        write_shard(table, path)

    options = {"batch": 2, "workers": 1, "shard": 2}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(reid_lse.job, "write_shard", cut_off)
        extract(str(images), str(tmp_path), Extraction(), **options)
    kept = {name: (tmp_path / name).stat().st_mtime_ns for name in written}
    with pytest.raises(FileNotFoundError, match="2 of 4 shards"):
        RegionDataset(tmp_path)
    assert extract(str(images), str(tmp_path), Extraction(), **options) == summary
    assert files(tmp_path) == files(out)
    assert kept == {name: (tmp_path / name).stat().st_mtime_ns for name in written}


@pytest.mark.parametrize(("size", "bits"), [((24, 48), 16), ((480, 640), 32)])
def test_run_lengths_take_half_the_memory_where_none_is_longer_than_65535(tmp_path, size, bits):
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", size).save(images / "black.png")  # one colour: long runs
    extract(str(images), str(tmp_path / "out"), Extraction(areas=["legs"]), workers=1)
    found = SavedMasks(tmp_path / "out")
    assert found.shards[0].schema.field("masks").type.value_type.value_type.bit_width == bits
    written = pq.read_table(tmp_path / "out" / "masks-000000.parquet")["masks"][0].as_py()[0]
    assert np.array_equal(found[0].masks[0], decode_mask(np.array(written), *size[::-1]))


def test_parts_write_the_files_of_the_whole_and_leave_each_others_alone(done, tmp_path):
    images, out, summary = done
    options = {"batch": 2, "workers": 1, "shard": 2, "parts": 2}
    half = extract(str(images), str(tmp_path), Extraction(), **options, part=1)
    assert (half.images, half.shards, half.missing) == (4, 2, 2)
    assert sorted(file.name for file in tmp_path.glob("*.parquet")) == [
        "masks-000001.parquet",
        "masks-000003.parquet",
    ]
    being_written = tmp_path / ".masks-000001.1.partial.parquet"
    being_written.write_bytes(b"half a shard")
    assert extract(str(images), str(tmp_path), Extraction(), **options, part=0) == summary
    assert being_written.exists()
    being_written.unlink()
    assert files(tmp_path) == files(out)
    with pytest.raises(ValueError, match="part=2, parts=2: expected 0 <= part < parts"):
        extract(str(images), str(tmp_path), Extraction(), **options, part=2)


def test_label_maps_of_a_parsing_model_are_masks(done, tmp_path, capsys):
    images, _, _ = done
    labels = tmp_path / "labels"
    for file in sorted(images.rglob("*.png")):
        made = np.repeat(np.array([[1, 13, 5, 9]], np.uint8), 2).reshape(8, 1).repeat(4, axis=1)
        (labels / file.relative_to(images)).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(made).save(labels / file.relative_to(images))
    command = ["extract", str(images), str(tmp_path / "out"), "--segmenter", "label_maps", "--workers", "1"]
    command += ["--allow_unreadable", "1"]
    assert main(command) == 1
    assert "label_maps: there is no folder ''" in capsys.readouterr().err
    assert main([*command, "--segmenter_options.folder", str(labels)]) == 0
    head, torso, legs = SavedMasks(tmp_path / "out")[0].masks
    rows = np.arange(48)[:, None] * 4 // 48
    for mask, wanted in ((head, rows < 2), (torso, rows == 2), (legs, rows == 3)):
        assert np.array_equal(mask, np.broadcast_to(wanted, mask.shape))
    (labels / "003.png").unlink()
    command[2] = str(tmp_path / "no")
    assert main([*command, "--segmenter_options.folder", str(labels)]) == 1
    assert "003.png" in capsys.readouterr().err


def test_other_settings_are_refused_in_the_same_folder(done):
    images, out, _ = done
    with pytest.raises(ValueError, match="made with threshold = 0.3, now 0.4; name another folder"):
        extract(str(images), str(out), Extraction(threshold=0.4), batch=2, shard=2)


def test_known_keypoints_prompt_the_masks(done, tmp_path):
    images, out, _ = done
    points = np.tile([12.0, 20.0, 0.9], (17, 1))
    entries = {"images": [], "annotations": []}
    for number, path in enumerate(sorted(images.rglob("*.*g"))):
        entries["images"].append({"id": number, "file_name": path.relative_to(images).as_posix()})
        entries["annotations"].append({"image_id": number, "keypoints": points.flatten().tolist()})
    known = tmp_path / "known.json"
    known.write_text(json.dumps(entries))
    extract(str(images), str(tmp_path / "out"), Extraction(keypoints=str(known)), workers=1)
    item = RegionDataset(tmp_path / "out")[0]
    assert torch.equal(item["keypoints"], torch.from_numpy(points).float())
    # What extract wrote is a file of keypoints too.
    again = known_keypoints(Extraction(keypoints=str(tmp_path / "out" / "masks-000000.parquet")))
    assert torch.equal(again.of(["000.png"])[0], item["keypoints"])
    entries["images"][0]["file_name"] = "other.png"
    known.write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=r"known.json: no keypoints for '000.png'"):
        extract(str(images), str(tmp_path / "no"), Extraction(keypoints=str(known)))
    assert not (tmp_path / "no").exists()


def test_the_command_line_extracts_and_draws(done, tmp_path, capsys):
    images, _, _ = done
    options = ["--areas", "[head,feet]", "--workers", "1"]
    assert main(["extract", str(images), str(tmp_path / "out"), *options, "--allow_unreadable", "0.3"]) == 0
    printed = capsys.readouterr().out
    assert "8 images in 1 shards" in printed
    assert "head: " in printed and "feet: " in printed
    assert "2 images could not be read" in printed
    assert main(["preview", str(images), str(tmp_path / "a.png"), "--count", "3", *options[:2]]) == 0
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert picture.shape == (2 * 192 + 24, 6 * 96, 3)  # one of the three can't be read
    assert len(list(tmp_path.iterdir())) == 2


SAM_OF_NO_FILE = ["--segmenter=sam_vit_b", "--segmenter_options.checkpoint=no.pth"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "nowhere", "out"], "nowhere: no such folder of images or manifest"),
        (["extract", "{empty}", "out"], "expected images (.jpg"),
        (["extract", "{images}", "{file}/out"], "Not a directory"),
        (["extract", "{images}", "out", "--batch", "0"], "batch must be at least 1, got 0"),
        (["extract", "{images}", "out", "--segmenter", "sam"], "unknown segmenter 'sam'; known are crf"),
        (["extract", "{images}", "out", "--areas", "[tail]"], "unknown area 'tail'; known are head"),
        (["extract", "{images}", "out", "--areas", '{"face": ["chin"]}'], "area 'face': unknown keypoint"),
        (["extract", "{images}", "out", "--segmenter_options.pack=8"], "crf takes no pack; its options"),
        (["extract", "{file}", "out"], "expected a folder, or Parquet with a column 'path'"),
        (["extract", "{images}", "out", *SAM_OF_NO_FILE], "no.pth: no such"),
        (["preview", "{images}", "out.jpg"], "expected a name that ends in .png"),
        (["preview", "{images}", "out.png", "--count", "0"], "count must be at least 1"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said_before_anything_is_written(
    done, tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no folder")
    places = {"images": done[0], "empty": tmp_path / "empty", "file": tmp_path / "file"}
    for name, place in places.items():
        arguments = [argument.replace(f"{{{name}}}", str(place)) for argument in arguments]
    assert main(arguments) == 1
    assert message in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "file"}
