"""CION-AL (Zuo et al., "Cross-Video Identity Correlating for Person Re-identification Pre-training")."""

from __future__ import annotations

from pathlib import Path

from reid_core.data.manifest import Manifest
from reid_core.data.readers._annotations import read_annotations
from reid_core.data.readers._files import base_folder

ANNOTATIONS = "cional_annos.json"


def read_cion_al(root: str | Path) -> Manifest:
    """Read CION-AL: sec0 to sec129 and cional_annos.json, a list of {"id": person, "file_path": image}.

    The release is gated. Layout and keys are those that its repository's README and loader show
    (Zplusdragon/CION_ReIDZoo); assumed is that file_path is relative to the folder of the annotations.

    Args:
        root: the folder with cional_annos.json, or the one that holds CION_AL.

    Returns:
        the manifest, in the order of the annotations; all rows are "train", without cameras.

    Raises:
        FileNotFoundError: no annotations there.
        ReaderError: an annotation can't be read.
    """
    root = base_folder(root, "cion_al", ("CION_AL",), ANNOTATIONS, f"sec0, sec1, ... and {ANNOTATIONS}")
    return Manifest(read_annotations(root, ANNOTATIONS, "cion_al"), root, "cion_al")
