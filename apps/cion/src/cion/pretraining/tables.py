"""The paper's ablations, as rows of settings beside its numbers.

Figs. 5 and 6 are pictures: the text tells Fig. 5's last step (4.4), and both end in the last row of Tab. 4,
which has the same backbone, images and fine-tuning. Tab. 4's LUP is another method, and no row here.
"""

from __future__ import annotations

from reid_core.recipe import Row, Table

METRICS = ("mAP", "rank_1")
MINUTES = "pretraining_minutes"
TITLES = {"market1501": "Market-1501", "msmt17": "MSMT17"}
DINO = {"market1501": (90.9, 96.3), "msmt17": (66.7, 85.8)}
CION = {"market1501": (93.3, 97.3), "msmt17": (74.3, 89.8)}
"""Tab. 4: mAP and Rank-1."""
CROSS_VIDEO_GAIN = {"market1501": 0.6, "msmt17": 1.9}
"""mAP that cross-video denoising adds to single-video denoising (4.4)."""
RATIOS = (0.1, 0.25, 0.5, 0.75, 1.0)


def _row(title: str, variant: str, numbers: tuple[float, ...] = (), ratio: float = 1.0) -> Row:
    paper = dict(zip(METRICS, numbers, strict=False))
    return Row(title, {"variants": [variant], "pretrain.ratio": ratio}, paper)


def _tables(target: str) -> list[Table]:
    """The ablations beside the paper's numbers on one data set."""
    of, best = f"(paper: ResNet50-IBN, MGN, {TITLES[target]})", CION[target]
    suffix = "" if target == "market1501" else f"_{target}"
    video = (round(best[0] - CROSS_VIDEO_GAIN[target], 1),)
    levels = [
        _row("without denoising", "raw"),
        _row("single-tracklet", "tracklet"),
        _row("single-video", "video", video),
        _row("cross-video", "cross_video", best),
    ]
    methods = [
        _row("no pre-training", "none"),
        _row("DINO", "dino", DINO[target]),
        _row("CION", "cross_video", best),
    ]
    ratios = [_row(f"{ratio:.0%}", "cross_video", best if ratio == 1 else (), ratio) for ratio in RATIOS]
    scaling = "Figs. 6 and 7: part of the identities, and minutes of pre-training here"
    return [
        Table(f"levels{suffix}", f"Fig. 5: denoising up to each level {of}", levels, METRICS),
        Table(f"methods{suffix}", f"Tab. 4: methods of pre-training {of}", methods, METRICS),
        Table(f"ratio{suffix}", f"{scaling} {of}", ratios, (*METRICS, MINUTES), units={MINUTES: "min"}),
    ]


TABLES = {table.name: table for target in TITLES for table in _tables(target)}
