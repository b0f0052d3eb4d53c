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

PROFILED = 3
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
    """Where the time of a call goes: the top kernels as text, shares by kind, and how long a device is idle.

    Returns:
        "top" text, "kinds" shares of the device's time, "busy_s" and "idle_share" of a call.
    """
    gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    call()
    with profile(activities=activities) as found:
        for _ in range(PROFILED):
            call()
        if gpu:
            torch.cuda.synchronize()
    kind = torch.autograd.DeviceType.CUDA if gpu else torch.autograd.DeviceType.CPU
    events = [event for event in found.events() or () if event.device_type == kind]
    if not gpu:  # operators hold one another; their own time alone adds up
        table = found.key_averages().table(
            sort_by="self_cpu_time_total", row_limit=TOP, max_name_column_width=50
        )
        return {"top": table}
    if not events:
        return {"top": "the profiler saw no kernel; it may not read this card's counters"}
    busy: dict[str, float] = {}
    counts: dict[str, int] = {}
    for event in events:
        busy[event.name] = busy.get(event.name, 0.0) + event.time_range.elapsed_us()
        counts[event.name] = counts.get(event.name, 0) + 1
    total = sum(busy.values())
    first = min(event.time_range.start for event in events)
    span = max(event.time_range.end for event in events) - first
    gaps = _gaps([(event.time_range.start, event.time_range.end) for event in events])
    top = sorted(busy.items(), key=lambda item: -item[1])[:TOP]
    lines = [
        f"{spent / PROFILED / 1e3:8.3f} ms {spent / total:6.1%} {counts[name] / PROFILED:7.1f} x  "
        + name[:NAME]
        for name, spent in top
    ]
    kinds: dict[str, float] = {}
    for name, spent in busy.items():
        kinds[kind_of(name)] = kinds.get(kind_of(name), 0.0) + spent / total
    return {
        "top": "\n".join(lines),
        "kinds": {name: round(part, 3) for name, part in sorted(kinds.items(), key=lambda item: -item[1])},
        "kernels": round(len(events) / PROFILED),
        "busy_s": round(total / PROFILED / 1e6, 5),
        "idle_share": round(sum(gaps) / span, 3),
        "longest_gap_ms": round(max(gaps, default=0.0) / 1e3, 3),
    }


def kind_of(kernel: str) -> str:
    """What a kernel does, by its name.

    >>> kind_of("nvjet_hsh_128x256_64x4_2x1_v_bz_coopA_TNT"), kind_of("void flash_fwd_kernel"), kind_of("xyz")
    ('matrix products', 'attention', 'other')
    """
    return next((name for name, parts in KINDS.items() if re.search(parts, kernel, re.IGNORECASE)), "other")


def _gaps(spans: list[tuple[float, float]]) -> list[float]:
    """Times in which no span runs.

    >>> _gaps([(0, 2), (1, 3), (5, 6)])
    [2]
    """
    gaps, end = [], None
    for start, stop in sorted(spans):
        if end is not None and start > end:
            gaps.append(start - end)
        end = stop if end is None else max(end, stop)
    return gaps
