"""What redoes which stage: each is given what it uses and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from reid_core.cli.recipes import parse_config
from vsla_clip.cli import APP
from vsla_clip.recipe import RECIPE

TINY = Path(__file__).parents[1] / "configs" / "tiny.yaml"


def keys(*options):
    """Stage -> digest, where earlier stages' digests stand for their output."""
    found = {}
    for stage in RECIPE.stages(parse_config(APP, ["run", "--config", str(TINY), *options])):
        found[stage.name] = stage.key({name: found[name] for name in stage.reads})
    return found


@pytest.mark.parametrize(
    ("options", "redone"),
    [
        (["--runtime.log_every", "7", "--runtime.batch_size", "4", "--runtime.workers", "2"], set()),
        (["--runs", "elsewhere", "--name", "b", "--tracking_uri", "http://127.0.0.1:9"], set()),
        (["--lora.rank", "2"], set()),  # the method has no LoRA
        (["--stage2.full_lr", "1.0e-3"], set()),  # nor trains the whole encoder
        (["--evaluate.frames", "1"], {"evaluate"}),
        (["--data.erasing", "0.1"], {"stage2", "evaluate"}),
        (["--pbp.length", "4"], {"stage2", "evaluate"}),
        (["--stage1.train.epochs", "3"], {"stage1", "stage2", "evaluate"}),
        (["--data.padding", "1"], {"clip", "stage1", "stage2", "evaluate"}),
        (["--seed", "1"], {"clip", "stage1", "stage2", "evaluate"}),
    ],
)
def test_a_setting_redoes_what_uses_it(options, redone):
    before, after = keys(), keys(*options)
    assert {name for name in before if before[name] != after[name]} == redone


def test_without_alignment_neither_stage_one_nor_its_weights_matter():
    options = ["--method", "baseline"]
    other = keys(*options, "--stage1.train.epochs", "3", "--stage2.losses.i2t", "0.5")
    assert {name for name, key in keys(*options).items() if key != other[name]} == {"stage1"}


def test_a_checkpoint_counts_by_its_content_and_is_read_by_who_has_no_stage_clip(tmp_path):
    for name, content in (("a.pt", b"1"), ("b.pt", b"1"), ("c.pt", b"2")):
        (tmp_path / name).write_bytes(content)
    one, same, other = (
        keys("--clip.captioned", "null", "--clip.checkpoint", str(tmp_path / name))
        for name in ("a.pt", "b.pt", "c.pt")
    )
    assert one == same and "clip" not in one
    assert {name for name in one if one[name] != other[name]} == {"stage1", "stage2", "evaluate"}


def test_batches_of_each_device_are_as_many_times_larger_in_what_the_stages_get(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "0")
    each = ["--stage1.batch_per_device", "true", "--stage2.batch_per_device", "true"]
    options = [*each, "--stage1.batch", "2", "--stage2.identities", "1"]
    config = parse_config(APP, ["run", "--config", str(TINY), *options, "--runtime.devices", "4"])
    stages = {stage.name: stage.section for stage in RECIPE.stages(config)}
    assert (stages["stage1"].stage1.batch, stages["stage2"].stage2.identities) == (8, 4)
    whole = ["--stage1.batch", "8", "--stage2.identities", "4"]
    assert keys(*whole) == keys(*options)  # one digest, however it is said


def test_frozen_clip_has_no_stage_two():
    assert list(keys("--method", "frozen")) == ["prepare", "clip", "stage1", "evaluate"]
