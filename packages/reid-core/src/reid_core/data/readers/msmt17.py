"""MSMT17 (Wei et al., "Person Transfer GAN to Bridge Domain Gap for Person Re-Identification", CVPR 2018)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from reid_core.data.manifest import Manifest
from reid_core.data.readers._files import base_folder, labelled_paths, parse_names

VERSIONS = {"MSMT17_V1": ("train", "test"), "MSMT17_V2": ("mask_train_v2", "mask_test_v2")}
"""Folders of the training and test images; V2's images have masked faces, its lists are V1's."""
NAME = re.compile(r"(\d+)_(\d+)_(\d+)_(\d{4})(morning|noon|afternoon)_(\d+)_(\d+)(?:_ex)?\.jpe?g", re.I)
WANTED = "pid_index_camera_MMDDslot_frame_box.jpg, such as 0000_001_03_0303morning_0008_0.jpg"
SLOTS = ("morning", "noon", "afternoon")


def read_msmt17(root: str | Path, val: bool = True) -> Manifest:
    """Read MSMT17, V1 or V2, by its four lists; each line is a path below train or test, and a label.

    Both halves label their people from 0, which are not the same people: a training person's pid is the label
    plus 1 (0 means distractor in a manifest), and the test people's pids follow the training people's.
    A video is what one camera took in one slot of a day (video = camera, MMDD, slot as CCMMDDS). That the
    image files are there is not checked one by one.

    Args:
        root: the folder with the lists, or the one that holds MSMT17_V1 or MSMT17_V2.
        val: add list_val.txt to the training images, as the paper's 32621 images and TransReID do.

    Returns:
        the manifest: train (and validation), query, gallery, in the order of the lists.

    Raises:
        FileNotFoundError: a folder or list is missing.
        ReaderError: a line or a file name can't be parsed, or a list is empty.
    """
    wanted = "the lists list_train.txt, list_val.txt, list_query.txt, list_gallery.txt"
    root = base_folder(root, "msmt17", tuple(VERSIONS), "list_train.txt", wanted)
    folders = next((pair for pair in VERSIONS.values() if (root / pair[0]).is_dir()), None)
    if folders is None:
        expected = " or ".join(" and ".join(pair) for pair in VERSIONS.values())
        raise FileNotFoundError(f"msmt17: {root} holds no images; expected the folders {expected}")
    train = [_list_rows(root, "train", folders[0], "train", first_pid=1)]
    if val:
        train.append(_list_rows(root, "val", folders[0], "train", first_pid=1))
    after = max(int(part["pid"].max()) for part in train) + 1
    test = [_list_rows(root, split, folders[1], split, first_pid=after) for split in ("query", "gallery")]
    return Manifest(pd.concat([*train, *test], ignore_index=True), root, "msmt17")


def _list_rows(root: Path, name: str, folder: str, split: str, first_pid: int) -> pd.DataFrame:
    """The rows of list_NAME.txt."""
    paths, labels = zip(*labelled_paths(root / f"list_{name}.txt", "msmt17"), strict=True)
    names = parse_names((path.rpartition("/")[2] for path in paths), NAME, root / folder, WANTED)
    camid = np.array([name[2] for name in names], dtype=np.int64)
    day = np.array([name[3] for name in names], dtype=np.int64)
    slot = np.array([SLOTS.index(name[4].lower()) for name in names])
    return pd.DataFrame(
        {
            "path": [f"{folder}/{path}" for path in paths],
            "pid": np.array(labels, dtype=np.int64) + first_pid,
            "camid": camid,
            "split": split,
            "frame": np.array([name[5] for name in names], dtype=np.int64),
            "video": (camid * 10_000 + day) * 10 + slot,
        }
    )
