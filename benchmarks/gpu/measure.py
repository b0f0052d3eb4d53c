"""Times, memory, counted operations and a profile of a call on a device."""

from __future__ import annotations

import re
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from device import peak
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

WARM_UP = 3
"""Calls before those that are timed; the first one compiles."""

TOP = 10
"""Kernels named in a profile."""

NAME = 100
"""Characters of their names."""

PROFILED = 2
"""Calls in a profile."""

KINDS = {
    "attention": "flash|fmha|attention|sdpa",
    "convolutions": "conv|implicit|winograd|dgrad|wgrad|fprop",
    "matrix products": "gemm|cutlass|nvjet|xmma|cublas|wgmma",
    "optimiser": "multi_tensor|adam|foreach",
    "softmax": "softmax",
    "normalisation": "norm|welford",
    "copies": "memcpy|memset|copy",
    "indexing": "index|gather|scatter|sort",
    "reductions": "reduce|sum|scan",
    "elementwise": "elementwise|vectorized|triton_poi|gelu|dropout",
}
"""Kernels by a part of their names, the first that fits."""


def timed(call: Callable[[], object], repeats: int, warm_up: int = WARM_UP) -> dict[str, float]:
    """Median, fastest and slowest seconds of a call, and the peak of memory.

    On a GPU calls follow one another as in a training, without waiting in between: events on the device are
    read when all are done.
    """
    gpu = torch.cuda.is_available()
    for _ in range(warm_up):
        call()
    if gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    seconds = _on_gpu(call, repeats) if gpu else [_by_clock(call) for _ in range(repeats)]
    return {
        "seconds": round(statistics.median(seconds), 5),
        "fastest_s": round(min(seconds), 5),
        "slowest_s": round(max(seconds), 5),
        "peak_gib": round(_peak_bytes(gpu) / 2**30, 2),
    }


def _on_gpu(call: Callable[[], object], repeats: int) -> list[float]:
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize()
    return [first.elapsed_time(second) / 1e3 for first, second in zip(events, events[1:], strict=False)]


def _by_clock(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _peak_bytes(gpu: bool) -> int:
    if gpu:
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def operations(call: Callable[[], object]) -> int:
    """Floating-point operations of matrix products, convolutions and attention in a call, backwards too."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def share_of_peak(count: int, seconds: float) -> dict[str, float]:
    """Counted operations a second, and their share of the card's bfloat16 peak where that is known."""
    rate = count / seconds
    shares = {"tflops_per_s": round(rate / 1e12, 2)}
    promised = peak()
    return shares if promised is None else {**shares, "share_of_bf16_peak": round(rate / promised, 3)}


def profiled(call: Callable[[], object]) -> dict[str, Any]:
    """Where the time of a call goes; on a GPU what `account` makes of its kernels, else the top operators."""
    gpu = torch.cuda.is_available()
    call()
    with profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]) as found:
        for _ in range(PROFILED):
            call()
        if gpu:
            torch.cuda.synchronize()
    if not gpu:
        averages = found.key_averages()
        return {"top": averages.table(sort_by="self_cpu_time_total", row_limit=TOP, max_name_column_width=50)}
    return account(
        [
            (event.name, event.time_range.start, event.time_range.end)
            for event in found.events() or ()
            if event.device_type == torch.autograd.DeviceType.CUDA
        ],
        PROFILED,
    )


def account(kernels: list[tuple[str, float, float]], calls: int) -> dict[str, Any]:
    """The top kernels of some calls as text, shares by kind, and how long the device is idle.

    Args:
        kernels: name, start and end of each in microseconds.
        calls: how many calls they are of.

    Returns:
        "top" text, "kinds" shares of the kernels' time, "kernels", "busy_s" and "longest_gap_ms" of a call,
        and "idle_share" of the time from the first kernel to the last one's end.
    """
    if not kernels:
        return {"top": "the profiler saw no kernel; it may not read this card's counters"}
    busy: dict[str, float] = {}
    counts: dict[str, int] = {}
    kinds: dict[str, float] = {}
    for name, start, end in kernels:
        busy[name] = busy.get(name, 0.0) + end - start
        counts[name] = counts.get(name, 0) + 1
        kinds[kind_of(name)] = kinds.get(kind_of(name), 0.0) + end - start
    total = sum(busy.values())
    span = max(end for _, _, end in kernels) - min(start for _, start, _ in kernels)
    gaps = _gaps([(start, end) for _, start, end in kernels])
    lines = [
        f"{spent / calls / 1e3:8.3f} ms {spent / total:6.1%} {counts[name] / calls:7.1f} x  {name[:NAME]}"
        for name, spent in sorted(busy.items(), key=lambda item: -item[1])[:TOP]
    ]
    return {
        "top": "\n".join(lines),
        "kinds": {
            kind: round(spent / total, 3) for kind, spent in sorted(kinds.items(), key=lambda item: -item[1])
        },
        "kernels": round(len(kernels) / calls),
        "busy_s": round(total / calls / 1e6, 5),
        "idle_share": round(sum(gaps) / span, 3),
        "longest_gap_ms": round(max(gaps, default=0.0) / 1e3, 3),
    }


def kind_of(kernel: str) -> str:
    """What a kernel does, by its name."""
    return next((name for name, parts in KINDS.items() if re.search(parts, kernel, re.IGNORECASE)), "other")


def _gaps(spans: list[tuple[float, float]]) -> list[float]:
    """Times in which no span runs."""
    gaps, end = [], min(start for start, _ in spans)
    for start, stop in sorted(spans):
        if start > end:
            gaps.append(start - end)
        end = max(end, stop)
    return gaps
