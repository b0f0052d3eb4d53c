"""Networks for retrieval, without classifiers, from plain arguments: reid-core's own builders."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import timm
from torch import nn

from reid_core.models.backbones import CNNEncoder, Encoder, ViTEncoder, build_backbone
from reid_core.models.heads import ReIDModel
from reid_core.models.parts import BranchedModel, ClassFeature, MGNExtractor, TransReIDExtractor
from reid_core.models.parts.jigsaw import GROUPS

# What timm takes beside the constructor's own arguments: it fetches weights, or reads a file with pickle.
_FETCHING = frozenset(inspect.signature(timm.create_model).parameters)


def backbone(backbone: str, image_size: Sequence[int], options: Mapping[str, Any] | None = None) -> nn.Module:
    """A backbone's class token: published pre-trained weights before any fine-tuning.

    Args:
        backbone: name, as for `build_backbone`.
        image_size: (height, width) in pixels that position embeddings are made for.
        options: of the backbone's constructor.

    Raises:
        ValueError: an unknown backbone, or an option that it doesn't take or that would read a file.
    """
    return ClassFeature(_encoder(backbone, image_size, options))


def bnneck(backbone: str, image_size: Sequence[int], options: Mapping[str, Any] | None = None) -> nn.Module:
    """A backbone with a BNNeck (`heads.ReIDModel`), without a classifier. Arguments as of `backbone`.

    Example:
        >>> import torch
        >>> model = bnneck("vit_nano_patch8", [32, 16], {"depth": 1}).eval()
        >>> model(torch.zeros(2, 3, 32, 16)).shape
        torch.Size([2, 128])
    """
    encoder = _encoder(backbone, image_size, options)
    return ReIDModel(ClassFeature(encoder), encoder.dim, num_classes=0)


def transreid(
    backbone: str,
    image_size: Sequence[int],
    options: Mapping[str, Any] | None = None,
    groups: int = GROUPS,
) -> nn.Module:
    """TransReID without side information (`parts.TransReIDExtractor`): camera ids are no part of an image.

    Args:
        backbone, image_size, options: as of `backbone`; a vision transformer.
        groups: local features of the jigsaw.

    Raises:
        ValueError: another backbone than a vision transformer, or as `backbone`.
    """
    encoder = _encoder(backbone, image_size, options)
    if not isinstance(encoder, ViTEncoder):
        raise ValueError(f"TransReID takes a vision transformer, not {backbone}: choose a vit_* backbone")
    return BranchedModel(TransReIDExtractor(encoder, groups=groups), num_classes=0)


def mgn(backbone: str, image_size: Sequence[int], options: Mapping[str, Any] | None = None) -> nn.Module:
    """MGN (`parts.MGNExtractor`) on a ResNet. Arguments as of `backbone`."""
    encoder = _encoder(backbone, image_size, options)
    if not isinstance(encoder, CNNEncoder):
        raise ValueError(f"MGN takes a ResNet, not {backbone}: choose a resnet* backbone")
    return BranchedModel(MGNExtractor(encoder), num_classes=0)


def _encoder(name: str, image_size: Sequence[int], options: Mapping[str, Any] | None) -> Encoder:
    options = options or {}
    refused = sorted(key for key in options if key in _FETCHING or key.startswith("pretrained"))
    if refused:
        raise ValueError(
            f"option {refused[0]} of a backbone would fetch or read weights: those of the folder are used"
        )
    height, width = image_size
    return build_backbone(name, (height, width), **options)
