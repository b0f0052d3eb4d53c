"""Attach adapters to a vision transformer the user has, and take them off again."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, cast

from torch import nn

from reid_adapters.attachment import ATTRIBUTE, Attachment, Attachments, Swap, attachments_of
from reid_adapters.backbones import Backbone, Change, backbone_of
from reid_adapters.block import AdaptedBlock
from reid_adapters.config import PBPConfig
from reid_adapters.encoder import SetEncoder
from reid_adapters.method import Layer, Site
from reid_adapters.methods import method_of

DEFAULT = "default"
"""An adapter's name where none is given."""


def attach(
    model: nn.Module,
    config: Any,
    pbp: PBPConfig | None = None,
    *,
    image_size: tuple[int, int] | None = None,
    stride: int | tuple[int, int] | None = None,
    backbone: Backbone | None = None,
    name: str = DEFAULT,
) -> SetEncoder:
    """Attach adapters and prompts to a vision transformer, freeze the rest, and encode sets of frames.

    The model is changed in place: its blocks are wrapped, its position embeddings resampled to the image
    size. `detach` undoes all of it. New weights have the model's device and dtype. A model can have several
    adapters with names of their own, of which one is on: the newest, until `SetEncoder.set_adapter`.

    Args:
        model: a transformer of one of BACKBONES, such as open_clip's `clip.visual`, or another with
            `backbone`.
        config: VSLAConfig, IFAConfig, CFAAConfig, or, to compare with them, LoRAConfig, AdaptFormerConfig,
            VPTConfig, IA3Config; None for none and nothing frozen: full fine-tuning (FT-CLIP).
        pbp: platform prompts.
        image_size: (height, width) in pixels of the frames, such as (256, 128); None for the model's own.
        stride: from patch to patch, less than a patch for overlapping patches; None for the model's own.
        backbone: what kind of model it is, if it is none of BACKBONES.
        name: the adapter's.

    Returns:
        SetEncoder: clips [b t 3 h w] -> features [b e].

    Raises:
        TypeError: the model is of no known kind, or of one that can't be adapted.
        ImportError: LoRAConfig without peft.
        ValueError: there is an adapter of this name, the model still has a classifier or can't be adapted,
            the prompts are deeper than the model, the size or the stride doesn't fit its patches, or LoRA's
            dropout its attention. The model is then unchanged.

    Example:
        >>> import timm
        >>> import torch
        >>> from reid_adapters import VSLAConfig
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=0)
        >>> encoder = attach(vit, VSLAConfig(bottleneck=64), PBPConfig(depth=1), image_size=(64, 32))
        >>> encoder(torch.randn(2, 3, 3, 64, 32), platform=torch.tensor([0, 1])).shape
        torch.Size([2, 192])
    """
    if isinstance(model, SetEncoder):
        model = model.base
    held = attachments_of(model)
    if held is None:
        attachment = _attach(model, config, pbp, image_size, stride, backbone)
        setattr(model, ATTRIBUTE, Attachments(name, {name: attachment}))
        return SetEncoder(model)
    if name in held.adapters:
        raise ValueError(
            f"this {type(model).__name__} has adapters already, one of them {name!r}: detach() it first, "
            "or give another name="
        )
    if config is None or any(attachment.config is None for attachment in held.adapters.values()):
        raise ValueError(
            "full fine-tuning (config None) trains the weights that the other adapters stand on: "
            "detach() them first"
        )
    active = held.adapters[held.active]
    active.take_off(model)
    try:
        held.adapters[name] = _attach(model, config, pbp, image_size, stride, backbone)
    except Exception:
        active.put_on(model)
        raise
    held.active = name
    return SetEncoder(model)


def detach(encoder: nn.Module, name: str | None = None) -> nn.Module:
    """Take adapters and prompts off and give the base back as it was, bit for bit.

    Weights, position embeddings, image size, stride and what was frozen are as before `attach`; only what
    full fine-tuning (config None) trained stays trained. Earlier encoders of this base stop working.

    Args:
        encoder: from `attach` or `load_pretrained`, or the base itself.
        name: of the adapter to remove, if it has several: another one is on afterwards. None for all.

    Returns:
        The base.

    Raises:
        ValueError: nothing is attached, or no adapter of this name.

    Example:
        >>> import timm
        >>> from reid_adapters import VSLAConfig
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=0)
        >>> detach(attach(vit, VSLAConfig(bottleneck=64))) is vit
        True
    """
    encoder = encoder if isinstance(encoder, SetEncoder) else SetEncoder(encoder)
    model, held = encoder.base, encoder.attachments
    others = [other for other in held.adapters if name is not None and other != name]
    if name is not None and name not in held.adapters:
        raise ValueError(f"there is no adapter {name!r}; there are {', '.join(held.adapters)}")
    if others:
        if name == held.active:
            encoder.set_adapter(others[-1])
        del held.adapters[cast(str, name)]
        return model
    held.adapters[held.active].take_off(model)
    delattr(model, ATTRIBUTE)
    return model.train(model.training)


def merge(encoder: SetEncoder) -> SetEncoder:
    """Fold LoRA's updates or (IA)^3's factors into the weights, for a plain model to run and to export.

    Features stay what they are. The adapter is gone and the base's weights are changed for good.

    Args:
        encoder: from `attach` or `load_pretrained`, with LoRAConfig or IA3Config on.

    Returns:
        The encoder, as after `attach(..., None)`.

    Raises:
        ValueError: the method's layers are no linear change of weights, or the base has other adapters.

    Example:
        >>> import timm
        >>> from reid_adapters import IA3Config, count_parameters
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=0)
        >>> count_parameters(merge(attach(vit, IA3Config()))).parts["ia3"]
        0
    """
    model, held, attachment = encoder.base, encoder.attachments, encoder.attachment
    config = attachment.config
    fold = None if config is None else method_of(config).merge
    if fold is None:
        raise ValueError(
            f"{type(config).__name__} can't be merged: it adds layers of its own to the base's weights"
        )
    if len(held.adapters) > 1:
        raise ValueError(
            f"merging {held.active!r} changes the weights under the other adapters: detach() them first"
        )
    fold(attachment.backbone.blocks(model))
    inside = {id(module) for block in attachment.backbone.blocks(model) for module in block.modules()}
    attachment.swaps = [swap for swap in attachment.swaps if id(swap.holder) not in inside]
    names = {name for name, _ in model.named_parameters()}
    attachment.config, attachment.kept, attachment.added = None, {}, attachment.added & names
    return encoder


def digest_of(model: nn.Module) -> str:
    """A digest of the names and shapes of a model's parameters, by which a saved adapter knows its base.

    Returns:
        16 hexadecimal digits.

    Example:
        >>> digest_of(nn.Linear(2, 3)) == digest_of(nn.Linear(2, 3)) != digest_of(nn.Linear(3, 2))
        True
    """
    lines = sorted(f"{name} {tuple(parameter.shape)}" for name, parameter in model.named_parameters())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _attach(
    model: nn.Module,
    config: Any,
    pbp: PBPConfig | None,
    image_size: tuple[int, int] | None,
    stride: int | tuple[int, int] | None,
    backbone: Backbone | None,
) -> Attachment:
    """Attach to a bare base; everything that may refuse comes before the first change."""
    backbone = backbone or backbone_of(model)
    configs = [given for given in (config, pbp) if given is not None]
    methods = [method_of(given) for given in configs]
    backbone.check(model, any(method.prompts for method in methods))
    blocks, shape = backbone.blocks(model), backbone.shape(model)
    if pbp is not None and pbp.depth > len(blocks):
        raise ValueError(f"PBPConfig.depth is {pbp.depth}, but the model has {len(blocks)} layers")
    pair = (stride, stride) if isinstance(stride, int) else stride
    resized = []
    if image_size is not None or pair is not None:
        resized = backbone.resize(model, image_size or shape.image_size, pair)
    changes: list[Change] = []
    for given, method in zip(configs, methods, strict=True):
        changes += method.changes(model, backbone, given)
    adapted = []
    for number, (key, block) in enumerate(blocks.named_children()):
        like = next(block.parameters())
        site = Site(number, shape.width, like.device, like.dtype)
        layers: dict[str, Layer] = {}
        for given, method in zip(configs, methods, strict=True):
            layers |= method.layers(given, site)
        if any(layer.place == "prompts" and not layer.behind_norm for layer in layers.values()):
            backbone.norm(block, like.new_zeros(1, 1, shape.width))  # refused where there isn't one
        adapted.append((blocks, key, AdaptedBlock(block, backbone, layers)))

    named = dict(model.named_parameters())
    tuned = _choose(model, config, "tunes")
    attachment = Attachment(
        backbone=backbone,
        config=config,
        pbp=pbp,
        digest=digest_of(model),
        stride=pair,
        flags={name: parameter.requires_grad for name, parameter in named.items()},
        kept={name: named[name].detach().clone() for name in [*tuned, *_choose(model, config, "drifts")]},
    )
    trained = {id(named[name]) for name in tuned}
    for holder, attribute, value in [*resized, *changes, *adapted]:
        attachment.swaps.append(Swap(holder, attribute, getattr(holder, attribute), value))
        setattr(holder, attribute, value)
    now = dict(model.named_parameters())
    own = {
        id(parameter)
        for _, _, block in adapted
        for layer in block.layers()
        for parameter in layer.parameters()
    }
    prefixes = tuple(method.prefix for method in methods if method.prefix)
    attachment.added = frozenset(
        name
        for name, parameter in now.items()
        if id(parameter) in own or any(part.startswith(prefixes) for part in name.split("."))
    )
    attachment.tuned = frozenset(name for name, parameter in now.items() if id(parameter) in trained)
    if config is not None:
        for name, parameter in now.items():
            parameter.requires_grad_(name in attachment.added or name in attachment.tuned)
    return attachment


def _choose(model: nn.Module, config: Any, which: Literal["tunes", "drifts"]) -> list[str]:
    """Names of the base's parameters that a configuration's method tunes, or lets drift."""
    if config is None:
        return []
    chooses = getattr(method_of(config), which)
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if chooses(config, module, name)
    ]
