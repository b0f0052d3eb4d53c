"""CION on real people: CUHK01's and PKU-Reid's training people as tracklets that a tracker has mixed up.

Needs --cuhk01, --pku and --weights (folders with the data sets and the extractors). A person's images before
a camera are a tracklet, twenty people's tracklets a video; a tenth of the tracklets is switched and three
tenths are split. `cion denoise` is told nobody's name: each level's F1 is by the paper's criteria, and by
criteria chosen for the extractor's features. With --pretrain, a small ResNet is pre-trained on tracklets as
they come and denoised and fine-tuned on either data set, whose test people nobody has seen.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from _record import RESULTS, ROOT, read_stages, write_record

from reid_core.data.manifest import Manifest
from reid_core.data.readers import read

CONFIG = ROOT / "apps" / "cion" / "configs" / "cuhk01_pku_reid.yaml"
PKU = {"train_fraction": 42 / 62, "seed": 0}
PEOPLE = 20
"""In a video."""
FAULTS = ["--tracklets.switch", "0.1", "--tracklets.split", "0.3"]
INTEL = {"channels": "BGR", "max_value": 255, "mean": [0, 0, 0], "std": [1, 1, 1]}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
EXTRACTORS = {
    "0277": ("person-reidentification-retail-0277.xml", INTEL),
    "0288": ("person-reidentification-retail-0288.xml", INTEL),
    "osnet_x0_25": ("osnet_x0_25_msmt17.onnx", IMAGENET | {"size": [256, 128]}),
}


def write_videos(cuhk01: Path, pku: Path, out: Path) -> Manifest:
    """Training people's images as tracklets in videos, with their names as pids."""
    tables, people = [], 0
    for number, (name, root, options) in enumerate((("cuhk01", cuhk01, {}), ("pku_reid", pku, PKU))):
        rows = read(name, root, **options).select("train")
        table = rows.table[["path", "camid"]].copy()
        person = pd.factorize(rows.pids)[0]
        table["path"] = [str(file) for file in rows.files]
        table["camid"] += 10 * number
        table["pid"] = people + person
        table["group"] = person // PEOPLE
        people += person.max() + 1
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    table["tracklet"] = table.groupby(["pid", "camid"]).ngroup()
    table["video"] = table.groupby(["camid", "group"]).ngroup()
    table = table.sort_values(["video", "tracklet", "path"]).assign(split="unlabeled")
    root = Path("/")
    table["path"] = table["path"].str.lstrip("/")
    manifest = Manifest(table.drop(columns="group"), root, "cuhk01+pku_reid")
    manifest.save(out)
    return manifest


def call(action: str, name: str, arguments: argparse.Namespace, options: list[str]) -> Path:
    """Run `cion ACTION`; returns the run's folder."""
    videos = arguments.runs / "cuhk01_pku_reid.parquet"
    command = [sys.executable, "-m", "cion.cli", action, "--config", str(CONFIG), "--name", name]
    command += ["--runs", str(arguments.runs), "--data.videos.name", str(videos)]
    command += ["--data.target.root", str(arguments.cuhk01), "--runtime.threads", str(arguments.threads)]
    further = [{"name": "pku_reid", "root": str(arguments.pku), "options": PKU}]
    command += ["--data.further_targets", json.dumps(further), *FAULTS]
    subprocess.run([*command, *options], check=True, cwd=ROOT)
    return arguments.runs / "cion_cuhk01_pku_reid" / name


def main() -> None:
    """Denoise by each extractor, pre-train if asked to, print and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("cuhk01", "pku", "weights"):
        parser.add_argument(f"--{name}", type=Path, help="folder, which can't be part of the repository")
    parser.add_argument("--extractors", nargs="+", default=list(EXTRACTORS), choices=list(EXTRACTORS))
    parser.add_argument("--pretrain", action="store_true", help="with the first extractor's features")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmarks")
    parser.add_argument("--output", type=Path, default=RESULTS / "cion_real.json")
    arguments = parser.parse_args()
    if None in (arguments.cuhk01, arguments.pku, arguments.weights):
        return print("skipped: give --cuhk01, --pku and --weights (none can be part of the repository)")
    arguments.runs = arguments.runs.resolve()
    videos = write_videos(arguments.cuhk01, arguments.pku, arguments.runs / "cuhk01_pku_reid.parquet")
    denoised: dict[str, Any] = {}
    for extractor in arguments.extractors:
        file, seen = EXTRACTORS[extractor]
        options = ["--extractor.folder", str(arguments.weights / file)]
        options += ["--extractor.preprocessing", json.dumps(seen)]
        for criteria in ("given", "auto"):
            name = f"{extractor}.{criteria}"
            folder = call("denoise", name, arguments, [*options, "--denoise.criteria", criteria])
            denoised[name] = read_stages(folder)["denoise"]["summary"] | {"parts": None}
    scores = {}
    if arguments.pretrain:
        file, seen = EXTRACTORS[arguments.extractors[0]]
        for seed in arguments.seeds:
            options = ["--extractor.folder", str(arguments.weights / file), "--seed", str(seed)]
            options += ["--extractor.preprocessing", json.dumps(seen), "--denoise.criteria", "auto"]
            folder = call("run", f"seed{seed}", arguments, options)
            scores[str(seed)] = json.loads((folder / "evaluate" / "results.json").read_text())
    write_record(
        arguments.output,
        "real people as noisy tracklets: pairwise scores of each level, by extractor and criteria",
        images=len(videos),
        people=int(videos.pids.max()) + 1,
        denoised=denoised,
        scores=scores,
    )


if __name__ == "__main__":
    main()
