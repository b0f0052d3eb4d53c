"""Errors come before the work, and name what to change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vsla_clip.base import build_clip
from vsla_clip.check import check, check_platforms
from vsla_clip.cli import main, parse_config

TINY = Path(__file__).parent / "tiny.yaml"


@pytest.mark.parametrize(
    "options, message",
    [
        (["--data.synthetic", "null"], "data.root is empty: give the folder of g2a_vreid"),
        (["--data.synthetic", "null", "--data.root", "/nowhere"], "data.root: there is no folder /nowhere"),
        (["--data.synthetic", "null", "--data.name", "mras"], "data.name: no reader 'mras'"),
        (["--evaluate.protocol", "g2v"], "protocol=g2v: expected one of market1501, "),
        (["--method", "vsla"], "no 'vsla'; there are frozen, baseline"),
        (["--pbp.platforms", "[ground, uav]"], "pbp.platforms: data sets have ground, aerial, not 'uav'"),
        (["--clip.captioned", "null"], "clip has random weights"),
        (["--clip.checkpoint", "vifi.pth"], "clip.checkpoint: there is no file vifi.pth"),
        (["--clip.pretrained", "openai"], "clip.small is no architecture of open_clip's"),
    ],
)
def test_what_can_be_seen_at_once(options, message, tmp_path, capsys):
    assert main(["run", "--config", str(TINY), "--runs", str(tmp_path / "runs"), *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_manifest_file_is_a_data_set(tmp_path):
    config = parse_config(["run", "--config", str(TINY)])
    data = replace(config.data, name=str(tmp_path / "mine.csv"), root=str(tmp_path), synthetic=None)
    check(replace(config, data=data))


def test_prompts_need_platforms():
    config = parse_config(["run", "--config", str(TINY)])
    with pytest.raises(
        ValueError, match="vsla_clip_pbp has prompts of ground, aerial, but .* mars does not name"
    ):
        named = replace(config, data=replace(config.data, name="mars"))
        check_platforms(named, ["ft_clip", "vsla_clip_pbp"], [""])
    check_platforms(config, ["ft_clip", "vsla_clip"], [""])


def test_an_unknown_tag_is_named():
    config = parse_config(["run", "--clip.pretrained", "openia"])
    with pytest.raises(ValueError, match="clip.pretrained: open_clip has no 'openia' of ViT-B-16-quickgelu"):
        build_clip(config)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    config = parse_config(["run", "--config", str(TINY), "--clip.captioned", "null"])
    state = {name: value.clone() for name, value in build_clip(config).state_dict().items()}
    whole = tmp_path / "clip.pt"
    torch.save(state, whole)
    loaded = build_clip(replace(config, clip=replace(config.clip, checkpoint=str(whole)), seed=5))
    assert torch.equal(loaded.visual.proj, state["visual.proj"])
    state["visual.proj"] = torch.zeros(64, 48)
    torch.save(state, tmp_path / "wrong.pt")
    wrong = replace(config, clip=replace(config.clip, checkpoint=str(tmp_path / "wrong.pt")))
    with pytest.raises(ValueError, match=r"(?s)wrong.pt doesn't fit .*visual.proj"):
        build_clip(wrong)
