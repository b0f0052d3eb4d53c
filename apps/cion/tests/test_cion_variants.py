"""What is compared: checkpoints, given identities and equally many images, and what each needs not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cion.cli import APP, main
from cion.config import FinetuneConfig
from cion.pretraining.recipe import RECIPE
from reid_core.cli.recipes import parse_config
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import CurriculumBatches
from reid_core.recipe import Source, run
from reid_core.recipe.results import find_metric
from reid_core.recipe.runner import needed_stages


def stages(config):
    """Names of the stages that a whole run needs."""
    return [stage.name for stage in needed_stages(RECIPE.stages(config))]


def teacher(folder, variant):
    return load_file(folder / "pretrain" / variant / "model" / "model.safetensors")


def test_a_checkpoint_is_fine_tuned_without_videos_extractor_or_pretraining(tiny):
    checkpoint = tiny.folder / "pretrain" / "raw" / "model" / "model.safetensors"
    config = tiny.config("--variants", f'["weights: {checkpoint}"]', "--data.videos.name", "nowhere")
    assert stages(config) == ["prepare", "finetune/model", "evaluate"]


def test_two_checkpoints_are_compared_and_one_of_a_pretraining_gives_the_same_as_it_did(tiny, tmp_path):
    found = json.loads((tiny.folder / "evaluate" / "results.json").read_text())
    for name in ("raw", "dino"):
        (tmp_path / f"{name}_vit_nano_patch8.pth").write_bytes(b"")
        weights = {key.removeprefix("encoder."): value for key, value in teacher(tiny.folder, name).items()}
        torch.save(weights, tmp_path / f"{name}_vit_nano_patch8.pth")
    entries = [f"weights: {tmp_path}/{name}_{{backbone}}.pth" for name in ("raw", "dino")]
    assert main(["run", *tiny.command, "--name", "given", "--variants", json.dumps(entries)]) == 0
    folder = tiny.folder.with_name("given")
    again = json.loads((folder / "evaluate" / "results.json").read_text())
    assert [again[f"{name}_vit_nano_patch8"]["mAP"] for name in ("raw", "dino")] == [
        found[name]["mAP"] for name in ("raw", "dino")
    ]
    about = json.loads((folder / "finetune/raw_vit_nano_patch8/model/config.json").read_text())
    assert about["training_data"][0] == "raw_vit_nano_patch8.pth"


def test_raw_tracklets_need_no_extractor_features_or_denoising(tiny):
    config = tiny.config("--variants", "[none, dino, raw]", "--extractor.source", "null")
    assert stages(config) == [
        "prepare",
        "tracklets",
        *("pretrain/dino", "pretrain/raw"),
        *("finetune/none", "finetune/dino", "finetune/raw"),
        "evaluate",
    ]


def test_another_runs_identities_pretrain_as_they_did_there(tiny, tmp_path):
    file = tiny.folder / "denoise" / "cross_video.parquet"
    identity = np.load(tiny.folder / "denoise" / "cross_video.npy")
    assert np.array_equal(Manifest.load(file).pids, identity[identity >= 0])
    command = [*tiny.command, "--name", "identities", "--variants", "[dino, identities]"]
    command += ["--data.identities.name", str(file), "--tracklets.raw", "nowhere"]
    config = tiny.config(*command[len(tiny.command) :])
    assert stages(config)[:3] == ["prepare", "pretrain/dino", "pretrain/identities"]
    assert main(["pretrain", *command]) == 0
    there, here = tiny.folder, tiny.folder.with_name("identities")
    for name, value in teacher(there, "cross_video").items():
        assert torch.equal(value, teacher(here, "identities")[name])
    summary = json.loads((here / "pretrain" / "dino" / "stage.json").read_text())["summary"]
    assert summary["images"] == summary["identities"] == (identity >= 0).sum()


def test_all_levels_are_pretrained_on_equally_many_images(tiny):
    command = ["pretrain", *tiny.command, "--name", "equal", "--data.images", "40"]
    assert main([*command, "--variants", "[dino, cross_video]"]) == 0
    folder = tiny.folder.with_name("equal") / "pretrain"
    images = [
        json.loads((folder / name / "stage.json").read_text())["summary"]["images"]
        for name in ("dino", "cross_video")
    ]
    identity = np.load(tiny.folder / "denoise" / "cross_video.npy")
    largest = np.unique(identity[identity >= 0], return_counts=True)[1].max()
    assert images[0] == 40 and 40 - largest < images[1] <= 40


def test_more_images_than_there_are_is_an_error(tiny, capsys):
    assert main(["pretrain", *tiny.command, "--name", "many", "--data.images", "65"]) == 1
    assert "data.images=65, but folder has" in capsys.readouterr().err


def test_a_checkpoint_with_the_name_of_a_variant_gets_the_folder_before_it(tiny):
    config = tiny.config("--variants", '[raw, "weights: lup/raw.pth"]')
    assert "finetune/lup-raw" in stages(config)


def test_a_checkpoint_of_another_backbone_is_refused(tiny, tmp_path, capsys):
    torch.save({"conv1.weight": torch.zeros(8, 3, 7, 7)}, tmp_path / "resnet.pth")
    command = ["finetune", *tiny.command, "--name", "other", "--variants"]
    assert main([*command, f'["weights: {tmp_path}/resnet.pth"]']) == 1
    assert "that the checkpoint was made with" in capsys.readouterr().err


@pytest.mark.parametrize("draw", ["identities", "images"])
def test_how_often_an_image_is_seen_in_an_epoch(draw):
    sizes = np.array([2] * 700 + [100] * 100)
    pids = np.repeat(np.arange(len(sizes)), sizes)
    epochs, counts = 8, np.zeros(len(pids))
    for batch in CurriculumBatches(pids, 190, epochs, {0: 2}, draw=draw):
        np.add.at(counts, [item.index for item in batch], 1 / epochs)
    seen = [counts[sizes[pids] == size].mean() for size in (2, 100)]
    each = len(pids) / len(sizes)  # images of an identity in an epoch, where all come equally often
    expected = [1.0, 1.0] if draw == "images" else [each / 2, each / 100]
    assert seen == pytest.approx(expected, rel=0.06)


def test_several_targets_are_fine_tuned_on_and_evaluated_in_one_run(tiny, capsys):
    further = json.dumps([{"name": "market1501", "root": str(tiny.data / "target")}])
    command = ["run", *tiny.command, "--name", "targets", "--variants", "[none, raw]"]
    assert main([*command, "--data.further_targets", further]) == 0
    folder = tiny.folder.with_name("targets")
    found = json.loads((folder / "evaluate" / "results.json").read_text())
    assert list(found) == ["target/none", "target/raw", "market1501/none", "market1501/raw"]
    assert (folder / "finetune" / "raw.market1501" / "model").is_dir()
    printed = capsys.readouterr()
    assert "CION, raw tracklets (market1501)" in printed.out
    assert "finetune/raw: done, reused" in printed.err  # shared with the run that has one target
    before = json.loads((tiny.folder / "evaluate" / "results.json").read_text())
    assert found["target/raw"]["mAP"] == before["raw"]["mAP"]
    metrics = json.loads((folder / "results.json").read_text())["results"]
    shared = {name.rpartition("/")[2] for name in metrics} - {"mAP_gain", "pretraining_minutes"}
    for target in ("target", "market1501"):
        assert {f"{target}/{one}/{name}" for one in ("none", "raw") for name in shared} <= set(metrics)
        gain = metrics[f"{target}/raw/mAP"] - metrics[f"{target}/none/mAP"]
        assert metrics[f"{target}/mAP_gain"] == pytest.approx(gain)
    assert {name.partition("/")[0] for name in metrics} == {"target", "market1501", "pretraining_minutes"}
    chosen = parse_config(APP, [*command, "--data.further_targets", further])
    assert find_metric(metrics, "mAP", RECIPE.main(chosen)) == metrics["target/raw/mAP"]


def test_further_targets_on_the_command_line_replace_a_files_whole(tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("data: {further_targets: [{name: mars, root: a, options: {seed: 1}}]}")
    command = ["run", "--config", str(more), "--data.further_targets", "[{name: msmt17}]"]
    config = parse_config(APP, command)
    assert config.data.further_targets == [Source("msmt17")]


def test_a_target_twice_is_refused(tiny):
    twice = json.dumps([{"name": "msmt17"}, {"name": "msmt17"}])
    with pytest.raises(ValueError, match="expected each data set once"):
        RECIPE.sources(tiny.config("--data.further_targets", twice))


def test_fine_tuning_is_at_a_larger_size_than_pretraining(tiny):
    command = ["finetune", *tiny.command, "--name", "large", "--variants", "[raw]"]
    assert main([*command, "--finetune.image_size", "[48, 16]"]) == 0
    folder = tiny.folder.with_name("large")
    about = json.loads((folder / "finetune/raw/model/config.json").read_text())
    assert about["preprocessing"]["size"] == [48, 16]
    assert (folder / "pretrain/raw").resolve() == (tiny.folder / "pretrain/raw").resolve()


def test_a_recipe_normalises_by_its_own_mean_and_the_model_folder_says_so(tiny):
    changes = {"train.steps": 2, "train.warmup_steps": 0, "identities": 4, "instances": 2}
    config = tiny.config("--name", "transreid", "--variants", "[none]")
    config.finetune = FinetuneConfig("transreid", changes)
    run(RECIPE, config, until="finetune")
    about = json.loads((config.folder / "finetune/none/model/config.json").read_text())
    assert about["preprocessing"]["mean"] == [0.5, 0.5, 0.5]
    assert about["arguments"]["descriptor"] == "before" and about["builder"] == "transreid"
