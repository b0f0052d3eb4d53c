"""What the command line prints."""

from __future__ import annotations

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from reid_denoise.report import Report


def print_report(report: Report) -> None:
    """Print what each level did."""
    table = Table(box=HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("level", no_wrap=True)
    for title in ("images", "identities", "removed", "moved", "merged", "n_S before", "after"):
        table.add_column(title, justify="right", no_wrap=True)
    for level in report.levels:
        counts = (level.images, level.identities, level.removed, level.moved, level.merged)
        noises = (f"{noise.n_s:.3f}" for noise in (level.before, level.after))
        table.add_row(level.level, *(f"{number:,}" for number in counts), *noises)
    Console().print(table)
    say(f"{report.images:,} images of {report.tracklets:,} tracklets in {report.videos:,} videos.")
    say(f"n_S counts pairs at most {report.criteria.half_range:,} places apart.")


def say(text: str) -> None:
    """Print a line as it is."""
    Console().print(text, highlight=False, markup=False, soft_wrap=True)
