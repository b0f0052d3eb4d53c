"""Check and measure the project on a GPU: `core`, `speed`, and `table` for docs/performance.md.

    python benchmarks/gpu core --out FOLDER     is it right: against float64 and the CPU; a step of everything
    python benchmarks/gpu speed --out FOLDER    is it fast: steps, memory, share of the card's peak
    python benchmarks/gpu table FOLDER          write the results into docs/performance.md

benchmarks/gpu.sh calls it with the packages on the path, installed or not.
"""

from __future__ import annotations

import sys

import core
import runner
import speed
import table

GROUPS = {"core": core.GROUP, "speed": speed.GROUP}

if __name__ == "__main__":
    if sys.argv[1:2] == ["table"]:
        table.main(sys.argv[2:])
    else:
        sys.exit(runner.main(GROUPS, __doc__ or ""))
