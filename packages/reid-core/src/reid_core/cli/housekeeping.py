"""Commands over run folders that run no stage: status, losses, gc, unlock, sync, and the list of tables."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import HORIZONTALS
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table as Grid

from reid_core.recipe import lease, store
from reid_core.recipe.tables import WIDTH, print_lines

if TYPE_CHECKING:
    from reid_core.recipe.tables import Table


def status(options: Any) -> int:
    """List stages; no lock is taken.

    Args:
        options: runs.
    """
    grid = Grid(box=HORIZONTALS, show_edge=False)
    for title in ("stage", "state", "size", "minutes", "finished (UTC)", "used by"):
        grid.add_column(title, justify="right" if title in ("size", "minutes") else "left", no_wrap=True)
    for entry in store.entries(Path(options.runs)):
        state = f"{entry.state} by {entry.owner}" if entry.owner else entry.state
        minutes = "" if entry.seconds is None else f"{entry.seconds / 60:.1f}"
        finished = (entry.finished or "")[:16].replace("T", " ")
        grid.add_row(entry.folder.name, state, decimal(entry.bytes), minutes, finished, " ".join(entry.runs))
    Console(width=None if sys.stdout.isatty() else WIDTH).print(grid)
    return 0


def losses(options: Any) -> int:
    """Draw the losses of runs' trainings, several runs in one figure.

    Args:
        options: runs, metric, out.
    """
    from reid_core.recipe.curves import draw_curves, read_curves, save_curves

    folders = [Path(run) for run in options.runs]
    curves = {f"{one.parent.name}/{one.name}": read_curves(one, options.metric) for one in folders}
    save_curves(draw_curves(curves, options.metric), Path(options.out))
    print(options.out)
    return 0


def gc(options: Any) -> int:
    """List stages that no run refers to, and remove them when told to.

    Args:
        options: runs, yes.
    """
    doomed = [entry for entry in store.entries(Path(options.runs)) if not entry.runs and not entry.owner]
    for entry in doomed:
        print(f"{'removed ' if options.yes else ''}{entry.folder} ({entry.state}, {decimal(entry.bytes)})")
        if options.yes:
            store.remove(entry)
    total = decimal(sum(entry.bytes for entry in doomed))
    said = "removed" if options.yes else "no run refers to them; --yes removes them"
    print(f"{len(doomed)} stages, {total}: {said}" if doomed else "every stage is used by a run")
    return 0


def unlock(options: Any) -> int:
    """Remove a lock whose owner is gone; one whose owner lives on this machine is refused.

    Args:
        options: folder.
    """
    folder = Path(options.folder)
    held = lease.owner(folder)
    if held is None:
        print(f"{folder} is not locked")
        return 0
    if lease.is_alive(held):
        raise ValueError(
            f"{folder} is being written by {lease.describe_owner(held)}: stop that process first"
        )
    lease.lock_file(folder).unlink(missing_ok=True)
    print(f"removed the lock of {lease.describe_owner(held)}")
    return 0


def sync(options: Any) -> int:
    """Bring a run's events to a tracking server.

    Args:
        options: folder, tracking_uri.
    """
    from reid_core.tracking.tracker import sync as bring

    result = bring(options.folder, options.tracking_uri)
    print(f"sent {result.sent}, left {result.pending}, refused {result.refused}")
    if result.error:
        print(f"the tracking server can't be reached ({result.error}); try again", file=sys.stderr)
    return 1 if result.error else 0


def list_tables(tables: Mapping[str, Table]) -> int:
    """Print an app's tables with the paper's numbers, and the commands that make them.

    Args:
        tables: by name.
    """
    for name, table in tables.items():
        rows = [[row.title, *map(row.format_number, table.metrics)] for row in table.rows]
        if rows:
            print_lines(f"{name}: {table.caption}", [["", *table.headings], *rows])
        else:
            print(f"{name}: {table.title}")
        print(f"{table.command}\n" if table.command else "")
    return 0
