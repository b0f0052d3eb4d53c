"""`reid-lse export`: an extraction as COCO's JSON, label maps, crops or a table."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Format = Literal["coco", "labels", "crops", "table"]


def export(
    masks: str, out: str, format: Format = "coco", root: str | None = None, size: list[int] | None = None
) -> int:
    """Write an extraction in a format of other tools.

    Args:
        masks: folder that `reid-lse extract` wrote
        out: file to write (coco: *.json; table: *.csv or *.parquet), or folder for labels and crops, where
            image x.jpg becomes x.png
        format: coco, labels (a PNG of areas' numbers per image), crops (a PNG per area) or table
        root: folder of the images, for crops; by default the one they were in when extracted
        size: height and width of crops in pixels, such as '[128, 64]', the default

    Returns:
        Number of images.

    Raises:
        FileNotFoundError: the folder holds no extraction, or one that isn't finished.
        OSError: out can't be written.
        ValueError: an unknown format, a name that doesn't fit it.
    """
    # Heavy imports wait until there is work, so that the command line answers at once.
    from reid_lse.dataset import RegionDataset
    from reid_lse.exporting import write_coco, write_crops, write_label_maps, write_table
    from reid_lse.regions import REGION_SIZE

    writers = {"coco": write_coco, "labels": write_label_maps, "crops": write_crops, "table": write_table}
    if format not in writers:
        raise ValueError(f"format must be one of {', '.join(writers)}, got {format!r}")
    height, width = size or REGION_SIZE
    dataset = RegionDataset(masks, root, (height, width))
    writers[format](dataset, Path(out))
    return len(dataset)
