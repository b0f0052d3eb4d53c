"""Cluster Contrast's parts: Jaccard distances, clusters and the memory, beside direct transcriptions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch import nn

from reid_core.training.unsupervised import (
    ClusterMemory,
    centroids,
    cluster,
    jaccard_distance,
    memory,
    neighbours,
    within_cameras,
)


def people(seed: int, count: int, identities: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Unit-length features float32 [n 16] around a direction a person, and the persons."""
    rng = np.random.default_rng(seed)
    pids = np.arange(count) % identities
    features = rng.normal(size=(identities, 16))[pids] + noise * rng.normal(size=(count, 16))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features.astype(np.float32), pids


def dense_jaccard(features: np.ndarray, k1: int, k2: int) -> np.ndarray:
    """The published algorithm, row by row on [n n] matrices."""
    ranks = faiss.knn(features, features, k1)[1]
    n = len(features)

    def reciprocal(i: int, k: int) -> np.ndarray:
        forward = ranks[i, : k + 1]
        return np.array([j for j in forward if i in ranks[j, : k + 1]], dtype=int)

    encoding = np.zeros((n, n))
    for i in range(n):
        own = reciprocal(i, k1)
        expanded = set(own.tolist())
        for j in own:
            theirs = reciprocal(j, int(np.around(k1 / 2)))
            if len(np.intersect1d(theirs, own)) > 2 / 3 * len(theirs):
                expanded |= set(theirs.tolist())
        chosen = np.array(sorted(expanded), dtype=int)
        weights = np.exp(-(2 - 2 * features[chosen] @ features[i]))
        encoding[i, chosen] = weights / weights.sum()
    if k2 != 1:
        encoding = np.stack([encoding[ranks[i, :k2]].mean(axis=0) for i in range(n)])
    lesser = np.minimum(encoding[:, None], encoding[None]).sum(axis=2)
    return np.maximum(1 - lesser / (2 - lesser), 0)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(12, 40),
    identities=st.integers(1, 6),
    noise=st.floats(0.05, 2),
    k1=st.integers(1, 12),
    k2=st.integers(1, 6),
    eps=st.floats(0.05, 0.95),
)
def test_sparse_jaccard_distances_are_the_dense_ones_within_eps(seed, count, identities, noise, k1, k2, eps):
    features, _ = people(seed, count, identities, noise)
    k2 = min(k1, k2)
    expected = dense_jaccard(features, k1, k2)
    found = jaccard_distance(features, k1, k2, eps, progress=False).tocoo()
    stored = np.zeros(expected.shape, dtype=bool)
    stored[found.row, found.col] = True
    assert found.nnz == stored.sum()  # a pair at most once
    np.testing.assert_allclose(found.data, expected[found.row, found.col], atol=1e-5)
    assert (expected[~stored] > eps - 1e-5).all() and (found.data <= eps + 1e-6).all()


def encodings(seed: int, rows: int, peak: float) -> sparse.csr_array:
    """Rows of weights that sum to 1; some rows are the same, and some columns are hubs."""
    rng = np.random.default_rng(seed)
    dense = rng.random((rows, rows)) ** peak * (rng.random((rows, rows)) < rng.beta(0.3, 3, rows))
    dense[np.arange(rows), np.arange(rows)] += 0.1
    dense[rows // 2 : rows // 2 + 3] = dense[0]
    return sparse.csr_array(dense / dense.sum(axis=1, keepdims=True))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(8, 60),
    peak=st.floats(0, 12),
    eps=st.sampled_from([0.0, 1e-6, 0.3, 0.6, 0.9, 0.999, 1 - 1e-9]),
)
def test_near_pairs_are_those_of_a_loop_over_all_pairs(seed, rows, peak, eps):
    encoding = encodings(seed, rows, peak)
    dense = encoding.toarray()
    overlap = np.minimum(dense[:, None], dense[None]).sum(axis=2)
    expected = np.maximum(1 - overlap / (2 - overlap), 0)
    found = neighbours._near_pairs(encoding, eps, progress=False)
    near = np.zeros((rows, rows), dtype=bool)
    near[found.tocoo().row, found.tocoo().col] = True
    assert found.nnz == near.sum() and (found != found.T).nnz == 0
    wrong = near != (expected <= eps)
    assert (np.abs(expected[wrong] - eps) < 1e-12).all()  # sums in another order
    np.testing.assert_allclose(found.toarray()[near], expected[near], atol=1e-7)


def test_how_many_pairs_are_worked_on_at_a_time_changes_no_distance(monkeypatch):
    features, _ = people(0, 300, 30, 0.5)
    whole = jaccard_distance(features, 10, 3, progress=False)
    monkeypatch.setattr(neighbours, "GATHER_BYTES", 1000)
    monkeypatch.setattr(neighbours, "ROWS_AT_A_TIME", 7)
    pieces = jaccard_distance(features, 10, 3, progress=False)
    assert (whole != pieces).nnz == 0 and whole.nnz == pieces.nnz


def test_neighbours_are_searched_on_the_gpu_that_is_named(monkeypatch):
    features, _ = people(0, 300, 30, 0.5)
    used = []

    def knn_gpu(resources, queries, rows, k, distances=None, indices=None, metric=faiss.METRIC_L2, device=-1):
        used.append((resources, device))
        return faiss.knn(queries, rows, k, metric=metric)

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: "resources", raising=False)
    monkeypatch.setattr(faiss, "knn_gpu", knn_gpu, raising=False)
    there = jaccard_distance(features, 10, 3, progress=False, device="cuda:1")
    assert used == [("resources", 1)]
    here = jaccard_distance(features, 10, 3, progress=False)
    assert (here != there).nnz == 0 and len(used) == 1


@pytest.mark.parametrize("device", ["cuda:1", "cuda:x", "gpu"])
def test_a_gpu_that_faiss_does_not_find_is_refused_before_the_search(device, monkeypatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    with pytest.raises(ValueError, match=f"device='{device}'.* below the 1 GPUs that faiss finds.*faiss-gpu"):
        jaccard_distance(np.eye(4), 3, 1, device=device)


@pytest.mark.gpu
def test_a_gpu_finds_the_pairs_that_the_cpu_finds(device):
    if device != "cpu" and not faiss.get_num_gpus():
        pytest.skip("this faiss finds no GPU: install faiss-gpu")
    features, _ = people(0, 300, 30, 0.5)
    here, there = (jaccard_distance(features, 10, 3, progress=False, device=x) for x in ("cpu", device))
    np.testing.assert_allclose(there.toarray(), here.toarray(), atol=1e-5)


def test_lengths_do_not_count():
    features, _ = people(0, 30, 3, 0.3)
    longer = features * np.linspace(0.5, 9, 30, dtype=np.float32)[:, None]
    one, other = (jaccard_distance(x, 8, 3, progress=False) for x in (features, longer))
    np.testing.assert_allclose(one.toarray(), other.toarray(), atol=1e-5)


def test_memory_grows_with_the_pairs_and_not_with_all_of_them():
    features, _ = people(0, 2000, 200, 0.1)
    assert jaccard_distance(features, 10, 3, progress=False).nnz < 2000 * 50


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        (np.ones(4), {}, r"shape \(4,\); expected \[n d\]"),
        (np.eye(4)[[0, 1, 2]] * [[1], [0], [1]], {"k1": 2, "k2": 1}, "row 1 is zero or not finite"),
        (np.eye(4), {}, "k1=30.*<= 4"),
        (np.eye(4), {"k1": 3, "k2": 4}, "k2=4"),
        (np.eye(4), {"k1": 3, "k2": 1, "eps": 1.0}, "eps=1.0"),
    ],
)
def test_bad_arguments_of_distances_are_named(features, options, message):
    with pytest.raises(ValueError, match=message):
        jaccard_distance(features, **options)


def test_separable_people_become_the_clusters_and_strangers_outliers():
    features, pids = people(1, 60, 6, 0.05)
    strangers = people(2, 3, 3, 0.0)[0]
    # k2=1: averaged over its nearest rows, a stranger's encoding would be mostly theirs
    labels = cluster(jaccard_distance(np.concatenate([features, strangers]), 10, 1, progress=False))
    assert (labels[60:] == -1).all()
    assert len(set(zip(pids, labels[:60].tolist(), strict=True))) == 6 and labels.max() == 5


def test_within_cameras_people_are_clustered_whose_cameras_stand_apart():
    features, pids = people(0, 80, 5, noise=0.1)
    camids = np.arange(80) // 5 % 2
    features[camids == 1] += 2
    for compared, people_a_cluster, cameras_a_cluster in (
        (features, 1, 1),
        (within_cameras(features, camids), 1, 2),
    ):
        labels = cluster(jaccard_distance(compared, 8, 2, 0.6, progress=False))
        for label in range(labels.max() + 1):
            assert len(set(pids[labels == label])) == people_a_cluster
            assert len(set(camids[labels == label])) == cameras_a_cluster


def test_a_camera_of_one_image_takes_the_statistics_of_all():
    features = np.random.default_rng(0).normal(size=(9, 4))
    alone = within_cameras(features, np.array([0] * 8 + [1]))[8]
    np.testing.assert_allclose(alone, (features[8] - features.mean(0)) / features.std(0), rtol=1e-5)


def test_clusters_are_those_of_the_dense_matrix():
    from sklearn.cluster import DBSCAN

    features, _ = people(3, 80, 8, 0.6)
    dense = DBSCAN(eps=0.6, min_samples=4, metric="precomputed").fit_predict(dense_jaccard(features, 10, 3))
    assert len(set(dense)) > 2
    np.testing.assert_array_equal(cluster(jaccard_distance(features, 10, 3, 0.6, progress=False)), dense)


def test_centroids_are_mean_directions_without_the_outliers():
    features = np.array([[2.0, 0], [0, 1], [-5, -5], [0, 9]], dtype=np.float32)
    found = centroids(features, np.array([1, 1, -1, 0]))
    np.testing.assert_allclose(found, [[0, 1], [0.5**0.5, 0.5**0.5]], rtol=1e-6)


def moved(start: torch.Tensor, features: torch.Tensor, labels: torch.Tensor, momentum: float, hardest: bool):
    """The published updates, instance by instance."""
    memory, features = start.clone(), nn.functional.normalize(features, dim=1)
    pairs = list(zip(features, labels.tolist(), strict=True))
    if hardest:
        groups = {label: [x for x, y in pairs if y == label] for label in dict.fromkeys(labels.tolist())}
        pairs = [(min(xs, key=lambda x, y=y: float(x @ start[y])), y) for y, xs in groups.items()]
    for x, y in pairs:
        memory[y] = momentum * memory[y] + (1 - momentum) * x
        memory[y] /= memory[y].norm()
    return memory


@settings(max_examples=25, deadline=None)
@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    seed=st.integers(0, 1000),
    momentum=st.sampled_from([0.0, 0.1, 0.9]),
    hardest=st.booleans(),
)
def test_loss_gradient_and_memory_are_the_published_ones(labels, seed, momentum, hardest):
    random = torch.Generator().manual_seed(seed)
    start = nn.functional.normalize(torch.randn(4, 6, generator=random), dim=1)
    features = torch.randn(len(labels), 6, generator=random, requires_grad=True)
    labels = torch.tensor(labels)
    found = ClusterMemory(start, momentum, 0.05, hardest)
    loss = found(features, labels)
    (gradient,) = torch.autograd.grad(loss, features)
    logits = nn.functional.normalize(features, dim=1) @ start.T / 0.05
    expected = -torch.log_softmax(logits, dim=1)[torch.arange(len(labels)), labels].mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, features)[0])
    torch.testing.assert_close(found.centroids, moved(start, features.detach(), labels, momentum, hardest))


def test_memory_stays_in_evaluation():
    found = ClusterMemory(torch.eye(3)).eval()
    found(torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1]))
    assert torch.equal(found.centroids, torch.eye(3))


@pytest.mark.parametrize(
    ("given", "message"),
    [({"centroids": torch.ones(1, 3)}, r"\(1, 3\)"), ({"temperature": 0.0}, "temperature=0.0")],
)
def test_bad_arguments_of_the_memory_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        ClusterMemory(**{"centroids": torch.eye(3), **given})


RANK = """
import importlib.util, sys, torch
spec = importlib.util.spec_from_file_location("memory", sys.argv[1])
memory = importlib.util.module_from_spec(spec)
spec.loader.exec_module(memory)
rank = int(sys.argv[3])
torch.distributed.init_process_group("gloo", f"file://{sys.argv[2]}/meet", rank=rank, world_size=2)
features = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
labels = torch.tensor([0, 0, 1, 1, 1, 1, 2, 0])
mine = slice(4 * rank, 4 * rank + 4)
found = memory.ClusterMemory(torch.eye(3))
loss = found(features[mine], labels[mine])
torch.save([loss, found.centroids], f"{sys.argv[2]}/{rank}.pt")
"""


@pytest.mark.slow  # two imports of torch
def test_two_ranks_have_the_memory_and_mean_loss_of_the_whole_batch(tmp_path):
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo: two processes on CPU can't talk")
    command = [sys.executable, "-c", RANK, str(Path(memory.__file__)), str(tmp_path)]
    ranks = [subprocess.Popen([*command, str(rank)]) for rank in (0, 1)]
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    losses, memories = zip(
        *(torch.load(tmp_path / f"{r}.pt", weights_only=True) for r in (0, 1)), strict=True
    )
    features = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    whole = ClusterMemory(torch.eye(3))
    loss = whole(features, torch.tensor([0, 0, 1, 1, 1, 1, 2, 0]))
    torch.testing.assert_close(sum(losses) / 2, loss)
    for found in memories:
        torch.testing.assert_close(found, whole.centroids)
