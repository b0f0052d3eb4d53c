"""Attach adapters to a vision transformer the user has, and take them off again."""

from __future__ import annotations

import hashlib
from typing import cast

from torch import nn

from reid_adapters.backbones import Backbone, backbone_of
from reid_adapters.block import AdaptedBlock
from reid_adapters.config import LoRAConfig, PBPConfig, VSLAConfig
from reid_adapters.encoder import ATTRIBUTE, Attachment, SetEncoder, part_of
from reid_adapters.lora import inject_lora, remove_lora

NORMS = (nn.LayerNorm, nn.RMSNorm)


def attach(
    model: nn.Module,
    config: VSLAConfig | LoRAConfig | None,
    pbp: PBPConfig | None = None,
    *,
    image_size: tuple[int, int] | None = None,
    stride: int | tuple[int, int] | None = None,
    backbone: Backbone | None = None,
) -> SetEncoder:
    """Attach adapters and prompts to a vision transformer, freeze the rest, and encode sets of frames.

    The model is changed in place: its blocks are wrapped, its position embeddings resampled to the image
    size. `detach` undoes all of it. New weights have the model's device and dtype.

    Args:
        model: an open_clip VisionTransformer (`clip.visual`), a timm VisionTransformer, or another with
            `backbone`.
        config: adapters; LoRAConfig for peft's LoRA; None for none and nothing frozen: full fine-tuning
            (FT-CLIP).
        pbp: platform prompts.
        image_size: (height, width) in pixels of the frames, such as (256, 128); None for the model's own.
        stride: from patch to patch, less than a patch for overlapping patches; None for the model's own.
        backbone: what kind of model it is, if it is neither open_clip's nor timm's.

    Returns:
        SetEncoder: clips [b t 3 h w] -> features [b e].

    Raises:
        TypeError: the model is of no known kind.
        ImportError: LoRAConfig without peft.
        ValueError: adapters are attached already, a timm model still has a classifier, the prompts are deeper
            than the model, the size or the stride doesn't fit its patches, or LoRA's dropout its attention.
            The model is then unchanged.

    Example:
        >>> import timm
        >>> import torch
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=0)
        >>> encoder = attach(vit, VSLAConfig(bottleneck=64), PBPConfig(depth=1), image_size=(64, 32))
        >>> encoder(torch.randn(2, 3, 3, 64, 32), platform=torch.tensor([0, 1])).shape
        torch.Size([2, 192])
    """
    if isinstance(model, SetEncoder) or hasattr(model, ATTRIBUTE):
        raise ValueError(f"this {type(model).__name__} has adapters already: detach() it first")
    backbone = backbone or backbone_of(model)
    blocks, shape = backbone.blocks(model), backbone.shape(model)
    if pbp is not None and pbp.depth > len(blocks):
        raise ValueError(f"PBPConfig.depth is {pbp.depth}, but the model has {len(blocks)} layers")
    pair = (stride, stride) if isinstance(stride, int) else stride
    changes = []
    if image_size is not None or pair is not None:
        changes = backbone.resize(model, image_size or shape.image_size, pair)

    attachment = Attachment(
        backbone=backbone,
        config=config,
        pbp=pbp,
        digest=digest_of(model),
        stride=pair,
        flags={name: parameter.requires_grad for name, parameter in model.named_parameters()},
    )
    named = dict(model.named_parameters())
    changing = _changing(model, config)
    attachment.kept = {name: named[name].detach().clone() for name in changing}
    if isinstance(config, LoRAConfig):
        inject_lora(blocks, backbone.lora_targets, config)  # first: it may refuse
    for module, name, value in changes:
        attachment.replaced.append((module, name, getattr(module, name)))
        setattr(module, name, value)
    if config is not None:
        for name, parameter in model.named_parameters():
            tuned = isinstance(config, VSLAConfig) and name in attachment.kept
            parameter.requires_grad_(tuned or part_of(name) == "lora")
    vsla = config if isinstance(config, VSLAConfig) else None
    for number, block in enumerate(blocks):
        prompts = pbp if pbp is not None and number < pbp.depth else None
        blocks[number] = AdaptedBlock(block, backbone, shape.width, vsla, prompts)
    if isinstance(config, VSLAConfig):
        attachment.tuned = frozenset(
            name
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and part_of(name) == "base"
        )
    setattr(model, ATTRIBUTE, attachment)
    return SetEncoder(model)


def detach(encoder: nn.Module) -> nn.Module:
    """Take adapters and prompts off and give the base back as it was, bit for bit.

    Weights, position embeddings, image size, stride and what was frozen are as before `attach`; only what
    full fine-tuning (config None) trained stays trained. Earlier encoders of this base stop working.

    Args:
        encoder: from `attach` or `load_pretrained`, or the base itself.

    Returns:
        The base.

    Raises:
        ValueError: nothing is attached.

    Example:
        >>> import timm
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=0)
        >>> detach(attach(vit, VSLAConfig(bottleneck=64))) is vit
        True
    """
    encoder = encoder if isinstance(encoder, SetEncoder) else SetEncoder(encoder)
    model, attachment = encoder.base, encoder.attachment
    blocks = attachment.backbone.blocks(model)
    for number, block in enumerate(blocks):
        blocks[number] = cast(AdaptedBlock, block).block
    remove_lora(blocks)
    for module, name, value in attachment.replaced:
        if isinstance(value, nn.Parameter):  # the model may have moved to another device since
            now = getattr(module, name)
            value.data = value.data.to(now.device, now.dtype)
        setattr(module, name, value)
    for name, parameter in model.named_parameters():
        if name in attachment.kept:
            parameter.data.copy_(attachment.kept[name])
        parameter.requires_grad_(attachment.flags[name])
        if attachment.config is not None:
            parameter.grad = None
    delattr(model, ATTRIBUTE)
    return model


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


def _changing(model: nn.Module, config: VSLAConfig | LoRAConfig | None) -> list[str]:
    """Names of the base's parameters that do not stay bit for bit what they are while attached."""
    names = []
    for prefix, module in model.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            if isinstance(config, VSLAConfig):
                changes = (config.tune_norms and isinstance(module, NORMS)) or (
                    config.tune_biases and name.endswith("bias")
                )
            else:
                # peft adds updates to the weights of torch's MultiheadAttention and subtracts them again,
                # which rounds: they drift.
                parent = model.get_submodule(prefix.rpartition(".")[0])
                changes = isinstance(config, LoRAConfig) and (
                    isinstance(module, nn.MultiheadAttention) or isinstance(parent, nn.MultiheadAttention)
                )
            if changes:
                names.append(f"{prefix}.{name}" if prefix else name)
    return names
