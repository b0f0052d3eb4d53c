"""What `quick.py` measures of growth: CPU time of twice the data over that of the data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import denoise as denoising
import numpy as np
import torch
from _quick_parts import Measured, _market, _nearest, best, find_five_boxes, write_video


def growth(found: dict[str, tuple[float, float]], twice: str, once: str) -> float:
    """How many times as much CPU time twice the data took."""
    return found[twice][1] / found[once][1]


def doubling(folder: Path) -> Measured:
    """CPU time of twice the data over that of the data: ours, and the search that it can't do without."""
    import faiss

    from reid_core.training.unsupervised import jaccard_distance
    from reid_eval import evaluate, k_reciprocal

    whole = _market(folder)
    half = tuple(array[::2] for array in whole)
    wide = tuple(array if side % 2 == 0 else array[::2] for side, array in enumerate(whole))
    some = np.random.default_rng(0).standard_normal((16_000, 256), dtype=np.float32)
    some[1::2] = some[::2] + 0.5 * some[1::2]
    rows = torch.nn.functional.normalize(torch.from_numpy(np.concatenate(whole[:2])))
    found = best(
        2,
        both=lambda: evaluate(*whole),
        neither=lambda: evaluate(*half),
        queries=lambda: evaluate(*wide),
        reranked=lambda: k_reciprocal(whole[0], whole[1]),
        reranked_half=lambda: k_reciprocal(half[0], half[1]),
        nearest=lambda: _nearest(rows, 21),
        nearest_half=lambda: _nearest(rows[::2].contiguous(), 21),
        pairs=lambda: jaccard_distance(some, progress=False),
        pairs_half=lambda: jaccard_distance(some[:8000], progress=False),
        search=lambda: faiss.knn(some, some, 30),
        search_half=lambda: faiss.knn(some[:8000], some[:8000], 30),
    )

    return {
        "evaluation, q and g": round(growth(found, "both", "neither"), 2),
        "evaluation, g alone": round(growth(found, "both", "queries"), 2),
        "reranking_over_its_search": round(
            growth(found, "reranked", "reranked_half") / growth(found, "nearest", "nearest_half"), 2
        ),
        "clustering_over_its_search": round(
            growth(found, "pairs", "pairs_half") / growth(found, "search", "search_half"), 2
        ),
    }


def linear(folder: Path) -> Measured:
    """CPU time of twice the frames, images, crops or views over that of half as many."""
    from reid_core.synthetic import World, write_folder
    from reid_core.video import extract_tracklets, read_frames
    from reid_denoise import denoise
    from reid_lse import Extraction, list_images, read_image
    from reid_lse.shards import build_extractor
    from reid_pretrain import DINOLoss

    torch.set_num_threads(1)
    calls: dict[str, Callable[[], Any]] = {}
    world = World(identities=24, cameras=4)
    crops = write_folder(world, folder / "crops", tracklets_per_camera=0, images_per_camera=1, progress=False)
    source = list_images(crops)
    images = [read_image(source.root / path) for path in source.paths]
    extractor = build_extractor(Extraction(keypoints="prior", segmenter="crf"))
    loss = DINOLoss(16_384)

    def track(videos: Path) -> None:
        with tempfile.TemporaryDirectory() as out:
            extract_tracklets(videos, out, find_five_boxes, progress=False)

    def distil(student: torch.Tensor, teacher: torch.Tensor) -> None:
        loss(student, teacher, [torch.arange(teacher.shape[1])] * 8).backward()

    for share in (1, 2):
        path, features = folder / f"videos{share}" / "street.mp4", folder / f"features{share}"
        write_video(path, 200 * share)
        features.mkdir()
        denoising.write_world(features, 2000 * share, 40_000 * share)
        columns = denoising.load_world(features)[:3]
        student = torch.randn(80 * share, 16_384, requires_grad=True)
        teacher = torch.randn(2, 8 * share, 16_384)
        calls |= {
            f"decoding{share}": lambda path=path: [None for _ in read_frames(path)],
            f"tracklets{share}": lambda path=path: track(path.parent),
            f"denoising{share}": lambda columns=columns: denoise(*columns, valid=None),
            f"regions{share}": lambda share=share: extractor.masks(images[: 48 * share]),
            f"dino{share}": lambda student=student, teacher=teacher: distil(student, teacher),
        }
    found = best(2, **calls)
    works = ("decoding", "tracklets", "denoising", "regions", "dino")
    return {work: round(growth(found, f"{work}2", f"{work}1"), 2) for work in works}


PARTS = (doubling, linear)
