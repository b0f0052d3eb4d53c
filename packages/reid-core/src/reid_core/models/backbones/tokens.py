"""What every backbone returns, and how timm's sequences are read."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn


class Tokens(NamedTuple):
    """What a backbone returns.

    `cls` is never None. It is the class token where the backbone has one (`encoder.has_class_token`).
    Otherwise it is the vector that the network itself makes of the whole image for its classifier: the pooled
    map of a CNN, the normalised mean of a transformer's patch tokens, the output of SigLIP's attention
    pooling. So whatever takes a global feature takes any backbone; a part that needs a
    true class token (TransReID's jigsaw, `ViTEncoder.class_attention`) refuses the others when it is built.

    Attributes:
        cls: float [b d], the class token, or what the network pools in its place.
        patches: float [b n d], the patch tokens in raster order, n = h * w: without class, distillation and
            register tokens, and with the norm that the network's head begins with.
        grid: (h, w) of the patch tokens.
    """

    cls: Tensor
    patches: Tensor
    grid: tuple[int, int]


def no_mask(mask: Tensor | None, kind: str) -> None:
    """Refuse a mask where there is no patch to hide."""
    if mask is not None:
        raise ValueError(f"{kind} backbone can't hide patches: pass mask=None, or choose a vit_* backbone")


def has_class_token(trunk: nn.Module) -> bool:
    """Whether a timm model puts a class token before its patch tokens."""
    return getattr(trunk, "cls_token", None) is not None or bool(getattr(trunk, "has_class_token", False))


def head_norm(trunk: Any) -> nn.Module:
    """The norm that a timm transformer applies after pooling in place of one before it, or an identity."""
    norm = getattr(trunk, "fc_norm", None) or getattr(getattr(trunk, "head", None), "norm", None)
    return norm or nn.Identity()


def split_sequence(trunk: Any, x: Tensor, grid: tuple[int, int]) -> Tokens:
    """Tokens of what a timm transformer's `forward_features` returns.

    Args:
        trunk: the transformer. Its first `num_prefix_tokens` tokens are no patches, and the first of those is
            the class token where it has one.
        x: float [b p+n d].
        grid: (h, w) of the patches.

    Returns:
        The tokens.
    """
    norm = head_norm(trunk)
    cls = norm(x[:, 0]) if has_class_token(trunk) else trunk.forward_head(x, pre_logits=True)
    return Tokens(cls, norm(x[:, getattr(trunk, "num_prefix_tokens", 0) :]), grid)
