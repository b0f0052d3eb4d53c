"""The readers by name: where each stands, and the published counts. Plain data that imports no reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from reid_core.data.manifest import Manifest

Counts = Mapping[str, Mapping[str, int]]
"""Published counts: "all" or a split -> images, tracklets, identities, cameras (those that are published)."""


class Reader(NamedTuple):
    """One entry of READERS.

    Attributes:
        function: "module:function" of this package.
        counts: name of each manifest that the reader makes -> its published counts, empty where none are
            published. The names are also those of evaluation protocols: the reader's own name, and others
            where an option changes what counts.
    """

    function: str
    counts: Mapping[str, Counts]

    def __call__(self, root: str | Path, **options: Any) -> Manifest:
        """Read the data set, as the reader's function does."""
        return self.load()(root, **options)

    def load(self) -> Callable[..., Manifest]:
        """Import the reader's function.

        >>> READERS["folder"].load().__name__
        'read_folder'
        """
        module, _, function = self.function.partition(":")
        loaded: Callable[..., Manifest] = getattr(import_module(f"{__package__}.{module}"), function)
        return loaded


_PRCC: Counts = {
    "train": {"images": 17896, "identities": 150, "cameras": 3},
    "query": {"images": 3543, "identities": 71, "cameras": 1},
    "gallery": {"images": 3384, "identities": 71, "cameras": 1},
}
_CUHK01: Counts = {
    "all": {"images": 3884, "identities": 971, "cameras": 2},
    "train": {"images": 1940, "identities": 485, "cameras": 2},
    "query": {"images": 972, "identities": 486, "cameras": 1},
    "gallery": {"images": 972, "identities": 486, "cameras": 1},
}

READERS: dict[str, Reader] = {
    "market1501": Reader(
        "market1501:read_market1501",
        {
            "market1501": {  # gallery: with 2793 distractors and 3819 junk images
                "train": {"images": 12936, "identities": 751, "cameras": 6},
                "query": {"images": 3368, "identities": 750, "cameras": 6},
                "gallery": {"images": 19732, "identities": 750, "cameras": 6},
            },
            "market1501_500k": {},
        },
    ),
    "msmt17": Reader(
        "msmt17:read_msmt17",
        {
            "msmt17": {  # the paper's; train: list_train.txt (30248) and list_val.txt (2373) together
                "train": {"images": 32621, "identities": 1041, "cameras": 15},
                "query": {"images": 11659, "identities": 3060, "cameras": 15},
                "gallery": {"images": 82161, "identities": 3060, "cameras": 15},
            }
        },
    ),
    "prcc": Reader(
        "prcc:read_prcc",
        {
            "prcc": _PRCC,  # the release's, for the cloth-changing queries
            "prcc_same_clothes": {**_PRCC, "query": {"images": 3873, "identities": 71, "cameras": 1}},
        },
    ),
    "ltcc": Reader(
        "ltcc:read_ltcc",
        {
            "ltcc": {  # the release's, for the general protocol (the paper counts 17138 images)
                "all": {"images": 17119, "identities": 152, "cameras": 12},
                "train": {"images": 9576, "identities": 77},
                "query": {"images": 493, "identities": 75},
                "gallery": {"images": 7050, "identities": 75},
            },
            "ltcc_cloth_changing": {},
        },
    ),
    "viper": Reader(
        "viper:read_viper",
        {
            "viper": {
                "all": {"images": 1264, "identities": 632, "cameras": 2},
                "train": {"images": 632, "identities": 316},
                "query": {"images": 316, "identities": 316},
                "gallery": {"images": 316, "identities": 316},
            }
        },
    ),
    "cuhk01": Reader(
        "cuhk01:read_cuhk01",
        {
            "cuhk01": _CUHK01,
            "cuhk01_single_shot": {
                **_CUHK01,
                "all": {"images": 3398, "identities": 971, "cameras": 2},
                "gallery": {"images": 486, "identities": 486, "cameras": 1},
            },
        },
    ),
    "pku_reid": Reader(
        "pku_reid:read_pku_reid",
        {"pku_reid": {"all": {"images": 992, "identities": 62, "cameras": 2}}},
    ),
    "mars": Reader(
        "mars:read_mars",
        {
            "mars": {  # gallery: all test tracklets, those of the queries, junk and distractors among them
                "train": {"tracklets": 8298, "identities": 625, "cameras": 6},
                "query": {"tracklets": 1980},
                "gallery": {"tracklets": 12180},
            }
        },
    ),
    "ls_vid": Reader(
        "ls_vid:read_ls_vid",
        {
            "ls_vid": {  # of the release's lists; the paper's 3772 identities count its validation part too
                "train": {"tracklets": 2831, "identities": 842, "cameras": 15},
                "query": {"tracklets": 3504},
                "gallery": {"tracklets": 7829},
            }
        },
    ),
    "ilids_vid": Reader(
        "ilids_vid:read_ilids_vid",
        {
            "ilids_vid": {  # images as the VSLA-CLIP paper counts them (Table 1)
                "all": {"images": 42460, "tracklets": 600, "identities": 300, "cameras": 2},
                "train": {"tracklets": 300, "identities": 150},
                "query": {"tracklets": 150, "identities": 150},
                "gallery": {"tracklets": 150, "identities": 150},
            }
        },
    ),
    "prid2011": Reader(
        "prid2011:read_prid2011",
        {
            "prid2011": {  # of the usual protocol (Wang et al., "Video Ranking", ECCV 2014)
                "all": {"tracklets": 356, "identities": 178, "cameras": 2},
                "train": {"tracklets": 178, "identities": 89},
                "query": {"tracklets": 89, "identities": 89},
                "gallery": {"tracklets": 89, "identities": 89},
            }
        },
    ),
    "g2a_vreid": Reader(
        "g2a_vreid:read_g2a_vreid",
        {
            "g2a_vreid": {  # the paper's (Sections 3.2 and 5.1)
                "all": {"images": 185907, "tracklets": 5576, "identities": 2788, "cameras": 2},
                "train": {"identities": 930},
                "query": {"identities": 1858},
                "gallery": {"identities": 1858},
            }
        },
    ),
    "luperson": Reader("luperson:read_luperson", {"luperson": {"unlabeled": {"images": 4180243}}}),
    "luperson_nl": Reader(
        "luperson_nl:read_luperson_nl",
        {"luperson_nl": {"train": {"images": 10683716, "identities": 433997}}},
    ),
    "cion_al": Reader(
        "cion_al:read_cion_al", {"cion_al": {"train": {"images": 3898086, "identities": 246904}}}
    ),
    "synth_pedes": Reader(
        "synth_pedes:read_synth_pedes",
        {"synth_pedes": {"train": {"images": 4791711, "identities": 312321}}},
    ),
    "people": Reader("people:read_people", {"people": {}}),
    "image_video": Reader("image_video:read_image_video", {"image_video": {}}),
    "folder": Reader("folder:read_folder", {"folder": {}}),
    "lmdb": Reader("lmdb:read_lmdb", {"lmdb": {}}),
}

COUNTS: dict[str, Counts] = {
    name: counts for reader in READERS.values() for name, counts in reader.counts.items() if counts
}
"""Published counts by the name of the manifest."""

WITHDRAWN = {
    "dukemtmc": "DukeMTMC was withdrawn by its authors in 2019: people were filmed without their consent. "
    "It is not read here; use another data set, such as market1501.",
}
