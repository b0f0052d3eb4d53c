"""Dataset readers: a folder as it was released in, a Manifest out. One file a data set."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reid_core.data.manifest import Manifest
from reid_core.data.readers import (
    cion_al,
    g2a_vreid,
    ilids_vid,
    ls_vid,
    ltcc,
    luperson,
    luperson_nl,
    market1501,
    mars,
    msmt17,
    pku_reid,
    prcc,
    prid2011,
    synth_pedes,
    viper,
)
from reid_core.data.readers._files import Counts, ReaderError
from reid_core.data.readers.folder import read_folder
from reid_core.data.readers.image_video import read_image_video
from reid_core.data.readers.lmdb import read_lmdb

READERS: dict[str, Callable[..., Manifest]] = {
    "market1501": market1501.read_market1501,
    "msmt17": msmt17.read_msmt17,
    "prcc": prcc.read_prcc,
    "ltcc": ltcc.read_ltcc,
    "viper": viper.read_viper,
    "pku_reid": pku_reid.read_pku_reid,
    "mars": mars.read_mars,
    "ls_vid": ls_vid.read_ls_vid,
    "ilids_vid": ilids_vid.read_ilids_vid,
    "prid2011": prid2011.read_prid2011,
    "g2a_vreid": g2a_vreid.read_g2a_vreid,
    "luperson": luperson.read_luperson,
    "luperson_nl": luperson_nl.read_luperson_nl,
    "cion_al": cion_al.read_cion_al,
    "synth_pedes": synth_pedes.read_synth_pedes,
    "image_video": read_image_video,
    "folder": read_folder,
    "lmdb": read_lmdb,
}

COUNTS: dict[str, Counts] = {
    "market1501": market1501.COUNTS,
    "msmt17": msmt17.COUNTS,
    "prcc": prcc.COUNTS,
    "prcc_same_clothes": prcc.SAME_CLOTHES_COUNTS,
    "ltcc": ltcc.COUNTS,
    "viper": viper.COUNTS,
    "pku_reid": pku_reid.COUNTS,
    "mars": mars.COUNTS,
    "ls_vid": ls_vid.COUNTS,
    "ilids_vid": ilids_vid.COUNTS,
    "prid2011": prid2011.COUNTS,
    "g2a_vreid": g2a_vreid.COUNTS,
    "luperson": luperson.COUNTS,
    "luperson_nl": luperson_nl.COUNTS,
    "cion_al": cion_al.COUNTS,
    "synth_pedes": synth_pedes.COUNTS,
}
"""Published counts by the name of the manifest, which says the protocol where counts depend on it."""

WITHDRAWN = {
    "dukemtmc": "DukeMTMC was withdrawn by its authors in 2019: people were filmed without their consent. "
    "It is not read here; use another data set, such as market1501.",
}

__all__ = ["COUNTS", "READERS", "ReaderError", "read"]


def read(name: str, root: str | Path, **options: Any) -> Manifest:
    """Read a data set by name.

    Args:
        name: one of READERS: market1501, mars, folder, ...
        root: the folder as released (it holds bounding_box_train, bbox_train, ...).
        options: that reader's keyword options.

    Returns:
        the manifest, with paths relative to `root` or to the data set's folder in it.

    Raises:
        FileNotFoundError: `root`, or a file of the release, is missing.
        ReaderError: unknown or withdrawn name, an unknown option, a file name that can't be parsed, an empty
            split.

    >>> read("dukemtmc", "/data/duke")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    reid_core.data.readers._files.ReaderError: DukeMTMC was withdrawn by its authors in 2019: ...
    """
    key = name.lower().replace("-", "").replace("_", "")
    for withdrawn, why in WITHDRAWN.items():
        if key.startswith(withdrawn):
            raise ReaderError(why)
    if name not in READERS:
        raise ReaderError(f"no reader for {name!r}; there are {', '.join(READERS)}")
    known = list(inspect.signature(READERS[name]).parameters)[1:]
    unknown = [option for option in options if option not in known]
    if unknown:
        there = f"it has {', '.join(known)}" if known else "it has none"
        raise ReaderError(f"{name} has no option {unknown[0]!r}; {there}")
    return READERS[name](root, **options)
