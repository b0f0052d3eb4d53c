"""Market-1501 (Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from reid_core.manifest import Manifest
from reid_core.readers._files import ReaderError, image_names, parse_names, require_folder

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
OFFICIAL_IMAGES = {"train": 12936, "query": 3368, "gallery": 19732}
"""Images a split in the release (gallery: with 2793 distractors and 3819 junk)."""
NAME = re.compile(r"(-1|\d+)_c(\d+)s(\d+)_(\d+)_(\d+)(?:\.jpe?g)+", re.IGNORECASE)
WANTED = "pid_cCsS_frame_index.jpg, such as 0002_c1s1_000451_03.jpg"
VIDEO_STRIDE = 100
"""A camera's sequence is one video: video = camid * VIDEO_STRIDE + sequence."""


def read_market1501(root: str | Path) -> Manifest:
    """Read Market-1501: bounding_box_train is train, query is query, bounding_box_test is gallery.

    pid -1 is junk and pid 0 a distractor, as in the release; the images form no tracklets.

    Args:
        root: the folder with bounding_box_train, bounding_box_test and query.

    Returns:
        the manifest, by split and file name.

    Raises:
        FileNotFoundError: a folder is missing.
        ReaderError: an image's name can't be parsed, or a folder holds no image.
    """
    root = Path(root)
    require_folder(root, "market1501", f"a folder with {', '.join(FOLDERS.values())}")
    parts = []
    for split, sub in FOLDERS.items():
        folder = require_folder(root / sub, "market1501", f"the {split} images ({WANTED})")
        names = image_names(folder)
        if not names:
            raise ReaderError(f"market1501: {folder} holds no image; expected the {split} images ({WANTED})")
        fields = np.array(parse_names(names, NAME, folder, WANTED), dtype=np.int64)
        parts.append(
            pd.DataFrame(
                {
                    "path": [f"{sub}/{name}" for name in names],
                    "pid": fields[:, 0],
                    "camid": fields[:, 1],
                    "split": split,
                    "frame": fields[:, 3],
                    "video": fields[:, 1] * VIDEO_STRIDE + fields[:, 2],
                }
            )
        )
    return Manifest(pd.concat(parts, ignore_index=True), root, "market1501")
