"""The order of VSLA-CLIP's Table 3 on the synthetic ground/aerial world: mean mAP over 3 seeds.

Each seed is another world, with other initial weights and batches; its methods are runs that share stages.
All begin with the small CLIP that the first seed trains, as the paper's rows do with one. With --config,
--methods, --seeded, --output and that configuration's options it measures another, such as pku_reid.yaml.
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

METHODS = ["frozen", "baseline", "ft_clip", "ifa", "ifa_vsa", "vsla_clip", "vsla_clip_pbp"]
STEPS = [("baseline", "ft_clip"), ("ifa_vsa", "vsla_clip"), ("vsla_clip", "vsla_clip_pbp")]
"""Lower and higher row of each step of the order (VSLA-CLIP Table 3)."""


def folder_of(config: Path, seed: int, method: str, runs: Path) -> Path:
    """The run folder of a method and a seed."""
    return runs / config.stem / f"vsla_seed{seed}.{method}"


def run(
    config: Path, seed: int, method: str, seeded: str, runs: Path, overrides: list[str], clip: Path | None
) -> dict[str, Any]:
    """One `vsla-clip run`, from a CLIP of its own or one given; a run that was cut off goes on."""
    folder = folder_of(config, seed, method, runs)
    command = [sys.executable, "-m", "vsla_clip.cli", "run", "--config", str(config), "--runs", str(runs)]
    command += ["--experiment", config.stem, "--name", folder.name, "--method", method]
    command += ["--seed", str(seed), f"--{seeded}", str(seed), *overrides]
    if clip is not None:
        command += ["--clip.checkpoint", str(clip), "--clip.captioned", "null"]
    subprocess.run(command, check=True, cwd=ROOT)
    stages = {
        record.parent.name: json.loads(record.read_text()) for record in sorted(folder.glob("*/stage.json"))
    }
    parameters = stages["stage2"]["summary"] if "stage2" in stages else {"trainable": 0, "total": None}
    return {
        "seconds": {name: stage["seconds"] for name, stage in stages.items()},
        "parameters": parameters,
        "results": stages["evaluate"]["summary"],
    }


def main() -> None:
    """Run the seeds, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--config", type=Path, default=ROOT / "apps/vsla_clip/configs/demo.yaml")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeded", default="data.synthetic.world.seed", help="option that gets the seed too")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmarks")
    parser.add_argument("--output", type=Path, default=RESULTS / "vsla_synthetic.json")
    arguments, overrides = parser.parse_known_args()
    config, folder, names = arguments.config.resolve(), arguments.runs.resolve(), arguments.methods
    rows: dict[str, dict[str, Any]] = {}
    for seed in arguments.seeds:
        first = folder_of(config, arguments.seeds[0], names[0], folder) / "clip" / FINAL
        clip = first if rows and first.exists() else None
        rows[str(seed)] = {
            name: run(config, seed, name, arguments.seeded, folder, overrides, clip) for name in names
        }
    found = {name: [seed[name]["results"]["all"] for seed in rows.values()] for name in names}
    table = {
        name: {
            measure: round(100 * mean(one[measure] for one in found[name]), 1)
            for measure in ("mAP", "rank_1")
        }
        for name in names
    }
    order = {
        f"{low} < {high}": {
            "mean": round(table[high]["mAP"] - table[low]["mAP"], 1),
            "seeds": [
                round(100 * (better["mAP"] - worse["mAP"]), 1)
                for better, worse in zip(found[high], found[low], strict=True)
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
        seeds=rows,
    )
    print(json.dumps({"mean": table, "order": order}, indent=2))


if __name__ == "__main__":
    main()
