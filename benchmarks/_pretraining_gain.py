"""Measures what VILLS' pre-training adds to the same fine-tuning budget: one configuration, several seeds."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _record import ROOT, read_stages, write_record

MODES = {"image": "image", "video": "video", "image_to_video": "image-to-video"}


def run_seed(config: Path, seed: int, runs: Path, overrides: list[str]) -> dict[str, object]:
    """One `vills run` of a seed, from prepare to evaluate; a run that was cut off goes on."""
    name = f"seed{seed}"
    command = [sys.executable, "-m", "vills.cli", "run", "--config", str(config), "--runs", str(runs)]
    command += ["--seed", str(seed), "--name", name, "--finetune.init", "both"]
    command += ["--experiment", config.stem, *overrides]
    subprocess.run(command, check=True, cwd=ROOT)
    results = runs / config.stem / name / "evaluate" / "results.json"
    stages = {name: record["seconds"] for name, record in read_stages(results.parents[1]).items()}
    return {"seconds": stages, "results": json.loads(results.read_text())}


def main(config: Path, output: Path, targets: dict[str, float], seeded: tuple[str, ...]) -> None:
    """Run the seeds, print and write the table.

    Args:
        config: the app's configuration.
        output: the JSON file.
        targets: what is promised, by name, for the record.
        seeded: further options that get the seed's number (a split's, a world's).
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the caller's, who has chosen `config` by it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmarks")
    parser.add_argument("--output", type=Path, default=output)
    arguments, overrides = parser.parse_known_args()
    runs = {}
    for seed in arguments.seeds:
        options = [word for option in seeded for word in (f"--{option}", str(seed))]
        runs[str(seed)] = run_seed(config, seed, arguments.runs, [*options, *overrides])
    summary: dict[str, dict[str, Any]] = {}
    for mode in MODES:
        for measure in ("mAP", "rank_1"):
            values = {
                variant: 100 * np.array([run["results"][variant][mode][measure] for run in runs.values()])
                for variant in ("scratch", "pretrained")
            }
            gain = values["pretrained"] - values["scratch"]
            summary[f"{mode}/{measure}"] = {
                "scratch": round(float(values["scratch"].mean()), 1),
                "pretrained": round(float(values["pretrained"].mean()), 1),
                "gain": round(float(gain.mean()), 1),
                "gain_std": round(float(gain.std(ddof=1)), 1) if len(gain) > 1 else None,
                "gain_per_seed": gain.round(1).tolist(),
            }
    write_record(
        arguments.output,
        "the same fine-tuning budget from scratch and after VILLS' pre-training, mean over seeds, %",
        options=[
            "PATH" if before.endswith(".root") else word
            for before, word in zip(["", *overrides], overrides, strict=False)
        ],
        config=str(config.relative_to(ROOT)),
        targets=targets,
        mean=summary,
        seeds=runs,
    )
    print(json.dumps(summary, indent=2))
