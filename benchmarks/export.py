"""Seven architectures exported: feature and mAP differences, speed and size beside torch.

Networks have random weights (normalisation's statistics included, adapters moved off the identity), images
are of synthetic people at 64 x 64. Differences of fp16 and int8 are of these weights alone. A finished line
is kept: the same command resumes after being cut off; --only NAME and --precision measure a part. --table
prints the README's table from what is measured.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from _record import RESULTS, REVISION, write_record
from torch import nn

from reid_adapters import VSLAConfig, attach
from reid_core.data.readers import read
from reid_core.models import Embedder, Preprocessing, export, load
from reid_core.models.builders import build
from reid_core.synthetic import World, write_market1501
from reid_eval import find_protocol
from reid_gallery.data_sets import DataSet
from reid_gallery.proof import prove

SIZE, FRAMES = (64, 64), 2
PEOPLE = 16
EXPORTS = (
    ("onnx", "fp32"),
    ("openvino", "fp32"),
    ("torchscript", "fp32"),
    ("onnx", "fp16"),
    ("openvino", "fp16"),
    ("torchscript", "fp16"),
    ("onnx", "int8"),
    ("openvino", "int8"),
)
LARGEST, MAP = 1e-4, 1e-3
"""Goals of fp32: a feature's largest difference, and the difference of mAP."""


def bnneck(backbone: str) -> Callable[[], nn.Module]:
    """Builder of a backbone with a BNNeck."""
    return lambda: build("bnneck", {"backbone": backbone, "image_size": SIZE})


def vills() -> nn.Module:
    """VILLS with its resampler."""
    arguments = {"model": {"backbone": "vit_tiny", "tokens": 4}, "image_size": SIZE}
    return build("vills", arguments | {"frame_size": SIZE, "frames": FRAMES})


def vsla() -> nn.Module:
    """VSLA's encoder of sets on a small vision transformer."""
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=SIZE)
    return attach(vit, VSLAConfig())


NETWORKS: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "vit_small": (bnneck("vit_small"), False),
    "resnet50_ibn": (bnneck("resnet50_ibn"), False),
    "swin_tiny": (bnneck("swin_tiny"), False),
    "convnext_tiny": (bnneck("convnext_tiny"), False),
    "fastvit_s12": (bnneck("fastvit_s12"), False),
    "vills_resampler": (vills, True),
    "vsla_set_encoder": (vsla, True),
}
"""By name: builder, and whether clips are exported."""


def network(name: str) -> nn.Module:
    """A network whose every parameter and statistic is random."""
    torch.manual_seed(0)
    model = NETWORKS[name][0]().eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point():
                value.add_(0.01 * torch.randn_like(value))
    return model


def write_people(folder: Path) -> DataSet:
    """Synthetic people with queries and a gallery, and half of them for calibration."""
    world = World(seed=0, identities=PEOPLE, cameras=2, height=SIZE[0], width=SIZE[1])
    write_market1501(world, folder, images_per_camera=6, distractors=0, junk=0, progress=False)
    return DataSet("synthetic", read("market1501", folder), find_protocol("market1501"))


def measure(name: str, format: Any, precision: Any, data: DataSet, folder: Path) -> dict[str, Any]:
    """One export and its proof."""
    clips = NETWORKS[name][1]
    preprocessing = Preprocessing(SIZE, frames=FRAMES if clips else None)
    model = Embedder(network(name), preprocessing)
    images = data.manifest.select("train").files
    file = export(model, folder, format, precision, tracklets=clips, calibration=images)
    proof = prove(model, load(file), file, data, batch_size=16)
    about = {"network": name, "format": format, "precision": precision, "revision": REVISION}
    return about | proof.to_dict()


def format_table(lines: list[dict[str, Any]]) -> str:
    """Of fp16 and int8: mAP's difference in points, and how many times as fast as torch it is."""
    columns = [(format, precision) for format, precision in EXPORTS if precision != "fp32"]
    known = {(line["network"], line["format"], line["precision"]): line for line in lines}
    rows = [["", *(f"{format} {precision}" for format, precision in columns)], ["---"] * (len(columns) + 1)]
    for name in NETWORKS:
        row = [name]
        for column in columns:
            line = known.get((name, *column))
            if line is None or "error" in line:
                row.append("not measured" if line is None else "refused")
                continue
            torch_speed, speed = line["images_per_second"]
            row.append(f"{100 * line['mAP']['difference']:+.2f}, x {speed / torch_speed:.1f}")
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Measure what is not measured yet, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(NETWORKS))
    parser.add_argument("--precision", choices=["fp32", "fp16", "int8"])
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "export.json")
    arguments = parser.parse_args()
    lines = json.loads(arguments.out.read_text())["exports"] if arguments.out.is_file() else []
    if arguments.table:
        print(format_table(lines))
        return
    done = {(line["network"], line["format"], line["precision"]) for line in lines}
    with tempfile.TemporaryDirectory() as folder:
        data = write_people(Path(folder, "people"))
        for name in [arguments.only] if arguments.only else NETWORKS:
            for format, precision in EXPORTS:
                if (name, format, precision) in done or arguments.precision not in (None, precision):
                    continue
                try:
                    line = measure(name, format, precision, data, Path(folder, "exported"))
                except ValueError as error:
                    line = {"network": name, "format": format, "precision": precision, "revision": REVISION}
                    line["error"] = str(error)
                lines.append(line)
                print({key: line.get(key) for key in ("network", "format", "precision", "error")}, flush=True)
                print(
                    line.get("largest_difference"), line.get("mAP"), line.get("images_per_second"), flush=True
                )
                exact = [one for one in lines if one["precision"] == "fp32"]
                write_record(
                    arguments.out,
                    "exports keep a model's features and mAP",
                    goals={"largest_difference": LARGEST, "mAP": MAP},
                    exports=lines,
                    fp32_within_goals=sum(
                        "error" not in one
                        and one["largest_difference"] <= LARGEST
                        and abs(one["mAP"]["difference"]) <= MAP
                        for one in exact
                    ),
                    fp32_exports=len(exact),
                )


if __name__ == "__main__":
    main()
