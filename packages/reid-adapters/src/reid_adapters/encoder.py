"""A vision transformer with adapters as an encoder of sets of frames, and what it has to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from reid_adapters.attachment import Attachment, Attachments, attachments_of
from reid_adapters.config import Level, PBPConfig

PARTS = ("ifa", "cfaa", "prompts", "lora", "adaptformer", "ia3", "other", "base")
"""Where a parameter can belong; other: to a method of another distribution."""

Platform = Tensor | str | Sequence[str]
"""Platforms of sets: indices int64 [b], names [b], or one name of all."""


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
        self.train(base.training)

    @property
    def attachments(self) -> Attachments:
        """All adapters of the base.

        Raises:
            ValueError: there are none, or they have been detached.
        """
        found = attachments_of(self.base)
        if found is None:
            raise ValueError(f"this {type(self.base).__name__} has no adapters: attach() makes an encoder")
        return found

    @property
    def attachment(self) -> Attachment:
        """The adapter that is on.

        Raises:
            ValueError: there is none, or it has been detached.
        """
        return self.attachments.adapters[self.attachments.active]

    def set_adapter(self, name: str) -> None:
        """Put the adapter of that name on in place of the one that is on.

        `parameters`, `state_dict` and `forward` are of the adapter that is on. One that comes on again has
        the weights, the image size and the trainable parameters with which it came off.

        Args:
            name: as given to `attach` or `load_pretrained`.

        Raises:
            ValueError: the base has no such adapter.

        Example:
            >>> import timm
            >>> from reid_adapters import IFAConfig, VSLAConfig, attach
            >>> vit = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=0)
            >>> encoder = attach(vit, VSLAConfig(bottleneck=64), name="day")
            >>> encoder = attach(vit, IFAConfig(bottleneck=8), name="night")
            >>> encoder.set_adapter("day")
            >>> encoder.attachment.config.bottleneck
            64
        """
        held = self.attachments
        if name not in held.adapters:
            raise ValueError(f"there is no adapter {name!r}; there are {', '.join(held.adapters)}")
        if name != held.active:
            held.adapters[held.active].take_off(self.base)
            held.adapters[name].put_on(self.base)
            held.active = name
            self.train(self.training)

    def train(self, mode: bool = True) -> SetEncoder:
        """Training mode, but for batch normalisation of a frozen stem, whose statistics stay as they are."""
        super().train(mode)
        held = attachments_of(self.base)
        if held is not None and held.adapters[held.active].config is not None:
            for module in self.base.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

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
            clips: float [b t 3 h w], t frames per set, any t; or images [b 3 h w], sets of one.
            platform: of each set, needed with prompts: int64 [b], index into the PBPConfig's platforms; their
                names [b]; or one name for all.

        Returns:
            [b e]: the same for any order of the frames.

        Raises:
            ValueError: clips or platform don't fit; the message says what was expected.
        """
        tokens, _, frames = self._tokens(clips, platform)
        return _mean(self.attachment.backbone.head(self.base, tokens), frames)

    def levels(self, clips: Tensor, platform: Platform | None = None) -> dict[Level, Tensor]:
        """Features of sets of frames at three depths, as VSLA-CLIP's release trains them.

        Args:
            clips, platform: as for `forward`.

        Returns:
            "penultimate": the class token behind the last but one block; "pooled": the feature before the
            projection; both [b width]; "projected": what `forward` returns, [b e]. Means over frames.

        Raises:
            ValueError: this kind of model has no such features; and as `forward`.
        """
        backbone = self.attachment.backbone
        tokens, before, frames = self._tokens(clips, platform)
        found: dict[Level, Tensor] = {
            "penultimate": backbone.class_token(self.base, before),
            "pooled": backbone.pool(self.base, tokens),
            "projected": backbone.head(self.base, tokens),
        }
        return {name: _mean(features, frames) for name, features in found.items()}

    def level_widths(self) -> dict[Level, int]:
        """Channels of what `levels` returns, by name."""
        shape = self.attachment.backbone.shape(self.base)
        return {"penultimate": shape.width, "pooled": shape.width, "projected": shape.features}

    def _tokens(self, clips: Tensor, platform: Platform | None) -> tuple[Tensor, Tensor, int]:
        """Tokens behind the last block and behind the one before, [b*t l width], and t."""
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
        tokens, positions = backbone.embed(self.base, rearrange(clips, "b t c h w -> (b t) c h w"))
        before = tokens
        for number, block in enumerate(backbone.blocks(self.base)):
            given = {}
            if positions is not None and backbone.position_argument is not None:
                given[backbone.position_argument] = positions[number]
            before, layer = tokens, partial(block, frames=frames, platform=each, **given)
            if self.grad_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(layer, tokens, use_reentrant=False)
            else:
                tokens = layer(tokens)
        return tokens, before, frames


def _mean(features: Tensor, frames: int) -> Tensor:
    """Features of frames [b*t e] -> of sets [b e] (VSLA-CLIP Eq. 6)."""
    return rearrange(features, "(b t) e -> b t e", t=frames).mean(1)


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
        parts: all by where they belong: ifa, cfaa, prompts, lora, adaptformer, ia3, other, base.
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
    for part in ("ifa", "cfaa", "prompts", "adaptformer"):
        if part in segments:
            return part
    inside = (part for part in ("lora", "ia3") for segment in segments if segment.startswith(f"{part}_"))
    return next(inside, "base")


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
    added = {f"base.{name}" for name in encoder.attachment.added} if isinstance(encoder, SetEncoder) else ()
    for name, parameter in encoder.named_parameters():
        part = part_of(name)
        parts["other" if part == "base" and name in added else part] += parameter.numel()
        trainable += parameter.numel() if parameter.requires_grad else 0
    return ParameterCounts(trainable, sum(parts.values()), parts)
