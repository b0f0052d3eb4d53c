"""PRID2011 (Hirzer et al., "Person Re-identification by Descriptive and Discriminative Classification")."""

from __future__ import annotations

import json
from pathlib import Path

from reid_core.data.manifest import Manifest
from reid_core.data.readers._files import ReaderError, base_folder
from reid_core.data.readers._two_cameras import divide, drawn_half, require_split, sequences

CAMERAS = ("multi_shot/cam_a", "multi_shot/cam_b")
MIN_FRAMES = 27
"""People with more frames than this in both cameras are used: 178 of the 200 that both cameras see."""
SPLITS_FILE = "splits_prid2011.json"


def read_prid2011(root: str | Path, split: int = 0, min_frames: int = MIN_FRAMES) -> Manifest:
    """Read PRID2011's multi-shot half; queries are of camera A, the gallery of camera B.

    The release has no division. Where torchreid's splits_prid2011.json lies in `root` or its parent (a list
    of {"train": ["person_0001", ...], "test": [...]}), it is taken; otherwise the people are divided in
    halves by a hash of split and pid, so numbers are comparable with papers' only on average.

    Args:
        root: the folder with multi_shot, or the one that holds prid_2011.
        split: which of the ten divisions, 0 to 9.
        min_frames: people with more frames than this in both cameras are used.

    Returns:
        the manifest: train, query, gallery, by camera and person; pid is the number of the person's folder.

    Raises:
        FileNotFoundError: a folder is missing.
        ReaderError: a bad split or name, or fewer than two people are left.
    """
    require_split("prid2011", split)
    given = Path(root)
    root = base_folder(root, "prid2011", ("prid_2011",), "multi_shot", " and ".join(CAMERAS))
    table = sequences(root, CAMERAS, "prid2011")
    frames = table.groupby(["pid", "camid"]).size().unstack(fill_value=0)
    enough = frames.index[(frames > min_frames).all(axis=1) & (frames.shape[1] == 2)]
    if len(enough) < 2:
        raise ReaderError(
            f"prid2011: {len(enough)} people in {root} have more than {min_frames} frames in both cameras; "
            "expected at least two (lower min_frames)"
        )
    file = next((at / SPLITS_FILE for at in (given, root, root.parent) if (at / SPLITS_FILE).is_file()), None)
    train = drawn_half(enough, split) if file is None else _training_pids(file, split)
    table = divide(table[table["pid"].isin(enough)], train)
    return Manifest(table, root, "prid2011")


def _training_pids(file: Path, split: int) -> list[int]:
    """Pids of a division's training people."""
    try:
        divisions = json.loads(file.read_text(encoding="utf-8-sig"))
        return [int(name.removeprefix("person_")) for name in divisions[split]["train"]]
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError) as error:
        wanted = '[{"train": ["person_0001", ...], "test": [...]}, ...]'
        raise ReaderError(f"{file}: can't read division {split}; expected {wanted}") from error
