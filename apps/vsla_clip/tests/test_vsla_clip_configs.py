"""Every configuration that is shipped parses, is accepted, and says what the paper says."""

from __future__ import annotations

from pathlib import Path

import pytest

from vsla_clip.check import check
from vsla_clip.cli import parse_config
from vsla_clip.methods import METHODS

CONFIGS = Path(__file__).parent.parent / "configs"
PAPER = ["g2a_vreid", "mars", "ls_vid", "ilids_vid", "ft_clip"]


def config_of(name: str, *options: str):
    return parse_config(["run", "--config", str(CONFIGS / f"{name}.yaml"), *options])


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_it_is_accepted_once_its_data_are_there(name, tmp_path):
    config = config_of(name, "--data.root", str(tmp_path))
    check(config)
    assert config.method in config.rows or name == "ft_clip"


@pytest.mark.parametrize("name", PAPER)
def test_it_has_the_settings_of_section_5_2(name):
    config = config_of(name)
    assert (config.clip.name, config.clip.pretrained) == ("ViT-B-16-quickgelu", "openai")
    assert (config.data.size, config.data.frames, config.data.padding) == ((256, 128), 8, 10)
    assert config.stage1.train.lr == 3.5e-4
    tune = config.stage2
    assert (tune.identities, tune.instances) == (8, 4)
    assert (tune.train.lr, tune.full_lr, tune.train.decay_epochs) == (1e-4, 5e-6, (60, 90))
    weights = tune.losses
    assert (weights.triplet, weights.id, weights.i2t, weights.t2i, weights.margin) == (1, 0.25, 1, 1, 0.3)
    assert config.adapters.bottleneck == 256
    assert METHODS[config.method].pbp == (name == "g2a_vreid")
