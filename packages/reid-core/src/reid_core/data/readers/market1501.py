"""Market-1501 (Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from reid_core.data.manifest import Manifest
from reid_core.data.readers._files import parsed_images, require_folder

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
NAME = re.compile(r"(-1|\d+)_c(\d+)s(\d+)_(\d+)_(\d+)(?:\.jpe?g)+", re.IGNORECASE)
WANTED = "pid_cCsS_frame_index.jpg, such as 0002_c1s1_000451_03.jpg"
VIDEO_STRIDE = 100
"""A camera's sequence is one video: video = camid * VIDEO_STRIDE + sequence."""
DISTRACTORS = "images"
"""The folder that distractors_500k.zip unpacks into."""
DISTRACTOR_NAME = re.compile(r"(-?\d+)_c(\d+).*\.jpe?g", re.IGNORECASE)


def read_market1501(root: str | Path, distractors_500k: bool = False) -> Manifest:
    """Read Market-1501: bounding_box_train is train, query is query, bounding_box_test is gallery.

    pid -1 is junk and pid 0 a distractor, as in the release; the images form no tracklets. The extra 500k
    distractors all get pid 0, whatever their names say; of the names only the camera is read (`_cN`, as
    torchreid reads them: the release's own description gives no pattern).

    Args:
        root: the folder with bounding_box_train, bounding_box_test and query.
        distractors_500k: add ROOT/images, where distractors_500k.zip unpacks, to the gallery.

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
        paths, names = parsed_images(root, sub, "market1501", NAME, WANTED)
        pid, camid, sequence, frame, _ = np.array(names, dtype=np.int64).T
        video = camid * VIDEO_STRIDE + sequence
        columns = {"path": paths, "pid": pid, "camid": camid, "split": split, "frame": frame, "video": video}
        parts.append(pd.DataFrame(columns))
    if distractors_500k:
        paths, names = parsed_images(root, DISTRACTORS, "market1501", DISTRACTOR_NAME, "names with _cCAMERA")
        camid = np.array(names, dtype=np.int64)[:, 1]
        parts.append(pd.DataFrame({"path": paths, "pid": 0, "camid": camid, "split": "gallery"}))
    table = pd.concat(parts, ignore_index=True).fillna({"frame": -1, "video": -1})
    return Manifest(table, root, "market1501_500k" if distractors_500k else "market1501")
