"""Writers of a finished extraction, one image after another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reid_lse.atomic import atomic
from reid_lse.dataset import RegionDataset
from reid_lse.results import area_table, boxes_of, label_map
from reid_lse.rle import encode_mask


def write_coco(dataset: RegionDataset, path: Path) -> None:
    """Write COCO's JSON: a category per area with masks as run lengths, and persons with keypoints.

    An annotation's score is its quality; invalid areas have none.

    Args:
        dataset: a finished extraction.
        path: *.json to write.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    person = len(dataset.areas) + 1
    for number, found in enumerate(dataset.results(), start=1):
        height, width = found.masks.shape[1:]
        images.append({"id": number, "file_name": found.name, "height": height, "width": width})
        shared = {"image_id": number, "iscrowd": 0}
        points = found.keypoints.round(2).reshape(-1).tolist()
        annotations.append(
            {"id": len(annotations) + 1, "category_id": person, "keypoints": points, **shared}
            | {"bbox": [0, 0, width, height], "area": height * width}
        )
        boxes = boxes_of(found.masks)
        for area in np.flatnonzero(found.valid).tolist():
            left, top, right, bottom = boxes[area].tolist()
            counts = encode_mask(found.masks[area]).tolist()
            annotations.append(
                {"id": len(annotations) + 1, "category_id": area + 1, **shared}
                | {"segmentation": {"size": [height, width], "counts": counts}}
                | {"bbox": [left, top, right - left, bottom - top], "area": int(found.masks[area].sum())}
                | {"score": round(float(found.quality[area]), 4)}
            )
    categories: list[dict[str, Any]] = [
        {"id": number, "name": name, "supercategory": "person"}
        for number, name in enumerate(dataset.areas, start=1)
    ]
    categories.append({"id": person, "name": "person", "keypoints": list(dataset.names)})
    content = {"images": images, "annotations": annotations, "categories": categories}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def write_label_maps(dataset: RegionDataset, folder: Path) -> None:
    """Write a PNG of labels for each image, 0 background, then the areas' numbers; see `label_map`.

    Args:
        dataset: a finished extraction.
        folder: to write to; labels.json names the labels.
    """
    for found in dataset.results():
        with atomic((folder / found.name).with_suffix(".png")) as temporary:
            Image.fromarray(label_map(found, dataset.areas)).save(temporary)
    names = ["background", *dataset.areas]
    with atomic(folder / "labels.json") as temporary:
        temporary.write_text(json.dumps(dict(enumerate(names)), indent=2) + "\n", encoding="utf-8")


def write_crops(dataset: RegionDataset, folder: Path) -> None:
    """Write each valid area's region as a PNG, in a folder per area.

    Args:
        dataset: a finished extraction whose images are there.
        folder: to write to.
    """
    for index in range(len(dataset)):
        item = dataset[index]
        name = Path(dataset.paths[index].as_py()).with_suffix(".png")
        for area, region, valid in zip(dataset.areas, item["regions"], item["valid"], strict=True):
            if valid:
                with atomic(folder / area / name) as temporary:
                    Image.fromarray(region.permute(1, 2, 0).numpy()).save(temporary)


def write_table(dataset: RegionDataset, path: Path) -> None:
    """Write one row per image and area; see `area_table`.

    Args:
        dataset: a finished extraction.
        path: *.csv or *.parquet to write.

    Raises:
        ValueError: another suffix.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"{path}: expected a name that ends in .csv or .parquet")
    table = area_table(dataset.results(), dataset.areas)
    with atomic(path) as temporary:
        if path.suffix == ".csv":
            table.to_csv(temporary, index=False)
        else:
            table.to_parquet(temporary, index=False)
