"""Readers of what models are pre-trained on: folders, LMDBs and JSON annotations."""

from __future__ import annotations

import json
import os
from io import BytesIO

import pytest
import torch
from PIL import Image

from reid_core.data.datasets import ImageDataset
from reid_core.data.decoding import UnreadableImage, read_image
from reid_core.data.readers import ReaderError, _annotations, read


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def jpeg(color):
    stream = BytesIO()
    Image.new("RGB", (4, 8), color).save(stream, "JPEG")
    return stream.getvalue()


def write_lmdb(folder, values):
    lmdb = pytest.importorskip("lmdb")
    folder.mkdir(parents=True)
    with lmdb.open(os.fspath(folder), map_size=1 << 20) as environment, environment.begin(write=True) as txn:
        for key, value in values.items():
            txn.put(os.fsencode(key), value)
    return folder


def test_luperson_folders_hold_no_tracklets(tmp_path):
    touch(tmp_path, "japan/tokyo/00000012_0001.jpg", "japan/tokyo/00000010_0000.jpg")
    manifest = read("luperson", tmp_path)
    assert manifest.table["path"].tolist()[0] == "japan/tokyo/00000010_0000.jpg"
    assert set(manifest.table["split"]) == {"unlabeled"} and manifest.tracklets() == []
    assert manifest.name == "luperson"


@pytest.mark.parametrize("name", ["lmdb", "luperson"])
def test_an_lmdb_is_read_by_key_and_its_images_by_path(tmp_path, name):
    keys = ["00_00_0000_00000000", "00_00_0000_00000001"]
    folder = write_lmdb(
        tmp_path / "lup" / "lmdb", {keys[0]: jpeg("red"), keys[1]: jpeg("blue"), "__len__": b"2"}
    )
    for root in (folder, folder.parent):
        manifest = read(name, root)
        assert manifest.table["path"].tolist() == [f"data.mdb/{key}" for key in keys]
    red, blue = (
        ImageDataset(manifest, torch.nn.Identity())[row]["image"].float().mean((1, 2)) for row in (0, 1)
    )
    assert red.argmax() == 0 and blue.argmax() == 2
    with pytest.raises(UnreadableImage, match="holds no key 'none'"):
        read_image(folder / "data.mdb" / "none")


def test_lmdb_says_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no LMDB; expected data.mdb"):
        read("lmdb", tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no .*nowhere"):
        read("luperson", tmp_path / "nowhere")


def test_a_key_of_an_lmdb_that_is_not_utf_8_is_named(tmp_path):
    write_lmdb(tmp_path / "lmdb", {os.fsdecode(b"caf\xe9"): b"1"})
    with pytest.raises(ValueError, match=r"data.mdb: the key b'caf\\xe9' is not UTF-8"):
        read("lmdb", tmp_path)


def test_luperson_nl_takes_a_label_before_a_video_for_a_tracklet(tmp_path):
    folder = "uk/london/v1/"
    touch(tmp_path, *(folder + name for name in ("000007_0000340_01.jpg", "000000_0000020_00.jpg")))
    touch(tmp_path, folder + "000007_0000360_02.jpg", "uk/london/v2/000007_0000001_00.jpg")
    manifest = read("luperson_nl", tmp_path)
    assert manifest.pids.tolist() == [1, 8, 8, 8] and set(manifest.table["split"]) == {"train"}
    assert [rows.tolist() for rows in manifest.tracklets()] == [[0], [1, 2], [3]]
    assert manifest.table["frame"].tolist() == [20, 340, 360, 1]
    assert manifest.table["video"].tolist() == [0, 0, 0, 1]
    assert all(path.is_file() for path in manifest.files)


def test_luperson_nl_reads_the_same_from_an_lmdb(tmp_path):
    keys = [
        "00001_000000_0000020_00",
        "00001_000007_0000340_01",
        "00001_000007_0000360_02",
        "00002_000007_0000001_00",
    ]
    write_lmdb(tmp_path / "lupnl" / "lmdb", dict.fromkeys(keys, jpeg("red")))
    manifest = read("luperson_nl", tmp_path / "lupnl")
    assert manifest.pids.tolist() == [1, 8, 8, 8]
    assert [rows.tolist() for rows in manifest.tracklets()] == [[0], [1, 2], [3]]
    assert manifest.table["path"].tolist() == [f"data.mdb/{key}" for key in keys]


ENTRIES = [
    {"id": 1, "file_path": "sec0/a.jpg"},
    {"id": 1, "file_path": "sec0/b.jpg"},
    {"id": 2, "file_path": "c.jpg"},
]


@pytest.mark.parametrize(
    ("name", "folder", "file", "options"),
    [
        ("cion_al", "CION_AL", "cional_annos.json", {}),
        ("synth_pedes", "SYNTH-PEDES", "synthpedes_dataset.json", {}),
        ("luperson_nl", "", "mine.json", {"annotations": "mine.json"}),
    ],
)
def test_json_annotations(tmp_path, monkeypatch, name, folder, file, options):
    monkeypatch.setattr(_annotations, "CHUNK", 70)  # less than the list, more than an entry
    (tmp_path / folder).mkdir(exist_ok=True)
    entries = [{**entry, "captions": ["A [man], {so}"]} for entry in ENTRIES]
    (tmp_path / folder / file).write_text(json.dumps(entries, indent=1))
    manifest = read(name, tmp_path, **options)
    assert manifest.table["path"].tolist() == ["sec0/a.jpg", "sec0/b.jpg", "c.jpg"]
    assert manifest.pids.tolist() == [1, 1, 2] and set(manifest.table["split"]) == {"train"}
    assert set(manifest.table["video"]) == {-1}  # a path names none
    (tmp_path / folder / file).write_text(json.dumps([{**entry, "id": entry["id"] - 1} for entry in ENTRIES]))
    assert read(name, tmp_path, **options).pids.tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "expected a JSON list"),
        ("[]", "an empty list"),
        ('[{"id": 1, "file_path": "a.jpg"}', "broken JSON"),
        ('[{"id": 1, "file_path": "a.jpg"}, {"id": "2", "file_path": "b.jpg"}]', "entry 1 is"),
        ('[{"id": 1}]', "entry 0 is"),
    ],
)
@pytest.mark.faults
def test_broken_annotations_are_named(tmp_path, text, message):
    (tmp_path / "cional_annos.json").write_text(text)
    with pytest.raises(ReaderError, match=f"cional_annos.json: .*{message}"):
        read("cion_al", tmp_path)
