"""The batch job killed with -9, and spread over a Ray cluster of two nodes, ends with the same files."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from reid_lse import Extraction, extract

pytestmark = pytest.mark.slow
SHARD = 4


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Pictures enough for ten shards, one in ten of them no picture."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(10 * SHARD):
        path = folder / f"{number:03d}.png"
        Image.fromarray(rng.integers(0, 255, (96, 48, 3)).astype(np.uint8)).save(path)
        if number % 10 == 3:
            path.write_bytes(path.read_bytes()[:99])
    return folder


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    """What an extraction that nothing disturbs writes."""
    folder = tmp_path_factory.mktemp("whole")
    summary = extract(str(images), str(folder), Extraction(), workers=1, shard=SHARD)
    assert summary.unreadable == 4
    return files(folder)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.faults
def test_three_kills_lose_and_change_nothing(images, whole, tmp_path):
    command = [
        sys.executable,
        "-m",
        "reid_lse.cli",
        "extract",
        str(images),
        str(tmp_path),
        "--shard",
        str(SHARD),
    ]
    command += ["--workers", "1", "--allow_unreadable", "1"]  # some are broken
    for kill in range(3):
        process = subprocess.Popen(command)
        while process.poll() is None and len(list(tmp_path.glob("*.parquet"))) < 2 * (kill + 1):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(list(tmp_path.glob("*.parquet"))) < 10
    subprocess.run(command, check=True)
    assert files(tmp_path) == whole


def test_parts_at_the_same_time_give_the_same_files(images, whole, tmp_path):
    command = [sys.executable, "-m", "reid_lse.cli", "extract", str(images), str(tmp_path)]
    command += ["--shard", str(SHARD), "--workers", "1", "--allow_unreadable", "1", "--parts", "3"]
    processes = [subprocess.Popen([*command, "--part", str(part)]) for part in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    summary = extract(str(images), str(tmp_path), Extraction(), workers=1, shard=SHARD)  # lists what all made
    assert (summary.images, summary.missing) == (10 * SHARD, 0)
    assert files(tmp_path) == whole


def test_a_ray_cluster_of_two_nodes_gives_the_same_files(images, whole, tmp_path):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        summary = extract(
            str(images), str(tmp_path), Extraction(), workers=1, shard=SHARD, ray=cluster.address
        )
        assert summary.images == 10 * SHARD
        assert files(tmp_path) == whole
        with pytest.raises(ValueError, match="which one maker needs: lower --workers"):
            extract(str(images), str(tmp_path / "no"), Extraction(), workers=3, ray=cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()
