"""From a folder of persons to a fine-tuned, evaluated model folder, in Python.

    python examples/own_folder.py CROPS OUT                    CROPS/PERSON/*.jpg or CROPS/PERSON/CAMERA/*.jpg
    python examples/own_folder.py CROPS OUT --backbone vit_small --weights PRETRAINED.pth

Called again after being cut off, training resumes. docs/your-own-data.md does the same with commands.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reid_core.data.datasets import ImageDataset, collate
from reid_core.data.manifest import Manifest
from reid_core.data.readers import read
from reid_core.data.samplers import PKBatches
from reid_core.data.transforms import train_transform
from reid_core.models import (
    Embedder,
    Features,
    Preprocessing,
    ReIDModel,
    ReIDObjective,
    build_backbone,
    load,
    load_weights,
    retrieval_arguments,
    save,
)
from reid_core.models.parts import ClassFeature
from reid_core.processes import Runtime
from reid_core.training import Training, fit
from reid_eval import evaluate, find_protocol

SIZE = (128, 64)


def embed(model: Embedder, rows: Manifest) -> Features:
    """Features of a manifest's rows, and which images could be read."""
    array, valid = model.embed(rows, errors="mask")
    return Features(array, rows, valid)


def main() -> None:
    """Read, train, save and evaluate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("crops", help="folder of persons")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--backbone", default="resnet18", help="as reid-models list prints them")
    parser.add_argument("--weights", help="checkpoint of the backbone; random weights without")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--accelerator", default="auto")
    arguments = parser.parse_args()

    people = read("people", arguments.crops)  # draws training and test people
    train = people.select("train")
    print(people)

    encoder = build_backbone(arguments.backbone, SIZE)
    if arguments.weights:
        print(load_weights(encoder, arguments.weights))
    pids = sorted(set(train.pids.tolist()))
    model = ReIDModel(ClassFeature(encoder), encoder.dim, len(pids))
    settings = Training(steps=arguments.steps, lr=3.5e-4, warmup_steps=arguments.steps // 10)
    fit(
        ReIDObjective(model, pids),
        ImageDataset(train, train_transform(SIZE)),
        PKBatches(train.pids, min(8, len(pids)), 4, arguments.steps),
        collate,
        settings.resolve(steps_per_epoch=1, runtime=Runtime(accelerator=arguments.accelerator)),
        arguments.out / "training",
    )

    folder = arguments.out / "model"
    building = {"backbone": arguments.backbone, "image_size": SIZE}
    facts = {"training_data": [people.name or "own people"], "license": "unknown"}
    save(folder, model.without_classifier(), "bnneck", building, Preprocessing(SIZE), **facts)

    embedder = load(folder)
    query, gallery = (embed(embedder, people.select(split)) for split in ("query", "gallery"))
    result = evaluate(**retrieval_arguments(query, gallery), protocol=find_protocol("people"))
    print(f"{folder}: mAP {result.mAP:.1%}, Rank-1 {result.cmc[1]:.1%}, {result.num_valid_queries} queries")


if __name__ == "__main__":
    main()
