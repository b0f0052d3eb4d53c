"""VILLS' pre-training at LUPerson's scale: time and memory of prepare, regions and the first 20 steps.

A few thousand real files stand behind millions of paths, through links to their folder. Masks are made of the
real files and repeated for the others; the model is small, since data are measured here. `--images 4180243
--tracks 67956` is the paper's scale (4.1).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _record import RESULTS, ROOT, write_record

FILES = 2000
FRAMES = 8
"""Frames of a track here, as many as are drawn."""
STEPS = 20
SIZE = (160, 64)
"""Height and width of the synthetic crops."""
ITEMS = 60
PAPER = {
    "images": 4_180_243,
    "tracks": 67_956,
    "epochs": 100,
    "hours": 100,
    "image_batch": 128,
    "video_batch": 32,
}
"""VILLS 4.1 and supplement 2, ViT-S on eight A40."""
NEEDED = PAPER["images"] * PAPER["epochs"] / (3600 * PAPER["hours"])
"""Images per second in which the paper's epochs fit its hours."""


def write_data(folder: Path, files: int, images: int, tracks: int) -> None:
    """Real files, links to their folder, a manifest of images and one of tracks, and masks of all of them."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    from reid_core.data.manifest import Manifest
    from reid_core.synthetic import World, write_folder
    from reid_lse import Extraction, extract

    world = World(identities=files // 8, cameras=4, height=SIZE[0], width=SIZE[1])
    write_folder(world, folder / "drawn", tracklets_per_camera=0, images_per_camera=2, progress=False)
    (folder / "real").mkdir()
    for number, file in enumerate(sorted((folder / "drawn").rglob("*.jpg"))[:files]):
        file.rename(folder / "real" / f"{number:04}.jpg")
    real = len(list((folder / "real").iterdir()))
    began = time.perf_counter()
    extract(str(folder / "real"), str(folder / "masks"), Extraction(), workers=1)
    seconds = time.perf_counter() - began
    size = sum(file.stat().st_size for file in (folder / "masks").glob("*.parquet"))
    about = {"files": real, "crops_per_s": real / seconds, "cache_bytes_per_image": size / real}
    (folder / "masks.json").write_text(json.dumps(about))
    made = pa.concat_tables([pq.read_table(file) for file in sorted((folder / "masks").glob("*.parquet"))])
    settings = json.loads((folder / "masks" / "extract.json").read_text())
    for name, rows in (("images", images), ("tracks", tracks * FRAMES)):
        row = np.arange(rows)
        paths = pd.Series(
            [f"{name}{of:05}/{file:04}.jpg" for of, file in zip(row // real, row % real, strict=True)]
        )
        for of in range(-(-rows // real)):
            (folder / f"{name}{of:05}").symlink_to("real", target_is_directory=True)
        table = pd.DataFrame({"path": paths, "split": "unlabeled", "pid": -1})
        if name == "tracks":
            table = table.assign(tracklet=row // FRAMES, frame=row % FRAMES)
        Manifest(table, folder, name).save(folder / f"{name}.parquet")
        out = folder / f"{name}.masks"
        out.mkdir()
        (out / "extract.json").write_text(json.dumps({**settings, "images": rows, "shard": real}))
        for shard in range(-(-rows // real)):
            part = made.slice(0, min(real, rows - shard * real))
            names = pa.array(paths[shard * real : shard * real + len(part)], pa.string())
            part = part.set_column(0, "path", names)
            pq.write_table(part, out / f"masks-{shard:06d}.parquet", compression="zstd")


def options(folder: Path) -> list[str]:
    """A pre-training on these data alone, of a small model on one core."""
    sources = [
        f"{{name: {folder}/{name}.parquet, regions: {folder}/{name}.masks}}" for name in ("images", "tracks")
    ]
    return [
        *("--config", str(ROOT / "apps/vills/configs/vit_small.yaml"), "--runs", str(folder / "runs")),
        *("--data.pretrain", f"[{', '.join(sources)}]", "--runtime.accelerator", "cpu"),
        *("--model.backbone", "vit_nano_patch8", "--model.resampler_heads", "4", "--runtime.workers", "0"),
        *("--pretrain.image_batch", "8", "--pretrain.video_batch", "2", "--runtime.threads", "1"),
        *("--pretrain.objective.prototypes", "1024", "--pretrain.objective.head_hidden", "256"),
        *("--pretrain.train.steps", str(STEPS), "--pretrain.train.precision", "32-true"),
    ]


def measure(folder: Path, part: str) -> dict[str, float]:
    """Time and memory of a stage, or items per second of the data set, in this process alone."""
    from vills.cli import main

    began, cpu = time.perf_counter(), time.process_time()
    found: dict[str, float] = {}
    if part == "items":
        found = items_per_second(folder)
    elif main([part, *options(folder), "--traceback"]):
        raise SystemExit(f"{part} failed")
    return {
        **found,
        "seconds": time.perf_counter() - began,
        "cpu_s": time.process_time() - cpu,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def items_per_second(folder: Path) -> dict[str, float]:
    """Items of the paper's sizes from the pool, on one core, and how long pool and masks take to load."""
    import torch

    from reid_core.cli.recipes import parse_config
    from reid_core.data.manifest import Manifest
    from reid_core.data.pool import PoolPart, build_pool
    from reid_core.data.samplers import Draw
    from vills.cli import APP
    from vills.data import Grids, ManifestMasks, VillsDataset

    torch.set_num_threads(1)
    config = parse_config(APP, ["run", *options(folder)]).pretrain
    began = time.perf_counter()
    names = ("images", "tracks")
    pool = build_pool(PoolPart(Manifest.load(folder / f"{name}.parquet", folder)) for name in names)
    pooled = time.perf_counter()
    areas = ["head", "torso", "legs"]
    masks = [
        ManifestMasks(folder / f"{name}.masks", areas, manifest, pool.drawable_rows(number))
        for number, (name, manifest) in enumerate(zip(names, pool.manifests, strict=True))
    ]
    loaded = time.perf_counter()
    dataset = VillsDataset(pool, masks, len(areas), config, Grids((16, 8), (4, 3)))
    rates = {}
    for kind, first, size in (("images", 0, len(pool.images)), ("clips", len(pool.images), len(pool.videos))):
        cpu = time.process_time()
        for number in range(ITEMS):
            dataset[Draw(first + number * size // ITEMS, number)]
        rates[f"{kind}_per_cpu_s"] = ITEMS / (time.process_time() - cpu)
    return {"pool_s": pooled - began, "masks_s": loaded - pooled, **rates}


def main() -> None:
    """Print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--images", type=int, default=418_000)
    parser.add_argument("--tracks", type=int, default=6_800)
    parser.add_argument("--output", type=Path, default=RESULTS / "vills_scale.json")
    parser.add_argument("--part", choices=["write", "prepare", "pretrain", "items"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "write":
        return write_data(arguments.folder, arguments.files, arguments.images, arguments.tracks)
    if arguments.part:
        return print(json.dumps(measure(arguments.folder, arguments.part)))
    names = ("files", "images", "tracks")
    scale = [word for name in names for word in (f"--{name}", str(getattr(arguments, name)))]
    measured: dict[str, Any] = {"rows": {"images": arguments.images, "tracks": arguments.tracks}}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, *scale, "--folder", folder, "--part"]
        subprocess.run([*command, "write"], check=True)
        measured["regions"] = json.loads((Path(folder) / "masks.json").read_text())
        for part in ("prepare", "pretrain", "items"):
            done = subprocess.run([*command, part], check=True, stdout=subprocess.PIPE, text=True)
            measured[part] = json.loads(done.stdout.splitlines()[-1])
    cores = {
        "images": NEEDED / measured["items"]["images_per_cpu_s"],
        "clips": NEEDED * PAPER["video_batch"] / PAPER["image_batch"] / measured["items"]["clips_per_cpu_s"],
    }
    write_record(
        arguments.output,
        "VILLS' pre-training on many rows: prepare, regions and the first steps, on one core",
        needed={"images_per_s": NEEDED, "cores": cores},
        measured=measured,
    )
    print(json.dumps({**measured, "cores": cores}, indent=2))


if __name__ == "__main__":
    main()
