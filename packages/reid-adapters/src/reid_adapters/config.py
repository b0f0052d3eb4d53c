"""Settings as frozen dataclasses; no torch is imported here, so that a configuration is read at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

HEAD_WIDTH = 64
"""Channels of a head of cross-frame attention: heads = bottleneck / 64, as CLIP's own (VSLA-CLIP 4.3)."""

LOGIT_SCALE = 100.0
"""CLIP's learnt scale of cosine similarities, at which it stops (Radford et al., ICML 2021).

The paper prints s, cosine similarity, without a scale; softmax over values in [-1, 1] is then nearly flat.
The released code takes inner products of unnormalised features instead, which scale=None gives.
"""

SMOOTHING = 0.1
"""Share of the target spread over all identities (Szegedy et al., CVPR 2016)."""

Activation = Literal["gelu", "quick_gelu"]
Level = Literal["penultimate", "pooled", "projected"]
"""A feature of `SetEncoder.levels`."""
PROJECTED: Level = "projected"
"""The last one, which `SetEncoder` returns."""
Init = Literal["zero", "torch"]


@dataclass(frozen=True)
class IFAConfig:
    """Intra-Frame Adapter alone (VSLA-CLIP Eqs. 13-14), beside each MLP.

    Args:
        bottleneck, init, activation: as in `VSLAConfig`; the bottleneck need be no multiple.

    Raises:
        ValueError: a bottleneck or a name that doesn't fit.

    Example:
        >>> IFAConfig(bottleneck=48).method
        'ifa'
    """

    method: ClassVar[str] = "ifa"
    bottleneck: int = 256
    init: Init = "zero"
    activation: Activation = "gelu"

    def __post_init__(self) -> None:
        _check_bottleneck(self.bottleneck, 1)
        _check_choice("init", self.init, "zero", "torch")
        _check_choice("activation", self.activation, "gelu", "quick_gelu")


@dataclass(frozen=True)
class CFAAConfig:
    """Cross-Frame Attention Adapter alone (VSLA-CLIP Eq. 16), beside each attention.

    Args:
        bottleneck, init: as in `VSLAConfig`.

    Raises:
        ValueError: a bottleneck or a name that doesn't fit.

    Example:
        >>> CFAAConfig(bottleneck=100)
        Traceback (most recent call last):
        ValueError: bottleneck must be a multiple of 64, got 100
    """

    method: ClassVar[str] = "cfaa"
    bottleneck: int = 256
    init: Init = "zero"

    def __post_init__(self) -> None:
        _check_bottleneck(self.bottleneck, HEAD_WIDTH)
        _check_choice("init", self.init, "zero", "torch")


@dataclass(frozen=True)
class VSLAConfig:
    """Video Set-Level Adapter (VSLA-CLIP 4.3): IFA beside each MLP, CFAA beside each attention.

    Args:
        bottleneck: the paper's alpha, channels between down- and up-projection (VSLA-CLIP Tab. 4: 256); a
            multiple of 64 with CFAA.
        ifa: attach the intra-frame adapter (Eqs. 13-14).
        cfaa: attach the cross-frame attention adapter (Eq. 16).
        init: "zero" starts the up-projections at zero, so that attaching changes nothing before training;
            "torch" leaves torch's own initial weights, as the authors' released code does.
        activation: nonlinearity of IFA: the paper prints GELU, the released code computes CLIP's QuickGELU.
        tune_norms: train the base's LayerNorms too.
        tune_biases: train the base's biases too.

    Raises:
        ValueError: a bottleneck or a name that doesn't fit.

    Example:
        >>> VSLAConfig(bottleneck=128).heads
        2
    """

    method: ClassVar[str] = "vsla"
    bottleneck: int = 256
    ifa: bool = True
    cfaa: bool = True
    init: Init = "zero"
    activation: Activation = "gelu"
    tune_norms: bool = False
    tune_biases: bool = False

    def __post_init__(self) -> None:
        _check_bottleneck(self.bottleneck, HEAD_WIDTH if self.cfaa else 1)
        _check_choice("init", self.init, "zero", "torch")
        _check_choice("activation", self.activation, "gelu", "quick_gelu")

    @property
    def heads(self) -> int:
        """Heads of cross-frame attention."""
        return self.bottleneck // HEAD_WIDTH


@dataclass(frozen=True)
class PBPConfig:
    """Platform-Bridge Prompt (VSLA-CLIP 4.4, Eq. 17): prompts of each platform for the first layers.

    Args:
        platforms: names in the order of the platform ids given to the encoder.
        depth: the paper's d, layers with prompts of their own, counted from the first (VSLA-CLIP Fig. 4: 3).
        length: the paper's l, prompts per layer (VSLA-CLIP Fig. 4: 16).

    Raises:
        ValueError: a count below one, or a platform named twice.

    Example:
        >>> PBPConfig().platforms
        ('ground', 'uav')
    """

    method: ClassVar[str] = "pbp"
    platforms: tuple[str, ...] = ("ground", "uav")
    depth: int = 3
    length: int = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "platforms", tuple(self.platforms))  # JSON and YAML give lists
        if not self.platforms or len(set(self.platforms)) < len(self.platforms):
            raise ValueError(f"platforms must be different names, at least one, got {self.platforms}")
        if self.depth < 1 or self.length < 1:
            raise ValueError(f"depth and length must be at least 1, got {self.depth} and {self.length}")


@dataclass(frozen=True)
class LoRAConfig:
    """Low-rank adaptation (Hu et al., ICLR 2022) through the peft library, for comparison.

    Args:
        rank: number of columns of each low-rank update of the weights.
        alpha: factor of the updates, which are scaled by alpha / rank.
        dropout: share of the updates' inputs, from 0 to 1, that is dropped in training; 0 on torch's
            MultiheadAttention, which open_clip uses.
        targets: which projections of each block: "attention" (in and out) and "mlp" (both layers).

    Raises:
        ValueError: a rank below one, or an unknown target.

    Example:
        >>> LoRAConfig(rank=8).targets
        ('attention',)
    """

    method: ClassVar[str] = "lora"
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: tuple[Literal["attention", "mlp"], ...] = ("attention",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, got {self.rank}")
        if not self.targets or not set(self.targets) <= {"attention", "mlp"}:
            raise ValueError(f'targets must be of "attention" and "mlp", got {self.targets}')


@dataclass(frozen=True)
class AdaptFormerConfig:
    """AdaptFormer (Chen et al., NeurIPS 2022, Eqs. 4-5): a scaled bottleneck beside each MLP, for comparison.

    Args:
        bottleneck: channels between down- and up-projection (AdaptFormer: 64).
        scale: s, factor of what is added (AdaptFormer: 0.1).

    Raises:
        ValueError: a bottleneck below one.

    Example:
        >>> AdaptFormerConfig().bottleneck
        64
    """

    method: ClassVar[str] = "adaptformer"
    bottleneck: int = 64
    scale: float = 0.1

    def __post_init__(self) -> None:
        _check_bottleneck(self.bottleneck, 1)


@dataclass(frozen=True)
class VPTConfig:
    """VPT-deep (Jia et al., ECCV 2022, Eq. 7): prompts in front of each layer, for comparison.

    Args:
        length: prompts per layer (VPT searches 1 to 200 for each task).

    Raises:
        ValueError: a length below one.

    Example:
        >>> VPTConfig().length
        50
    """

    method: ClassVar[str] = "vpt"
    length: int = 50

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length must be at least 1, got {self.length}")


@dataclass(frozen=True)
class IA3Config:
    """(IA)^3 (Liu et al., NeurIPS 2022): keys, values and hidden channels of MLPs rescaled, for comparison.

    Example:
        >>> IA3Config().method
        'ia3'
    """

    method: ClassVar[str] = "ia3"


@dataclass(frozen=True)
class LossConfig:
    """Weights and settings of stage two's losses (VSLA-CLIP Eq. 10, section 5.2); weight 0 leaves a loss out.

    Args:
        v2sce: weight of the visual to semantic cross-entropy (Eq. 10: 1).
        triplet: beta, weight of the triplet loss (5.2: 1).
        id: gamma, weight of the identity loss (5.2: 0.25).
        i2t: delta, weight of the image-to-text loss (5.2: 1).
        t2i: epsilon, weight of the text-to-image loss (5.2: 1).
        margin: theta, margin of the triplet loss in the features' distance (5.2: 0.3).
        smoothing: share of the identity loss's target, from 0 to 1, that is spread over all classes.
        scale: factor of cosine similarities (CLIP: 100); null for the released code's inner products.
        id_levels: features with an identity loss behind a neck each, whose sum is taken; the released code
            has pooled and projected (the projected alone is the paper's reading: it names one loss).
        triplet_levels: likewise of the triplet loss; the released code has all three.

    Raises:
        ValueError: no level, or a level twice or unknown.

    Example:
        >>> LossConfig().id
        0.25
    """

    v2sce: float = 1.0
    triplet: float = 1.0
    id: float = 0.25
    i2t: float = 1.0
    t2i: float = 1.0
    margin: float = 0.3
    smoothing: float = SMOOTHING
    scale: float | None = LOGIT_SCALE
    id_levels: tuple[Level, ...] = (PROJECTED,)
    triplet_levels: tuple[Level, ...] = (PROJECTED,)

    def __post_init__(self) -> None:
        for name in ("id_levels", "triplet_levels"):
            levels = tuple(getattr(self, name))
            object.__setattr__(self, name, levels)  # JSON and YAML give lists
            if not levels or len(set(levels)) < len(levels) or not set(levels) <= set(get_args(Level)):
                known = ", ".join(get_args(Level))
                raise ValueError(
                    f"{name} must be different levels out of {known}, at least one, got {levels}"
                )


def _check_bottleneck(bottleneck: int, multiple: int) -> None:
    if bottleneck < 1 or bottleneck % multiple:
        wanted = f"a multiple of {multiple}" if multiple > 1 else "at least 1"
        raise ValueError(f"bottleneck must be {wanted}, got {bottleneck}")


def _check_choice(name: str, value: str, *choices: str) -> None:
    if value not in choices:
        wanted = " or ".join(f'"{choice}"' for choice in choices)
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
