"""The ground floor: what a recipe runs on, and which of its processes this one is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

POLL_SECONDS = 0.5


@dataclass
class Machine:
    """What the work runs on; nothing here changes a result."""

    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, gpu."""
    devices: int = 1
    """Devices on each machine; for more than one, start with torchrun."""
    num_nodes: int = 1
    """Machines."""
    strategy: str = "auto"
    """Lightning's strategy: auto, ddp_find_unused_parameters_true, fsdp."""
    workers: int = 0
    """Processes that load data on each rank."""
    threads: int | None = None
    """Threads of torch; null for its own choice. The same number gives the same bits."""


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
            f"machine.devices={machine.devices} on num_nodes={machine.num_nodes}, but {world} processes run; "
            f"use torchrun --nproc_per_node {machine.devices} --nnodes {machine.num_nodes} -m {module}"
        )


def wait(condition: Callable[[], bool]) -> None:
    """Wait for what another process is about to put on shared storage.

    Args:
        condition: asked every half second until it is true.
    """
    while not condition():
        time.sleep(POLL_SECONDS)
