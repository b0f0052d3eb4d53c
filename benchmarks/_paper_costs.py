"""What the papers' full runs cost, worked out from the results that are there."""

from __future__ import annotations

import json
from typing import Any

from _record import RESULTS

LSE_CROPS = 4_200_000
"""Images to segment before pre-training on LUPerson."""
DENOISE_IMAGES = 3_898_086
"""Images of CION-AL, the data set that CION cleans."""
EPOCHS = 100
"""Passes over the images that are counted here, for both: those of VILLS' pre-training."""
FEATURE_DIM = 768
"""Of ViT-B's features, and of those that denoising is measured with."""
HOUR = 3600


def read(name: str) -> dict[str, Any]:
    """A result file."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def costs() -> list[tuple[str, str, str]]:
    """Rows of work, cost and where the number is from."""
    rows = []
    speed = read("lse_speed")
    workers = speed["machine"]["workers"]
    for way, rate in speed["images_per_s"].items():
        hours = LSE_CROPS / rate * workers / HOUR
        rows.append(
            (
                f"local regions of {LSE_CROPS:,} crops with {way}",
                f"{hours:.0f} core hours: {hours / 16:.1f} h on one Ray node of 16 cores",
                f"`lse_speed.json`: {rate:g} crops a second on {workers} cores",
            )
        )
    sam = read("lse")
    rate, cores = sam["measured"]["cpu"]["packed"]["crops_per_s"], sam["machine"]["cores"]
    hours = LSE_CROPS / rate * cores / HOUR
    rows.append(
        (
            f"the same with SAM ViT-B, {sam['pack']} crops on a canvas",
            f"{hours:,.0f} core hours: {hours / 16 / 24:.1f} days on one Ray node of 16 cores",
            f"`lse.json`: {rate:.2f} crops a second on {cores} cores",
        )
    )
    card = read("gpu_h100/speed")
    parts, gpu = card["parts"], card["machine"]["gpu"]
    for way, rate in ((way, found["crops_per_s"]) for way, found in parts["SAM"]["results"].items()):
        rows.append(
            (
                f"the same with SAM on a GPU, {way}",
                f"{LSE_CROPS / rate / HOUR:.1f} GPU hours",
                f"`gpu_h100/speed.json`: {rate:g} crops a second on one {gpu}",
            )
        )
    pretraining = (("VILLS", "vills_vit_small", LSE_CROPS), ("CION", "cion_vit_small", DENOISE_IMAGES))
    for part, name, images in pretraining:
        rate = parts[part]["results"][f"{name}, bfloat16"]["images_per_s"]
        rows.append(
            (
                f"{EPOCHS} epochs of {images:,} images, {name} in bfloat16",
                f"{EPOCHS * images / rate / HOUR:.0f} GPU hours",
                f"`gpu_h100/speed.json`: {rate:g} images and frames a second on one {gpu}",
            )
        )
        step = parts[part]["results"][f"{name}, bfloat16"]["seconds"]
        loading = parts["loading"]["results"][part]
        rows.append(
            (
                f"loading its batches as fast as that GPU trains, {name}",
                f"{loading['cores'] * loading['seconds'] / step:.1f} cores per GPU",
                f"`gpu_h100/speed.json`: {loading['seconds']:g} s a batch on {loading['cores']} cores, "
                f"{step:g} s a step",
            )
        )
    denoise = read("denoise")["measured"]
    largest = denoise["speed"][-1]
    hours = DENOISE_IMAGES / largest["images"] * largest["cpu_s"] / HOUR
    rows.append(
        (
            f"denoising {DENOISE_IMAGES:,} images",
            f"{hours:.1f} core hours: {denoise['cion_al']['seconds']} s on 2 cores; one machine",
            f"`denoise.json`: {largest['images']:,} images in {largest['seconds']:.0f} s, linear in them",
        )
    )
    rows.append(
        (
            f"features of those images on disk, {FEATURE_DIM} half-precision numbers each",
            f"{DENOISE_IMAGES * FEATURE_DIM * 2 / 1e9:.1f} GB",
            "`denoise.json` has such features",
        )
    )
    rate = read("data_loading")["images_per_second"]["ours"]
    rows.append(
        (
            "loading 2 global and 8 local views of 1,000 images a second",
            f"{1000 / rate:.1f} cores",
            f"`data_loading.json`: {rate:g} images a second and worker",
        )
    )
    return rows


def lines() -> list[str]:
    """The costs as a table in Markdown."""
    head = ["| work | cost | from |", "| --- | --- | --- |"]
    return [*head, *(f"| {' | '.join(row)} |" for row in costs())]
