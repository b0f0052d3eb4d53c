"""Denoising over a Ray cluster of two nodes on this machine."""

from __future__ import annotations

import numpy as np
import pytest

from reid_denoise import Criteria, denoise


@pytest.mark.slow
def test_two_nodes_find_the_same_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    from reid_denoise.cluster import ray_mapper

    monkeypatch.setattr("reid_denoise.pipeline.BLOCK", 100)
    monkeypatch.setattr("reid_denoise.noise_metric.BAND", 10)
    rng = np.random.default_rng(0)
    tracklets = np.arange(800) // 8
    people = np.where(rng.random(800) < 0.1, rng.integers(0, 20, 800), tracklets % 20)
    features = rng.normal(size=(20, 16))[people] + 0.3 * rng.normal(size=(800, 16))
    arguments = (features.astype(np.float16), tracklets, tracklets // 5, Criteria(half_range=25))
    alone = denoise(*arguments, valid=None)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        with ray_mapper(cluster.address) as mapper:
            assert len(ray.nodes()) == 2
            together = denoise(*arguments, valid=None, mapper=mapper)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert together.identity.tolist() == alone.identity.tolist()
    assert together.report == alone.report
