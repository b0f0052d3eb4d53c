"""System metrics of long work: processor, memory, disk, network and GPUs, by MLflow's own monitors."""

from __future__ import annotations

import contextlib
import importlib.util
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from reid_core.files import OwnershipLost

SAMPLE_SECONDS = 10.0
"""Time between two samples, as in MLflow."""
PREFIX = "system/"
"""Before each metric's name, as in MLflow, whose pages show these on a tab of their own."""

Metrics = Callable[[Mapping[str, float], int], None]


@contextmanager
def monitor_system(log: Metrics, first: int = 0, seconds: float = SAMPLE_SECONDS) -> Iterator[None]:
    """Log system metrics while the block runs; nothing without psutil, which MLflow's monitors need.

    Args:
        log: is called with metrics by name and the number of the sample, in a thread of its own.
        first: number of the first sample.
        seconds: between two samples; work that ends sooner has none.

    Example:
        >>> import time
        >>> samples = []
        >>> with monitor_system(lambda values, step: samples.append(values), seconds=0.01):
        ...     while not samples:
        ...         time.sleep(0.01)
        >>> "system/cpu_utilization_percentage" in samples[0]
        True
    """
    if importlib.util.find_spec("psutil") is None:
        yield
        return
    done = threading.Event()
    # Imported here: a process that is forked while another thread imports may hang.
    arguments = (_monitors(), log, first, seconds, done)
    thread = threading.Thread(target=_sample, args=arguments, name="system metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _sample(monitors: Sequence[Any], log: Metrics, first: int, seconds: float, done: threading.Event) -> None:
    step = first
    while not done.wait(seconds):
        values: dict[str, float] = {}
        for monitor in monitors:
            monitor.collect_metrics()
            values |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        try:
            log({f"{PREFIX}{name}": value for name, value in values.items()}, step)
        except OwnershipLost:  # the run folder is another process's now
            return
        step += 1


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with contextlib.suppress(ImportError, RuntimeError):  # no NVIDIA management library here
        monitors.append(GPUMonitor())
    return monitors
