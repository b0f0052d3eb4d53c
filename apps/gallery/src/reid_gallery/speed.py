"""How many images a second models take, measured turn by turn so that a busy machine slows all alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import torch
from torch import Tensor

from reid_core.models import Embedder
from reid_core.models.inference import batch_features, eval_mode, pick_device
from reid_core.models.runtimes import ExportedModel

ROUNDS = 5
SECONDS = 1.0
"""Least time that a model is run for in all its rounds."""


def images_per_second(embedders: Sequence[Embedder], batch_size: int, device: str = "auto") -> list[float]:
    """Images, or clips of a model of clips, that each model takes a second, decoding left out.

    Args:
        embedders: the models; each takes random inputs of its own size.
        batch_size: inputs at a time.
        device: of torch's models; an exported one runs on the CPU.

    Returns:
        Batch size over the median time of a batch, mirror images included.

    Example:
        >>> from torch import nn
        >>> from reid_core.models import Preprocessing
        >>> model = Embedder(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), Preprocessing((8, 4)))
        >>> images_per_second([model], 2)[0] > 0
        True
    """
    inputs = [_inputs(embedder, batch_size) for embedder in embedders]
    places = [
        torch.device("cpu") if isinstance(embedder.model, ExportedModel) else pick_device(device)
        for embedder in embedders
    ]
    times: list[list[float]] = [[] for _ in embedders]
    for embedder, batch, place in zip(embedders, inputs, places, strict=True):
        _run(embedder, batch, place)  # the first is slower
    while any(len(taken) < ROUNDS or sum(taken) < SECONDS for taken in times):
        for embedder, batch, place, taken in zip(embedders, inputs, places, times, strict=True):
            taken.append(_run(embedder, batch, place))
    return [batch_size / median(taken) for taken in times]


def _inputs(embedder: Embedder, batch_size: int) -> Tensor:
    about = embedder.preprocessing
    frames = () if about.takes_images or about.frames is None else (about.frames,)
    return torch.rand(batch_size, *frames, 3, *about.size, generator=torch.Generator().manual_seed(0))


def _run(embedder: Embedder, inputs: Tensor, device: torch.device) -> float:
    model = embedder.model.to(device)
    with eval_mode(model), torch.inference_mode():
        inputs = inputs.to(device)
        start = time.perf_counter()
        batch_features(model, inputs, embedder.flip).cpu()  # waits for a GPU
        return time.perf_counter() - start
