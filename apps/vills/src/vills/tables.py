"""The paper's tables and figures, as rows of settings beside its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reid_core.recipe import Row, Table

Settings = Mapping[str, Mapping[str, Any]]
Numbers = Sequence[float | None]
IMAGE = ("image/mAP", "image/rank_1")
VIDEO = ("video/mAP", "video/rank_1")
MIX = ("image_to_video/mAP", "image_to_video/rank_1")
FAR = (
    "image_to_video/rank_1",
    "image_to_video/rank_20",
    "image_to_video/tar_1e-4",
    "image_to_video/tar_1e-3",
    "image_to_video/tar_1e-2",
)
CONFIGS = "apps/vills/configs"
POOL = "--data.pretrain '[{name: luperson, root: LUPERSON}, {name: folder, root: K700_TRACKS}]'"
SEGMENTED = (
    "--data.pretrain '[{name: luperson, root: LUPERSON, regions: {ism: LUPERSON_ISM, parsing: "
    "LUPERSON_PARSING}}, {name: folder, root: K700_TRACKS, regions: {ism: K700_ISM, parsing: K700_PARSING}}]'"
)
"""The same with the regions of an interactive segmentation model and of a parsing model."""
BRIAR = "--data.root BRIAR --data.image.name TRAIN.parquet --data.video.name TRAIN.parquet"
DATA = {
    "prcc": "--data.image.root PRCC",
    "ltcc": "--data.image.root LTCC",
    "market1501": "--data.image.root MARKET1501",
    "prid2011": "--data.video.root PRID2011",
    "mars": "--data.video.root MARS",
    "briar": BRIAR,
}
"""Target -> where its data lie."""
IMAGE_ONLY = {"pretrain.video_batch": 0}
"""Pre-training on the same images, without videos."""
VANILLA = {**IMAGE_ONLY, "model.tokens": 0}
"""Without the unified module: images alone, and no resampler."""
EVERY_EPOCH = {"finetune.evaluate_every": 1}
TABLE_1: Settings = {"VILLS (image only)": IMAGE_ONLY, "VILLS": {}}
TABLE_2A: Settings = {
    "vanilla": {**VANILLA, "pretrain.areas": []},
    "|A| = 1": {**VANILLA, "pretrain.areas": ["head"]},
    "|A| = 2": {**VANILLA, "pretrain.areas": ["head", "torso"]},
    "|A| = 3": VANILLA,
    "M is parsing": {"pretrain.regions": "parsing"},
    "M is ISM": {},
}
TABLE_2B: Settings = {
    "VILLS (image only)": VANILLA,
    "+ shared encoder": {"model.tokens": 0},
    "+ perceiver": {},
}


def _table(
    name: str,
    title: str,
    target: str,
    metrics: Sequence[str],
    settings: Settings,
    numbers: Sequence[Numbers],
    size: str = "small",
    more: str = "",
) -> Table:
    """Rows that change the pre-training of a size of ViT, fine-tuned and tested on a target."""
    rows = [
        Row(row, overrides, {m: n for m, n in zip(metrics, values, strict=True) if n is not None})
        for (row, overrides), values in zip(settings.items(), numbers, strict=True)
    ]
    files = " ".join(f"--config {CONFIGS}/{file}.yaml" for file in (f"vit_{size}", target))
    pool = SEGMENTED if settings is TABLE_2A else POOL
    command = f"vills ablate {name} {files} {pool} {DATA[target]} {more}".rstrip()
    return Table(name, title, rows, tuple(metrics), command=command)


def _sweep(number: int, loss: str, found: Mapping[float, Sequence[float]], **others: float) -> list[Table]:
    """A group of Table 3 on both of its targets, each fine-tuned on by itself (supplement 2)."""
    settings = {}
    for weight in found:
        weights = {loss: weight, **others}
        row = f"lambda_{number} = {weight}" if weight else f"w/o the {loss} loss"
        settings[row] = {f"pretrain.objective.{key}_weight": value for key, value in weights.items()}
    title = f"Tab. 3, group {number - 1}: weight of the {loss} loss"
    parts = {"market1501": (IMAGE, slice(2)), "prid2011": (VIDEO, slice(2, 4))}
    return [
        _table(
            f"lambda_{number}_{target}",
            f"{title}, on {target}",
            target,
            metrics,
            settings,
            [numbers[part] for numbers in found.values()],
        )
        for target, (metrics, part) in parts.items()
    ]


def _main(
    name: str, title: str, target: str, metrics: Sequence[str], *numbers: Numbers, more: str = ""
) -> Table:
    """A data set of Table 1 with ViT-B."""
    settings = TABLE_1 if len(numbers) == len(TABLE_1) else {"VILLS": {}}
    return _table(name, title, target, metrics, settings, numbers, "base", more)


ALL = [
    _main("1a_prcc", "Tab. 1a, PRCC: other clothes", "prcc", IMAGE, (55.0, 58.4), (58.0, 62.7)),
    _main("1a_ltcc", "Tab. 1a, LTCC", "ltcc", IMAGE, (39.0, 77.7), (39.3, 78.3)),
    _main(
        "1a_ltcc_cloth_changing",
        "LTCC, other clothes alone (not in the paper)",
        "ltcc",
        IMAGE,
        (None, None),
        (None, None),
        more="--data.image.options '{protocol: cloth_changing}'",
    ),
    _main("1a_market1501", "Tab. 1a, Market-1501", "market1501", IMAGE, (92.9, 96.8), (92.9, 97.1)),
    # Table 1c isn't in the text that we have; 4.2.3 says that frames lose 0.7 mAP on PRID2011.
    _main("1b_1c_prid2011", "Tab. 1b, 1c, PRID2011", "prid2011", (*VIDEO, *MIX), (98.5, 97.8, 97.8, None)),
    _main("1b_1c_mars", "Tab. 1b, 1c, MARS", "mars", (*VIDEO, *MIX), (87.3, 90.7, None, None)),
    _main(
        "1d_briar_2",
        "Tab. 1d, BRIAR-2",
        "briar",
        FAR,
        (51.2, 89.1, 21.3, None, 72.0),
        (56.4, 90.8, 24.7, None, 75.7),
    ),
    _main(
        "1d_briar_3",
        "Tab. 1d, BRIAR-3",
        "briar",
        FAR,
        (51.4, 94.3, 12.3, 30.4, None),
        (59.8, 96.7, 17.3, 39.5, None),
    ),
    _main(
        "1d_briar_4",
        "Tab. 1d, BRIAR-4",
        "briar",
        FAR,
        (40.9, 86.7, 13.5, 34.3, None),
        (46.2, 89.6, 18.1, 40.4, None),
    ),
    _table(
        "2a_prcc",
        "Tab. 2a, PRCC: local semantic extraction",
        "prcc",
        IMAGE,
        TABLE_2A,
        [(47.2, 48.1), (47.4, 48.7), (47.7, 49.0), (48.9, 49.7), (54.4, 55.7), (54.5, 57.0)],
    ),
    _table(
        "2a_ltcc",
        "Tab. 2a, LTCC: local semantic extraction",
        "ltcc",
        IMAGE,
        TABLE_2A,
        [(35.2, 72.4), (35.5, 73.6), (35.9, 74.2), (36.3, 74.2), (37.0, 74.2), (37.5, 76.1)],
    ),
    _table(
        "2b_prid2011",
        "Tab. 2b, PRID2011: unified feature learning and adaptation",
        "prid2011",
        VIDEO,
        TABLE_2B,
        [(95.2, 93.3), (95.5, 93.3), (98.5, 97.8)],
    ),
    _table(
        "2b_briar_4",
        "Tab. 2b, BRIAR-4: unified feature learning and adaptation",
        "briar",
        ("image_to_video/tar_1e-3", "image_to_video/rank_1"),
        TABLE_2B,
        [(23.8, 30.8), (24.8, 32.8), (28.9, 37.1)],
    ),
    *_sweep(
        2,
        "masking",
        {0.0: (92.0, 96.0, 95.3, 93.3), 1.0: (92.0, 96.7, 95.6, 93.3), 2.0: (91.7, 96.3, 94.9, 91.0)},
        koleo=0.0,
        alignment=0.0,
    ),
    *_sweep(
        3,
        "koleo",
        {
            0.1: (92.0, 96.6, 96.3, 94.4),
            1.0: (91.8, 96.8, 97.3, 95.5),
            3.0: (92.2, 96.9, 97.3, 95.5),
            5.0: (92.0, 96.6, 96.0, 93.3),
            10.0: (91.1, 96.6, 95.4, 93.3),
        },
        alignment=0.0,
    ),
    *_sweep(
        4,
        "alignment",
        {
            0.5: (91.9, 96.7, 94.2, 93.3),
            1.0: (92.0, 96.8, 95.0, 92.1),
            2.0: (92.0, 97.0, 98.1, 97.8),
            5.0: (91.1, 96.5, 94.7, 92.1),
            10.0: (89.7, 96.2, 93.9, 92.1),
        },
    ),
    _table(
        "s2",
        "Fig. 2 of the supplement, PRCC: accuracy per epoch; `vills curves RUN ... --out s2.png` draws it",
        "prcc",
        ("epochs/3/image/rank_1", "image/rank_1"),
        {
            "VILLS (image only)": {**IMAGE_ONLY, **EVERY_EPOCH},
            "from scratch": {**EVERY_EPOCH, "finetune.init": "scratch"},
        },
        [(58.4, 58.4), (None, None)],
        "base",
    ),
    Table(
        "attention",
        "Fig. 3, and Fig. 1 of the supplement: attention, drawn by a command of its own",
        [],
        (),
        command="vills attention --models '{before: RUN/finetune/scratch/model, after: "
        "RUN/finetune/pretrained/model}' --images '[A.jpg, B.jpg]' --clips '[FRAMES]' --out FOLDER",
    ),
]
TABLES = {table.name: table for table in ALL}
