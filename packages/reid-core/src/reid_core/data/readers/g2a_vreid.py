"""G2A-VReID (Zhang et al., "Cross-Platform Video Person ReID", ECCV 2024): ground query, UAV gallery."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reid_core.data.manifest import Manifest
from reid_core.data.readers._files import ReaderError, base_folder
from reid_core.data.readers.mars import mars_table


def read_g2a_vreid(root: str | Path) -> Manifest:
    """Read G2A-VReID: MARS's layout, with the platform of each row.

    The release describes no layout; assumed is what public code that trains on it reads: bbox_train,
    bbox_test and info with MARS's five files. The paper says that queries are from the ground camera and the
    gallery from the UAV (Section 5.1), so the query tracklets' camera is "ground" and the other "aerial";
    nothing is assumed of their numbers.

    Args:
        root: the folder with bbox_train, bbox_test and info, or the one that holds G2A-VReID.

    Returns:
        the manifest, with tracklets numbered from 0: train's, then test's, in the order of the files.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ReaderError: as `read_mars`; or the query tracklets are from several cameras, or all from the query's.
    """
    below = ("G2A-VReID", "G2A-VReID.v2")
    root = base_folder(root, "g2a_vreid", below, "info", "bbox_train, bbox_test and info")
    table = mars_table(root, "g2a_vreid")
    ground = np.unique(table["camid"][table["split"] == "query"])
    if len(ground) != 1 or (table["camid"] == ground[0]).all():
        raise ReaderError(
            f"g2a_vreid: the query tracklets of {root} are from the cameras {ground.tolist()}; "
            "expected one ground camera, and another that flies"
        )
    table["platform"] = np.where(table["camid"] == ground[0], "ground", "aerial")
    return Manifest(table, root, "g2a_vreid")
