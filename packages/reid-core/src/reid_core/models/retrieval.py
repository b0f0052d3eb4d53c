"""Networks for retrieval, without classifiers, from plain arguments: reid-core's own builders."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import timm
from torch import nn

from reid_core.models.backbones import CNNEncoder, Encoder, ViTEncoder, build_backbone
from reid_core.models.heads import ReIDModel
from reid_core.models.parts import BranchedModel, ClassFeature, MGNExtractor, TransReIDExtractor
from reid_core.models.parts.jigsaw import GROUPS, SHIFT

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


def bnneck(
    backbone: str,
    image_size: Sequence[int],
    options: Mapping[str, Any] | None = None,
    descriptor: Literal["after", "before"] = "after",
) -> nn.Module:
    """A backbone with a BNNeck (`heads.ReIDModel`), without a classifier.

    Args:
        backbone, image_size, options: as of `backbone`.
        descriptor: whether the feature after or before the neck is compared.

    Example:
        >>> import torch
        >>> model = bnneck("vit_nano_patch8", [32, 16], {"depth": 1}).eval()
        >>> model(torch.zeros(2, 3, 32, 16)).shape
        torch.Size([2, 128])
    """
    encoder = _encoder(backbone, image_size, options)
    return ReIDModel(ClassFeature(encoder), encoder.dim, 0, descriptor)


def transreid(
    backbone: str,
    image_size: Sequence[int],
    options: Mapping[str, Any] | None = None,
    groups: int = GROUPS,
    shift: int = SHIFT,
    descriptor: Literal["after", "before"] = "after",
    camids: Sequence[int] | None = None,
) -> nn.Module:
    """TransReID (`parts.TransReIDExtractor`).

    Args:
        backbone, image_size, options: as of `backbone`; a vision transformer.
        groups: local features of the jigsaw.
        shift: patches that it moves from the front to the end.
        descriptor: whether features after or before their necks are compared.
        camids: cameras of its side information, one of which then comes with each image; None leaves it out.

    Raises:
        ValueError: another backbone than a vision transformer, or as `backbone`.
    """
    encoder = _encoder(backbone, image_size, options)
    if not isinstance(encoder, ViTEncoder):
        raise ValueError(f"TransReID takes a vision transformer, not {backbone}: choose a vit_* backbone")
    return BranchedModel(TransReIDExtractor(encoder, camids, groups, shift), 0, descriptor)


def mgn(
    backbone: str,
    image_size: Sequence[int],
    options: Mapping[str, Any] | None = None,
    form: Literal["paper", "fastreid"] = "paper",
) -> nn.Module:
    """MGN (`parts.MGNExtractor`) on a ResNet.

    Args:
        backbone, image_size, options: as of `backbone`.
        form: the paper's or fast-reid's.
    """
    encoder = _encoder(backbone, image_size, options)
    if not isinstance(encoder, CNNEncoder):
        raise ValueError(f"MGN takes a ResNet, not {backbone}: choose a resnet* backbone")
    return BranchedModel(MGNExtractor(encoder, form), num_classes=0)


def _encoder(name: str, image_size: Sequence[int], options: Mapping[str, Any] | None) -> Encoder:
    options = options or {}
    refused = sorted(key for key in options if key in _FETCHING or key.startswith("pretrained"))
    if refused:
        raise ValueError(
            f"option {refused[0]} of a backbone would fetch or read weights: those of the folder are used"
        )
    height, width = image_size
    return build_backbone(name, (height, width), **options)
