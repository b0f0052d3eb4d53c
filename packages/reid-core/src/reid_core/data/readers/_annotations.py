"""JSON annotations of CION-AL and SYNTH-PEDES: one long list of {"id": person, "file_path": image, ...}."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reid_core.data.readers._files import ReaderError, require_file
from reid_core.progress import Progress

CHUNK = 1 << 20
"""Characters read at a time: SYNTH-PEDES's captions need not be in memory together."""
LARGEST_ID = np.iinfo(np.int64).max
"""An id stays below it, so that id + 1 is an int64."""
SEPARATOR = re.compile(r"[\s,]*")


def read_annotations(root: Path, annotations: str, dataset: str) -> pd.DataFrame:
    """Rows of a JSON file of annotations: path, pid, split "train".

    A pid is the "id", plus 1 where the file counts people from 0 (0 means distractor in a manifest).

    Args:
        root: the folder that the file paths are relative to.
        annotations: the file, relative to `root`.
        dataset: the data set's name, for errors.

    Raises:
        FileNotFoundError: no such file.
        ReaderError: it is no list of objects with an integer id and a file_path, or an empty one.
    """
    file = require_file(root / annotations, dataset, 'a list of {"id": ..., "file_path": ...}')
    paths, people = [], []
    try:
        for number, entry in enumerate(_entries(file, dataset)):
            pid, path = (entry.get("id"), entry.get("file_path")) if isinstance(entry, dict) else (None, None)
            if not isinstance(path, str) or not isinstance(pid, int) or not 0 <= pid < LARGEST_ID:
                raise ReaderError(
                    f"{file}: entry {number} is {str(entry)[:80]}; expected an integer id and a file_path"
                )
            paths.append(path.removeprefix("./"))
            people.append(pid)
    except RecursionError as error:
        raise ReaderError(
            f"{file}: is nested too deeply after entry {len(paths)}; expected objects"
        ) from error
    except UnicodeDecodeError as error:
        raise ReaderError(f"{file}: is not UTF-8 after entry {len(paths)}; save it as UTF-8") from error
    if not paths:
        raise ReaderError(f"{file}: an empty list")
    pid = np.array(people, dtype=np.int64)
    return pd.DataFrame({"path": paths, "pid": pid + (pid.min() == 0), "split": "train"})


def _entries(file: Path, dataset: str) -> Iterator[Any]:
    """The entries of a JSON file that is one list, of which only a part is in memory at a time."""
    decode = json.JSONDecoder().raw_decode
    with (
        open(file, encoding="utf-8-sig") as stream,
        Progress(f"{dataset} annotations, characters", file.stat().st_size) as progress,
    ):
        text = stream.read(CHUNK).lstrip()
        read = len(text)
        if not text.startswith("["):
            raise ReaderError(f"{file}: begins with {text[:20]!r}; expected a JSON list")
        at = 1
        while True:
            at = SEPARATOR.match(text, at).end()  # type: ignore[union-attr]  # it matches the empty string too
            if text.startswith("]", at):
                return
            try:
                entry, at = decode(text, at)
            except json.JSONDecodeError as error:
                more = stream.read(CHUNK)
                if not more or len(text) - at > CHUNK:  # no entry is so long
                    near = text[at : at + 40]
                    raise ReaderError(
                        f"{file}: broken JSON, or its end, at {near!r} ({error.msg})"
                    ) from error
                text, at = text[at:] + more, 0
                read += len(more)
                progress.update(read)
            else:
                yield entry
