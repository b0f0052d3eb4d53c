"""The authors' release: its settings, and its weights scored as its pipeline scores them, transcribed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reid_adapters import VSLAObjective
from reid_core import data
from reid_core.cli.recipes import parse_config
from reid_core.processes import Runtime
from reid_core.training.optimisers import parameter_groups
from reid_core.training.schedules import schedule
from vsla_clip.cli import APP, main
from vsla_clip.clip import adapt, build_architecture
from vsla_clip.config import Config, adaptation, architecture
from vsla_clip.published import IMAGENET_MEAN, IMAGENET_STD, RELEASED
from vsla_clip.recipe import RECIPE
from vsla_clip.sampler import GroupBatches
from vsla_clip.stages.stage2 import epoch_steps

CONFIGS = Path(__file__).parents[1] / "configs"
PAPER = ["g2a_vreid", "mars", "ls_vid", "ilids_vid", "ft_clip"]
FRAMES, SIZE, WIDTH, LAYERS, BOTTLENECK, PROMPTS, DEPTH = 8, (32, 16), 64, 2, 64, 3, 1


def config_of(name: str, *options: str) -> Config:
    return parse_config(APP, ["run", "--config", str(CONFIGS / f"{name}.yaml"), *options])


def value_of(config, name):
    for part in name.split("."):
        config = getattr(config, part)
    return config


@pytest.mark.parametrize("name", PAPER)
def test_each_configuration_takes_the_release_s_settings_where_they_differ(name):
    paper, released = (config_of(name, "--recipe", recipe) for recipe in ("paper", "released"))
    for setting, expected in RELEASED.items():
        assert value_of(released, setting) == expected, setting
        assert value_of(paper, setting) == value_of(Config(), setting) != expected, setting


def test_what_is_given_beside_the_recipe_overrides_it():
    config = config_of("g2a_vreid", "--recipe", "released", "--stage2.train.warmup_epochs", "0")
    assert (config.stage2.train.warmup_epochs, config.stage2.train.warmup_start) == (0.0, 0.1)


@pytest.mark.parametrize(
    ("people", "tracklets", "steps"),
    [(930, 2, {"paper": 7080, "released": 13920}), (150, 2, {"paper": 1200, "released": 2160})],
    ids=["g2a_vreid", "ilids_vid"],
)
def test_an_epoch_is_a_pass_over_the_tracklets_or_the_sampler_s(people, tracklets, steps):
    pids = np.repeat(np.arange(people), tracklets)
    for recipe, expected in steps.items():
        settings = config_of("g2a_vreid", "--recipe", recipe).stage2
        assert settings.train.resolve(epoch_steps(pids, settings), Runtime()).steps == expected


@pytest.mark.parametrize("epoch", [0, 5, 9, 10, 59, 60, 90, 119])
def test_the_release_s_schedule_warms_up_from_a_tenth_and_falls_twice(epoch):
    train = config_of("g2a_vreid", "--recipe", "released").stage2.train.resolve(116, Runtime())
    rate = 1e-4 * (0.1 + 0.9 * (116 * epoch + 1) / 1160) if epoch < 10 else 1e-4
    assert schedule(train, 116 * epoch)[0] == pytest.approx(rate * 0.1 ** ((epoch >= 60) + (epoch >= 90)))


def test_the_release_s_biases_have_twice_the_rate_and_a_decay_of_their_own():
    config = config_of("tiny", "--recipe", "released", "--method", "vsla_clip")
    with torch.device("meta"):
        visual = build_architecture(architecture(config), config.data.size).visual
        objective = VSLAObjective(adapt(visual, adaptation(config), config.data.size), [1, 2])
    groups = parameter_groups(objective, config.stage2.train.resolve(1, Runtime()))
    weights = {(group["lr_multiplier"], group["decays"], group["constant_decay"]) for group in groups}
    assert weights == {(1.0, True, 0.0), (2.0, False, 1e-4)}


@given(counts=st.lists(st.integers(1, 11), min_size=4, max_size=9), world=st.sampled_from([1, 2]))
def test_the_sampler_s_epoch_has_each_group_of_a_person_s_tracklets_at_most_once(counts, world):
    pids = np.repeat(np.arange(len(counts)), counts)
    whole = GroupBatches(pids, 4, 2, steps=99, seed=3)
    ranks = [GroupBatches(pids, 4, 2, 99, 3, rank, world) for rank in range(world)]
    seen = []
    for step in range(whole.steps_per_epoch):
        draws = whole.batch(step)
        assert [draw for rank in ranks for draw in rank.batch(step)] == draws
        rows = np.array([draw.index for draw in draws]).reshape(-1, 2)
        assert (pids[rows[:, 0]] == pids[rows[:, 1]]).all()
        seen += [tuple(row) for row in rows.tolist() if row[0] != row[1]]
    alone = [row for group in seen for row in group]
    assert len(alone) == len(set(alone))  # nobody with enough tracklets is shown one twice


def test_the_sampler_s_batches_stay_the_same_from_version_to_version():
    pids = np.repeat(np.arange(12), [1, 2, 3, 4, 5, 6, 7, 8, 9, 4, 4, 4])
    draws = [draw for batch in GroupBatches(pids, 4, 2, steps=50, seed=3) for draw in batch]
    assert hashlib.sha256(np.array(draws).tobytes()).hexdigest()[:16] == "a42fdd2c4f032826"


@pytest.fixture
def authors_state(released_adapters) -> dict[str, torch.Tensor]:
    """A state dict as the authors' code writes it, of tiny.yaml's CLIP with adapters and prompts."""
    torch.manual_seed(3)
    visual = build_architecture(architecture(config_of("tiny")), SIZE).visual
    state = {f"image_encoder.{name}": value for name, value in visual.state_dict().items()}
    state |= released_adapters(LAYERS, WIDTH, BOTTLENECK)
    state["cv_embed"] = torch.randn(DEPTH, PROMPTS, 2, WIDTH)
    state["classifier.weight"] = torch.randn(8, WIDTH)
    return {f"module.{name}": value for name, value in state.items()}


def authors_frames(rows, order) -> torch.Tensor:
    """First frames of eight blocks, resized by PIL, normalised by ImageNet's statistics, [t 3 h w]."""
    order = list(order)
    while len(order) < FRAMES:
        order.append(order[-1])
    block = len(order) // FRAMES
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    images = []
    for number in range(FRAMES):
        with Image.open(rows.files[order[number * block]]) as image:
            resized = image.convert("RGB").resize(SIZE[::-1], Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1) / 255
        images.append((pixels - mean) / std)
    return torch.stack(images)


def authors_feature(state: dict[str, torch.Tensor], frames: torch.Tensor, platform: int) -> torch.Tensor:
    """The authors' forward pass of one clip: the class token before and behind the projection, means."""
    part = {name.removeprefix("module.image_encoder."): value for name, value in state.items()}

    def linear(x, name):
        return F.linear(x, part[f"{name}.weight"], part[f"{name}.bias"])

    def norm(x, name):
        return F.layer_norm(x, (WIDTH,), part[f"{name}.weight"], part[f"{name}.bias"])

    def attention(x, name, heads):
        layer = torch.nn.MultiheadAttention(x.shape[-1], heads, batch_first=True)
        own = {key.removeprefix(f"{name}."): part[key] for key in part if key.startswith(f"{name}.")}
        layer.load_state_dict(own)
        return layer(x, x, x)[0]

    def quick_gelu(x):
        return x * torch.sigmoid(1.702 * x)

    x = F.conv2d(frames, part["conv1.weight"], stride=8).flatten(2).mT
    x = torch.cat([part["class_embedding"].expand(len(x), 1, -1), x], 1) + part["positional_embedding"]
    x = norm(x, "ln_pre")
    tokens = x.shape[1]
    for number in range(LAYERS):
        block = f"transformer.resblocks.{number}"
        h = norm(x, f"{block}.ln_1")
        if number < DEPTH:
            prompts = state["module.cv_embed"][number, :, platform]
            h = torch.cat([h, prompts.expand(len(h), -1, -1)], 1)
        attended = attention(h, f"{block}.attn", WIDTH // 32)[:, :tokens]
        cross = linear(x, f"{block}.dat_cross.down").transpose(0, 1)
        cross = attention(cross, f"{block}.dat_cross.temporal_block.temporal_attn", BOTTLENECK // 64)
        x = x + attended + linear(cross.transpose(0, 1), f"{block}.dat_cross.up")
        mlp = linear(quick_gelu(linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")), f"{block}.mlp.c_proj")
        x = x + mlp + linear(quick_gelu(linear(x, f"{block}.dat.down")), f"{block}.dat.up")
    pooled = norm(x, "ln_post")[:, 0]
    return torch.cat([pooled.mean(0), (pooled @ part["proj"]).mean(0)])


def authors_scores(query, gallery, pids, camids) -> dict[str, float]:
    """Their evaluation: cosines, one's own camera left out for one's own person, means over queries."""
    similarity = F.normalize(query, dim=1) @ F.normalize(gallery, dim=1).T
    precisions, firsts = [], []
    for row, pid, camid in zip(similarity, pids[0], camids[0], strict=True):
        junk = (pids[1] == pid) & (camids[1] == camid)
        order = [place for place in row.argsort(descending=True).tolist() if not junk[place]]
        right = np.flatnonzero(pids[1][order] == pid)
        if len(right):
            precisions.append(np.mean([(number + 1) / (place + 1) for number, place in enumerate(right)]))
            firsts.append(right[0] == 0)
    return {"mAP": float(np.mean(precisions)), "rank_1": float(np.mean(firsts))}


def test_released_weights_are_scored_as_the_authors_pipeline_scores_them(
    tiny, authors_state, tmp_path, capsys
):
    torch.save(authors_state, tmp_path / "model.pth")
    command = [*tiny.on_disk, "--name", "released", "--released", str(tmp_path / "model.pth")]
    command += [
        "--data.frames",
        str(FRAMES),
        "--evaluate.protocol",
        "mars",
        "--clip.small.quick_gelu",
        "true",
    ]
    assert main(["evaluate", *command]) == 0
    assert "0 missing, 0 resized" in capsys.readouterr().out
    folder = tiny.runs / "vsla_tiny" / "released" / "evaluate"
    rows = data.read("mars", tiny.data)
    features, pids, camids = [], [], []
    for split in ("query", "gallery"):
        part = rows.select(split)
        clips = part.tracklets()
        with torch.no_grad():
            features.append(
                torch.stack(
                    [
                        authors_feature(
                            authors_state, authors_frames(part, clip), int(part.camids[clip[0]] == 2)
                        )
                        for clip in clips
                    ]
                )
            )
        pids.append(part.pids[[clip[0] for clip in clips]])
        camids.append(part.camids[[clip[0] for clip in clips]])
        ours = [np.load(folder / split / name / "features.npy") for name in ("aerial", "ground")]
        theirs = [features[-1][np.flatnonzero(camids[-1] == camera)] for camera in (2, 1)]
        for one, other in zip(ours, theirs, strict=True):
            cosines = F.cosine_similarity(torch.from_numpy(one), other)
            assert one.shape == other.shape and (cosines > 0.9995).all()  # PIL rounds what it resizes
    found = json.loads((folder / "results.json").read_text())["all"]
    expected = authors_scores(*features, pids, camids)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_released_weights_need_no_training_split_and_imply_the_release_s_settings(tmp_path):
    (tmp_path / "model.pth").touch()
    config = config_of("tiny", "--released", str(tmp_path / "model.pth"))
    stages = RECIPE.stages(config)
    assert config.recipe == "released" and [stage.name for stage in stages] == ["prepare", "evaluate"]
    assert stages[1].section.levels == ("pooled", "projected") and stages[1].section.sampling == "first"


def test_released_weights_of_another_model_are_refused(tiny, authors_state, tmp_path, capsys):
    authors_state["module.image_encoder.proj"] = torch.zeros(3, 3)
    torch.save(authors_state, tmp_path / "model.pth")
    command = [*tiny.on_disk, "--name", "refused", "--released", str(tmp_path / "model.pth")]
    assert main(["evaluate", *command]) == 1
    assert "released: " in (said := capsys.readouterr().err) and "proj [64, 32], not [3, 3]" in said
