"""The ground floor: what a recipe runs on, and which of its processes this one is."""

from __future__ import annotations

import functools
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

PATIENCE = timedelta(seconds=60)
"""How long one wait for rank 0 lasts before the next; rank 0 may work for days."""
_numbers = itertools.count()


@dataclass
class Machine:
    """What the work runs on; nothing here changes a result."""

    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, gpu (or cuda), mps."""
    devices: int = 1
    """Devices on each machine; for more than one, start with torchrun."""
    num_nodes: int = 1
    """Number of machines."""
    strategy: str = "auto"
    """Lightning's strategy, such as auto, ddp, ddp_find_unused_parameters_true or fsdp."""
    workers: int = 0
    """Processes that load data on each rank; 0 loads in the training process."""
    threads: int | None = None
    """Threads of torch; null for torch's own choice. The same number gives the same bits."""


@dataclass
class Runtime(Machine):
    """What a recipe runs on and how often it tells; nothing here changes a result."""

    batch_size: int = 128
    """Images at a time in feature extraction; clips count as their frames."""
    checkpoint_every: int = 500
    """Optimiser steps between two checkpoints."""
    log_every: int = 20
    """Optimiser steps between two records of the losses."""


def process_rank() -> int:
    """Rank of this process, read from what torchrun and Lightning's launchers set; 0 when alone.

    Lightning gives its own children LOCAL_RANK and NODE_RANK only; torchrun gives RANK.

    Returns:
        0 for the process that writes shared files, else a positive number.

    Example:
        >>> import os
        >>> process_rank() if not {"RANK", "LOCAL_RANK", "NODE_RANK"} & set(os.environ) else 0
        0
    """
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    node, local = int(os.environ.get("NODE_RANK", 0)), int(os.environ.get("LOCAL_RANK", 0))
    return 0 if node == 0 and local == 0 else 1 + local + node


def ranks(machine: Machine) -> tuple[int, int]:
    """Rank of this process and number of processes, from what torchrun or Lightning's launcher has set.

    Args:
        machine: devices and machines; used where no launcher has spoken.

    Returns:
        (rank, world size).

    Example:
        >>> ranks(Machine())
        (0, 1)
    """
    world = int(os.environ.get("WORLD_SIZE", machine.devices * machine.num_nodes))
    node, local = int(os.environ.get("NODE_RANK", 0)), int(os.environ.get("LOCAL_RANK", 0))
    return int(os.environ.get("RANK", node * machine.devices + local)), world


def check_processes(machine: Machine, module: str) -> None:
    """Refuse to start alone what is to run in several processes, or the other way about.

    Lightning's own launcher would start the whole command again for each rank, once per training.

    Args:
        machine: what was asked for.
        module: the app's, for torchrun's `-m`.

    Raises:
        ValueError: another number of processes runs; the message has torchrun's command.

    Example:
        >>> check_processes(Machine(), "vills.cli")
    """
    if machine.devices * machine.num_nodes != (world := int(os.environ.get("WORLD_SIZE", 1))):
        raise ValueError(
            f"runtime.devices={machine.devices} on num_nodes={machine.num_nodes}, but {world} processes run; "
            f"use torchrun --nproc_per_node {machine.devices} --nnodes {machine.num_nodes} -m {module}"
        )


def check_device(runtime: Machine) -> None:
    """Refuse an accelerator that isn't there.

    Args:
        runtime: what was asked for.

    Raises:
        ValueError: a GPU, and torch sees none.

    Example:
        >>> check_device(Machine(accelerator="cpu"))
    """
    if runtime.accelerator in ("gpu", "cuda"):
        import torch

        if not torch.cuda.is_available():
            raise ValueError(
                f"runtime.accelerator={runtime.accelerator}, but torch sees no GPU here: give cpu or auto"
            )


def local_device(accelerator: str) -> str:
    """The device of this process: "cpu", or the GPU of its rank on this machine.

    Args:
        accelerator: as in `Machine`; "auto" takes a GPU where torch sees one.

    Example:
        >>> local_device("cpu")
        'cpu'
    """
    import torch

    if accelerator == "cpu" or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}"


def share(make: Callable[[], Any]) -> Any:
    """Let rank 0 decide or do something, and tell every process what came of it.

    Every process calls it in the same order. Nothing is polled on disk: the answer goes through the store
    that the launcher's rendezvous keeps (torchrun's MASTER_ADDR and MASTER_PORT).

    Args:
        make: called in rank 0 alone; returns JSON's types.

    Returns:
        What `make` returned, in every process.

    Raises:
        RuntimeError: in the other processes, where `make` raised in rank 0 (which raises it too).

    Example:
        >>> share(lambda: {"done": False})
        {'done': False}
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return make()
    store, key = _store(), str(next(_numbers))
    if process_rank() == 0:
        try:
            value = make()
        except BaseException as error:
            store.set(key, json.dumps({"error": f"{type(error).__name__}: {error}"}))
            raise
        store.set(key, json.dumps({"value": value}))
        return value
    _wait(key)
    answer = json.loads(store.get(key))
    if "error" in answer:
        raise RuntimeError(f"rank 0 stopped: {answer['error']}")
    return answer["value"]


def wait_for_all() -> None:
    """Return when every process has come here; each calls it, in the same order as `share`.

    Raises:
        RuntimeError: a process can't be reached any more.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        key = str(next(_numbers))
        _store().set(f"{key}/{process_rank()}", "")
        for rank in range(world):
            _wait(f"{key}/{rank}")


def _wait(key: str) -> None:
    while True:
        try:
            return _store().wait([key], PATIENCE)
        except RuntimeError as error:  # torch has one class for a time-out and for a store that is gone
            if "imeout" not in str(error):
                raise RuntimeError(f"rank 0 can't be reached any more ({error})") from error


@functools.cache
def _store() -> Any:
    """The rendezvous store, under a prefix of this start of the job: an elastic restart begins anew."""
    from torch.distributed import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(iter(rendezvous("env://")))
    return PrefixStore(f"reid/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
