"""No public function of the packages changes the arrays that it is given, or makes NaN of finite ones."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
FACES = [
    ".".join(path.relative_to(path.parents[path.parts[::-1].index("src") - 1]).parent.parts)
    for path in sorted(ROOT.glob("packages/*/src/**/__init__.pyi"))
]
KINDS = ("random", "zero", "equal", "large", "tiny")
"""Finite values that formulas are fond of dividing by, taking roots of, or overflowing on."""
LARGE, TINY = 1e18, 1e-18


def values(kind: str, *shape: int, seed: int = 0) -> np.ndarray:
    """Float32 of one of KINDS."""
    noise = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    plain = {"zero": np.zeros(shape), "equal": np.ones(shape)}
    return (
        plain[kind].astype(np.float32)
        if kind in plain
        else noise * {"large": LARGE, "tiny": TINY}.get(kind, 1)
    )


def tensor(kind: str, *shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(values(kind, *shape, seed=seed))


def crops(kind: str) -> list[Tensor]:
    """Two small crops; the kinds that uint8 doesn't have are noise."""
    if kind in ("zero", "equal"):
        return [torch.full((3, 32, 16), {"zero": 0, "equal": 255}[kind], dtype=torch.uint8)] * 2
    return [
        torch.randint(256, (3, 32, 16), generator=torch.Generator().manual_seed(i)).byte() for i in (0, 1)
    ]


def points(kind: str) -> Tensor:
    """Keypoints [2 17 3] within the crops, or all at one place."""
    places = torch.rand(2, 17, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [16.0, 32.0, 1.0]
    )
    return (
        torch.zeros(2, 17, 3) if kind == "zero" else places.new_ones(2, 17, 3) if kind == "equal" else places
    )


def prompts(kind: str) -> Any:
    import reid_lse

    return reid_lse.make_prompts(points(kind))


def masks() -> Tensor:
    return torch.zeros(3, 32, 16, dtype=torch.bool).index_fill_(1, torch.arange(4, 20), True)


PIDS = np.array([1, 1, 2, 2, 3, 3, 4, 4])
CAMIDS = np.array([0, 1, 0, 1, 0, 1, 0, 1])
TRACKLETS, VIDEOS = np.repeat(np.arange(8), 3), np.repeat([0, 1], 12)
LABELS = torch.from_numpy(PIDS)


def sides(kind: str) -> dict[str, Any]:
    features = {"query_features": values(kind, 8, 6), "gallery_features": values(kind, 8, 6, seed=1)}
    ids = {
        "query_pids": PIDS,
        "gallery_pids": PIDS,
        "query_camids": CAMIDS,
        "gallery_camids": CAMIDS[::-1].copy(),
    }
    return {**features, **ids}


def both(kind: str) -> dict[str, Any]:
    return {name: value for name, value in sides(kind).items() if name.endswith("features")}


def held_features(kind: str) -> Any:
    """Features with their rows and mask, as reid-core hands them on."""
    from reid_core.data import Manifest
    from reid_core.models import Features

    table = pd.DataFrame({"path": ["a", "b"], "split": "query", "pid": 3, "camid": [0, 1]})
    return Features(values(kind, 2, 4), Manifest(table, Path()), np.array([True, True]))


def tracked(kind: str) -> dict[str, Any]:
    return {"features": values(kind, 24, 6), "tracklets": TRACKLETS, "videos": VIDEOS, "valid": None}


def persons(kind: str) -> dict[str, Any]:
    """12 people in 8 videos, enough to calibrate on."""
    tracklets = np.arange(320) // 8
    features = values(kind, 12, 24)[tracklets % 12] + np.float32(0.1) * values(kind, 320, 24, seed=1)
    return {"features": features, "tracklets": tracklets, "videos": tracklets // 5, "valid": None}


def rerank(**given: Any) -> np.ndarray:
    import reid_eval

    return np.asarray(reid_eval.k_reciprocal(k1=3, k2=2, **given).distances(0, 8))


def searched(**given: Any) -> Any:
    import tempfile

    import reid_eval

    with tempfile.TemporaryDirectory() as folder:
        path = reid_eval.build_index(given["gallery_features"], Path(folder, "i.faiss"), lists=1)
        return reid_eval.index_search(given["query_features"], path, 3)


def loss(module: str, name: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
    """A loss and its gradients: a finite loss whose gradient is NaN spoils the weights a step later."""

    def run(**given: Any) -> Any:
        built = getattr(importlib.import_module(module), name)
        function = built(*arguments, **options) if inspect.isclass(built) else built
        given = {
            key: value.clone().requires_grad_() if value.is_floating_point() else value
            for key, value in given.items()
        }
        found = function(**given)
        found.backward()
        return found, [value.grad for value in given.values() if value.grad is not None]

    return run


def plain(module: str, name: str, **options: Any) -> Callable[..., Any]:
    return lambda **given: getattr(importlib.import_module(module), name)(**given, **options)


def transform(name: str) -> Callable[..., Any]:
    return lambda **given: plain("reid_core.data", name, size=(32, 16))()(given["image"])


CASES: dict[str, tuple[Callable[[str], dict[str, Any]], Callable[..., Any]]] = {
    "reid_core.data.resize": (
        lambda kind: {"images": tensor(kind, 2, 3, 8, 4)},
        plain("reid_core.data", "resize", size=(16, 8)),
    ),
    "reid_core.data.eval_transform": (lambda kind: {"image": crops(kind)[0]}, transform("eval_transform")),
    "reid_core.data.train_transform": (lambda kind: {"image": crops(kind)[0]}, transform("train_transform")),
    "reid_core.data.ssl_transform": (lambda kind: {"image": crops(kind)[0]}, transform("ssl_transform")),
    "reid_core.data.collate": (
        lambda kind: {"items": [{"image": image, "pid": 1} for image in crops(kind)]},
        plain("reid_core.data", "collate"),
    ),
    "reid_core.models.retrieval_arguments": (
        lambda kind: {"query": held_features(kind), "gallery": held_features(kind)},
        plain("reid_core.models", "retrieval_arguments"),
    ),
    "reid_core.training.unsupervised.centroids": (
        lambda kind: {"features": values(kind, 8, 6), "labels": np.array([0, 0, 1, 1, 2, 2, -1, -1])},
        plain("reid_core.training.unsupervised", "centroids"),
    ),
    "reid_core.training.unsupervised.cluster": (
        lambda kind: {"distances": sparse.csr_array(np.kron(np.eye(2), np.full((4, 4), 0.1)))},
        plain("reid_core.training.unsupervised", "cluster"),
    ),
    "reid_core.training.unsupervised.jaccard_distance": (
        lambda kind: {"features": values(kind, 8, 6)},
        plain("reid_core.training.unsupervised", "jaccard_distance", k1=3, k2=2, progress=False),
    ),
    "reid_core.training.unsupervised.within_cameras": (
        lambda kind: {"features": values(kind, 8, 6), "camids": CAMIDS},
        plain("reid_core.training.unsupervised", "within_cameras"),
    ),
    "reid_eval.evaluate": (sides, plain("reid_eval", "evaluate", metric="euclidean", far=(0.1,))),
    "reid_eval.rank": (sides, plain("reid_eval", "rank", metric="euclidean")),
    "reid_eval.exact_search": (both, plain("reid_eval", "exact_search", k=3, metric="euclidean")),
    "reid_eval.build_index": (both, searched),
    "reid_eval.index_search": (both, searched),
    "reid_eval.k_reciprocal": (both, rerank),
    "reid_eval.pool_templates": (
        lambda kind: {"features": values(kind, 8, 6), "template_ids": PIDS},
        plain("reid_eval", "pool_templates"),
    ),
    "reid_eval.figures.as_picture": (
        lambda kind: {"image": crops(kind)[0]},
        plain("reid_eval.figures", "as_picture"),
    ),
    "reid_eval.figures.attention_figure": (
        lambda kind: {"images": crops(kind), "maps": {"class token": np.abs(values(kind, 2, 4, 2))}},
        plain("reid_eval.figures", "attention_figure"),
    ),
    "reid_eval.figures.ranked_list_figure": (
        lambda kind: {
            "query_images": crops(kind),
            "gallery_images": crops(kind),
            "indices": np.array([[0, 1], [1, -1]]),
            "correct": np.array([[True, False], [False, False]]),
        },
        plain("reid_eval.figures", "ranked_list_figure"),
    ),
    "reid_eval.figures.sample_identities": (
        lambda kind: {"pids": np.repeat(PIDS, 4)},
        plain("reid_eval.figures", "sample_identities", identities=2, images=2),
    ),
    "reid_eval.figures.tsne": (
        lambda kind: {"features": values(kind, 8, 6)},
        plain("reid_eval.figures", "tsne", perplexity=2.0),
    ),
    "reid_eval.figures.tsne_figure": (
        lambda kind: {"features": {"a": values(kind, 40, 6)}, "pids": np.repeat(PIDS, 5)},
        plain("reid_eval.figures", "tsne_figure"),
    ),
    "reid_lse.crop_regions": (
        lambda kind: {"image": crops(kind)[0], "masks": masks()},
        plain("reid_lse", "crop_regions", fill="blur"),
    ),
    "reid_lse.encode_mask": (lambda kind: {"mask": masks()[0].numpy()}, plain("reid_lse", "encode_mask")),
    "reid_lse.decode_mask": (
        lambda kind: {"counts": np.array([64, 256, 192], np.uint32)},
        plain("reid_lse", "decode_mask", height=32, width=16),
    ),
    "reid_lse.extract_tracklet": (
        lambda kind: {"frames": crops(kind), "keypoints": points(kind)},
        plain("reid_lse", "extract_tracklet"),
    ),
    "reid_lse.grabcut": (
        lambda kind: {"images": crops(kind), "keypoints": points(kind), "prompts": prompts(kind)},
        plain("reid_lse", "grabcut"),
    ),
    "reid_lse.make_prompts": (lambda kind: {"keypoints": points(kind)}, plain("reid_lse", "make_prompts")),
    "reid_lse.mask_quality": (
        lambda kind: {
            "images": crops(kind),
            "masks": [masks(), masks()],
            "keypoints": points(kind),
            "prompts": prompts(kind),
        },
        plain("reid_lse", "mask_quality"),
    ),
    "reid_lse.prior": (lambda kind: {"images": crops(kind)}, plain("reid_lse", "prior")),
    "reid_lse.prompt_boxes": (
        lambda kind: {"keypoints": points(kind), "prompts": prompts(kind)},
        plain("reid_lse", "prompt_boxes"),
    ),
    "reid_lse.smooth_keypoints": (
        lambda kind: {"keypoints": points(kind)},
        plain("reid_lse", "smooth_keypoints", sizes=[(32, 16)] * 2),
    ),
    "reid_eval.fnir_at_fpir": (
        lambda kind: {
            "mated": values(kind, 8, 1)[:, 0],
            "first": values(kind, 8, 1, seed=1)[:, 0],
            "non_mated": values(kind, 8, 1, seed=2)[:, 0],
        },
        plain("reid_eval", "fnir_at_fpir", fpir=0.1),
    ),
    "reid_eval.calibration_error": (
        lambda kind: {
            "probabilities": 1 / (1 + np.exp(-values(kind, 8, 1)[:, 0])),
            "same": np.tile([True, False], 4),
        },
        plain("reid_eval", "calibration_error"),
    ),
    "reid_denoise.denoise": (tracked, plain("reid_denoise", "denoise")),
    "reid_denoise.calibrate_criteria": (persons, plain("reid_denoise", "calibrate_criteria")),
    "reid_denoise.sweep": (
        tracked,
        plain("reid_denoise", "sweep", consistency=(0.2,), discrimination=(0.2,)),
    ),
    "reid_denoise.center_by_camera": (
        lambda kind: {
            "features": values(kind, 24, 6),
            "tracklets": TRACKLETS,
            "cameras": VIDEOS,
            "valid": None,
        },
        plain("reid_denoise", "center_by_camera"),
    ),
    "reid_denoise.noise": (
        lambda kind: {"features": values(kind, 8, 6), "identity": PIDS, "valid": None},
        plain("reid_denoise", "noise"),
    ),
    "reid_denoise.score": (
        lambda kind: {"identity": PIDS, "truth": PIDS[::-1].copy()},
        plain("reid_denoise", "score"),
    ),
    "reid_denoise.simultaneous": (
        lambda kind: {"tracklets": TRACKLETS, "videos": VIDEOS, "frames": np.tile(np.arange(3), 8)},
        plain("reid_denoise", "simultaneous"),
    ),
    "reid_adapters.contrastive_loss": (
        lambda kind: {"anchors": tensor(kind, 8, 6), "others": tensor(kind, 8, 6, seed=1), "labels": LABELS},
        loss("reid_adapters", "contrastive_loss"),
    ),
    "reid_adapters.visual_to_semantic_loss": (
        lambda kind: {
            "visual": tensor(kind, 8, 6),
            "texts": tensor(kind, 4, 6, seed=1),
            "labels": LABELS - 1,
        },
        loss("reid_adapters", "visual_to_semantic_loss"),
    ),
    "reid_adapters.HardTripletLoss": (
        lambda kind: {"features": tensor(kind, 8, 6), "labels": LABELS},
        loss("reid_adapters", "HardTripletLoss"),
    ),
    "reid_adapters.HardTripletLoss, euclidean": (
        lambda kind: {"features": tensor(kind, 8, 6), "labels": LABELS},
        loss("reid_adapters", "HardTripletLoss", distance="euclidean"),
    ),
    "reid_pretrain.index_people": (lambda kind: {"pids": LABELS}, plain("reid_pretrain", "index_people")),
    "reid_pretrain.index_views": (
        lambda kind: {
            "batch": {
                "image_masks": tensor(kind, 2, 2, 9) > 0.5,
                "image_regions_valid": torch.tensor([[True, False]] * 2),
            }
        },
        plain("reid_pretrain", "index_views"),
    ),
    "reid_pretrain.AlignmentLoss": (
        lambda kind: {"videos": tensor(kind, 4, 6), "frames": tensor(kind, 4, 6, seed=1)},
        loss("reid_pretrain", "AlignmentLoss"),
    ),
    "reid_pretrain.KoLeoLoss": (
        lambda kind: {"features": tensor(kind, 4, 6)},
        loss("reid_pretrain", "KoLeoLoss"),
    ),
    "reid_pretrain.DINOLoss": (
        lambda kind: {"student": tensor(kind, 8, 6), "teacher": tensor(kind, 2, 4, 6, seed=1)},
        loss("reid_pretrain", "DINOLoss", 6),
    ),
    "reid_pretrain.MaskingLoss": (
        lambda kind: {
            "student": tensor(kind, 9, 6),
            "teacher": tensor(kind, 9, 6, seed=1),
            "mask": torch.ones(1, 9, dtype=torch.bool),
        },
        loss("reid_pretrain", "MaskingLoss", 6),
    ),
    "reid_pretrain.IdentityGuidedLoss": (
        lambda kind: {
            "student": tensor(kind, 3, 8, 6),
            "teacher": tensor(kind, 2, 8, 6, seed=1),
            "pids": LABELS,
        },
        loss("reid_pretrain", "IdentityGuidedLoss", 6),
    ),
}
"""Function -> its arguments of a kind, and how it is called; losses with their gradients."""
LEFT_OUT = {
    "reid_core.models.extract": "runs a model over a data set: what comes of finite images is the model's",
    "reid_core.training.clip_each": "changes gradients in place: that is what it is for",
    "reid_core.recipe.save_features": "writes its arrays to a file; reid-core's tests read them back",
    "reid_lse.label_map": "takes what extraction yields, an object with masks packed in a shard",
    "reid_lse.to_detections": "likewise",
    "reid_lse.area_table": "likewise",
    "reid_adapters.load_initial": "fills a model by a state dict; reid-adapters' tests compare every tensor",
    "reid_adapters.load_released": "likewise",
    "reid_adapters.load_released_prompts": "likewise",
}
"""Functions of the faces that take arrays and aren't tried here, and why. Classes whose instances take arrays
are left out too (models, encoders, predictors, objectives, data sets), but for the losses: a model's weights
decide what it makes of finite input. Faces that take no array: reid_core.data.readers, .models,
.models.backbones, .models.parts, .tracking, .video, .synthetic."""
ARRAYS = re.compile(r"Tensor|ndarray|Features|Array|Ids|csr_array|Found|State")


def leaves(value: Any) -> Iterator[Any]:
    """Arrays and floats in a result, however it is put together."""
    if isinstance(value, pd.DataFrame):
        value = value.to_dict("list")
    if isinstance(value, Tensor):
        yield value.detach().numpy()
    elif isinstance(value, np.ndarray | float):
        yield value
    elif sparse.issparse(value):
        yield value.data
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from leaves(getattr(value, field.name))
    elif isinstance(value, Mapping):
        yield from (leaf for part in value.values() for leaf in leaves(part))
    elif isinstance(value, list | tuple):
        yield from (leaf for part in value for leaf in leaves(part))


def same(before: Any, after: Any) -> bool:
    pairs = zip(list(leaves(before)), list(leaves(after)), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


def has_nan(result: Any) -> bool:
    arrays = (np.asarray(leaf) for leaf in leaves(result))
    return any(array.dtype.kind == "f" and bool(np.isnan(array).any()) for array in arrays)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    import matplotlib.pyplot as plt

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    plt.close("all")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_arguments_stay_as_they_were_and_finite_ones_give_no_nan(name: str, kind: str) -> None:
    make, call = CASES[name]
    given = make(kind)
    before = copy.deepcopy(given)
    try:
        result = call(**given)
    except (ValueError, FloatingPointError):  # said, not passed on in silence
        assert kind != "random"
        result = None
    assert same(before, given), "an argument was changed"
    assert not has_nan(result)


def test_a_changed_array_and_a_nan_are_seen_wherever_they_are() -> None:
    given = {"a": [np.zeros(2), {"b": torch.zeros(2)}]}
    before = copy.deepcopy(given)
    assert same(before, given) and not has_nan(given)
    given["a"][1]["b"][1] = torch.nan
    assert not same(before, given) and has_nan(given)


def test_every_public_function_of_arrays_is_tried_or_left_out_for_a_reason() -> None:
    missing = []
    for face in FACES:
        module = importlib.import_module(face)
        for name in module.__all__:
            value = getattr(module, name)
            if not inspect.isfunction(value):
                continue
            hints = " ".join(
                str(parameter.annotation) for parameter in inspect.signature(value).parameters.values()
            )
            if ARRAYS.search(hints) and not {f"{face}.{name}"} & {*CASES, *LEFT_OUT}:
                missing.append(f"{face}.{name}")
    assert len(FACES) >= 17 and missing == []
