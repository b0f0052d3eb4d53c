"""Every config in configs/ is read; the paper's build at full size and take two real steps."""

from pathlib import Path

import pytest
import torch

from reid_core.cli.recipes import parse_config
from reid_core.recipe.sources import Source
from vills.cli import APP, main
from vills.config import Config, DataConfig, EvaluateConfig, PoolSource
from vills.recipe import RECIPE, protocols

CONFIGS = Path(__file__).parents[1] / "configs"


WHOLE = [path for path in sorted(CONFIGS.glob("*.yaml")) if "experiment:" in path.read_text()]
TARGETS = [path for path in sorted(CONFIGS.glob("*.yaml")) if path not in WHOLE]


def paper(name="vit_base", target="market1501"):
    """A run of the paper: a pre-training's configuration, and one of a data set behind it."""
    files = [word for file in (name, target) for word in ("--config", str(CONFIGS / f"{file}.yaml"))]
    return ["run", *files, "--data.pretrain", "[{name: folder}]"]


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_a_config_names_a_run_of_its_own(path):
    config = parse_config(APP, ["run", "--config", str(path)])
    assert config.folder.parts[0] == "runs" and config.experiment != Config().experiment


@pytest.mark.parametrize("path", TARGETS, ids=lambda path: path.stem)
def test_targets_share_the_papers_pre_training_and_are_fine_tuned_on_alone(path):
    config = parse_config(APP, paper(target=path.stem))
    RECIPE.check(config)
    stages = {stage.name: stage for stage in RECIPE.stages(config)}
    other = {stage.name: stage for stage in RECIPE.stages(parse_config(APP, paper()))}
    assert stages["pretrain"].section == other["pretrain"].section
    assert stages["pretrain"].reads["prepare"] == ["data.pretrain.0/*"]
    assert set(stages) == {"prepare", "lse", "pretrain", "finetune/pretrained", "evaluate"}


def test_a_pool_on_the_command_line_replaces_the_files_whole():
    command = ["run", "--config", str(CONFIGS / "cuhk01.yaml")]
    for pool in ("[{name: folder, root: a, repeat: 3}]", "[{name: pku_reid, root: b}]"):
        command += ["--data.pretrain", pool]
    config = parse_config(APP, command)
    assert config.data.pretrain == [PoolSource("pku_reid", "b")]


@pytest.mark.parametrize(("name", "images", "videos"), [("vit_small", 128, 32), ("vit_base", 64, 16)])
def test_paper_configs_have_the_supplements_numbers(name, images, videos):
    before = parse_config(APP, ["run", "--config", str(CONFIGS / f"{name}.yaml")]).pretrain
    assert (before.image_batch, before.video_batch) == (images, videos)
    assert (before.image_size, before.frame_size, before.region_size) == ((256, 128), (64, 44), (128, 64))
    assert (before.frames, before.train.epochs) == (8, 100)
    weights = before.objective
    assert (weights.feature_weight, weights.masking_weight) == (1.0, 1.0)
    assert (weights.koleo_weight, weights.alignment_weight) == (3.0, 2.0)


@pytest.mark.parametrize(("name", "nodes"), [("vit_small", 1), ("vit_base", 1), ("vit_base", 2)])
def test_paper_batches_divide_over_the_gpus_that_the_readme_names(name, nodes):
    command = [*paper(name), "--runtime.devices", "8"]
    RECIPE.check(parse_config(APP, [*command, "--runtime.num_nodes", str(nodes)]))


@pytest.mark.parametrize(
    ("option", "section", "expected"),
    [
        ("data.image.options.seed", "data.image.options", {"seed": 3}),
        ("data.synthetic.layouts.mars.frames", "data.synthetic.layouts.mars", {"frames": 3, "stride": 20}),
        ("model.options.depth", "model.options", {"depth": 3}),
        ("lse.segmenter_options.rounds", "lse.segmenter_options", {"rounds": 3}),
    ],
)
def test_an_option_of_a_dictionary_is_a_number_beside_what_the_file_says(option, section, expected):
    value = parse_config(APP, ["run", "--config", str(CONFIGS / "demo.yaml"), f"--{option}", "3"])
    for name in section.split("."):
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    assert expected.items() <= value.items()


def test_a_batch_that_the_ranks_cannot_share_is_refused_before_any_work():
    command = [*paper(), "--runtime.devices", "32"]
    with pytest.raises(ValueError, match="pretrain.video_batch=16 can't be divided over 32 processes"):
        RECIPE.check(parse_config(APP, command))


def test_batches_of_each_device_are_as_many_times_larger_in_what_pre_training_gets():
    command = [*paper(), "--runtime.devices", "8"]

    def stage(*options):
        stages = RECIPE.stages(parse_config(APP, [*command, *options]))
        return next(one for one in stages if one.name == "pretrain")

    section = stage("--pretrain.batch_per_device", "true").section
    assert (section.pretrain.image_batch, section.pretrain.video_batch) == (512, 128)
    whole = ["--pretrain.image_batch", "512", "--pretrain.video_batch", "128"]
    assert stage(*whole).section == section  # one digest, however it is said


def test_options_on_the_command_line_override_the_file():
    config = parse_config(
        APP,
        [
            "run",
            "--config",
            str(CONFIGS / "pku_reid.yaml"),
            "--data.root",
            "x",
            "--pretrain.train.steps",
            "7",
        ],
    )
    assert config.data.root == "x"
    assert config.pretrain.train.steps == 7
    assert config.data.image.name == "pku_reid"


def test_each_source_is_evaluated_by_the_protocol_of_its_name_or_by_the_one_that_is_given():
    config = Config(data=DataConfig(image=Source("crops/Mine.CSV"), video=Source("prid2011")))
    assert protocols(config) == {"data.image": "manifest", "data.video": "prid2011"}
    assert protocols(Config(data=config.data, evaluate=EvaluateConfig(protocol="mars"))) == {
        "data.image": "mars",
        "data.video": "mars",
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_small", "vit_base"])
def test_paper_configs_build_and_take_two_real_steps_on_the_cpu(tiny, tmp_path, name):
    command = ["pretrain", "--config", str(CONFIGS / f"{name}.yaml"), "--runs", str(tmp_path)]
    command += ["--tracking_uri", tiny.store, "--experiment", "paper", "--lse.size", "[64, 32]"]
    command += ["--data.pretrain", f"[{{name: folder, root: {tiny.data / 'folder'}}}]"]
    command += ["--pretrain.image_batch", "2", "--pretrain.video_batch", "2", "--pretrain.train.steps", "2"]
    command += ["--pretrain.train.precision", "32-true", "--runtime.accelerator", "cpu"]
    command += ["--runtime.workers", "0", "--runtime.threads", "2"]
    assert main([*command, "--traceback"]) == 0
    folder = tmp_path / "paper" / name / "pretrain"
    final = torch.load(folder / "final.pt", weights_only=True, mmap=True)
    assert final["step"] == 2
    weights = final["state_dict"]
    query = "student.model.resampler.queries"
    assert not torch.equal(weights[query], weights[query.replace("student", "teacher")])
    assert all(value.isfinite().all() for value in weights.values() if value.is_floating_point())


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        ("resnet18", "{layers: [1, 1, 1, 1]}", "model.backbone=resnet18 can't hide patches"),
        (
            "beit_base_patch16_224",
            "{depth: 1, embed_dim: 32, num_heads: 2}",
            "does not take an input of .*: this backbone takes images of 256x128 alone",
        ),
        ("levit_128", "{}", "levit_128 can't be used as a backbone"),
    ],
)
def test_a_backbone_that_pre_training_cannot_use_is_refused_before_anything_is_read(
    backbone, options, message
):
    command = [*paper("vit_small"), "--model.backbone", backbone]
    config = parse_config(APP, [*command, "--model.options", options, "--model.resampler_heads", "4"])
    with pytest.raises(ValueError, match=message):
        RECIPE.check(config)


def test_a_model_is_checked_at_the_sizes_of_regions_too():
    command = [*paper("vit_small"), "--model.backbone", "beit_base_patch16_224"]
    command += ["--model.options", "{depth: 1, embed_dim: 32, num_heads: 2}", "--model.resampler_heads", "4"]
    command += [
        f"--{stage}.{size}_size=[64,48]" for stage in ("pretrain", "finetune") for size in ("image", "frame")
    ]
    with pytest.raises(
        ValueError, match="does not take an input of .*: .* images of 64x48 alone, got 128x64"
    ):
        RECIPE.check(parse_config(APP, command))
