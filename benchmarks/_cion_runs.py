"""Runs of `cion` on CUHK01 and PKU-Reid: their folders on the command line, and one run after the other."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from _record import RESULTS, ROOT

CONFIGS = ROOT / "apps" / "cion" / "configs"
PKU = {"train_fraction": 42 / 62, "seed": 0}
"""How PKU-Reid's people are divided."""


def parse_folders(parser: argparse.ArgumentParser, record: str) -> argparse.Namespace:
    """Read a command line with the options that all these benchmarks have besides their own.

    Args:
        parser: with the benchmark's own options.
        record: name of its record.
    """
    for name in ("cuhk01", "pku", "weights"):
        parser.add_argument(f"--{name}", type=Path, help="can't be part of the repository")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmarks")
    parser.add_argument("--output", type=Path, default=RESULTS / f"{record}.json")
    arguments = parser.parse_args()
    if None in (arguments.cuhk01, arguments.pku, arguments.weights):
        print("skipped: give --cuhk01, --pku and --weights (none can be part of the repository)")
        raise SystemExit
    arguments.runs = arguments.runs.resolve()
    return arguments


def run_cion(
    action: list[str], config: str, name: str, arguments: argparse.Namespace, options: list[str]
) -> Path:
    """Run `cion ACTION` with CUHK01 as its target; returns the run's folder.

    Args:
        action: its words, such as ["unsupervised", "run"].
        config: name of the configuration, and of the experiment.
        name: of the run.
        arguments: as `parse_folders` returns them.
        options: of the run besides.
    """
    command = [sys.executable, "-m", "cion.cli", *action, "--config", str(CONFIGS / f"{config}.yaml")]
    command += ["--name", name, "--runs", str(arguments.runs), "--data.target.root", str(arguments.cuhk01)]
    command += ["--experiment", config, "--runtime.threads", str(arguments.threads)]
    subprocess.run([*command, *options], check=True, cwd=ROOT)
    return Path(arguments.runs) / config / name
