"""Training steps at the papers' batches: time, memory, share of the peak, a profile; plain, and compiled."""

from __future__ import annotations

import gc
import time
from typing import Any

import torch
from device import device_of
from measure import operations, profiled, share_of_peak, timed
from runner import Context
from timm.layers import DropPath
from trainings import Training, build


def vills(context: Context) -> None:
    """ViT-S and ViT-B in bfloat16 and float32; where ViT-S's time goes."""
    measure(context, "vills_vit_small", profile=True)
    measure(context, "vills_vit_base")


def cion(context: Context) -> None:
    """ResNet50-IBN and ViT-S with its stem of convolutions; what channels last gains."""
    for name in ("cion_resnet50_ibn", "cion_vit_small"):
        measure(context, name, channels_first=True)


def vsla(context: Context) -> None:
    """VSLA beside full fine-tuning and LoRA: what counted operations allow, and what the clock says."""
    names = ("full_fine_tuning", "vsla", "vsla_pbp", "lora")
    counts, seconds = zip(*(measure(context, name, profile=name == "vsla") for name in names), strict=True)
    for name, count, own in zip(names[1:], counts[1:], seconds[1:], strict=True):
        if seconds[0] is None or own is None:
            continue
        allowed, reached = counts[0] / count, seconds[0] / own
        context.report(
            f"{name} to full fine-tuning",
            counted_ratio=round(allowed, 3),
            measured_ratio=round(reached, 3),
            measured_over_counted=round(reached / allowed, 3),
        )


def compiled(context: Context) -> None:
    """Transformers' blocks through torch.compile, which compiles one for all of them."""
    for name in ("vills_vit_small", "vills_vit_base", "cion_vit_small"):
        measure_compiled(context, name)


def compiled_cnn(context: Context) -> None:
    """CION's ResNet50-IBN through torch.compile: a graph for each size of its views."""
    measure_compiled(context, "cion_resnet50_ibn")


def measure(
    context: Context, name: str, profile: bool = False, channels_first: bool = False
) -> tuple[int, float | None]:
    """Time a training's steps; operations of a step, and its seconds in bfloat16."""
    training, count = _built(context, name)
    seconds = _timed(context, training, f"{name}, bfloat16", count)
    _timed(context, training, f"{name}, float32", count, half=False)
    if channels_first:
        training.objective.to(memory_format=torch.contiguous_format)
        training.restart()
        _timed(context, training, f"{name}, bfloat16, channels first", count)
    if profile:
        context.report(f"{name}, where the time goes", **profiled(lambda: training.step(half=True)))
    _release(training)
    return count, seconds


def measure_compiled(context: Context, name: str) -> None:
    """Time a training's steps as they are and compiled, both without stochastic depth.

    Each block's own rate of it would be compiled anew. A CPU traces alone: compiling takes minutes there.
    """
    training, count = _built(context, name)
    for module in training.objective.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
    _timed(context, training, f"{name}, bfloat16, no stochastic depth", count)
    backend = "inductor" if training.device == "cuda" else "eager"
    objective: Any = training.objective
    for branch in (objective.student, objective.teacher):
        encoder = branch.model.encoder if hasattr(branch, "model") else branch.backbone
        blocks = getattr(encoder.trunk, "blocks", None)
        for part in blocks if blocks is not None else [encoder]:
            part.compile(backend=backend, dynamic=blocks is not None)
    began = time.perf_counter()
    training.step(half=True)
    context.report(f"{name}, compiled", first_step_s=round(time.perf_counter() - began, 1), backend=backend)
    _timed(context, training, f"{name}, compiled", count)
    _release(training)


def _built(context: Context, name: str) -> tuple[Training, int]:
    training = build(name, device_of(context), context.tiny)
    return training, operations(lambda: training.step(half=True))


def _timed(context: Context, training: Training, name: str, count: int, half: bool = True) -> float | None:
    repeats, warm_up = (2, 1) if context.tiny else (10, 3) if half else (4, 1)
    try:
        found = timed(lambda: training.step(half), repeats, warm_up)
    except torch.cuda.OutOfMemoryError:
        training.optimizer.zero_grad()
        context.report(name, why="the device's memory is too small")
        return None
    seconds = found["seconds"]
    rate = round(training.items / seconds, 1)
    tera = round(count / 1e12, 4)
    context.report(name, **found, images_per_s=rate, tera_operations=tera, **share_of_peak(count, seconds))
    return seconds


def _release(training: Training) -> None:
    """Give the device's memory back before the next training is built."""
    del training.objective, training.optimizer, training.trained, training.batch
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
