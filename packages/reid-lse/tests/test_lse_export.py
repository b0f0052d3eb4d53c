"""Results leave as tables, COCO's JSON, label maps, detections and crops, and say the same everywhere."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from reid_lse import Extraction, LocalSemanticExtractor, RegionDataset, decode_mask, extract, label_map
from reid_lse.cli import main
from reid_lse.results import Found, boxes_of


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    (folder / "sub").mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (96, 48)), ("sub/b.jpg", (80, 40))):
        pixels = rng.integers(0, 40, (*size, 3)).astype(np.uint8) + 60
        pixels[4 : size[0] - 4, size[1] // 3 : 2 * size[1] // 3] = rng.integers(120, 250, 3)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def masks(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("masks")
    extract(str(images), str(out), Extraction(), workers=1)
    return out


@pytest.fixture(scope="module")
def regions():
    pictures = torch.randint(
        256, (2, 3, 64, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    return LocalSemanticExtractor()([pictures[0], pictures[1, :, :48, :20]])


def test_the_table_has_a_row_for_each_crop_and_area(regions):
    table = regions.table(["x", "y"])
    assert table["name"].tolist() == ["x"] * 3 + ["y"] * 3
    assert table["area"].tolist() == ["head", "torso", "legs"] * 2
    assert np.allclose(table["quality"], regions.quality.flatten())
    assert table["valid"].tolist() == regions.valid.flatten().tolist()
    share = regions.masks[1, :, :48, :20].float().mean(dim=(1, 2))
    assert np.allclose(table["share"][3:], share)
    with pytest.raises(ValueError, match="expected 2 names, one for each crop, got 1"):
        regions.table(["x"])


def test_label_maps_are_of_the_crops_own_size_and_name_the_best_area(regions):
    first, second = regions.label_maps({"head": 13, "torso": 5, "legs": 9})
    assert (first.shape, second.shape) == ((64, 32), (48, 20))
    assert set(np.unique(second)) <= {0, 5, 9, 13}
    masks = np.array([[[True, True]], [[False, True]]])
    found = Found("a", masks, np.array([True, True]), np.array([0.2, 0.5]), np.zeros((17, 3)))
    assert label_map(found, ("head", "torso")).tolist() == [[1, 2]]
    invalid = found._replace(valid=np.array([False, True]))
    assert label_map(invalid, ("head", "torso")).tolist() == [[0, 2]]
    with pytest.raises(
        ValueError, match="labels must give each area a number from 1 to 255, got none for 'head'"
    ):
        label_map(found, ("head", "torso"), {"torso": 1})


def test_detections_hold_the_valid_areas(regions):
    pytest.importorskip("supervision")
    detections = regions.detections(1)
    valid = regions.valid[1].numpy()
    assert detections.class_id.tolist() == np.flatnonzero(valid).tolist()
    assert np.array_equal(detections.mask, regions.masks[1, :, :48, :20].numpy()[valid])
    assert detections.data["class_name"].tolist() == np.array(regions.areas)[valid].tolist()


def test_cocos_json_comes_back_as_the_same_masks(masks, tmp_path):
    path = tmp_path / "coco.json"
    assert main(["export", str(masks), str(path)]) == 0
    content = json.loads(path.read_text())
    dataset = RegionDataset(masks)
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert list(names.values()) == ["head", "torso", "legs", "person"]
    for image, found in zip(content["images"], dataset.results(), strict=True):
        assert image["file_name"] == found.name
        mine = [part for part in content["annotations"] if part["image_id"] == image["id"]]
        people = [part for part in mine if names[part["category_id"]] == "person"]
        assert len(people) == 1 and len(people[0]["keypoints"]) == 51
        for part in (part for part in mine if part not in people):
            area = dataset.areas.index(names[part["category_id"]])
            height, width = part["segmentation"]["size"]
            mask = decode_mask(np.array(part["segmentation"]["counts"]), height, width)
            assert np.array_equal(mask, found.masks[area])
            assert part["area"] == mask.sum()
            left, top, wide, tall = part["bbox"]
            assert boxes_of(mask[None])[0].tolist() == [left, top, left + wide, top + tall]


def test_keypoints_of_cocos_json_are_read_back(masks, tmp_path):
    from reid_lse import read_keypoints

    main(["export", str(masks), str(tmp_path / "coco.json")])
    table = read_keypoints(tmp_path / "coco.json")
    first = next(RegionDataset(masks).results())
    assert np.allclose(table.of([first.name])[0], first.keypoints, atol=0.01)


def test_labels_crops_and_tables_are_files(masks, tmp_path, capsys):
    for form, out in (
        ("labels", "labels"),
        ("crops", "crops"),
        ("table", "table.csv"),
        ("table", "t.parquet"),
    ):
        assert main(["export", str(masks), str(tmp_path / out), "--format", form]) == 0
    assert "labels: 2 images" in capsys.readouterr().out
    label = np.asarray(Image.open(tmp_path / "labels" / "sub" / "b.png"))
    assert label.shape == (80, 40) and label.max() == 3
    assert json.loads((tmp_path / "labels" / "labels.json").read_text())["1"] == "head"
    crop = np.asarray(Image.open(tmp_path / "crops" / "torso" / "a.png"))
    assert np.array_equal(crop, RegionDataset(masks)[0]["regions"][1].permute(1, 2, 0))
    table = pd.read_csv(tmp_path / "table.csv")
    assert table["name"].tolist() == ["a.png"] * 3 + ["sub/b.jpg"] * 3
    assert pd.read_parquet(tmp_path / "t.parquet")["area"].tolist() == table["area"].tolist()


def test_a_table_of_another_suffix_is_refused(masks, tmp_path, capsys):
    assert main(["export", str(masks), str(tmp_path / "a.xlsx"), "--format", "table"]) == 1
    assert "expected a name that ends in .csv or .parquet" in capsys.readouterr().err
    assert main(["export", str(tmp_path), str(tmp_path / "a.json")]) == 1
    assert "expected a folder that `reid-lse extract` wrote" in capsys.readouterr().err
