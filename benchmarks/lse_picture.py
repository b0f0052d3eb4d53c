"""The picture of reid-lse's README: synthetic people, and their areas by three sources of keypoints."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reid_core.synthetic import World
from reid_lse import BlazePosePredictor, LocalSemanticExtractor
from reid_lse.atomic import atomic
from reid_lse.predictors.blazepose import WEIGHTS
from reid_lse.weights import cached_file

SEED, PEOPLE = 5, 8
COLOURS = ((230, 60, 60), (60, 200, 80), (70, 100, 240))
OPACITY, GAP = 0.6, 4
TONES = 112
"""Colours of the picture, few enough for a small file."""

CAMERAS = 3


def paint(image: Tensor, masks: Tensor, valid: Tensor) -> np.ndarray:
    """The crop with its valid areas in colours: uint8 [h w 3]."""
    pixels = image.permute(1, 2, 0).numpy().astype(np.float32)
    for colour, mask, kept in zip(COLOURS, masks.numpy(), valid.tolist(), strict=True):
        if kept:
            pixels[mask] = (1 - OPACITY) * pixels[mask] + OPACITY * np.array(colour)
    return pixels.round().astype(np.uint8)


def main() -> None:
    """Write the PNG: a row of crops, then one for each source of keypoints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    world = World(identities=PEOPLE, cameras=CAMERAS, seed=SEED, occlusion=0)
    shots = [world.render(person, person % CAMERAS, 0, 3 * person) for person in range(PEOPLE)]
    images = [torch.from_numpy(shot.image).permute(2, 0, 1).contiguous() for shot in shots]
    truth = torch.from_numpy(np.stack([shot.keypoints for shot in shots]))
    found = [LocalSemanticExtractor()(images), LocalSemanticExtractor()(images, truth)]
    if cached_file(WEIGHTS).is_file():
        found.append(LocalSemanticExtractor(BlazePosePredictor(cached_file(WEIGHTS)))(images))
    rows = [[image.permute(1, 2, 0).numpy() for image in images]]
    rows += [list(map(paint, images, regions.masks, regions.valid)) for regions in found]
    space = ((0, GAP), (0, GAP), (0, 0))
    lines = [
        np.concatenate([np.pad(cell, space, constant_values=255) for cell in row], axis=1) for row in rows
    ]
    picture = Image.fromarray(np.concatenate(lines)).quantize(TONES, dither=Image.Dither.NONE)
    with atomic(arguments.output) as temporary:
        picture.save(temporary, optimize=True)


if __name__ == "__main__":
    main()
