"""Published settings, transcribed: what CION's and others' fine-tuning was made with."""

from __future__ import annotations

import csv
import random
from math import cos, pi
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from cion.config import FinetuneConfig, Network, resolve
from cion.networks import build_objective, build_reid
from cion.published import BY_MODEL
from cion.stages.finetune import sampler_epoch
from cion.unsupervised.config import Config, DataConfig, Model, resolve_clusters
from reid_core.models.backbones import ZOO
from reid_core.processes import Runtime
from reid_core.recipe import Source
from reid_core.training.optimisers import parameter_groups
from reid_core.training.schedules import schedule

with open(Path(__file__).with_name("released_finetuning.csv")) as file:
    ROWS = list(csv.DictReader(file))
TARGETS = {"market": "market1501", "msmt17": "msmt17"}


def released(backbone="vit_small", target="market1501", recipe="released", **changes):
    return resolve(FinetuneConfig(recipe, changes), backbone, target)


def test_the_released_configurations_are_transcribed():
    assert len(ROWS) == 64 and {row["model"] for row in ROWS} == set(ZOO) == set(BY_MODEL)
    for row in ROWS:
        settings = released(row["model"], TARGETS[row["dataset"]])
        found = (settings.train.lr, settings.identities * settings.instances, settings.train.warmup_epochs)
        assert found == (float(row["base_lr"]), int(row["batch"]), float(row["warmup_epochs"])), row


def test_what_the_released_configurations_have_in_common():
    settings = released("swin_tiny")
    assert (settings.train.optimizer, settings.train.epochs, settings.instances) == ("sgd", 120, 4)
    assert settings.mean == settings.std == (0.5, 0.5, 0.5)
    assert (settings.label_smoothing, settings.margin, settings.descriptor) == (0, None, "before")
    assert (settings.augmentation.erasing, settings.augmentation.padding) == (0.5, 10)
    assert settings.method == "bag_of_tricks"  # neither jigsaw nor side information


def test_the_released_optimiser_has_twice_the_rate_and_the_same_decay_for_biases():
    train = released().train.resolve(10, Runtime())
    groups = parameter_groups(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), train)
    decays = {
        (g["lr_multiplier"], train.weight_decay if g["decays"] else g["constant_decay"]) for g in groups
    }
    assert decays == {(1.0, 1e-4), (2.0, 1e-4)}
    assert sum(len(g["params"]) for g in groups if g["lr_multiplier"] == 2) == 2


@pytest.mark.parametrize("epoch", [0, 5, 10, 19, 20, 50, 80, 110, 115, 119])
def test_the_released_schedule_is_a_warm_up_of_20_epochs_and_a_cosine(epoch):
    train = released().train.resolve(10, Runtime())
    high, low, step = 3.2e-3, 0.002 * 3.2e-3, 10 * epoch
    rate = high * (step + 1) / 200
    if epoch >= 20:
        rate = low + (high - low) * (1 + cos(pi * (step - 200) / (1199 - 200))) / 2
    assert schedule(train, step)[0] == pytest.approx(rate)


def test_cions_mgn_is_constant_for_30_epochs_after_a_warm_up_of_10():
    settings = released("resnet50_ibn", recipe="released_mgn")
    train = settings.train.resolve(10, Runtime())
    assert (train.steps, train.optimizer, train.weight_decay) == (600, "adam", 5e-4)
    rates = [schedule(train, 10 * epoch)[0] for epoch in (10, 20, 29, 30)]
    assert rates == pytest.approx([3.5e-4] * 4)
    assert schedule(train, 599)[0] == pytest.approx(7.7e-7)
    assert (settings.image_size, settings.identities, settings.instances) == ((384, 128), 4, 16)
    model = build_reid(Network("resnet18", image_size=(128, 64)), settings, 2, seed=0)
    assert build_objective(model, [1, 2], settings, 10).frozen_steps == 100


def passes(pids, identities, instances):
    """Batches of one pass of the reference sampler (RandomIdentitySampler of Bag of Tricks and TransReID)."""
    draw, groups = random.Random(0), {}
    for pid in set(pids):
        number = max(pids.count(pid), instances)
        groups[pid] = number // instances
    batches = 0
    while len(groups) >= identities:
        for pid in draw.sample(sorted(groups), identities):
            groups[pid] -= 1
            if not groups[pid]:
                del groups[pid]
        batches += 1
    return batches


@pytest.mark.parametrize(("identities", "instances"), [(2, 4), (8, 4), (4, 2)])
def test_an_epoch_is_a_pass_of_the_reference_sampler(identities, instances):
    counts = np.random.default_rng(0).integers(1, 40, 150)
    pids = np.repeat(np.arange(len(counts)), counts)
    ours, theirs = sampler_epoch(pids, identities, instances), passes(pids.tolist(), identities, instances)
    assert theirs <= ours <= 1.08 * theirs  # theirs drops the last identities, as the draw will have it


def test_cluster_contrast_as_cion_ran_it():
    config = Config(recipe="released", model=Model("resnet50"), data=DataConfig(target=Source("msmt17")))
    found = resolve_clusters(config)
    clusters, train = found.clusters, found.train
    assert (clusters.identities, clusters.instances, clusters.rounds) == (32, 8, 50)
    assert (clusters.eps, clusters.k1, clusters.k2, clusters.decay_every) == (0.7, 30, 6, 20)
    assert (clusters.momentum, clusters.temperature, clusters.hardest) == (0.2, 0.05, True)
    assert (train.optimizer, train.lr, train.weight_decay, train.steps) == ("sgd", 3.5e-4, 5e-4, 200)
    assert found.model.options == {"pool": "gem"}
    config.data.target = Source("market1501")
    assert resolve_clusters(config).clusters.eps == 0.6


def test_transreids_own_jigsaw_shifts_by_5_and_the_released_codes_by_4():
    network = Network("vit_nano_patch8", {"depth": 1}, (64, 32))
    own = resolve(FinetuneConfig("transreid"), "vit_nano_patch8", "market1501")
    model = build_reid(network, own, 2, seed=0)
    assert (model.extractor.jigsaw.shift, model.descriptor) == (5, "before")
    other = resolve(FinetuneConfig("transreid", {"jigsaw_shift": 4}), "vit_nano_patch8", "market1501")
    assert build_reid(network, other, 2, seed=0).extractor.jigsaw.shift == 4


@pytest.mark.parametrize("recipe", ["bag_of_tricks", "transreid", "mgn", "released", "released_mgn"])
def test_every_recipe_is_of_settings_that_there_are(recipe):
    settings = released("resnet50", recipe=recipe)
    assert settings.recipe is None and settings != FinetuneConfig()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            FinetuneConfig("released", margin=0.1),
            "finetune.margin has no effect beside finetune.recipe=released",
        ),
        (FinetuneConfig(changes={"margin": 0.1}), "finetune.changes depart from a recipe"),
        (FinetuneConfig("released", {"train.epoch": 1}), "train.epoch: there is no such setting"),
    ],
)
def test_what_would_have_no_effect_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        resolve(settings, "resnet50", "market1501")


def test_released_knows_the_32_models_alone():
    with pytest.raises(ValueError, match="no settings for resnet34: choose one of the 32"):
        released("resnet34")
