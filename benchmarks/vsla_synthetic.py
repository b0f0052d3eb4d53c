"""The order of VSLA-CLIP's Table 3 on the synthetic ground/aerial world: mean mAP over 3 seeds.

Each seed is a `vsla-clip ablate` of its own: another world, other initial weights and batches. All begin with
the small CLIP that the first seed trains, as the paper's rows do with one. With --config, --seeded, --output
and the options of that configuration it measures another, such as pku_reid.yaml.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from _record import RESULTS, ROOT, write_record

from reid_core.training.loop import FINAL

STEPS = [("baseline", "ft_clip"), ("ifa_vsa", "vsla_clip"), ("vsla_clip", "vsla_clip_pbp")]
"""Lower and higher row of each step of the order (VSLA-CLIP Table 3)."""


def folder_of(config: Path, seed: int, runs: Path) -> Path:
    """The run folder of a seed."""
    return runs / config.stem / f"vsla_seed{seed}"


def ablate(
    config: Path, seed: int, seeded: str, runs: Path, overrides: list[str], clip: Path | None
) -> dict[str, Any]:
    """One `vsla-clip ablate` of a seed, from its own CLIP or one given; a run that was cut off goes on."""
    folder = folder_of(config, seed, runs)
    command = [sys.executable, "-m", "vsla_clip.cli", "ablate", "--config", str(config), "--runs", str(runs)]
    command += ["--experiment", config.stem, "--name", folder.name]
    command += ["--seed", str(seed), f"--{seeded}", str(seed), *overrides]
    if clip is not None:
        command += ["--clip.checkpoint", str(clip), "--clip.captioned", "null"]
    subprocess.run(command, check=True, cwd=ROOT)
    stages = {
        stage.parent.relative_to(folder).as_posix(): json.loads(stage.read_text())["seconds"]
        for stage in sorted(folder.glob("**/stage.json"))
    }
    return {"seconds": stages, "rows": json.loads((folder / "ablation.json").read_text())}


def main() -> None:
    """Run the seeds, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--config", type=Path, default=ROOT / "apps/vsla_clip/configs/demo.yaml")
    parser.add_argument("--seeded", default="data.synthetic.world.seed", help="option that gets the seed too")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmarks")
    parser.add_argument("--output", type=Path, default=RESULTS / "vsla_synthetic.json")
    arguments, overrides = parser.parse_known_args()
    config = arguments.config.resolve()
    runs: dict[str, Any] = {}
    for seed in arguments.seeds:
        first = folder_of(config, arguments.seeds[0], arguments.runs.resolve()) / "clip" / FINAL
        clip = first if runs and first.exists() else None
        runs[str(seed)] = ablate(config, seed, arguments.seeded, arguments.runs.resolve(), overrides, clip)
    names = list(next(iter(runs.values()))["rows"])
    table = {
        name: {
            measure: round(
                100 * mean(run["rows"][name]["results"]["all"][measure] for run in runs.values()), 1
            )
            for measure in ("mAP", "rank_1")
        }
        for name in names
    }
    order = {
        f"{low} < {high}": {
            "mean": round(table[high]["mAP"] - table[low]["mAP"], 1),
            "seeds": [
                round(100 * (rows[high]["results"]["all"]["mAP"] - rows[low]["results"]["all"]["mAP"]), 1)
                for rows in (run["rows"] for run in runs.values())
            ],
        }
        for low, high in STEPS
        if low in names and high in names
    }
    write_record(
        arguments.output,
        "retrieval of tracklets by VSLA-CLIP's rows, mean over seeds, %; gain in mAP of each step of Table 3",
        options=[
            "PATH" if before.endswith(".root") else word
            for before, word in zip(["", *overrides], overrides, strict=False)
        ],
        config=str(config.relative_to(ROOT)) if config.is_relative_to(ROOT) else config.name,
        mean=table,
        order=order,
        seeds=runs,
    )
    print(json.dumps({"mean": table, "order": order}, indent=2))


if __name__ == "__main__":
    main()
