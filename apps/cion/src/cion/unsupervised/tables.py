"""The paper's tables without labels, 2 and 6, as rows of settings beside its numbers."""

from __future__ import annotations

from cion.zoo.table import KNOWN, UNSUPERVISED
from reid_core.models.backbones.zoo import ZOO
from reid_core.recipe import Row, Table

METRICS = ("mAP", "rank_1")
ROOTS = {"market1501": "MARKET", "msmt17": "MSMT17"}
SETTINGS = {
    "uda_market1501": ("msmt17", "market1501"),
    "uda_msmt17": ("market1501", "msmt17"),
    "usl_market1501": (None, "market1501"),
    "usl_msmt17": (None, "msmt17"),
}
"""Table -> source, None for USL, and target; in the order of the columns of Tab. 6."""


def _table(column: int, name: str, source: str | None, target: str) -> Table:
    rows = [
        Row(
            ZOO[model].paper,
            {"model.backbone": model},
            dict(zip(METRICS, row.unsupervised[column], strict=True)),
        )
        for model, row in KNOWN.items()
        if row.unsupervised
    ]
    words = [
        "cion unsupervised ablate",
        name,
        "--recipe released --model.weights 'REIDZOO/{backbone}.pth'",
        f"--data.target.name {target} --data.target.root {ROOTS[target]}",
    ]
    if source is not None:
        words += [f"--data.source.name {source} --data.source.root {ROOTS[source]}"]
        words += ["--supervised.recipe released"]
    kind = "USL" if source is None else "UDA"
    title = f"Tabs. 2 and 6: {kind}, {UNSUPERVISED[column]}"
    return Table(name, title, rows, METRICS, command=" ".join(words))


TABLES = {name: _table(column, name, *ends) for column, (name, ends) in enumerate(SETTINGS.items())}
