"""Every configuration that is shipped parses, is accepted, and says what the paper says."""

from __future__ import annotations

from pathlib import Path

import pytest

from reid_core.cli.recipes import parse_config
from vsla_clip.cli import APP
from vsla_clip.config import METHODS
from vsla_clip.recipe import RECIPE, protocol

CONFIGS = Path(__file__).parent.parent / "configs"
PAPER = ["g2a_vreid", "mars", "ls_vid", "ilids_vid", "ft_clip"]


def config_of(name: str, *options: str):
    return parse_config(APP, ["run", "--config", str(CONFIGS / f"{name}.yaml"), *options])


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_it_is_accepted_once_its_data_are_there(name, tmp_path):
    config = config_of(name, "--data.root", str(tmp_path))
    RECIPE.sources(config).check()
    RECIPE.check(config)
    assert config.method in METHODS


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


@pytest.mark.parametrize(
    ("name", "expected"),
    [("g2a_vreid", "g2a_vreid"), ("ilids_vid", "ilids_vid"), ("pku_reid", "pku_reid"), ("demo", "g2a_vreid")],
)
def test_the_protocol_is_the_data_sets_own_unless_one_is_given(name, expected):
    assert protocol(config_of(name)) == expected
    assert protocol(config_of(name, "--evaluate.protocol", "mars")) == "mars"


@pytest.mark.parametrize(
    ("option", "dictionary", "expected"),
    [
        ("data.video.options.seed", "data.video.options", {"seed": 3}),
        ("data.synthetic.world.identities", "data.synthetic.world", {"identities": 3, "seed": 0}),
        ("data.synthetic.layouts.mars.frames", "data.synthetic.layouts.mars", {"frames": 3, "stride": 12}),
        ("clip.small.embed_dim", "clip.small", {"embed_dim": 3}),
        ("clip.small.vision_cfg.layers", "clip.small.vision_cfg", {"layers": 3, "patch_size": 8}),
        ("clip.small.text_cfg.layers", "clip.small.text_cfg", {"layers": 3, "context_length": 48}),
        ("clip.captioned.world.cameras", "clip.captioned.world", {"cameras": 3, "seed": 1000}),
    ],
)
def test_an_option_of_a_dictionary_is_a_number_beside_what_the_file_says(option, dictionary, expected):
    value = config_of("demo", f"--{option}", "3")
    for key in dictionary.split("."):
        value = value[key] if isinstance(value, dict) else getattr(value, key)
    assert expected.items() <= value.items()
