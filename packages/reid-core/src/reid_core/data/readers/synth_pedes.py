"""SYNTH-PEDES (Zuo et al., "PLIP: Language-Image Pre-training for Person Representation Learning", 2024)."""

from __future__ import annotations

from pathlib import Path

from reid_core.data.manifest import Manifest
from reid_core.data.readers._annotations import read_annotations
from reid_core.data.readers._files import base_folder

ANNOTATIONS = "synthpedes_dataset.json"


def read_synth_pedes(root: str | Path) -> Manifest:
    """Read SYNTH-PEDES's images and identities: Part1 to Part11 and synthpedes_dataset.json.

    The file is a list of {"id": 7, "file_path": "Part1/7/1.jpg", "attributes": ..., "captions": ...}, as the
    README of Zplusdragon/PLIP shows an entry; that it is one list is assumed. Captions aren't read.

    A path tells a part, an identity and an image, but no video: the column is unknown (-1) in all rows. A
    part, about 28,400 identities, is no video either. Where videos matter, as in CION's single-video
    denoising, give a manifest with a column of them.

    Args:
        root: the folder with synthpedes_dataset.json, or the one that holds SYNTH-PEDES.

    Returns:
        the manifest, in the order of the annotations; all rows are "train", without cameras.

    Raises:
        FileNotFoundError: no annotations there.
        ReaderError: an annotation can't be read.
    """
    expected = f"Part1, Part2, ... and {ANNOTATIONS}"
    root = base_folder(root, "synth_pedes", ("SYNTH-PEDES",), ANNOTATIONS, expected)
    return Manifest(read_annotations(root, ANNOTATIONS, "synth_pedes"), root, "synth_pedes")
