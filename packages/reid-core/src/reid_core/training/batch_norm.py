"""Batch norms that see the batches of all ranks: torch's SyncBatchNorm, and its substitute on CPUs."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.plugins import LayerSync
from timm.layers import SyncBatchNormAct, convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNormSync(LayerSync):
    """Lightning's plugin: with several ranks a batch norm has the mean and variance of the whole batch.

    Without it a rank with one video could not be normalised, and one with two would see each beside the
    other. Ranks may have different numbers of rows, or none, but all must call a layer equally often.

    Args:
        on_gpu: whether the ranks are GPUs, which torch's own layer is for; DDP refuses it on CPUs.
    """

    def __init__(self, on_gpu: bool) -> None:
        self.on_gpu = on_gpu

    def apply(self, model: nn.Module) -> nn.Module:
        """Put synchronised batch norms in the place of plain ones, with their parameters.

        Args:
            model: changed in place.
        """
        model = convert_sync_batchnorm(model)  # timm's keeps the activations that its batch norms apply
        for module in model.modules():
            if not self.on_gpu and type(module) in ON_CPU:
                module.__class__ = ON_CPU[type(module)]
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Nothing: out of training, or in one process, a synchronised batch norm is a plain one."""
        return model


class AllReduce(torch.autograd.Function):
    """The sum over all ranks; each rank's part gets the sum of all ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The sum."""
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """The sum of the gradients."""
        total = gradient.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total


class AllReduceBatchNorm(_BatchNorm):
    """torch's SyncBatchNorm for CPUs, which it doesn't know, by a differentiable all-reduce."""

    def forward(self, input: Tensor) -> Tensor:
        """Float [b c ...] of this rank -> the same shape, normalised over all ranks."""
        if not (self.training and torch.distributed.is_initialized()):
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        axes = [0, *range(2, x.ndim)]
        ones = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
        rows = x.new_full((1,), x.numel() // x.shape[1])
        total = AllReduce.apply(torch.cat([x.sum(axes), rows]))
        count = total[-1].detach()
        mean = total[:-1] / count.clamp(min=1)
        x = x - mean.view(ones)
        variance = AllReduce.apply(x.square().sum(axes)) / count.clamp(min=1)
        self._follow(mean.detach(), variance.detach(), count)
        x = x * (variance + self.eps).rsqrt().view(ones)
        if self.affine:
            x = x * self.weight.view(ones) + self.bias.view(ones)
        return x.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Running statistics, as torch's: of the unbiased variance; they stay where no rank has a row."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        momentum = momentum * float(count > 0)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), momentum)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes, as torch's SyncBatchNorm."""


class AllReduceBatchNormAct(AllReduceBatchNorm):
    """The same with what timm's batch norms apply to their output."""

    act: nn.Module
    drop: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        """Float [b c h w] -> the same shape."""
        return self.act(self.drop(super().forward(input)))


ON_CPU: dict[type[nn.Module], type[nn.Module]] = {
    nn.SyncBatchNorm: AllReduceBatchNorm,
    SyncBatchNormAct: AllReduceBatchNormAct,
}
