"""The paper's tables, as rows of settings beside its numbers."""

from __future__ import annotations

from reid_core.recipe import Row, Table

METRICS = ("image/mAP", "image/rank_1", "video/mAP", "video/rank_1")
"""Those of Tab. 3, whose images are Market-1501's and whose videos are PRID2011's."""
WEIGHT = "pretrain.objective.{}_weight"


def _row(title: str, numbers: tuple[float, ...], **weights: float) -> Row:
    overrides = {WEIGHT.format(loss): weight for loss, weight in weights.items()}
    return Row(title, overrides, dict(zip(METRICS, numbers, strict=True)))


LAMBDA_2 = Table(
    "lambda_2",
    "Tab. 3, group 1: weight of the masking loss, without the losses of groups 2 and 3",
    [
        _row("w/o L^m", (92.0, 96.0, 95.3, 93.3), masking=0.0, koleo=0.0, alignment=0.0),
        _row("lambda_2 = 1.0", (92.0, 96.7, 95.6, 93.3), masking=1.0, koleo=0.0, alignment=0.0),
        _row("lambda_2 = 2.0", (91.7, 96.3, 94.9, 91.0), masking=2.0, koleo=0.0, alignment=0.0),
    ],
    METRICS,
)
LAMBDA_3 = Table(
    "lambda_3",
    "Tab. 3, group 2: weight of the KoLeo loss, without the loss of group 3",
    [
        _row("lambda_3 = 0.1", (92.0, 96.6, 96.3, 94.4), koleo=0.1, alignment=0.0),
        _row("lambda_3 = 1.0", (91.8, 96.8, 97.3, 95.5), koleo=1.0, alignment=0.0),
        _row("lambda_3 = 3.0", (92.2, 96.9, 97.3, 95.5), koleo=3.0, alignment=0.0),
        _row("lambda_3 = 5.0", (92.0, 96.6, 96.0, 93.3), koleo=5.0, alignment=0.0),
        _row("lambda_3 = 10.0", (91.1, 96.6, 95.4, 93.3), koleo=10.0, alignment=0.0),
    ],
    METRICS,
)
LAMBDA_4 = Table(
    "lambda_4",
    "Tab. 3, group 3: weight of the alignment loss",
    [
        _row("lambda_4 = 0.5", (91.9, 96.7, 94.2, 93.3), alignment=0.5),
        _row("lambda_4 = 1.0", (92.0, 96.8, 95.0, 92.1), alignment=1.0),
        _row("lambda_4 = 2.0", (92.0, 97.0, 98.1, 97.8), alignment=2.0),
        _row("lambda_4 = 5.0", (91.1, 96.5, 94.7, 92.1), alignment=5.0),
        _row("lambda_4 = 10.0", (89.7, 96.2, 93.9, 92.1), alignment=10.0),
    ],
    METRICS,
)

TABLES = {table.name: table for table in (LAMBDA_2, LAMBDA_3, LAMBDA_4)}
