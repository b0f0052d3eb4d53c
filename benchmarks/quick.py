"""Each goal of speed and memory beside what is measured now, as ratios of one run: `make bench-quick`.

Each part is a process of its own, in which ours and what it is held against take turns. Ratios are of CPU
time, which others on the machine change less than the clock; of the clock where things are done side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from _paper_costs import lines as cost_lines
from _peer_table import lines as peer_lines
from _quick_growth import PARTS as GROWTH
from _quick_parts import PARTS as BESIDE
from _record import RESULTS, REVISION, ROOT, Meter, write_record

PARTS = (*BESIDE, *GROWTH)
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- benchmarks/quick: begin -->", "<!-- benchmarks/quick: end -->"
PART_SECONDS = 900
SLEEPING_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""Threads that wait in a loop for each other, or for a core that others have, would count as CPU time."""
AT_MOST, AT_LEAST = "at most", "at least"


class Goal(NamedTuple):
    """A number of a part, and the most or least that it should be."""

    work: str
    part: str
    path: tuple[str, ...]
    bound: str
    target: float
    beside: str

    def read(self, measured: dict[str, Any]) -> float | None:
        """The number, None where the part gave none."""
        value: Any = measured.get(self.part, {})
        for key in self.path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def seconds(self, measured: dict[str, Any]) -> tuple[str, ...]:
        """Of ours and of the other, by the clock or of CPU time as the number is; empty where neither is."""
        compared = measured.get(self.part, {}).get(self.path[0])
        if self.path[-1] not in (SECONDS, RATIO) or not isinstance(compared, dict):
            return "", ""
        at = (SECONDS, RATIO).index(self.path[-1])
        ours = "shards" if "shards" in compared["seconds"] else "ours"
        (theirs,) = compared["seconds"].keys() - {ours}
        return tuple(f"{compared['seconds'][name][at]:.3g}" for name in (ours, theirs))

    def met(self, value: float) -> bool:
        """Whether the number is on the right side."""
        return value <= self.target if self.bound == AT_MOST else value >= self.target


RATIO, SECONDS = "cpu", "wall"
HEAD = ("work", "beside", "ours, s", "theirs, s", "goal", "measured", "", "revision, cores' share of others")
GOALS = [
    Goal("evaluation, Market-1501", "evaluation", ("over_product", RATIO), AT_MOST, 1.3, "the bare product"),
    Goal(
        "evaluation", "evaluation", ("transreid_over_ours", RATIO), AT_LEAST, 2.6, "TransReID's, transcribed"
    ),
    Goal("re-ranking, Market-1501", "reranking", ("over_nearest", RATIO), AT_MOST, 1.1, "product and top k"),
    Goal("re-ranking, Market-1501", "reranking", ("extra_mb", "ours"), AT_MOST, 150, "memory, MB"),
    Goal("clustering, 32,621 x 2,048", "clustering", ("over_search", RATIO), AT_MOST, 1.15, "faiss' search"),
    Goal(
        "near pairs, 16,000 rows",
        "near_pairs",
        ("rows_over_ours", SECONDS),
        AT_LEAST,
        3.0,
        "a loop over rows",
    ),
    Goal("decoding video", "video", ("opencv_over_ours", RATIO), AT_LEAST, 1.0, "OpenCV"),
    Goal(
        "tracklets of boxes",
        "video",
        ("earlier_over_tracklets", SECONDS),
        AT_LEAST,
        2.0,
        "reid-core 0.1's way",
    ),
    Goal("training images", "items", ("by_hand_over_ours", RATIO), AT_LEAST, 0.9, "a cv2 loop by hand"),
    Goal("packed shards", "items", ("files_over_shards", RATIO), AT_LEAST, 1.0, "items from files"),
    Goal("packed shards", "items", ("bytes_over_shards", RATIO), AT_LEAST, 1.0, "their bytes from files"),
    Goal("`vills run`", "first_line", ("first_line_s",), AT_MOST, 2.5, "seconds to its first line"),
    Goal("`vills run`", "first_line", ("first_line_cpu_s",), AT_MOST, 2.5, "CPU seconds to it"),
    Goal("DINO's loss, K = 65,536", "dino", ("over_softmaxes", RATIO), AT_MOST, 1.3, "its two softmaxes"),
    Goal("DINO's loss", "dino", ("lightly_over_ours", RATIO), AT_LEAST, 1.0, "lightly's"),
    Goal("evaluation, twice q and g", "doubling", ("evaluation, q and g",), AT_MOST, 4.4, "the half"),
    Goal("evaluation, twice g", "doubling", ("evaluation, g alone",), AT_MOST, 2.2, "the half"),
    Goal("re-ranking, twice", "doubling", ("reranking_over_its_search",), AT_MOST, 1.1, "its search, twice"),
    Goal("clustering, twice", "doubling", ("clustering_over_its_search",), AT_MOST, 1.1, "its search, twice"),
    *(
        Goal(f"{work}, twice", "linear", (name,), AT_MOST, 2.2, "the half")
        for work, name in (
            ("decoding", "decoding"),
            ("tracklets of boxes", "tracklets"),
            ("denoising", "denoising"),
            ("local regions", "regions"),
            ("DINO's loss", "dino"),
        )
    ),
]
"""What each work is held against, times as long or as fast by CPU time, but where it says otherwise."""


def run_part(name: str) -> dict[str, Any]:
    """A part's numbers, from a process of its own; what went wrong where it gave none."""
    command, meter = [sys.executable, __file__, "--measure", name], Meter()
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            text=True,
            timeout=PART_SECONDS,
            check=True,
            env={**os.environ, **SLEEPING_THREADS},
        )
    except subprocess.SubprocessError as error:
        return {"error": str(error)}
    used = meter.stop()
    return {
        **json.loads(done.stdout.splitlines()[-1]),
        **{"others": round(used.others, 2), "busy": used.busy},
        **{"date": date.today().isoformat(), "revision": REVISION},
    }


def measure(name: str) -> dict[str, Any]:
    """Run a part in a folder of its own."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    part = next(part for part in PARTS if part.__name__ == name)
    with tempfile.TemporaryDirectory() as folder:
        return part(Path(folder))


def rows(record: dict[str, Any]) -> list[tuple[str, ...]]:
    """The table's rows, as HEAD names them."""
    table = []
    for goal in GOALS:
        value = goal.read(record["measured"])
        part = record["measured"].get(goal.part, {})
        verdict = "not measured" if value is None else "met" if goal.met(value) else "**missed**"
        others = f", {part['others']:.0%}" if "others" in part else ""
        when = f"{part.get('revision', '')}{others}" + ", busy" * part.get("busy", False)
        target = f"{goal.bound} {goal.target:g}"
        table.append(
            (
                goal.work,
                goal.beside,
                *goal.seconds(record["measured"]),
                target,
                f"{value or ''}",
                verdict,
                when,
            )
        )
    return table


def write_page(record: dict[str, Any]) -> None:
    """Put the table into docs/performance.md, between its marks."""
    machine = record["machine"]
    lines = [
        f"`make bench-quick`, {record['date']}, {machine['cores']} cores of {machine['cpu']}.",
        "Busy: others used more than a tenth of the cores' time meanwhile; seconds are longer than on",
        "a quiet machine, and ratios less certain.",
        *([f"Note: {record['note']}."] if "note" in record else []),
        "",
        f"| {' | '.join(HEAD)} |",
        f"|{' --- |' * len(HEAD)}",
        *(f"| {' | '.join(row)} |" for row in rows(record)),
        "",
        "### Beside others",
        "",
        "From the files in `benchmarks/results`. A peer is the package of that name, or our transcription of",
        "its code. open-metric-learning ranks the first 100 answers, the others all.",
        "",
        *peer_lines(),
        "",
        "### What the papers' full runs cost",
        "",
        "Worked out from the files in `benchmarks/results`. SAM's packed crops have a quarter of the pixels",
        "of unpacked ones on each side.",
        "",
        *cost_lines(),
    ]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{rest.partition(END)[2]}")


def main() -> None:
    """Measure the parts, print the goals and write the record; or write the page's table from the record."""
    names = [part.__name__ for part in PARTS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=names, default=names, metavar="PART")
    parser.add_argument("--output", type=Path, default=RESULTS / "quick.json")
    parser.add_argument("--table", action="store_true", help="write docs/performance.md from the record")
    parser.add_argument("--measure", choices=names, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        return print(json.dumps(measure(arguments.measure)))
    if arguments.table:
        return write_page(json.loads(arguments.output.read_text()))
    measured = {}
    if set(arguments.parts) != set(names) and arguments.output.exists():
        measured = json.loads(arguments.output.read_text())["measured"]  # the other parts stay as they were
    for name in arguments.parts:
        measured[name] = run_part(name)
        print(f"{name}: {json.dumps(measured[name])}", file=sys.stderr)
        write_record(arguments.output, "goals of speed and memory, as ratios of one run", measured=measured)
    for row in rows(json.loads(arguments.output.read_text())):
        print("  ".join(row))


if __name__ == "__main__":
    main()
