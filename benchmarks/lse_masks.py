"""IoU of masks with the truth of a synthetic world, by keypoints and segmenter, and its rank by `quality`.

Keypoints are the world's own, the upright-pedestrian prior's, and BlazePose's where its weights are
(`reid-lse weights blazepose`). People of the seeds that are reported have tuned nothing; --fit and --odds
print what was counted on other seeds, from which the package has its constants.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from _record import RESULTS, write_record
from scipy.stats import spearmanr
from torch import Tensor

from reid_core.synthetic import PARTS, World
from reid_lse import BlazePosePredictor, CRFSegmenter, Pose, grabcut, make_prompts, mask_quality, prior
from reid_lse.layout import crops_of
from reid_lse.predictors.blazepose import WEIGHTS
from reid_lse.segmenters.crf import DISTANCE
from reid_lse.weights import cached_file

AREAS = {"head": ("head",), "torso": ("torso", "arms"), "legs": ("legs",)}
"""Areas as the world's parts: the torso with arms, for their keypoints are the torso's."""

TUNED, REPORTED = (100, 101, 102), (7, 8, 9)
"""Seeds of the worlds that tuned settings, and of those that are reported."""

CAMERAS, FRAME_STEP = 4, 5
LEAST = 16
"""Pixels of a true mask below which the area is taken as not to be seen."""

GOAL_IOU, GOAL_RANK = 0.72, 0.6


class Crops(NamedTuple):
    """Crops with their truth."""

    images: list[Tensor]
    keypoints: Tensor
    masks: Tensor


def draw(seed: int, people: int) -> Crops:
    """A crop of each person of each camera."""
    world = World(identities=people, cameras=CAMERAS, seed=seed)
    shots = [
        world.render(person, camera, 0, FRAME_STEP * (person % 7))
        for person in range(people)
        for camera in range(CAMERAS)
    ]
    labels = np.stack([shot.labels for shot in shots])
    masks = [np.isin(labels, [PARTS.index(part) for part in parts]) for parts in AREAS.values()]
    return Crops(
        [torch.from_numpy(shot.image).permute(2, 0, 1).contiguous() for shot in shots],
        torch.from_numpy(np.stack([shot.keypoints for shot in shots])),
        torch.from_numpy(np.stack(masks, axis=1)),
    )


def poses(crops: Crops) -> dict[str, Pose]:
    """Keypoints by source."""
    found = {"true": Pose(crops.keypoints), "prior": Pose(prior(crops.images))}
    if cached_file(WEIGHTS).is_file():
        found["blazepose"] = BlazePosePredictor(cached_file(WEIGHTS))(crops.images)
    return found


def intersection_over_union(found: Tensor, truth: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """IoU [n a], and which areas can be seen [n a]."""
    there = truth.sum(dim=(2, 3)) >= LEAST
    union = (found | truth).sum(dim=(2, 3)).clamp(min=1)
    return ((found & truth).sum(dim=(2, 3)) / union).numpy(), there.numpy()


def segment(name: str, crops: Crops, pose: Pose) -> tuple[Tensor, Tensor, float]:
    """Masks [n a h w], their quality [n a], and milliseconds per crop."""
    prompts = make_prompts(pose.keypoints, tuple(AREAS))
    began = time.perf_counter()
    if name == "grabcut":
        masks = grabcut(crops.images, pose.keypoints, prompts)
    else:
        person = None if name == "crf, no person mask" else pose.person
        masks, quality = CRFSegmenter()(crops.images, pose.keypoints, prompts, person)
    spent = 1000 * (time.perf_counter() - began) / len(crops.images)
    if name == "grabcut":
        quality = mask_quality(crops.images, masks, pose.keypoints, prompts)
    return torch.stack(masks), quality, spent


def measure(seeds: tuple[int, ...], people: int) -> dict[str, dict[str, dict[str, float]]]:
    """By source of keypoints and segmenter: IoU per area and mean, rank correlation of quality, time."""
    worlds = [draw(seed, people) for seed in seeds]
    predicted = [poses(crops) for crops in worlds]
    table: dict[str, dict[str, dict[str, float]]] = {}
    ranks: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for source in predicted[0]:
        names = ["grabcut", "crf"] + ["crf, no person mask"] * (predicted[0][source].person is not None)
        for name in names:
            ious, there, qualities, spent = [], [], [], []
            for crops, of_sources in zip(worlds, predicted, strict=True):
                masks, quality, milliseconds = segment(name, crops, of_sources[source])
                iou, seen = intersection_over_union(masks, crops.masks)
                ious.append(iou)
                there.append(seen)
                qualities.append(quality.numpy())
                spent.append(milliseconds)
            iou, seen, quality = (np.concatenate(side) for side in (ious, there, qualities))
            areas = {area: float(iou[seen[:, row], row].mean()) for row, area in enumerate(AREAS)}
            by_seed = [float(one[those].mean()) for one, those in zip(ious, there, strict=True)]
            table.setdefault(source, {})[name] = {
                **areas,
                "mean": float(iou[seen].mean()),
                "lowest_seed": min(by_seed),
                "rank_of_quality": float(spearmanr(quality[seen], iou[seen])[0]),
                "mean_quality": float(quality[seen].mean()),
                "ms_per_crop": float(np.mean(spent)),
            }
            if name == "crf":
                ranks.setdefault(name, []).append((quality[seen], iou[seen]))
            print(source, name, table[source][name], flush=True)
    quality, iou = (np.concatenate(side) for side in zip(*ranks["crf"], strict=True))
    table["all sources"] = {"crf": {"rank_of_quality": float(spearmanr(quality, iou)[0])}}
    return table


def fit_quality(people: int) -> None:
    """Print the quality's coefficients by least squares on log odds, and what a least quality removes."""
    rows, ious = [], []
    for seed in TUNED:
        crops = draw(seed, people)
        for pose in poses(crops).values():
            masks, quality, _ = segment("crf", crops, pose)
            iou, there = intersection_over_union(masks, crops.masks)
            rows.append(_terms(crops, pose, masks)[there & (quality.numpy() > 0)])
            ious.append(iou[there & (quality.numpy() > 0)])
    terms, iou = np.concatenate(rows), np.concatenate(ious)
    odds = np.log(np.clip(iou, 0.02, 0.98) / (1 - np.clip(iou, 0.02, 0.98)))
    weights = np.linalg.lstsq(terms, odds, rcond=None)[0]
    print("intercept, overlap, agreement:", weights.round(2).tolist())
    quality = 1 / (1 + np.exp(-terms @ weights))
    for least in (0.3, 0.35, 0.4, 0.45, 0.5):
        dropped = quality < least
        bad = float((iou[dropped] < 0.5).mean()) if dropped.any() else float("nan")
        print(f"below {least}: {dropped.mean():.1%} of the areas, of which {bad:.0%} have an IoU under 0.5")


def _terms(crops: Crops, pose: Pose, masks: Tensor) -> np.ndarray:
    """1, overlap and agreement of each area, out of the quality with two sets of coefficients: [n a 3]."""
    import reid_lse.quality as module

    prompts = make_prompts(pose.keypoints, tuple(AREAS))
    kept = module.INTERCEPT, module.OVERLAP, module.AGREEMENT
    terms = [np.ones(masks.shape[:2])]
    for coefficients in ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        module.INTERCEPT, module.OVERLAP, module.AGREEMENT = coefficients
        found = mask_quality(crops.images, list(masks), pose.keypoints, prompts).double().numpy()
        terms.append(np.log(np.clip(found, 1e-9, 1 - 1e-9) / (1 - np.clip(found, 1e-9, 1 - 1e-9))))
    module.INTERCEPT, module.OVERLAP, module.AGREEMENT = kept
    return np.stack(terms, axis=-1)


def count_odds(people: int) -> None:
    """Print the log odds of a pixel to show the person, by its distance from the nearest limb."""
    edges = (np.array(DISTANCE[1:]) + np.array(DISTANCE[:-1])) / 2
    inside, total = np.zeros(len(DISTANCE)), np.zeros(len(DISTANCE))
    for seed in TUNED:
        crops = draw(seed, people)
        prompts = make_prompts(crops.keypoints, tuple(AREAS))
        for crop, truth in zip(crops_of(crops.images, crops.keypoints, prompts), crops.masks, strict=True):
            if crop is not None:
                place = np.digitize(crop.layout.away.min(axis=0), edges)
                total += np.bincount(place.ravel(), minlength=len(DISTANCE))
                person = truth.any(dim=0).numpy()
                inside += np.bincount(place[person], minlength=len(DISTANCE))
    share = inside / total
    print(
        {
            distance: round(float(odds), 1)
            for distance, odds in zip(DISTANCE, np.log(share / (1 - share)), strict=True)
        }
    )


def main() -> None:
    """Print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=80, help="of each world, a crop in each of 4 cameras")
    parser.add_argument("--fit", action="store_true", help="print the quality's coefficients and end")
    parser.add_argument("--odds", action="store_true", help="print the limbs' log odds and end")
    parser.add_argument("--output", type=Path, default=RESULTS / "lse_masks.json")
    arguments = parser.parse_args()
    if arguments.fit:
        return fit_quality(arguments.people)
    if arguments.odds:
        return count_odds(arguments.people)
    measured = measure(REPORTED, arguments.people)
    rounded = {
        source: {name: {key: round(value, 3) for key, value in row.items()} for name, row in rows.items()}
        for source, rows in measured.items()
    }
    write_record(
        arguments.output,
        "IoU with the true areas of synthetic people, and rank correlation of quality with it",
        machine={"threads": torch.get_num_threads()},
        people=arguments.people,
        crops=arguments.people * CAMERAS * len(REPORTED),
        seeds=list(REPORTED),
        measured=rounded,
        met={
            "mean IoU, true keypoints, no weights": rounded["true"]["crf"]["mean"] >= GOAL_IOU,
            "rank correlation, all sources": rounded["all sources"]["crf"]["rank_of_quality"] >= GOAL_RANK,
            **{
                f"rank correlation, {source}": rows["crf"]["rank_of_quality"] >= GOAL_RANK
                for source, rows in rounded.items()
                if source != "all sources"
            },
        },
    )
    print(json.dumps(rounded, indent=2))


if __name__ == "__main__":
    main()
