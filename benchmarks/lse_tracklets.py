"""Temporal IoU of areas on a synthetic world's walking people: single frames beside smoothed keypoints.

The temporal IoU of an area is that of its masks in space and time: intersections summed over a tracklet's
frames, over unions. Keypoints are the world's own with a third of them hidden in each frame, and BlazePose's
where its weights are. --tune prints the same for several spreads on other seeds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from _record import RESULTS, write_record
from torch import Tensor

from reid_core.synthetic import PARTS, World
from reid_lse import BlazePosePredictor, LocalSemanticExtractor, Pose, extract_tracklet
from reid_lse.predictors.blazepose import WEIGHTS
from reid_lse.tracklet import SPREAD
from reid_lse.weights import cached_file

AREAS = {"head": ("head",), "torso": ("torso", "arms"), "legs": ("legs",)}
TUNED, REPORTED = 110, 17
FRAMES, CAMERAS = 8, 2
HIDDEN, SHAKE = 1 / 3, 2.0
"""Share of the true keypoints hidden in each frame; standard deviation of the others' error in pixels."""

SPREADS = (0.0, 0.5, 1.0, 1.5, 2.0)


def tracklets(seed: int, people: int) -> list[tuple[list[Tensor], Tensor, Tensor]]:
    """Frames, keypoints [t 17 3] and true masks [t a h w] of each tracklet."""
    world = World(identities=people, cameras=CAMERAS, seed=seed)
    found = []
    for person in range(people):
        shots = [world.render(person, person % CAMERAS, 0, frame) for frame in range(FRAMES)]
        labels = np.stack([shot.labels for shot in shots])
        masks = [np.isin(labels, [PARTS.index(part) for part in parts]) for parts in AREAS.values()]
        images = [torch.from_numpy(shot.image).permute(2, 0, 1).contiguous() for shot in shots]
        keypoints = torch.from_numpy(np.stack([shot.keypoints for shot in shots]))
        found.append((images, keypoints, torch.from_numpy(np.stack(masks, axis=1))))
    return found


def damage(keypoints: Tensor, generator: torch.Generator) -> Tensor:
    """Keypoints shaken, a share of them hidden in each frame."""
    points = keypoints.clone()
    points[..., :2] += SHAKE * torch.randn(points[..., :2].shape, generator=generator)
    points[..., 2] *= torch.rand(points.shape[:2], generator=generator) >= HIDDEN
    return points


def temporal_iou(seed: int, people: int, spreads: tuple[float, ...]) -> dict[str, dict[str, float]]:
    """Mean temporal IoU over areas and tracklets, by source of keypoints and spread."""
    generator = torch.Generator().manual_seed(seed)
    extractor = LocalSemanticExtractor()
    blazepose = cached_file(WEIGHTS).is_file() and BlazePosePredictor(cached_file(WEIGHTS))
    scores: dict[str, dict[str, list[float]]] = {}
    for images, keypoints, truth in tracklets(seed, people):
        sources = {"true, damaged": Pose(damage(keypoints, generator)), "true": Pose(keypoints)}
        if blazepose:
            sources["blazepose"] = blazepose(images)
        for source, pose in sources.items():
            for spread in spreads:
                masks = extract_tracklet(images, extractor, pose, spread=spread).masks
                both, either = ((masks & truth).sum(dim=(0, 2, 3)), (masks | truth).sum(dim=(0, 2, 3)))
                seen = truth.sum(dim=(0, 2, 3)) > 0
                iou = (both / either.clamp(min=1))[seen]
                scores.setdefault(source, {}).setdefault(f"spread {spread}", []).extend(iou.tolist())
    return {
        source: {name: round(float(np.mean(values)), 3) for name, values in rows.items()}
        for source, rows in scores.items()
    }


def main() -> None:
    """Print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=24, help="a tracklet each")
    parser.add_argument("--tune", action="store_true", help="print several spreads on other seeds and end")
    parser.add_argument("--output", type=Path, default=RESULTS / "lse_tracklets.json")
    arguments = parser.parse_args()
    if arguments.tune:
        return print(json.dumps(temporal_iou(TUNED, arguments.people, SPREADS), indent=2))
    measured = temporal_iou(REPORTED, arguments.people, (0.0, SPREAD))
    write_record(
        arguments.output,
        "temporal IoU of areas on synthetic tracklets, single frames beside smoothed keypoints",
        tracklets=arguments.people,
        frames=FRAMES,
        seed=REPORTED,
        measured=measured,
    )
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
