"""Your own data set: a folder per person, or files whose names say who and which camera."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from reid_core.data.manifest import UNKNOWN, Manifest
from reid_core.data.readers._files import MAX_DIGITS, ReaderError, require_folder, walk_images
from reid_core.data.readers._own_split import FRACTION, draw_split

GROUPS = ("pid", "camid", "tracklet", "frame")
"""What a pattern may name."""
CAMERA = re.compile(
    r"(?:^|.*?[-_. ])c(?:am(?:era)?)?[-_]?(?P<camid>\d+)(?:s\d+)?(?:[-_. ].*)?", re.IGNORECASE
)
"""A camera in a file name: 0002_c1s1_000451_03, cam2-0001, 017_camera3."""
MARS_CAMERA = re.compile(r"\d+C(?P<camid>\d+)T\d+F\d+")
"""As MARS has it: 0001C1T0001F001."""
PERSON_CAMERA_INDEX = re.compile(r"(?P<person>.+)_(?P<camid>\d+)_\d+")
"""As PKU-Reid has it: 001_01_1, where the first part is the person's folder."""
CAMERA_DEPTH = 3
"""Parts of PERSON/CAMERA/1.jpg."""
EXPECTED = (
    "a folder per person (PERSON/1.jpg or PERSON/CAMERA/1.jpg), or a pattern of file names with the group pid"
)


def read_people(
    root: str | Path, pattern: str | None = None, fraction: float = FRACTION, seed: int = 0
) -> Manifest:
    r"""Read images in folders of one person each, or images whose names say the person.

    Without `pattern`, a sub-folder of `root` is a person, and its own sub-folders, if there are any, are
    cameras. Otherwise the camera is read off the file names if all have the same form: "c" or
    "cam" and a number at the beginning or behind a separator (0002_c1s1_000451_03, cam2-0001); MARS's
    (0001C1T0001F001); or PERSON_CAMERA_INDEX with the folder's name (001_01_1 in 001).
    Otherwise cameras are unknown.

    A `pattern` is matched to the beginning of each file name. With the group pid it says who an image shows,
    and images may lie at any depth; without, the person is still the folder. The groups camid, tracklet (a
    number or name within one person and camera) and frame (a number) are optional.

    Persons and cameras that are all numbers (persons from 1) keep them; otherwise they are numbered from 1 in
    sorted order, and `Manifest.names` has their names: `names["pid"][1]`, `names["camid"][1]`.

    The split is drawn: people are ordered by a hash of seed and pid, and the first `fraction` of them,
    rounded, are for training. Of each test person and camera one image (or tracklet) is a query and the
    others are gallery, as in Market-1501. A camera's only image of a person is gallery, except that a person
    with two images or more has at least one query. No image is in both.

    The protocol that counts is reid_eval.PROTOCOLS["people"]: a gallery image of the query's person from the
    query's own camera is left out. One camera is allowed: where all images are from one, or cameras are
    unknown, camid is -1, and each image counts as from a camera of its own. Then images from the same camera
    may answer each other, which is easier than finding people across cameras: such numbers can't be compared
    with papers'.

    Args:
        root: the folder.
        pattern: regular expression, such as r"(?P<pid>\d+)_c(?P<camid>\d+)_(?P<frame>\d+)".
        fraction: part of the people for training, from 0 (all for test) to 1 (all for training).
        seed: of the division.

    Returns:
        the manifest, by folder and file name.

    Raises:
        FileNotFoundError: no such folder.
        ReaderError: no image, an image at another depth than the others, a name that the pattern doesn't
            match, a pattern with other groups, or a fraction that leaves a side without people.
    """
    root = require_folder(Path(root), "people", EXPECTED)
    files = [PurePosixPath(folder, name) for folder, names in walk_images(root) for name in names]
    if not files:
        raise ReaderError(f"people: {root} holds no image, at any depth; expected {EXPECTED}")
    compiled = _compile(pattern)
    fields = (
        {} if "pid" in compiled.groupindex else _folder_fields(root, files, "camid" in compiled.groupindex)
    )
    if compiled.groupindex:
        fields |= _pattern_fields(root, files, compiled)
    names: dict[str, dict[int, str]] = {}
    table = pd.DataFrame({"path": [file.as_posix() for file in files]})
    for column, least in (("pid", 1), ("camid", 0)):
        if column in fields:
            table[column], named = _number(fields[column], least)
            names |= {column: named} if named else {}
    if "tracklet" in fields:
        table["tracklet"] = _number_tracklets(table, fields["tracklet"])
    if "frame" in fields:
        table["frame"] = _frames(root, files, fields["frame"])
    return Manifest(draw_split(table, fraction, seed, "people"), root, "people", names)


def _compile(pattern: str | None) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern or "")
    except re.error as error:
        raise ReaderError(f"people: pattern {pattern!r} is no regular expression ({error})") from error
    unknown = [group for group in compiled.groupindex if group not in GROUPS]
    if unknown or (pattern and not compiled.groupindex):
        named = ", ".join(compiled.groupindex) or "no groups"
        expected = f"some of {', '.join(GROUPS)}, such as (?P<pid>\\d+)"
        raise ReaderError(f"people: pattern {pattern!r} names {named}; expected {expected}")
    return compiled


Fields = dict[str, list[str | None]]
"""Column -> what a name says about each image; None where it says nothing."""


def _pattern_fields(root: Path, files: list[PurePosixPath], pattern: re.Pattern[str]) -> Fields:
    fields: Fields = {group: [] for group in pattern.groupindex}
    for file in files:
        match = pattern.match(file.name)
        if match is None or not match.groupdict().get("pid", True):
            raise ReaderError(
                f"people: {root / file}: the name doesn't match the pattern {pattern.pattern!r}"
            )
        for group, value in match.groupdict().items():
            fields[group].append(value or None)
    return fields


def _folder_fields(root: Path, files: list[PurePosixPath], cameras_known: bool) -> Fields:
    """Persons by folder, and cameras by sub-folder or file name unless the pattern knows them."""
    depths = {len(file.parts): file for file in reversed(files)}
    if 1 in depths or not cameras_known and (len(depths) > 1 or max(depths) > CAMERA_DEPTH):
        examples = " and ".join(str(root / file) for _, file in sorted(depths.items()))
        raise ReaderError(f"people: there is {examples}; expected {EXPECTED}")
    fields: Fields = {"pid": [file.parts[0] for file in files]}
    if cameras_known:
        return fields
    if CAMERA_DEPTH in depths:
        return fields | {"camid": [file.parts[1] for file in files]}
    for form in (CAMERA, MARS_CAMERA, PERSON_CAMERA_INDEX):
        matches = [match for file in files if (match := form.fullmatch(file.stem))]
        persons = [match.groupdict().get("person") for match in matches]
        if len(matches) == len(files) and persons in (fields["pid"], [None] * len(files)):
            return fields | {"camid": [match["camid"] for match in matches]}
    return fields


def _number(values: Sequence[str | None], least: int) -> tuple[np.ndarray, dict[int, str]]:
    """Numbers of texts, int64 [n] (UNKNOWN for None), and the names where numbers had to be made."""
    distinct = sorted({value for value in values if value is not None})
    numeric = all(
        value.isdecimal() and len(value) <= MAX_DIGITS and int(value) >= least for value in distinct
    )
    if numeric and len({int(value) for value in distinct}) == len(distinct):
        numbers = {value: int(value) for value in distinct}
        names = {}
    else:
        numbers = {value: number for number, value in enumerate(distinct, 1)}
        names = {number: value for value, number in numbers.items()}
    found = [UNKNOWN if value is None else numbers[value] for value in values]
    return np.array(found, dtype=np.int64), names


def _number_tracklets(table: pd.DataFrame, tracklets: list[str | None]) -> np.ndarray:
    """Numbers that are unique over people and cameras, int64 [n]."""
    keys = table.drop(columns="path").assign(tracklet=tracklets)
    numbers: np.ndarray = keys.groupby(list(keys), sort=False, dropna=False).ngroup().to_numpy()
    return np.where(keys["tracklet"].isna(), UNKNOWN, numbers)


def _frames(root: Path, files: list[PurePosixPath], frames: list[str | None]) -> list[int]:
    for file, frame in zip(files, frames, strict=True):
        if frame is not None and not (frame.isdecimal() and len(frame) <= MAX_DIGITS):
            raise ReaderError(f"people: {root / file}: the pattern's frame is {frame!r}; expected a number")
    return [UNKNOWN if frame is None else int(frame) for frame in frames]
