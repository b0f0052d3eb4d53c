"""Errors come before the work, and name what to change."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from reid_core.cli.recipes import parse_config
from vsla_clip.cli import APP, main
from vsla_clip.clip import build_clip
from vsla_clip.config import architecture

TINY = Path(__file__).parents[1] / "configs" / "tiny.yaml"
ON_DISK = ["--data.synthetic", "null"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ON_DISK, "data.video.root and data.root are empty: give the folder of mars"),
        ([*ON_DISK, "--data.root", "/nowhere"], "data.video.root: there is no folder /nowhere"),
        ([*ON_DISK, "--data.video.name", "mras"], "data.video.name: no reader for 'mras'"),
        (["--method", "vsla"], "method='vsla': expected one of frozen, baseline"),
        (["--pbp.platforms", "[ground, uav]"], "pbp.platforms: uav is called aerial"),
        (["--pbp.platforms", "[ground, Air]"], "pbp.platforms: expected names of lower-case letters"),
        (["--data.video.platforms", "{1: The drone}"], "data.video.platforms: expected names of lower-case"),
        (["--evaluate.levels", "[]"], "evaluate.levels is empty"),
        (["--evaluate.protocol", "g2a"], "evaluate.protocol=g2a: expected one of market1501, "),
        (["--clip.captioned", "null"], "clip has random weights"),
        (
            ["--clip.captioned.world.identities", "4"],
            "clip.captioned.batch=8 needs as many people; the world has 4",
        ),
        (["--clip.captioned.world", "{people: 16}"], "clip.captioned.world: "),
        (["--clip.checkpoint", "vifi.pth"], "clip.checkpoint: there is no file vifi.pth"),
        (["--clip.pretrained", "openai"], "clip.small is no architecture of open_clip's"),
        (["--clip.small.heads", "2"], "clip.small: "),
        (["--data.size", "[32, 20]"], "with frames of (32, 20)"),
        (["--stage1.shared_tokens", "40"], "the text has 47 tokens, but the tower takes 32"),
        (["--pbp.depth", "3"], "PBPConfig.depth is 3, but the model has 2 layers"),
        (["--runtime.devices", "2"], "torchrun --nproc_per_node 2"),
    ],
)
def test_what_can_be_seen_at_once(options, message, tmp_path, capsys):
    assert main(["run", "--config", str(TINY), "--runs", str(tmp_path / "runs"), *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--clip.pretrained", "openia"], "open_clip has no 'openia' of ViT-B-16-quickgelu"),
        (["--clip.pretrained", "openai", "--clip.name", "ViT-B-15"], "open_clip has no 'ViT-B-15'"),
    ],
)
def test_an_unknown_tag_or_name_of_clip_is_named(options, message, tmp_path, capsys):
    assert main(["run", "--data.root", str(tmp_path), "--runs", str(tmp_path / "runs"), *options]) == 1
    assert message in capsys.readouterr().err


def test_a_batch_that_ranks_cannot_share_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WORLD_SIZE", "3")
    command = ["run", "--config", str(TINY), "--runs", str(tmp_path), "--runtime.devices", "3"]
    assert main(command) == 1
    assert "stage1.batch=8 can't be divided over 3 processes" in capsys.readouterr().err


def test_prompts_need_platforms(tiny, capsys):
    command = ["prepare", *tiny.on_disk, "--name", "unnamed", "--data.video.platforms", "{}"]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "has prompts of ground, aerial, but tracklets are from platforms that mars does not name" in said
    assert main([*command, "--method", "vsla_clip"]) == 0


def test_a_camera_whose_platform_is_not_named_is_refused(tiny, capsys):
    assert main(["prepare", *tiny.on_disk, "--name", "half", "--data.video.platforms", "{1: ground}"]) == 1
    assert "data.video.platforms names none of camera 2" in capsys.readouterr().err


def test_fewer_people_than_a_batch_needs_are_counted(tiny, capsys):
    assert main(["prepare", *tiny.command, "--name", "few", "--stage2.identities", "9"]) == 1
    assert "stage2.identities=9, but data.video has 8 people to train on" in capsys.readouterr().err


def test_training_tracklets_of_which_none_can_be_read_are_counted_and_named(tiny, tmp_path, capsys):
    shutil.copytree(tiny.data, tmp_path / "mars")
    for frame in (tmp_path / "mars" / "bbox_train").rglob("*.jpg"):
        frame.write_bytes(b"")
    command = ["stage1", *tiny.on_disk, "--name", "empty", "--data.root", str(tmp_path / "mars")]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert re.search(r"data.video: only 0 of 32 .* features.unreadable.txt in \S+ names", said)


def test_a_data_set_of_images_is_refused(tiny, tmp_path, capsys):
    root = tmp_path / "images"
    some = next(tiny.data.rglob("*.jpg"))
    for split in ("bounding_box_train", "query", "bounding_box_test"):
        (root / split).mkdir(parents=True)
        for camera in (1, 2):
            shutil.copy(some, root / split / f"0001_c{camera}s1_000001_00.jpg")
    command = ["prepare", *tiny.on_disk, "--name", "images", "--data.video.name", "market1501"]
    assert main([*command, "--data.root", str(root)]) == 1
    assert "has no tracklets; use a source of videos" in capsys.readouterr().err


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    config = parse_config(APP, ["run", "--config", str(TINY)])
    clip, size = architecture(config), config.data.size
    state = {name: value.clone() for name, value in build_clip(clip, size).state_dict().items()}
    whole = tmp_path / "clip.pt"
    torch.save(state, whole)
    loaded = build_clip(clip, size, whole, seed=5)
    assert torch.equal(loaded.visual.proj, state["visual.proj"])
    state["visual.proj"] = torch.zeros(64, 48)
    torch.save(state, tmp_path / "wrong.pt")
    with pytest.raises(ValueError, match=r"(?s)wrong.pt doesn't fit .*visual.proj"):
        build_clip(clip, size, tmp_path / "wrong.pt")
