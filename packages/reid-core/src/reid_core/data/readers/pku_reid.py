"""PKU-Reid (Ma et al., "Orientation Driven Bag of Appearances for Person Re-id", arXiv:1605.02464)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from reid_core.data.manifest import Manifest
from reid_core.data.readers._files import ReaderError, parsed_images
from reid_core.data.samplers import mix

FOLDER = "PKUv1a_128x48"
NAME = re.compile(r"(\d+)_(\d+)_(\d+)\.png", re.IGNORECASE)
WANTED = "personId_cameraId_orientationId.png, such as 001_01_1.png"
TRAIN_FRACTION = 42 / 62
"""Identities for training: 42 of 62, which leaves 20 for test."""


def read_pku_reid(root: str | Path, train_fraction: float = TRAIN_FRACTION, seed: int = 0) -> Manifest:
    """Read PKU-Reid; an identity's images from one camera form a tracklet, its frames the body orientations.

    The release has no split, so identities are divided by chance (a hash of seed and pid, the same on every
    machine). Every test image stands in both query and gallery, for the cross-camera rule of evaluation
    removes the matches from the query's own camera; its tracklet has another id in each.

    Args:
        root: the folder that holds PKUv1a_128x48, or that folder itself.
        train_fraction: part of the identities for training, strictly between 0 and 1.
        seed: of the division.

    Returns:
        the manifest: train, then query, then gallery.

    Raises:
        FileNotFoundError: a folder is missing.
        ReaderError: a name can't be parsed, no image is there, or a side is left without identities.
    """
    root = Path(root)
    if root.name == FOLDER:
        root = root.parent
    paths, names = parsed_images(root, FOLDER, "pku_reid", NAME, WANTED)
    fields = np.array(names, dtype=np.int64)
    identities = sorted(np.unique(fields[:, 0]).tolist(), key=lambda pid: mix(seed, pid))
    count = round(train_fraction * len(identities))
    if not 0 < count < len(identities):
        raise ReaderError(
            f"pku_reid: train_fraction {train_fraction} puts {count} of {len(identities)} identities "
            "into train; expected at least one on each side"
        )
    _, tracklet = np.unique(fields[:, :2], axis=0, return_inverse=True)
    table = pd.DataFrame(
        {
            "path": paths,
            "pid": fields[:, 0],
            "camid": fields[:, 1],
            "tracklet": tracklet.reshape(-1),
            "frame": fields[:, 2],
        }
    )
    in_train = np.isin(fields[:, 0], identities[:count])
    train, query, gallery = table[in_train].copy(), table[~in_train].copy(), table[~in_train].copy()
    train["split"], query["split"], gallery["split"] = "train", "query", "gallery"
    gallery["tracklet"] += int(tracklet.max()) + 1
    return Manifest(pd.concat([train, query, gallery], ignore_index=True), root, "pku_reid")
