"""In-batch losses see the whole batch: gathering across ranks, and nothing at all in one process."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather


def world_size() -> int:
    """Processes of the default group; 1 where torch.distributed isn't set up."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process' rank in the default group; 0 where torch.distributed isn't set up."""
    return dist.get_rank() if world_size() > 1 else 0


def gather(x: Tensor) -> Tensor:
    """Float [b ...] of every rank -> [world*b ...] in rank order, with gradients to every rank's part."""
    return torch.cat(all_gather(x.contiguous())) if world_size() > 1 else x


@torch.no_grad()
def sum_across_ranks(x: Tensor) -> Tensor:
    """The sum of a tensor over ranks, without gradient."""
    if world_size() > 1:
        x = x.clone()
        dist.all_reduce(x)
    return x
