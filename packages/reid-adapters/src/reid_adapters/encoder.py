"""A vision transformer with adapters as an encoder of sets of frames, and what it has to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from reid_adapters.backbones import Backbone
from reid_adapters.config import LoRAConfig, PBPConfig, VSLAConfig

PARTS = ("ifa", "cfaa", "prompts", "lora", "base")
"""Where a parameter can belong."""

Platform = Tensor | str | Sequence[str]
"""Platforms of sets: indices int64 [b], names [b], or one name of all."""
ATTRIBUTE = "reid_adapters"
"""Of a base, holds its Attachment."""


@dataclass
class Attachment:
    """What was done to a base, kept in it so that `detach` can undo it.

    Attributes:
        backbone: its kind.
        config, pbp: what was attached.
        digest: of its parameters' names and shapes before.
        replaced: module, attribute and earlier value of what another image size or stride replaced.
        stride: the patch stride asked for, if any.
        flags: requires_grad of each parameter before, by name.
        kept: earlier values of the base's parameters that are trained or may drift, by name.
        tuned: names of the base's own parameters that are trained, as they are called while attached.
    """

    backbone: Backbone
    config: VSLAConfig | LoRAConfig | None
    pbp: PBPConfig | None
    digest: str
    stride: tuple[int, int] | None
    flags: dict[str, bool]
    replaced: list[tuple[nn.Module, str, Any]] = field(default_factory=list)
    kept: dict[str, Tensor] = field(default_factory=dict)
    tuned: frozenset[str] = frozenset()


class SetEncoder(nn.Module):
    """Features of sets of frames by a vision transformer with adapters; made by `attach`.

    It holds no parameters of its own: adapters and prompts live in the base's blocks.

    Args:
        base: a model that `attach` has prepared.

    Attributes:
        grad_checkpointing: recompute each layer in the backward pass instead of keeping its activations.
    """

    def __init__(self, base: nn.Module):
        super().__init__()
        self.base = base
        self.grad_checkpointing = False

    @property
    def attachment(self) -> Attachment:
        """What is attached to the base.

        Raises:
            ValueError: nothing is, or it has been detached.
        """
        attachment = getattr(self.base, ATTRIBUTE, None)
        if not isinstance(attachment, Attachment):
            raise ValueError(f"this {type(self.base).__name__} has no adapters: attach() makes an encoder")
        return attachment

    @property
    def features(self) -> int:
        """Channels of the features."""
        return self.attachment.backbone.shape(self.base).features

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training, called as open_clip and timm call theirs."""
        self.grad_checkpointing = enable

    def forward(self, clips: Tensor, platform: Platform | None = None) -> Tensor:
        """Features of sets of frames: the mean over frames of the base's features (VSLA-CLIP Eq. 6).

        Args:
            clips: float [b t 3 h w], t frames a set, any t; or images [b 3 h w], sets of one.
            platform: of each set, needed with prompts: int64 [b], index into the PBPConfig's platforms; their
                names [b]; or one name for all.

        Returns:
            [b e]: the same for any order of the frames.

        Raises:
            ValueError: clips or platform don't fit; the message says what was expected.
        """
        attachment = self.attachment
        backbone = attachment.backbone
        if clips.ndim == 4:
            clips = clips[:, None]
        size = backbone.shape(self.base).image_size
        if clips.ndim != 5 or not clips.shape[1] or clips.shape[2] != 3 or tuple(clips.shape[3:]) != size:
            raise ValueError(
                f"clips must be [b t 3 {size[0]} {size[1]}] with t at least 1, got {list(clips.shape)}; "
                "resize the frames, or attach with their image_size"
            )
        sets, frames = clips.shape[:2]
        each = None
        if attachment.pbp is not None:
            each = checked_platform(platform, sets, attachment.pbp).to(clips.device).repeat_interleave(frames)
        tokens = backbone.embed(self.base, rearrange(clips, "b t c h w -> (b t) c h w"))
        for block in backbone.blocks(self.base):
            if self.grad_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, frames, each, use_reentrant=False)
            else:
                tokens = block(tokens, frames, each)
        return rearrange(backbone.head(self.base, tokens), "(b t) e -> b t e", t=frames).mean(1)


def checked_platform(platform: Platform | None, sets: int, pbp: PBPConfig) -> Tensor:
    """Platform ids after a look at them.

    With gradients on a GPU the device itself looks, so that no training step waits for it: an id out of range
    is then a device-side assertion, as a label out of range is in torch's own losses.

    Raises:
        ValueError: none given, not one a set, or unknown.

    Example:
        >>> checked_platform("uav", 2, PBPConfig())
        tensor([1, 1])
        >>> checked_platform(torch.tensor([0, 2]), 2, PBPConfig())
        Traceback (most recent call last):
        ValueError: platform ids must be 0 to 1 for ('ground', 'uav'), got 2
    """
    last = len(pbp.platforms) - 1
    if platform is None:
        raise ValueError(f"platform is needed: one id a set, 0 to {last} for {pbp.platforms}")
    if not isinstance(platform, Tensor):
        names = [platform] * sets if isinstance(platform, str) else list(platform)
        if unknown := [name for name in names if name not in pbp.platforms]:
            raise ValueError(f"platform {unknown[0]!r} has no prompts; expected names out of {pbp.platforms}")
        platform = torch.tensor([pbp.platforms.index(name) for name in names])
    if platform.shape != (sets,) or platform.is_floating_point() or platform.dtype == torch.bool:
        raise ValueError(
            f"platform must be int64 [{sets}], one id a set, got {platform.dtype} {list(platform.shape)}"
        )
    fits = (platform >= 0) & (platform <= last)
    expected = f"platform ids must be 0 to {last} for {pbp.platforms}"
    if platform.is_cuda and torch.is_grad_enabled():
        torch._assert_async(fits.all(), expected)
    elif not torch.compiler.is_compiling() and not fits.all():  # looking at values would break the graph
        raise ValueError(f"{expected}, got {platform[~fits][0].item()}")
    return platform


@dataclass(frozen=True)
class ParameterCounts:
    """Parameters of an encoder.

    Attributes:
        trainable: that get a gradient.
        total: all.
        parts: all by where they belong: ifa, cfaa, prompts, lora, base.
    """

    trainable: int
    total: int
    parts: dict[str, int]

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in self.parts.items() if count)
        share = f"{self.trainable / self.total:.1%}"
        return f"trainable {self.trainable / 1e6:.2f} M of {self.total / 1e6:.2f} M ({share}): {parts}"


def part_of(name: str) -> str:
    """Where a parameter of an encoder belongs, by its name.

    Example:
        >>> part_of("base.blocks.0.ifa.down.weight"), part_of("base.blocks.0.block.mlp.fc1.bias")
        ('ifa', 'base')
    """
    segments = name.split(".")
    for part in ("ifa", "cfaa", "prompts"):
        if part in segments:
            return part
    return "lora" if any(segment.startswith("lora_") for segment in segments) else "base"


def count_parameters(encoder: nn.Module) -> ParameterCounts:
    """Count an encoder's parameters, all and trainable, by where they belong (VSLA-CLIP Tables 3-4).

    Args:
        encoder: from `attach`, or any module.

    Returns:
        ParameterCounts; it prints as one line.

    Example:
        >>> counts = count_parameters(torch.nn.Linear(9, 1))
        >>> counts.trainable, counts.total
        (10, 10)
    """
    parts = dict.fromkeys(PARTS, 0)
    trainable = 0
    for name, parameter in encoder.named_parameters():
        parts[part_of(name)] += parameter.numel()
        trainable += parameter.numel() if parameter.requires_grad else 0
    return ParameterCounts(trainable, sum(parts.values()), parts)
