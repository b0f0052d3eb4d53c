"""CION's recipes on real images, PKU-Reid, 42/20 identities, 3 seeds: with labels and without.

Needs --root PATH. Supervised and pre-trained-then-supervised are `cion run` with pku_reid.yaml, USL is
`cion unsupervised run` with usl_pku_reid.yaml; a seed divides the people and draws the weights and batches.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean

from _record import RESULTS, ROOT, write_record

CONFIGS = ROOT / "apps" / "cion" / "configs"
Scores = dict[str, dict[str, float]]


def run(command: str, seed: int, root: Path, runs: Path, threads: int) -> Scores:
    """Results of `cion run` or `cion unsupervised run`; a run that was cut off goes on."""
    config = CONFIGS / ("pku_reid.yaml" if command == "run" else "usl_pku_reid.yaml")
    words = ["run"] if command == "run" else [command, "run"]
    call = [sys.executable, "-m", "cion.cli", *words, "--config", str(config), "--runs", str(runs)]
    call += ["--experiment", config.stem, "--name", f"seed{seed}", "--seed", str(seed)]
    call += ["--data.root", str(root), "--data.target.options.seed", str(seed)]
    call += ["--runtime.threads", str(threads)]
    subprocess.run(call, check=True, cwd=ROOT)
    return json.loads((runs / config.stem / f"seed{seed}" / "evaluate" / "results.json").read_text())


def main() -> None:
    """Run the seeds, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="folder of PKU-Reid, which can't be part of the repository")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmarks")
    parser.add_argument("--output", type=Path, default=RESULTS / "cion_pku_reid.json")
    arguments = parser.parse_args()
    if arguments.root is None:
        return print("skipped: give --root, the folder of PKU-Reid (it can't be part of the repository)")
    seeds: dict[str, Scores] = {}
    for seed in arguments.seeds:
        rows: Scores = {}
        for command in ("run", "unsupervised"):
            rows |= run(command, seed, arguments.root, arguments.runs.resolve(), arguments.threads)
        seeds[str(seed)] = rows
    table = {
        row: {
            measure: round(100 * mean(found[row][measure] for found in seeds.values()), 1)
            for measure in ("mAP", "rank_1")
        }
        for row in next(iter(seeds.values()))
    }
    write_record(
        arguments.output,
        "real people, one camera to the other, by labels and without: mean over seeds, %",
        threads=arguments.threads,
        mean=table,
        seeds=seeds,
    )
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
