"""Rounds of Cluster Contrast on a tiny world: they cluster it, go on after a kill, and say what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torchvision.io import write_png

from reid_core.data import digests
from reid_core.data.manifest import Manifest
from reid_core.data.transforms import eval_transform
from reid_core.training.config import TrainConfig
from reid_core.training.unsupervised import ClusterContrastConfig, train_clusters, training

PEOPLE, IMAGES = 6, 8
SETTINGS = ClusterContrastConfig(rounds=2, identities=4, instances=4, k1=8, k2=2, decay_every=1)
CONFIG = TrainConfig(
    steps=3, lr=1e-3, warmup_steps=0, accelerator="cpu", precision="32-true", checkpoint_every=1, log_every=1
)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Manifest:
    """People with a picture each, before two cameras, under noise; one file is broken."""
    root = tmp_path_factory.mktemp("world")
    random = torch.Generator().manual_seed(0)
    people = torch.rand(PEOPLE, 3, 8, 4, generator=random) * 200
    rows = []
    for number in range(PEOPLE * IMAGES):
        noise = 20 * torch.rand(3, 8, 4, generator=random)
        write_png((people[number % PEOPLE] + noise).byte(), str(root / f"{number}.png"))
        rows.append((f"{number}.png", number % PEOPLE, number // PEOPLE % 2))
    rows.append(("broken.png", 0, 0))
    (root / "broken.png").write_bytes(b"no image")
    table = pd.DataFrame(rows, columns=["path", "pid", "camid"]).assign(split="train")
    return Manifest(table, root, "tiny world")


PLAIN = eval_transform((8, 4))


def noisy(image: torch.Tensor) -> torch.Tensor:
    return PLAIN(image) + 0.1 * torch.rand(3, 8, 4)


def fresh() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(96, 16), nn.BatchNorm1d(16), nn.Dropout(0.1))


def train(world: Manifest, folder: Path, settings=SETTINGS, logger=None) -> tuple[nn.Module, list]:
    model = fresh()
    return model, train_clusters(model, world, noisy, PLAIN, folder, settings, CONFIG, logger=logger)


class Log:
    """Keeps what is logged; dies at a step, as a kill in the middle of a round would have it."""

    def __init__(self, dies_at: int = -1) -> None:
        self.dies_at, self.records = dies_at, []

    def metrics(self, metrics, step):
        if step == self.dies_at and "loss" in metrics:
            raise RuntimeError("killed")
        self.records.append((step, metrics))


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """A run of two rounds that nothing happened to: its model, result, folder and log."""
    folder, log = tmp_path_factory.mktemp("whole"), Log()
    model, result = train(world, folder, logger=log)
    return model, result, folder, log


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.mark.faults
def test_people_become_clusters_and_the_broken_image_an_outlier(world, whole):
    model, result, folder, _ = whole
    assert result == [{"clusters": PEOPLE, "outliers": 1}] * 2
    labels = np.load(folder / "round_001" / "clusters" / "labels.npy")
    assert labels[-1] == -1
    assert len(set(zip(world.pids[:-1].tolist(), labels[:-1].tolist(), strict=True))) == PEOPLE
    assert not same(model, fresh())


def test_colour_rounds_cluster_what_the_network_can_not_tell_apart(world, tmp_path):
    class Blind(nn.Module):
        """Sees a picture's first pixel alone, which is noise to it."""

        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(1)

        def forward(self, images):
            return self.norm(1e-3 * torch.randn(len(images), 1) + 0 * images[:, 0, 0, :1])

    settings = replace(SETTINGS, rounds=1, k1=8, k2=1, eps=0.5)
    clusters = []
    for rounds in (0, 1):
        folder = tmp_path / str(rounds)
        train_clusters(Blind(), world, noisy, PLAIN, folder, replace(settings, colour_rounds=rounds), CONFIG)
        clusters.append(np.load(folder / "round_000" / "clusters" / "labels.npy"))
    blind, coloured = (
        list(zip(world.pids.tolist(), labels.tolist(), strict=True))[:-1] for labels in clusters
    )
    assert len(set(coloured)) == len({label for _, label in coloured}) == PEOPLE
    assert len(set(blind)) > PEOPLE


def test_more_colour_rounds_than_rounds_are_refused():
    with pytest.raises(ValueError, match="colour_rounds=3; expected 0 to rounds=2"):
        replace(SETTINGS, colour_rounds=3)


def test_steps_and_the_optimisers_state_go_on_from_round_to_round(whole):
    _, _, folder, log = whole
    rates = {step: metrics["lr"] for step, metrics in log.records if "lr" in metrics}
    assert rates == pytest.approx({1: 1e-3, 2: 1e-3, 3: 1e-3, 4: 1e-4, 5: 1e-4, 6: 1e-4})
    assert [step for step, metrics in log.records if "clusters" in metrics] == [0, 3]
    last = torch.load(folder / "round_001" / "last.ckpt", weights_only=True)
    assert {int(state["step"]) for state in last["optimizer"]["state"].values()} == {6}
    assert not (folder / "round_000" / "last.ckpt").exists()


@pytest.mark.faults
def test_a_run_killed_within_a_round_ends_with_the_same_weights(world, whole, tmp_path):
    with pytest.raises(RuntimeError, match="killed"):
        train(world, tmp_path, logger=Log(dies_at=5))
    assert not (tmp_path / "round_001" / "done.json").exists()
    log = Log()
    model, result = train(world, tmp_path, logger=log)
    assert min(step for step, metrics in log.records if "loss" in metrics) == 5  # it went on, not began anew
    assert result == whole[1] and same(model, whole[0])


def test_more_rounds_go_on_after_the_last_one(world, whole, tmp_path):
    train(world, tmp_path, replace(SETTINGS, rounds=1))
    model, result = train(world, tmp_path)
    assert result == whole[1] and same(model, whole[0])


def test_what_a_round_runs_on_is_no_setting_that_it_was_begun_with(world, whole):
    elsewhere = replace(CONFIG, accelerator="gpu", devices=2, strategy="ddp", workers=3, log_every=7)
    result = train_clusters(fresh(), world, noisy, PLAIN, whole[2], SETTINGS, elsewhere)
    assert result == whole[1]


def test_each_image_file_is_looked_at_once_however_many_rounds(world, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(digests, "_size", lambda path: seen.append(path) or 0)
    train(world, tmp_path)
    assert sorted(seen) == sorted(f"{world.root}/{path}" for path in world.table["path"])


def test_features_are_extracted_on_the_device_that_the_training_is_told(world, tmp_path, monkeypatch):
    class Enough(Exception):
        """Ends the training where the features would be."""

    def extract(*_, device, **__):
        devices.append(device)
        raise Enough

    devices = []
    monkeypatch.setattr(training, "extract", extract)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    for accelerator in ("cpu", "gpu"):
        config = replace(CONFIG, accelerator=accelerator)
        with pytest.raises(Enough):
            train_clusters(fresh(), world, noisy, PLAIN, tmp_path / accelerator, SETTINGS, config)
    assert devices == ["cpu", "cuda:3"]


def test_a_round_of_outliers_says_what_to_change(world, tmp_path):
    with pytest.raises(ValueError, match="round 0: every image is an outlier at eps=0.6, min_samples=30"):
        train(world, tmp_path, replace(SETTINGS, min_samples=30))


def test_one_cluster_says_what_to_change(world, tmp_path):
    one = world.where(world.pids == 1)
    with pytest.raises(ValueError, match="only 1 of at least 2 clusters.*lower eps"):
        train(one, tmp_path)


def test_fewer_images_than_neighbours_are_refused(world, tmp_path):
    with pytest.raises(ValueError, match="'tiny world' has 49 images, fewer than k1=50"):
        train(world, tmp_path, replace(SETTINGS, k1=50))
