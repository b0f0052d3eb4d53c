"""iLIDS-VID (Wang et al., "Person Re-Identification by Video Ranking", ECCV 2014)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reid_core.data.manifest import Manifest
from reid_core.data.readers._files import ReaderError, base_folder, require_file
from reid_core.data.readers._matlab import matrix
from reid_core.data.readers._two_cameras import SPLITS, divide, require_split, sequences

CAMERAS = ("i-LIDS-VID/sequences/cam1", "i-LIDS-VID/sequences/cam2")
SPLITS_FILE = "train-test people splits/train_test_splits_ilidsvid.mat"


def read_ilids_vid(root: str | Path, split: int = 0) -> Manifest:
    """Read iLIDS-VID; queries are of camera 1, the gallery of camera 2.

    The divisions are the rows of ls_set [10 people] in the release's .mat file: 1-based places in the sorted
    list of people, the first half for test.

    Args:
        root: the folder with i-LIDS-VID and "train-test people splits".
        split: which of the ten divisions, 0 to 9.

    Returns:
        the manifest: train, query, gallery, by camera and person; pid is the number of the person's folder.

    Raises:
        FileNotFoundError: a folder or the .mat file is missing.
        ReaderError: a bad split or name, or divisions that don't fit the people who are there.
    """
    require_split("ilids_vid", split)
    root = base_folder(root, "ilids_vid", ("ilids-vid",), "i-LIDS-VID", "i-LIDS-VID/sequences/cam1 and cam2")
    file = require_file(root / SPLITS_FILE, "ilids_vid", "the ten divisions of the people")
    table = sequences(root, CAMERAS, "ilids_vid")
    people = np.unique(table["pid"])
    places = matrix(file)
    if places.shape != (SPLITS, len(people)) or (np.sort(places, axis=1) != np.arange(len(people)) + 1).any():
        raise ReaderError(
            f"{file}: got a matrix of {places.shape}; expected [{SPLITS} {len(people)}], each row the places "
            f"1 to {len(people)} of the people in {root / 'i-LIDS-VID'}"
        )
    train = people[places[split, len(people) // 2 :] - 1]
    return Manifest(divide(table, train), root, "ilids_vid")
