"""The order of CION's demo: no pre-training < DINO < CION on raw tracklets < denoised; mean mAP of 3 seeds.

Each seed is a `cion run` of its own: another synthetic world, other weights, other batches.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from _record import RESULTS, ROOT, read_stages, write_record

ORDER = ("none", "dino", "raw", "cross_video")
LEVELS = ("raw", "tracklet", "video", "cross_video")


def run_seed(config: Path, seed: int, runs: Path, overrides: list[str]) -> dict[str, Any]:
    """One `cion run` of a seed; a run that was cut off goes on."""
    name = f"seed{seed}"
    command = [sys.executable, "-m", "cion.cli", "run", "--config", str(config), "--runs", str(runs)]
    command += ["--name", name, "--seed", str(seed), "--data.synthetic.world.seed", str(seed), *overrides]
    subprocess.run(command, check=True, cwd=ROOT)
    records = read_stages(next(runs.glob(f"cion*/{name}/evaluate")).parent)
    return {
        "seconds": {stage: record["seconds"] for stage, record in records.items()},
        "denoising": records["denoise"]["summary"]["levels"],
        "results": {
            variant: {key: values[key] for key in ("mAP", "rank_1", "rank_5", "rank_10")}
            for variant, values in records["evaluate"]["summary"].items()
        },
    }


def main() -> None:
    """Run the seeds, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--config", type=Path, default=ROOT / "apps/cion/configs/demo.yaml")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmarks")
    parser.add_argument("--output", type=Path, default=RESULTS / "cion_synthetic.json")
    arguments, overrides = parser.parse_known_args()
    runs = {
        str(seed): run_seed(arguments.config.resolve(), seed, arguments.runs.resolve(), overrides)
        for seed in arguments.seeds
    }
    table = {
        variant: {
            measure: round(100 * mean(run["results"][variant][measure] for run in runs.values()), 1)
            for measure in ("mAP", "rank_1")
        }
        for variant in ORDER
    }
    f1 = {
        level: round(100 * mean(run["denoising"][level]["f1"] for run in runs.values()), 1)
        for level in LEVELS
    }
    steps = {}
    for low, high in zip(ORDER, ORDER[1:], strict=False):
        gains = [100 * (run["results"][high]["mAP"] - run["results"][low]["mAP"]) for run in runs.values()]
        steps[f"{low} < {high}"] = {
            "gain": round(mean(gains), 1),
            "seeds": [round(gain, 1) for gain in gains],
            "holds": mean(gains) > 0,
        }
    write_record(
        arguments.output,
        "synthetic people: retrieval after one fine-tuning budget, pairwise F1 of identities; means, %",
        options=overrides,
        mean=table,
        f1=f1,
        order=steps,
        seeds=runs,
    )
    print(json.dumps({"mean": table, "f1": f1, "order": steps}, indent=2))


if __name__ == "__main__":
    main()
