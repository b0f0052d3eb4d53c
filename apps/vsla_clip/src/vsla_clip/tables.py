"""The paper's tables, as rows of settings beside its numbers."""

from __future__ import annotations

from reid_core.recipe import Row, Table
from vsla_clip.config import METHODS

PARAMETERS = ("parameters/overall", "parameters/tunable")
RETRIEVAL = ("mAP", "rank_1")
G2A_VREID, LS_VID = 2, 4
"""Where a data set's numbers begin below."""
TABLE_3_NUMBERS = {
    # millions of parameters, overall and tunable; mAP and Rank-1 on G2A-VReID; and on LS-VID
    "baseline": (86.1, 86.1, 72.80, 63.62, 76.10, 84.26),
    "ft_clip": (127.4, 88.0, 78.11, 69.32, 84.07, 90.77),
    "ifa": (90.8, 4.7, 73.82, 65.12, 77.31, 84.86),
    "ifa_vsa": (132.1, 6.6, 79.01, 71.67, 84.16, 90.94),
    "vsla_clip": (140.0, 14.5, 79.70, 72.55, 85.20, 91.66),
    "vsla_clip_pbp": (140.0, 14.5, 81.29, 74.27),
}
TABLE_4_NUMBERS = {64: (79.58, 86.71), 128: (83.64, 90.00), 256: (85.20, 91.66), 384: (85.09, 91.49)}


def _table_3(name: str, title: str, first: int) -> Table:
    """The rows that have numbers on a data set."""
    rows = [
        Row(
            METHODS[method].title,
            {"method": method},
            dict(zip((*RETRIEVAL, *PARAMETERS), numbers[first : first + 2] + numbers[:2], strict=True)),
        )
        for method, numbers in TABLE_3_NUMBERS.items()
        if len(numbers) > first
    ]
    return Table(name, title, rows, (*RETRIEVAL, *PARAMETERS), units=dict.fromkeys(PARAMETERS, "M"))


TABLE_3 = _table_3("table_3", "Tab. 3 on G2A-VReID: the proposed components", G2A_VREID)
TABLE_3_LS_VID = _table_3(
    "table_3_ls_vid", "Tab. 3 on LS-VID: without platform prompts, for data of one platform", LS_VID
)
TABLE_4 = Table(
    "table_4",
    "Tab. 4 on LS-VID: the adapters' bottleneck alpha",
    [
        Row(f"alpha = {alpha}", {"adapters.bottleneck": alpha}, dict(zip(RETRIEVAL, numbers, strict=True)))
        for alpha, numbers in TABLE_4_NUMBERS.items()
    ],
    RETRIEVAL,
)
TABLES = {table.name: table for table in (TABLE_3, TABLE_3_LS_VID, TABLE_4)}
