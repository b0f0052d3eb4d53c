"""A folder of unlabeled person crops, with sub-folders as tracklets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from reid_core.data.manifest import UNKNOWN, Manifest
from reid_core.data.readers._files import ReaderError, require_folder, walk_images


def read_folder(root: str | Path, tracklets: bool = True, name: str = "folder") -> Manifest:
    """Read unlabeled crops at any depth; all rows are in the split "unlabeled".

    Images directly in `root` are single images. The images of a sub-folder (not those of its own sub-folders)
    form a tracklet, in the order of their names, so frame numbers in names need leading zeros; the folder
    above a tracklet's is its video (VIDEO/TRACKLET/FRAME.jpg), unknown where that is `root`. Hidden files and
    folders are left out, and links to folders aren't followed.

    Args:
        root: the folder.
        tracklets: False: every image is a single one.
        name: the manifest's name.

    Returns:
        the manifest, sorted by folder and name.

    Raises:
        FileNotFoundError: no such folder.
        ReaderError: no image in it.
    """
    root = require_folder(Path(root), "folder", "a folder with images, or with sub-folders of images")
    paths: list[str] = []
    tracklet_parts, frame_parts, video_parts = [], [], []
    videos: dict[str, int] = {}
    count = 0
    for folder, images in walk_images(root):
        single = not folder or not tracklets
        paths += [f"{folder}/{image}" if folder else image for image in images]
        tracklet_parts.append(np.full(len(images), UNKNOWN if single else count))
        frame_parts.append(np.full(len(images), UNKNOWN) if single else np.arange(len(images)))
        above = folder.rpartition("/")[0]
        video = UNKNOWN if single or not above else videos.setdefault(above, len(videos))
        video_parts.append(np.full(len(images), video))
        count += not single
    if not paths:
        raise ReaderError(f"folder: {root} holds no image, at any depth")
    table = pd.DataFrame(
        {
            "path": paths,
            "split": "unlabeled",
            "tracklet": np.concatenate(tracklet_parts),
            "frame": np.concatenate(frame_parts),
            "video": np.concatenate(video_parts),
        }
    )
    return Manifest(table, root, name)
