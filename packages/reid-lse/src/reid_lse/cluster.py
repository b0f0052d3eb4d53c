"""The same work over a Ray cluster: shards go to whoever is free, tables come back (extra `ray`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa

from reid_lse.shards import Job, ShardMaker


def on_ray(
    address: str, job: Job, todo: list[int], report: Callable[[int], None]
) -> Iterator[tuple[int, pa.Table]]:
    """Make shards on a Ray cluster, one maker for every `job.workers` processors, or for every GPU.

    Args:
        address: of the cluster, such as "auto" or ray://head:10001; "local" starts one on this machine.
        job: what to do. All nodes must see its images, keypoints and weights under the same paths.
        todo: numbers of the shards.
        report: called with the number of images of each finished shard.

    Yields:
        Shards' numbers and tables, in the order in which they are finished.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: no cluster at the address.
        ValueError: the cluster has too few processors or GPUs for one maker.
    """
    try:
        import ray
        from ray.util import ActorPool
    except ImportError as error:
        raise ImportError("--ray needs Ray: pip install ray") from error
    started = not ray.is_initialized()
    if started:
        ray.init(
            address=address, log_to_driver=False, include_dashboard=False if address == "local" else None
        )
    try:
        on_gpu = job.extraction.device.startswith("cuda")
        needs = {"CPU": float(job.workers), **({"GPU": 1.0} if on_gpu else {})}
        # Counted a node: a maker can't be spread over two, and one that finds no place would keep its shard.
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        places = sum(min(int(node.get(kind, 0) // count) for kind, count in needs.items()) for node in nodes)
        if todo and places < 1:
            raise ValueError(
                f"no node of the Ray cluster has {needs}, which one maker needs: lower --workers"
            )
        maker = ray.remote(num_cpus=job.workers, num_gpus=int(on_gpu))(ShardMaker)
        shared = ray.put(job)
        pool = ActorPool([maker.remote(shared) for _ in range(min(places, len(todo)))])
        for number, table in pool.map_unordered(_make, todo):
            report(len(table))
            yield number, table
    finally:
        if started:
            ray.shutdown()


def _make(maker, shard: int):  # type: ignore[no-untyped-def]
    return maker.make_numbered.remote(shard)
