"""Denoising beyond one machine: the work on blocks as tasks of a Ray cluster (extra `ray`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from reid_denoise.mapping import Mapper, in_order

WAITING = 2
"""Blocks sent out for each of the cluster's processors, so that none waits for its next one."""


@contextmanager
def ray_mapper(address: str) -> Iterator[Mapper]:
    """Work on a Ray cluster: the `mapper` of `denoise`, as long as the context lasts.

    Blocks are cut as on one machine, bands of centroids overlap by half_range, and the closure is done here
    in the end, so that the identities are the same. Features are read here and sent out: the workers need no
    common file system.

    Args:
        address: of the cluster, such as "auto" or ray://head:10001; "local" starts one on this machine.

    Yields:
        The mapper.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("--ray needs Ray: pip install ray") from error

    def on_cluster(function: Callable[..., Any], items: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        task = ray.remote(function)
        most = WAITING * max(1, int(ray.cluster_resources().get("CPU", 1)))
        yield from in_order((task.remote(*item) for item in items), ray.get, most)

    started = not ray.is_initialized()
    if started:
        ray.init(
            address=address, log_to_driver=False, include_dashboard=False if address == "local" else None
        )
    try:
        yield on_cluster
    finally:
        if started:
            ray.shutdown()
