"""`reid-gallery compare` on real people: 0277, 0288 and OSNet x0.25 on PKU-Reid and CUHK01.

    python benchmarks/compare_models.py --pku FOLDER --cuhk01 FOLDER --weights FOLDER

Each model gets a config.json beside it in a folder of links; nothing is written where the weights are. The
people are test people: 61 of PKU-Reid's 62, and CUHK01's 486 of its first division.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from _record import RESULTS, write_record

from reid_core.data.readers import read
from reid_core.models import ModelConfig, Preprocessing
from reid_gallery.cli import main as reid_gallery

SIZE = (256, 128)
INTEL = Preprocessing(SIZE, mean=(0, 0, 0), std=(1, 1, 1), channels="BGR", max_value=255)
MODELS = {
    "0277": ("person-reidentification-retail-0277", ".xml", 256, INTEL, ("unknown",), "apache-2.0"),
    "0288": ("person-reidentification-retail-0288", ".xml", 256, INTEL, ("unknown",), "apache-2.0"),
    "osnet_x0_25": ("osnet_x0_25_msmt17", ".onnx", 512, Preprocessing(SIZE), ("msmt17",), "mit"),
}
"""By name: file, its suffix, length of a feature, preprocessing, training data, licence."""
PKU_OPTIONS = {"train_fraction": 1 / 62}
"""The reader wants a training person; the other 61 are test people."""


def link_models(weights: Path, folder: Path) -> list[str]:
    """Links to the models, each with its config.json beside it."""
    paths = []
    for name, (file, suffix, dim, preprocessing, training_data, terms) in MODELS.items():
        own = folder / name
        own.mkdir()
        for one in weights.glob(f"{file}.*"):
            (own / f"{name}{one.suffix}").symlink_to(one.resolve())
        ModelConfig(preprocessing, dim, training_data, terms).save(own / "config.json")
        paths.append(str(own / f"{name}{suffix}"))
    return paths


def main() -> None:
    """Compare, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("pku", "cuhk01", "weights"):
        parser.add_argument(f"--{name}", type=Path, help="folder, which can't be part of the repository")
    arguments = parser.parse_args()
    if None in (arguments.pku, arguments.cuhk01, arguments.weights):
        print("skipped: give --pku, --cuhk01 and --weights")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = link_models(arguments.weights, folder)
        data = [folder / "pku_reid.parquet", folder / "cuhk01.parquet"]
        read("pku_reid", arguments.pku, **PKU_OPTIONS).save(data[0])
        read("cuhk01", arguments.cuhk01).save(data[1])
        out = folder / "out"
        if reid_gallery(["compare", *paths, "--data", *map(str, data), "--out", str(out)]):
            raise SystemExit(1)
        found = json.loads((out / "comparison.json").read_text())
    del found["machine"]  # the record has its own
    for model in found["models"]:
        model["path"] = Path(model["path"]).name
    write_record(
        RESULTS / "compare_models.json",
        "published models tried on data sets that they were not trained on, with paired tests against 0277",
        **found,
    )


if __name__ == "__main__":
    main()
