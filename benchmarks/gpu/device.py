"""What the parts run on: the device's name, and the rates of a large matrix product and of a large copy."""

from __future__ import annotations

import time
from typing import Any

import torch
from runner import Context

DENSE_BF16 = {
    "H100 80GB HBM3": 989.4e12,
    "H100 PCIe": 756.0e12,
    "H200": 989.4e12,
    "A100": 312.0e12,
}
"""Operations a second of dense bfloat16 products, by a part of the card's name (NVIDIA's data sheets)."""

SIDE = 8192
"""Of the matrices that are multiplied."""

COPIED = 2**30
"""Bytes that are copied."""


def device_of(context: Context) -> str:
    """cuda where there is a GPU, else the CPU, which --tiny alone may use."""
    if torch.cuda.is_available():
        return "cuda"
    if not context.tiny:
        raise SystemExit("torch finds no GPU here; --tiny tries everything on the CPU")
    return "cpu"


def describe(context: Context) -> None:
    """Report the machine, and the rates that it reaches."""
    device = device_of(context)
    if device == "cpu":
        return context.report("machine", device="cpu")
    properties: Any = torch.cuda.get_device_properties(0)
    context.report(
        "machine",
        device="cuda",
        gpu=properties.name,
        gpu_gib=round(properties.total_memory / 2**30, 1),
        capability=f"{properties.major}.{properties.minor}",
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(),
    )
    side = 512 if context.tiny else SIDE
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = _seconds(lambda: left @ right)
    source = torch.randn((2**20 if context.tiny else COPIED) // 4, device=device)
    copy = _seconds(source.clone)
    context.report(
        "rates",
        bf16_product_tflops=round(2 * side**3 / product / 1e12, 1),
        copy_tb_per_s=round(2 * source.nbytes / copy / 1e12, 3),
    )


def peak() -> float | None:
    """bfloat16 operations a second that the data sheet promises; None where the card isn't in the table."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((rate for part, rate in DENSE_BF16.items() if part in name), None)


def _seconds(call: Any, repeats: int = 20) -> float:
    """Of one call, by the wall clock over many."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / repeats
