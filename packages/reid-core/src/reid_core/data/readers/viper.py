"""VIPeR (Gray et al., "Evaluating Appearance Models for Recognition, Reacquisition, and Tracking", 2007)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from reid_core.data.manifest import Manifest
from reid_core.data.readers._files import ReaderError, base_folder, parsed_images
from reid_core.data.readers._two_cameras import divide, drawn_half, require_split

CAMERAS = ("cam_a", "cam_b")
NAME = re.compile(r"(\d+)_(\d+)\.bmp", re.IGNORECASE)
WANTED = "person_angle.bmp, such as 000_45.bmp"


def read_viper(root: str | Path, split: int = 0) -> Manifest:
    """Read VIPeR; queries are of camera A, the gallery of camera B, one image each.

    The release has no division, and papers draw ten at random: here by a hash of split and pid. People are
    numbered from 0 in the release (with gaps) and from 1 here, for 0 means distractor.

    Args:
        root: the folder with cam_a and cam_b, or the one that holds VIPeR.
        split: which of the ten divisions, 0 to 9.

    Returns:
        the manifest: train, query, gallery, by camera and person.

    Raises:
        FileNotFoundError: a folder is missing.
        ReaderError: a bad split or name, or a person whom one camera doesn't see.
    """
    require_split("viper", split)
    root = base_folder(root, "viper", ("VIPeR",), "cam_a", "the folders cam_a and cam_b")
    parts = []
    for camid, camera in enumerate(CAMERAS, 1):
        paths, names = parsed_images(root, camera, "viper", NAME, WANTED)
        pid = np.array([person for person, _ in names], dtype=np.int64) + 1
        parts.append(pd.DataFrame({"path": paths, "pid": pid, "camid": camid}))
    alone = sorted(set(parts[0]["pid"]) ^ set(parts[1]["pid"]))
    if alone:
        raise ReaderError(f"viper: person {alone[0] - 1:03} of {root} is in one of cam_a and cam_b only")
    table = pd.concat(parts, ignore_index=True)
    return Manifest(divide(table, drawn_half(np.unique(table["pid"]).tolist(), split)), root, "viper")
