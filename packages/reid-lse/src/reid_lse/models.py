"""Keypoint predictors and segmenters by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from reid_lse.builder import Builder

if TYPE_CHECKING:
    from reid_lse.keypoints import KeypointPredictor
    from reid_lse.segmentation import Segmenter

HUGGING_FACE, MEMORY = "reid_lse.segmenters.hugging_face", "reid_lse.segmenters.memory"

KEYPOINTS = {
    "prior": "reid_lse.predictors.prior",
    "blazepose": "reid_lse.predictors.blazepose",
    "keypointrcnn_resnet50_fpn": "reid_lse.predictors.keypoint_rcnn",
    "vitpose": "reid_lse.predictors.heatmaps",
    "sapiens2": "reid_lse.predictors.heatmaps",
    "rtmpose": "reid_lse.predictors.rtmpose",
}
"""Keypoint predictors and the modules of their builders."""

SEGMENTERS = {
    "crf": "reid_lse.segmenters.crf",
    "grabcut": "reid_lse.segmenters.grabcut",
    **{f"sam_vit_{size}": "reid_lse.segmenters.sam" for size in "blh"},
    **{f"sam2.1_hiera_{size}": HUGGING_FACE for size in ("tiny", "small", "base_plus", "large")},
    **{f"sam_hq_vit_{size}": HUGGING_FACE for size in "blh"},
    "edgetam": HUGGING_FACE,
    "sam3_tracker": HUGGING_FACE,
    **{f"sam2.1_hiera_{size}_video": MEMORY for size in ("tiny", "small", "base_plus", "large")},
    "edgetam_video": MEMORY,
    "label_maps": "reid_lse.segmenters.parsing",
}
"""Segmenters and the modules of their builders."""

GROUPS = {"keypoints": "reid_lse.keypoints", "segmenter": "reid_lse.segmenters"}
"""Groups of entry points by which other distributions add names."""


def build_keypoints(name: str = "prior", device: str = "cpu", **options: Any) -> KeypointPredictor:
    """A keypoint predictor by its name.

    Args:
        name: out of KEYPOINTS, or what another distribution added to the entry points reid_lse.keypoints.
        device: where it runs, such as cuda.
        options: fields of its options, such as checkpoint.

    Raises:
        OSError: weights that can't be read or fetched.
        ImportError: an extra is not installed.
        ValueError: an unknown name or option, weights that don't fit, a device that is not there.

    Example:
        >>> build_keypoints("prior").__name__
        'prior'
    """
    return _build("keypoints", KEYPOINTS, name, device, options)


def build_segmenter(name: str = "crf", device: str = "cpu", **options: Any) -> Segmenter:
    """A segmenter by its name.

    Args:
        name: out of SEGMENTERS, or what another distribution added to the entry points reid_lse.segmenters.
        device: where it runs, such as cuda.
        options: fields of its options, such as checkpoint.

    Raises:
        OSError, ImportError, ValueError: as for `build_keypoints`.

    Example:
        >>> build_segmenter("grabcut", pack=32)
        Traceback (most recent call last):
        ValueError: grabcut takes no pack; it has no options
    """
    return _build("segmenter", SEGMENTERS, name, device, options)


def find_builder(name: str) -> Builder:
    """The builder of a keypoint predictor or segmenter.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> find_builder("crf").options.__name__
        'CRFOptions'
    """
    for kind, table in (("keypoints", KEYPOINTS), ("segmenter", SEGMENTERS)):
        builder = _find(kind, table, name)
        if builder is not None:
            return builder
    raise ValueError(f"unknown name {name!r}; known are {', '.join([*KEYPOINTS, *SEGMENTERS])}")


def check_device(device: str) -> None:
    """Raise ValueError where a device is not there."""
    import torch

    if device.partition(":")[0] == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} is asked for, but PyTorch finds no GPU here; use cpu")


def _build(kind: str, table: Mapping[str, str], name: str, device: str, options: dict[str, Any]) -> Any:
    builder = _find(kind, table, name)
    if builder is None:
        raise ValueError(
            f"unknown {kind} {name!r}; known are {', '.join(known_names(kind, table))}, or pass a callable"
        )
    check_device(device)
    fitting = [field.name for field in fields(builder.options)]
    for option in options:
        if option not in fitting:
            has = f"its options are {', '.join(fitting)}" if fitting else "it has no options"
            raise ValueError(f"{name} takes no {option}; {has}")
    return builder.build(name, builder.options(**options), device)


def _find(kind: str, table: Mapping[str, str], name: str) -> Builder | None:
    if name in table:
        return import_module(table[name]).BUILDER
    for entry in entry_points(group=GROUPS[kind], name=name):
        builder = entry.load()
        if not isinstance(builder, Builder):
            raise ValueError(f"{entry.value} is no reid_lse Builder, which {name} should lead to")
        return builder
    return None


def known_names(kind: str, table: Mapping[str, str]) -> list[str]:
    """All names of keypoint predictors or segmenters, those of other distributions last."""
    return [*table, *sorted(entry.name for entry in entry_points(group=GROUPS[kind]))]
