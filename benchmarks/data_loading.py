"""Multi-crop views from JPEGs beside DINO's own code, and evaluation items beside the plainest code for them.

DINO's pipeline: PIL decodes, torchvision's first transforms crop (bicubic; here bilinear), flip, jitter, blur
(PIL) and solarize, then ToTensor and Normalize, for 2 global and 8 local views. The plainest evaluation item
reads both ids from the manifest, and makes the mean and the deviation of the channels, for each image. All
read the same synthetic crops from disk, in one process, image after image; they take turns, and the fastest
of several rounds counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from _record import RESULTS, write_record
from PIL import Image, ImageFilter, ImageOps
from torchvision import transforms as v1

from reid_core.data.datasets import ImageDataset
from reid_core.data.decoding import read_image
from reid_core.data.manifest import Manifest
from reid_core.data.transforms import IMAGENET_MEAN, IMAGENET_STD, MultiCrop, eval_transform, resize
from reid_core.synthetic import World

GLOBAL, LOCAL, LOCALS = (256, 128), (128, 64), 8


def pil_multi_crop() -> Callable[[Path], Any]:
    """DINO's augmentation on PIL images, with CION's sizes and the aspect of a person."""

    def blur(p: float) -> Callable[[Image.Image], Image.Image]:
        def apply(picture: Image.Image) -> Image.Image:
            if torch.rand(()) >= p:
                return picture
            return picture.filter(ImageFilter.GaussianBlur(radius=float(torch.empty(()).uniform_(0.1, 2.0))))

        return apply

    def solarize(picture: Image.Image) -> Image.Image:
        return ImageOps.solarize(picture) if torch.rand(()) < 0.2 else picture

    colour = [
        v1.RandomHorizontalFlip(0.5),
        v1.RandomApply([v1.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
        v1.RandomGrayscale(0.2),
    ]
    end = [v1.ToTensor(), v1.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    bicubic = v1.InterpolationMode.BICUBIC

    def crop(size: tuple[int, int], scale: tuple[float, float]) -> v1.RandomResizedCrop:
        return v1.RandomResizedCrop(size, scale, (3 / 8, 2 / 3), interpolation=bicubic)

    first = v1.Compose([crop(GLOBAL, (0.4, 1.0)), *colour, blur(1.0), *end])
    second = v1.Compose([crop(GLOBAL, (0.4, 1.0)), *colour, blur(0.1), solarize, *end])
    local = v1.Compose([crop(LOCAL, (0.05, 0.4)), *colour, blur(0.5), *end])

    def load(path: Path) -> Any:
        with open(path, "rb") as file:
            picture = Image.open(file).convert("RGB")
        return [first(picture), second(picture), *(local(picture) for _ in range(LOCALS))]

    return load


class PlainDataset(ImageDataset):
    """Evaluation items for which nothing is kept from one to the next."""

    def _wrap(self, row: int, image: Any, unreadable: list[str], valid: bool) -> dict[str, Any]:
        pid, camid = int(self.manifest.pids[row]), int(self.manifest.camids[row])
        return dict(image=image, pid=pid, camid=camid, index=row, valid=valid, unreadable=unreadable)


def plain_transform(images: torch.Tensor) -> torch.Tensor:
    """Resize and normalise, with constants that are made for each image."""
    mean = torch.tensor([255 * value for value in IMAGENET_MEAN]).view(3, 1, 1)
    std = torch.tensor([255 * value for value in IMAGENET_STD]).view(3, 1, 1)
    return (resize(images, GLOBAL) - mean).div_(std)


def rate(load: Callable[[Any], Any], items: Iterable[Any]) -> float:
    """Images a second."""
    start, count = time.perf_counter(), 0
    for item in items:
        load(item)
        count += 1
    return count / (time.perf_counter() - start)


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS / "data_loading.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as in a loader's worker
    world = World(identities=arguments.images, cameras=1, height=256, width=128, seed=0)
    views = MultiCrop(GLOBAL, LOCAL, LOCALS)
    pipelines = {"ours": lambda path: views(read_image(path)), "pil_torchvision_v1": pil_multi_crop()}
    rates: defaultdict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for identity in range(arguments.images):
            paths.append(Path(folder) / f"{identity}.jpg")
            Image.fromarray(world.render(identity, 0, 0, 0).image).save(paths[-1], quality=90)
        rows = pd.DataFrame({"path": [path.name for path in paths], "split": "query", "pid": 1, "camid": 1})
        manifest = Manifest(rows, folder)
        items = {
            "evaluation_items": ImageDataset(manifest, eval_transform(GLOBAL)),
            "plain_evaluation_items": PlainDataset(manifest, plain_transform),
        }
        for _ in range(arguments.rounds):
            for name, load in pipelines.items():
                rates[name].append(rate(load, paths))
            for name, dataset in items.items():
                rates[name].append(rate(dataset.__getitem__, range(len(dataset))))
    best = {name: round(max(values), 1) for name, values in rates.items()}
    measured = {
        "images_per_second": best,
        "ratio": round(best["ours"] / best["pil_torchvision_v1"], 2),
        "target_ratio": 2,
        "evaluation_items_ratio": round(best["evaluation_items"] / best["plain_evaluation_items"], 2),
    }
    write_record(
        arguments.output,
        "2 global (256x128) and 8 local (128x64) views from JPEGs, images a second in one worker",
        **measured,
    )
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
