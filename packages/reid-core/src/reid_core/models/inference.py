"""A model as it is used: in eval mode, on a device, from inputs to features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def pick_device(device: str | torch.device) -> torch.device:
    """A device by name; "auto" takes a CUDA device if there is one.

    Args:
        device: "auto", or what `torch.device` takes.

    Raises:
        ValueError: a GPU that isn't there.

    Example:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = torch.device(device)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device}, but torch sees {torch.cuda.device_count()} GPUs here: give cpu or auto"
        )
    return chosen


def batch_features(
    model: nn.Module, inputs: Tensor, flip: bool = False, camid: Tensor | None = None
) -> Tensor:
    """Features of a batch.

    Args:
        model: module from images or clips to features `[b d]`.
        inputs: images `[b 3 h w]` or clips `[b t 3 h w]`, float.
        flip: whether a feature is the mean of that of the input and that of its mirror image.
        camid: cameras `[b]` int64, for a model that has `camids` (TransReID with side information).

    Returns:
        `[b d]` float32.

    Raises:
        ValueError: the model gives another shape.
    """
    cameras = () if getattr(model, "camids", None) is None else (camid,)
    output = model(inputs, *cameras)
    if flip:
        output = (output + model(inputs.flip(-1), *cameras)) / 2
    if output.ndim != 2 or len(output) != len(inputs):
        raise ValueError(
            f"the model returned {tuple(output.shape)} for an input of {tuple(inputs.shape)}; expected [b d]"
        )
    return output.float()


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode inside the block; each of its modules gets its own mode back.

    Args:
        model: any module.

    Example:
        >>> model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
        >>> with eval_mode(model):
        ...     inside = [module.training for module in model.modules()]
        >>> inside, [module.training for module in model.modules()]
        ([False, False, False], [True, True, False])
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
