"""A small SAM of segment-anything's own classes, trained from point prompts, beside GrabCut; and packed.

Its images are a synthetic world, written to files and read back: people of the first identities train it, the
others test it. It is then used through the package as the official sizes are. The same true keypoints prompt
both segmenters. The areas' true masks are the world's: torso with arms, for their keypoints are the torso's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from _record import RESULTS, write_record
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor

from reid_core.synthetic import PARTS, World, write_folder
from reid_lse import SamSegmenter, Segmenter, grabcut, make_prompts, prior, read_image
from reid_lse.prompts import DEFAULT_THRESHOLD

SIDE, PATCH, WIDTH, DEPTH, HEADS, DIM = 128, 16, 256, 6, 8, 128
"""Canvas, patches and sizes of the small SAM: some 5 million parameters in its image encoder."""

PACK, BATCH, RATE = 2, 16, 1e-3
"""Two crops of 128 x 64 pixels fill a canvas at their own size, as 32 of 256 x 128 fill SAM's."""

AREAS = {"head": ("head",), "torso": ("torso", "arms"), "legs": ("legs",)}
POINTS = (8, 15)
"""Keypoints from which a training crop is prompted: the least, and one past the most."""

UNSURE = 0.2
"""Confidence of a corrupted keypoint, below the default threshold."""

LEAST = 16
"""Pixels of a true mask below which the area is taken as not to be seen."""


def small_sam() -> Sam:
    """SAM's three parts with random weights at the small sizes."""
    cells = SIDE // PATCH
    return Sam(
        ImageEncoderViT(
            img_size=SIDE,
            patch_size=PATCH,
            embed_dim=WIDTH,
            depth=DEPTH,
            num_heads=HEADS,
            out_chans=DIM,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=4,
            global_attn_indexes=(1, 3, 5),
        ),
        PromptEncoder(DIM, (cells, cells), (SIDE, SIDE), 16),
        MaskDecoder(
            transformer_dim=DIM, transformer=TwoWayTransformer(2, DIM, 4, 512), iou_head_hidden_dim=DIM
        ),
    )


def read_world(root: Path) -> tuple[list[Tensor], Tensor, Tensor, np.ndarray]:
    """Images, keypoints [n 17 3], true masks [n a h w] and identities [n] of a folder with its truth."""
    truth = pd.read_parquet(root / "truth.parquet")
    images = [read_image(root / path) for path in truth["path"]]
    keypoints = torch.from_numpy(np.load(root / "truth_keypoints.npy"))
    labels = np.load(root / "truth_labels.npy")
    masks = [np.isin(labels, [PARTS.index(part) for part in parts]) for parts in AREAS.values()]
    return images, keypoints, torch.from_numpy(np.stack(masks, axis=1)), truth["identity"].to_numpy()


def train(sam: Sam, images: list[Tensor], keypoints: Tensor, masks: Tensor, seconds: float, seed: int) -> int:
    """Train on point prompts until the CPU time is up, a third on canvases of one crop: the steps."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(sam.parameters(), lr=RATE, weight_decay=0.01)
    segmenters = [SamSegmenter(sam, pack=pack) for pack in (1, PACK, PACK)]
    began, step = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 20) * max(0.02, 1 - spent / seconds)
        rows = torch.randperm(len(images), generator=generator)[:BATCH]
        points = keypoints[rows].clone()
        # All but some are dropped and the others shaken, as detectors would. As many in (almost) every crop
        # are prompted in one pass.
        chance = torch.rand(points.shape[:2], generator=generator) * (points[..., 2] > 0)
        kept = int(torch.randint(*POINTS, (), generator=generator))
        points[..., 2] *= chance >= chance.topk(kept, dim=1).values[:, -1:]
        points[..., :2] += torch.randn(points[..., :2].shape, generator=generator)
        crops, truth = [images[row] for row in rows.tolist()], masks[rows]
        if torch.rand((), generator=generator) < 0.5:
            # Areas have as much of the left as of the right, so mirrored keypoints may keep their names.
            crops, truth = [crop.flip(2) for crop in crops], truth.flip(3)
            points[..., 0] = truth.shape[3] - points[..., 0]
        found = segmenters[step % 3].logits(crops, points, make_prompts(points, tuple(AREAS)))
        losses = [loss(logits, truth[rows, areas]) for rows, areas, logits in found]
        mean = torch.cat(losses).mean()
        optimizer.zero_grad()
        mean.backward()
        torch.nn.utils.clip_grad_norm_(sam.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 50 == 0:
            print(f"{spent:.0f} s, step {step}, loss {mean.item():.3f}", flush=True)
    return step


def loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Dice loss and twice the cross-entropy of each mask, [m]."""
    target, chance = masks.float(), logits.sigmoid()
    dice = 1 - (2 * (chance * target).sum((1, 2)) + 1) / (chance.sum((1, 2)) + target.sum((1, 2)) + 1)
    return dice + 2 * F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((1, 2))


def mean_iou(found: list[Tensor], masks: Tensor) -> dict[str, float]:
    """IoU an area and over all, over the areas that can be seen."""
    there = masks.sum(dim=(2, 3)) >= LEAST
    both = torch.stack(found)
    iou = (both & masks).sum(dim=(2, 3)) / (both | masks).sum(dim=(2, 3)).clamp(min=1)
    each = {name: iou[there[:, area], area].mean().item() for area, name in enumerate(AREAS)}
    return {name: round(value, 3) for name, value in {**each, "mean": iou[there].mean().item()}.items()}


def corrupted(keypoints: Tensor, size: tuple[int, int], seed: int) -> Tensor:
    """A third of each crop's keypoints thrown anywhere into it, with a confidence that says so."""
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(keypoints.shape[:2], generator=generator).argsort(dim=1) < round(17 / 3)
    anywhere = torch.rand(keypoints[..., :2].shape, generator=generator) * torch.tensor(size[::-1])
    anywhere = torch.cat([anywhere, torch.full_like(anywhere[..., :1], UNSURE)], dim=-1)
    return torch.where(wrong[..., None], anywhere, keypoints)


def run(people: int, seconds: float, seed: int, checkpoint: Path | None) -> dict[str, object]:
    """Write the world, train on three quarters of its people, and test on the others."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(identities=people, cameras=4, seed=seed)
        root = write_folder(
            world, Path(folder) / "world", tracklets_per_camera=0, images_per_camera=2, truth=True
        )
        images, keypoints, masks, identities = read_world(root)
    seen = torch.from_numpy(identities < people * 3 // 4)
    learn, test = (side.nonzero().flatten() for side in (seen, ~seen))
    torch.manual_seed(seed)
    sam = small_sam()
    parameters = sum(weight.numel() for weight in sam.image_encoder.parameters())
    if checkpoint is not None and checkpoint.exists():
        trained = torch.load(checkpoint, weights_only=True)
        sam.load_state_dict(trained["model"])
    else:
        began = time.process_time()
        steps = train(sam, [images[row] for row in learn], keypoints[learn], masks[learn], seconds, seed)
        trained = {"steps": steps, "train_cpu_seconds": round(time.process_time() - began)}
        trained["train_threads"] = torch.get_num_threads()
        if checkpoint is not None:
            torch.save({"model": sam.state_dict(), **trained}, checkpoint)

    crops, points, truth = [images[row] for row in test], keypoints[test], masks[test]

    def found(segmenter: Segmenter, points: Tensor, threshold: float = DEFAULT_THRESHOLD) -> list[Tensor]:
        return segmenter(crops, points, make_prompts(points, tuple(AREAS), threshold))

    alone = found(SamSegmenter(sam), points)
    packed = found(SamSegmenter(sam, pack=PACK), points)
    guessed, wrong = prior(crops), corrupted(points, (crops[0].shape[1], crops[0].shape[2]), seed)
    return {
        "encoder_parameters": parameters,
        "train_images": len(learn),
        "test_images": len(test),
        **{name: value for name, value in trained.items() if name != "model"},
        "iou": {
            "small SAM, true keypoints": mean_iou(alone, truth),
            "small SAM, packed, true keypoints": mean_iou(packed, truth),
            "small SAM, prior keypoints": mean_iou(found(SamSegmenter(sam), guessed), truth),
            "grabcut, true keypoints": mean_iou(found(grabcut, points), truth),
            "grabcut, prior keypoints": mean_iou(found(grabcut, guessed), truth),
            "grabcut, a third corrupted, dropped by Eq. 4": mean_iou(found(grabcut, wrong), truth),
            "grabcut, a third corrupted, kept": mean_iou(found(grabcut, wrong, 0.0), truth),
        },
        "iou_packed_with_unpacked": mean_iou(packed, torch.stack(alone)),
    }


def main() -> None:
    """Print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=320)
    parser.add_argument("--seconds", type=float, default=600, help="of CPU time to train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, help="weights to keep, or to use if the file is there")
    parser.add_argument("--output", type=Path, default=RESULTS / "small_sam.json")
    arguments = parser.parse_args()
    measured = run(arguments.people, arguments.seconds, arguments.seed, arguments.checkpoint)
    write_record(
        arguments.output,
        "mean IoU on held-out synthetic people of a small SAM trained from point prompts, beside GrabCut",
        people=arguments.people,
        **measured,
    )
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
