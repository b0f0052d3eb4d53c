"""torch's MultiheadAttention as vision transformers use it: tokens attend to themselves."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def self_attention(attention: Any, tokens: Tensor) -> Tensor:
    """What torch's attention gives for tokens [n l width] that attend to themselves, without its copies.

    torch lays queries, keys and values out anew before the product and the result after it: a fifth of a
    step's time on a GPU. peft merges LoRA's updates into the weights and takes them out again in each pass.
    That rounds, needs the gradients of whole weights, and adds the output projection's update twice
    (https://github.com/huggingface/peft/pull/3774). Here the updates are beside the weights (Hu et al.,
    ICLR 2022, Eq. 3).

    Args:
        attention: torch's MultiheadAttention with batch_first, or peft's LoRA around it.
        tokens: [n l width].

    Example:
        >>> attention, tokens = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(3, 5, 8)
        >>> torch.allclose(self_attention(attention, tokens), attention(tokens, tokens, tokens)[0], atol=1e-6)
        True
    """
    inside: Any = attention if isinstance(attention, nn.MultiheadAttention) else attention.get_base_layer()
    qkv = F.linear(tokens, inside.in_proj_weight, inside.in_proj_bias)
    if inside is not attention:
        qkv = _add_updates(qkv, tokens, attention)
    query, key, value = rearrange(qkv, "n l (three h c) -> three n h l c", three=3, h=inside.num_heads)
    dropout = inside.dropout if inside.training else 0.0
    mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    mixed = rearrange(mixed, "n h l c -> n l (h c)")
    if inside is attention:
        return inside.out_proj(mixed)
    return _add_updates(inside.out_proj.get_base_layer()(mixed), mixed, inside.out_proj)


def _add_updates(outputs: Tensor, inputs: Tensor, layer: Any) -> Tensor:
    """W x + s B A x, from W x [n l e], x [n l width] and peft's layer, which has A, B and s."""
    for name in layer.active_adapters:
        low, up = layer.lora_A[name](inputs), layer.lora_B[name].weight.t()
        sums = torch.addmm(outputs.flatten(0, 1), low.flatten(0, 1), up, alpha=layer.scaling[name])
        outputs = sums.view_as(outputs)
    return outputs


@torch.no_grad()
def merge_updates(attention: Any) -> nn.MultiheadAttention:
    """Add LoRA's updates to the weights of torch's attention.

    Args:
        attention: peft's LoRA around it.

    Returns:
        What is inside, without peft's layers; `self_attention` gives the same of both.
    """
    inside = attention.get_base_layer()
    outer = inside.out_proj
    inside.out_proj = outer.get_base_layer()
    for name in attention.active_adapters:
        inside.in_proj_weight += attention.get_delta_weight(name)
        inside.out_proj.weight += outer.get_delta_weight(name)
    return inside
