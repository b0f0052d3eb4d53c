"""CION on real people: CUHK01's and PKU-Reid's people as tracklets that a tracker has mixed up.

Needs --cuhk01, --pku and --weights (folders with the data sets and the extractors). A person's images before
a camera are a tracklet, twenty people's tracklets a video; a tenth of the tracklets is switched and three
tenths are split. `cion denoise` is not told the training people's names: each level's F1 is by the paper's
criteria, by criteria chosen without labels, and by those that the test people's labels give. With --pretrain,
a ResNet of --backbone is pre-trained on the training people as tracklets come and denoised, and fine-tuned on
either data set, whose test people it has not seen. Called again, it resumes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pandas as pd
from _cion_runs import PKU, parse_folders, run_cion
from _record import read_stages, write_record

from reid_core.data.datasets import ImageDataset
from reid_core.data.manifest import Manifest
from reid_core.data.readers import read
from reid_core.data.transforms import eval_transform
from reid_core.models import load
from reid_core.models.features import extract
from reid_core.training.unsupervised.colours import StripeColours
from reid_denoise import calibrate_criteria, simultaneous
from reid_eval import evaluate, find_protocol

PEOPLE = 20
"""In a video."""
FAULTS = ["--tracklets.switch", "0.1", "--tracklets.split", "0.3"]
INTEL = {"channels": "BGR", "max_value": 255, "mean": [0, 0, 0], "std": [1, 1, 1]}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
MODELS = {
    "0277": ("person-reidentification-retail-0277.xml", INTEL),
    "0288": ("person-reidentification-retail-0288.xml", INTEL),
    "osnet_x0_25": ("osnet_x0_25_msmt17.onnx", IMAGENET | {"size": [256, 128]}),
}
COLOURS, COLOURS_SIZE = "colour_stripes", (128, 64)
"""An extractor without weights; its features are compared within their video's mean and deviation."""


def write_videos(cuhk01: Path, pku: Path, out: Path, training: bool) -> Manifest:
    """The training people's images, or the test people's, as tracklets in videos; their names are pids."""
    tables, people = [], 0
    for number, (name, root, options) in enumerate((("cuhk01", cuhk01, {}), ("pku_reid", pku, PKU))):
        rows = read(name, root, **options)
        rows = rows.where((rows.table["split"] == "train").to_numpy() == training)
        table = rows.table[["path", "camid"]].copy()
        person = pd.factorize(rows.pids)[0]
        table["path"] = [str(file) for file in rows.files]
        table["camid"] += 10 * number
        table["pid"] = people + person
        table["group"] = person // PEOPLE
        people += person.max() + 1
        tables.append(table)
    table = pd.concat(tables, ignore_index=True).drop_duplicates("path")  # PKU-Reid's are query and gallery
    table["tracklet"] = table.groupby(["pid", "camid"]).ngroup()
    table["video"] = table.groupby(["camid", "group"]).ngroup()
    table = table.sort_values(["video", "tracklet", "path"]).assign(split="unlabeled")
    root = Path("/")
    table["path"] = table["path"].str.lstrip("/")
    manifest = Manifest(table.drop(columns="group"), root, "cuhk01+pku_reid")
    manifest.save(out)
    return manifest


def call(action: str, name: str, videos: Path, arguments: argparse.Namespace, options: list[str]) -> Path:
    """Run `cion ACTION` on a manifest of videos; returns the run's folder."""
    further = [{"name": "pku_reid", "root": str(arguments.pku), "options": PKU}]
    given = ["--data.videos.name", str(videos), "--data.further_targets", json.dumps(further), *FAULTS]
    return run_cion([action], "cuhk01_pku_reid", name, arguments, [*given, *options])


def choose_extractor(name: str, videos: Path, weights: Path) -> list[str]:
    """Options of an extractor; the colours of a manifest's images are written beside it."""
    if name != COLOURS:
        file, seen = MODELS[name]
        return ["--extractor.folder", str(weights / file), "--extractor.preprocessing", json.dumps(seen)]
    file = videos.with_suffix(".colours.npy")
    if not file.exists():
        images = ImageDataset(Manifest.load(videos), eval_transform(COLOURS_SIZE), replace=False)
        extract(StripeColours(), images, file, device="cpu")
    return ["--extractor.features", str(file), "--extractor.standardise", "true"]


def labelled_criteria(name: str, videos: Path, arguments: argparse.Namespace) -> list[str]:
    """Options of the criteria that the labels of other people give an extractor."""
    options = choose_extractor(name, videos, arguments.weights)
    folder = call("features", f"{name}.others", videos, arguments, options)
    table = Manifest.load(folder / "tracklets" / "videos.parquet").table
    ids = [table[column].to_numpy() for column in ("tracklet", "video", "frame")]
    chosen = calibrate_criteria(
        np.load(folder / "features" / "features.npy"),
        *ids[:2],
        valid=np.load(folder / "features" / "features.valid.npy"),
        pids=np.load(folder / "tracklets" / "truth.npy"),
        cannot_link=simultaneous(*ids),
    ).criteria
    return [
        *("--denoise.consistency", f"{chosen.consistency:.4f}"),
        *("--denoise.discrimination", f"{chosen.discrimination:.4f}"),
    ]


def score_backbones(folder: Path, targets: dict[str, Manifest]) -> dict[str, dict[str, float]]:
    """mAP and Rank-1 of the class tokens of each pre-training, before anything is fine-tuned."""
    found = {}
    for model in sorted(folder.glob("pretrain/*/model")):
        embedder = load(model)
        for name, rows in targets.items():
            query, gallery = rows.select("query"), rows.select("gallery")
            result = evaluate(
                embedder.embed(query, device="cpu"),
                embedder.embed(gallery, device="cpu"),
                *(query.pids, gallery.pids, query.camids, gallery.camids),
                protocol=find_protocol(name),
            )
            found[f"{name}/{model.parent.name}"] = {"mAP": result.mAP, "rank_1": float(result.cmc[1])}
    return found


def pretrain(seed: int, videos: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One `cion run`: scores of each variant and target, and of the backbones before; seconds by stage."""
    options = [*choose_extractor("0277", videos, arguments.weights), "--denoise.criteria", "auto"]
    options += ["--seed", str(seed), "--variants", json.dumps(arguments.variants)]
    options += ["--model.backbone", arguments.backbone]
    name = "-".join([arguments.backbone, *arguments.variants, f"seed{seed}"])
    folder = call("run", name, videos, arguments, options)
    stages = read_stages(folder)
    targets = {"cuhk01": read("cuhk01", arguments.cuhk01), "pku_reid": read("pku_reid", arguments.pku, **PKU)}
    return {
        "fine_tuned": {
            name: {key: values[key] for key in ("mAP", "rank_1")}
            for name, values in stages["evaluate"]["summary"].items()
        },
        "backbones": score_backbones(folder, targets),
        "pretrained_on": {
            name: stage["summary"] for name, stage in stages.items() if name.startswith("pretrain/")
        },
        "seconds": {name: stage["seconds"] for name, stage in stages.items()},
    }


def average(seeds: dict[str, dict[str, Any]], part: str) -> dict[str, dict[str, float]]:
    """Means over seeds of mAP and Rank-1, in per cent."""
    rows = next(iter(seeds.values()))[part]
    return {
        row: {
            key: round(100 * mean(found[part][row][key] for found in seeds.values()), 1) for key in rows[row]
        }
        for row in rows
    }


def main() -> None:
    """Denoise by each extractor, pre-train if asked to, print and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    extractors = [*MODELS, COLOURS]
    parser.add_argument("--extractors", nargs="*", default=extractors, choices=extractors)
    parser.add_argument("--pretrain", action="store_true", help="on identities by 0277's features")
    parser.add_argument("--variants", nargs="+", default=["none", "dino", "raw", "cross_video"])
    parser.add_argument("--backbone", default="test_resnet", help="such as resnet18_ibn")
    arguments = parse_folders(parser, "cion_real")
    roots = (arguments.cuhk01, arguments.pku)
    files = {
        training: arguments.runs / f"cuhk01_pku_reid.{training}.parquet" for training in ("train", "test")
    }
    videos = {kind: write_videos(*roots, file, kind == "train") for kind, file in files.items()}
    seeds = {}
    if arguments.pretrain:
        seeds = {str(seed): pretrain(seed, files["train"], arguments) for seed in arguments.seeds}
    denoised: dict[str, Any] = {}
    for extractor in arguments.extractors:
        options = choose_extractor(extractor, files["train"], arguments.weights)
        ways = {
            "given": ["--denoise.criteria", "given"],
            "auto": ["--denoise.criteria", "auto"],
            "other_people": labelled_criteria(extractor, files["test"], arguments),
        }
        for way, criteria in ways.items():
            name = f"{extractor}.{way}"
            folder = call("denoise", name, files["train"], arguments, [*options, *criteria])
            summary = read_stages(folder)["denoise"]["summary"]
            denoised[name] = {key: value for key, value in summary.items() if key != "parts"}
    write_record(
        arguments.output,
        "real people as noisy tracklets: pairwise scores of each level, by extractor and criteria, and what "
        "pre-training on them adds to one fine-tuning budget",
        images={kind: len(rows) for kind, rows in videos.items()},
        people={kind: int(rows.pids.max()) + 1 for kind, rows in videos.items()},
        denoised=denoised,
        fine_tuned=average(seeds, "fine_tuned") if seeds else {},
        backbones=average(seeds, "backbones") if seeds else {},
        seeds=seeds,
    )


if __name__ == "__main__":
    main()
