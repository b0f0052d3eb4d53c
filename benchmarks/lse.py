"""Crops a second of SAM as a user would loop it (SamPredictor, set_image and predict) and of ours.

Ours encodes crops in batches and decodes all areas at once, unpacked and with 32 crops on a canvas. The
weights are random: times don't depend on them. Images are noise of 256 x 128 pixels with an upright
pedestrian's keypoints. Each way runs in a process of its own, whose peak memory counts.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _record import RESULTS, write_record
from segment_anything import SamPredictor, sam_model_registry
from torch import Tensor

from reid_lse import SamSegmenter, make_prompts, prior

HEIGHT, WIDTH, PACK = 256, 128, 32
EQUAL_PACK = 2
"""Crops on a canvas with as many pixels as in the loop, 1024 x 512 each; of 32, a quarter on each side."""
TARGET = 8.0
"""Times the loop's speed that packing must reach."""

PACKS = {"unpacked": 1, "equal_pixels": EQUAL_PACK, "packed": PACK}
WAYS = ("loop", *PACKS)


def measure(way: str, size: str, device: str, crops: int, precision: str) -> dict[str, float]:
    """Segment crops one way in this process, once to warm up and once to be timed."""
    torch.manual_seed(0)
    sam = sam_model_registry[size.removeprefix("sam_")]().to(device).eval()
    images = list(torch.randint(256, (crops, 3, HEIGHT, WIDTH), dtype=torch.uint8))
    segment = _way(way, sam, device, precision)
    if device == "cuda":
        segment(images)
    else:
        segment(images[:1])  # the first touch of the weights
    began, cpu = time.perf_counter(), time.process_time()
    segment(images)  # ends with the masks on the CPU, so nothing is left to wait for
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    peak = {"peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    if device == "cuda":
        peak["peak_gpu_gib"] = torch.cuda.max_memory_allocated() / 2**30
    speed = {"seconds": seconds, "cpu_seconds": cpu_seconds, "crops_per_s": crops / seconds}
    return {"crops": crops, **speed, **peak}


def _way(way: str, sam: torch.nn.Module, device: str, precision: str) -> Callable[[list[Tensor]], object]:
    if way != "loop":
        segmenter = SamSegmenter(sam, device, pack=PACKS[way], precision=precision)

        def ours(images: list[Tensor]) -> object:
            keypoints = prior(images)
            return segmenter(images, keypoints, make_prompts(keypoints))

        return ours
    predictor = SamPredictor(sam)

    @torch.autocast(device, getattr(torch, precision), enabled=precision != "float32")
    def loop(images: list[Tensor]) -> object:
        keypoints = prior(images)
        prompts = make_prompts(keypoints)
        found = []
        for row, image in enumerate(images):
            predictor.set_image(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
            for positive, negative in zip(prompts.positive[row], prompts.negative[row], strict=True):
                said = positive | negative
                points, labels = keypoints[row, said, :2].numpy(), positive[said].int().numpy()
                found.append(predictor.predict(points, labels, multimask_output=False)[0])
        return found

    return loop


def main() -> None:
    """Print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="sam_vit_b", choices=["sam_vit_b", "sam_vit_l", "sam_vit_h"])
    parser.add_argument("--crops", type=int, help="by default 4 on a CPU, 32 packed; 64 and 512 on a GPU")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--output", type=Path, default=RESULTS / "lse.json")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    devices = ["cpu"] if arguments.device == "cpu" else ["cpu", arguments.device]
    if arguments.way:
        options = arguments.size, arguments.device, arguments.crops, arguments.precision
        return print(json.dumps(measure(arguments.way, *options)))
    measured: dict[str, dict[str, dict[str, float]]] = {}
    for device in devices:
        measured[device] = {}
        for way in WAYS:
            few = (4, PACK) if device == "cpu" else (64, 16 * PACK)
            crops = arguments.crops or few[way == "packed"]
            command = [sys.executable, __file__, "--way", way, "--device", device, "--size", arguments.size]
            command += ["--crops", str(crops), "--precision", arguments.precision]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            measured[device][way] = {name: round(value, 3) for name, value in found.items()}
            print(device, way, measured[device][way], flush=True)
    speedups = {
        device: {way: round(ways[way]["crops_per_s"] / ways["loop"]["crops_per_s"], 2) for way in WAYS[1:]}
        for device, ways in measured.items()
    }
    gpu = {"gpu": torch.cuda.get_device_name()} if "cuda" in measured else {}
    write_record(
        arguments.output,
        "crops a second of SAM with three areas: SamPredictor's loop, batched, 2 crops on a canvas (as many "
        "pixels each as in the loop) and 32 (a quarter of them on each side)",
        machine={"threads": torch.get_num_threads(), **gpu},
        model=arguments.size,
        precision=arguments.precision,
        crop=[HEIGHT, WIDTH],
        pack=PACK,
        measured=measured,
        times_the_loop=speedups,
        met={device: times["packed"] >= TARGET for device, times in speedups.items()},
    )
    print(json.dumps(speedups))


if __name__ == "__main__":
    main()
