"""What the command line prints."""

from __future__ import annotations

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from reid_denoise.calibration import QUANTILES, Calibration
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


def print_calibration(found: Calibration) -> None:
    """Print what criteria were chosen, from what, and what to expect of them."""
    criteria, report = found
    table = Table(box=HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("distance", no_wrap=True)
    for part in QUANTILES:
        table.add_column(f"{100 * part:g} %", justify="right", no_wrap=True)
    for name, values in (
        ("an image from its tracklet", report.own),
        ("an image from another tracklet", report.other),
        ("between tracklets", report.apart),
    ):
        table.add_row(name, *(f"{value:.3f}" for value in values))
    Console().print(table)
    say(f"{report.images:,} images of {report.tracklets:,} tracklets; different people by {report.source}.")
    wrong, discarded, kept = (
        f"{100 * part:.1f} %" for part in (report.wrong, report.discarded, report.wrong_kept)
    )
    say(f"Expected: {wrong} of the images wrong, {discarded} discarded, {kept} wrong of those left;")
    say(f"{report.links:,} links between tracklets, {report.false_merges:,.0f} merges of different people.")
    chosen = f"--consistency={criteria.consistency:.4g} --discrimination={criteria.discrimination:.4g}"
    say(f"{chosen} --half_range={criteria.half_range} --metric={criteria.metric} --linking={report.linking}")


def say(text: str) -> None:
    """Print a line as it is."""
    Console().print(text, highlight=False, markup=False, soft_wrap=True)
