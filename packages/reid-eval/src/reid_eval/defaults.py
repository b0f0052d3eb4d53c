"""Defaults, literal types and the command line's options; no torch here, so that it starts at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Metric = Literal["cosine", "euclidean"]
Mode = Literal["image", "video", "mix"]
"""What a row of features is: an image, a tracklet, or an image as a query and a tracklet in the gallery."""
Unreadable = Literal["miss", "leave_out"]
"""What rows without a feature do to a result: count as misses, or enter nothing."""
RANKS = (1, 5, 10, 20)
"""Ranks of the CMC that papers print."""
TOP = 10
"""Answers shown in the ranked lists of papers."""
K1, K2, LAMBDA = 20, 6, 0.3
"""The paper's settings: neighbours, neighbours averaged over, weight of the original distance."""
LEVEL = 0.95
"""Of confidence intervals."""
FAR = (1e-4, 1e-3, 1e-2)
"""False accept rates that are usually reported."""


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate, and where to write what was found.

    Args:
        query: file of features of the query rows, *.npy, float [q d]
        gallery: file of features of the gallery rows, *.npy, float [g d]
        manifest: Parquet file with path, pid, split, and camid, tracklet, frame, clothes, platform as needed
        protocol: which pairs count, by data set: market1501, market1501_500k, msmt17, cuhk03, mars, ls_vid,
            ltcc, ltcc_cloth_changing, prcc, prcc_same_clothes, g2a_vreid, image_video, mix, pku_reid, viper,
            cuhk01, cuhk01_single_shot, prid2011, ilids_vid, briar, people, manifest (own data), luperson,
            luperson_nl, cion_al, synth_pedes, folder or lmdb
        mode: what a row of features is: an image, a tracklet (video), or an image that asks for tracklets
            (mix)
        metric: how features are compared
        far: false accept rates, between 0 and 1, to report the true accept rate (TAR) at; [] leaves out TAR
            and ROC
        report: HTML file to write, with figures and the best and worst queries
        json: JSON file to write the whole result to, for `compare`
        root: folder of the manifest's paths; by default the one saved in it, or its own
        top: answers that are kept per query
        device: where features are compared: cpu, cuda or cuda:1
        query_valid: *.npy, bool, False where a query holds no feature; by default q.valid.npy beside q.npy
        gallery_valid: *.npy, bool, the same of the gallery
        unreadable: rows without a feature count as misses (miss) or enter nothing (leave_out)
    """

    query: str
    gallery: str
    manifest: str
    protocol: str = "market1501"
    mode: Mode = "image"
    metric: Metric = "cosine"
    far: tuple[float, ...] = FAR
    report: str | None = None
    json: str | None = None
    root: str | None = None
    top: int = TOP
    device: str = "cpu"
    query_valid: str | None = None
    gallery_valid: str | None = None
    unreadable: Unreadable = "miss"
