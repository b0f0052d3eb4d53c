"""Images per second of `reid-lse extract` without SAM: prior and GrabCut, prior and CRF, BlazePose and CRF.

The crops are a synthetic world's, 128 x 64 JPEG files. Each way extracts them once as a whole job with as
many threads as cores, and once step by step in one thread, which shows where the time goes.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _record import RESULTS, write_record

from reid_core.synthetic import World, write_folder
from reid_lse import Extraction, extract, list_images, make_prompts, read_image
from reid_lse.keypoints import Pose
from reid_lse.predictors.blazepose import WEIGHTS
from reid_lse.regions import large_enough
from reid_lse.rle import encode_mask
from reid_lse.shards import build_extractor
from reid_lse.weights import cached_file

WAYS = {
    "prior + grabcut": Extraction(keypoints="prior", segmenter="grabcut"),
    "prior + crf": Extraction(keypoints="prior", segmenter="crf"),
    "blazepose + crf": Extraction(keypoints="blazepose", segmenter="crf"),
}
GOAL = 3.0
"""Times the images per second of prior and GrabCut that BlazePose and CRF should reach."""

CAMERAS, PER_CAMERA = 4, 2
STEPS = 128
"""Images of the profile."""


def profile(how: Extraction, folder: Path) -> dict[str, float]:
    """Milliseconds per image of each step in one thread."""
    extractor = build_extractor(how)
    source = list_images(folder)
    spent: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        spent[name] = 1000 * (time.perf_counter() - began) / STEPS
        return result

    images = timed("read", lambda: [read_image(source.root / path) for path in source.paths[:STEPS]])
    extractor.masks(images[:4])  # what is loaded at the first call is no image's
    _, pose = timed("keypoints", lambda: extractor.pose(images))
    timed("prompts", lambda: make_prompts(pose.keypoints, extractor.areas))
    found = timed("masks and quality", lambda: extractor.masks(images, Pose(*pose)))
    masks = [mask.numpy() for mask in found.masks]
    timed("encode", lambda: [([encode_mask(area) for area in mask], large_enough(mask)) for mask in masks])
    return {name: round(milliseconds, 3) for name, milliseconds in spent.items()}


def main() -> None:
    """Print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=128, help=f"{CAMERAS * PER_CAMERA} images each")
    parser.add_argument("--output", type=Path, default=RESULTS / "lse_speed.json")
    arguments = parser.parse_args()
    workers = os.cpu_count() or 1
    ways = {
        name: how for name, how in WAYS.items() if how.keypoints == "prior" or cached_file(WEIGHTS).is_file()
    }
    load = os.getloadavg()[0]
    rates: dict[str, float] = {}
    profiles: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        world = World(identities=arguments.people, cameras=CAMERAS)
        crops = write_folder(
            world, Path(name) / "crops", tracklets_per_camera=0, images_per_camera=PER_CAMERA, progress=False
        )
        images = len(list_images(crops).paths)
        torch.set_num_threads(1)
        for way, how in ways.items():
            profiles[way] = profile(how, crops)
            began = time.perf_counter()
            extract(str(crops), str(Path(name) / way), how, workers=workers)
            rates[way] = round(images / (time.perf_counter() - began), 1)
            print(way, rates[way], profiles[way], flush=True)
    times = round(rates.get("blazepose + crf", 0) / rates["prior + grabcut"], 2)
    write_record(
        arguments.output,
        "images per second of `reid-lse extract` on 128 x 64 crops, and milliseconds of each step",
        machine={"workers": workers, "load_average_before": round(load, 2)},
        images=images,
        images_per_s=rates,
        profile_ms_per_image=profiles,
        blazepose_and_crf_over_prior_and_grabcut=times,
        met=times >= GOAL,
    )
    print(json.dumps({"rates": rates, "times": times}))


if __name__ == "__main__":
    main()
