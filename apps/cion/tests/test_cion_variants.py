"""What is compared: checkpoints, given identities and equally many images, and what each needs not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cion.cli import main
from cion.pretraining.recipe import RECIPE
from reid_core.data.manifest import Manifest
from reid_core.recipe.runner import needed


def stages(config):
    """Names of the stages that a whole run needs."""
    return [stage.name for stage in needed(RECIPE.stages(config))]


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


@pytest.mark.parametrize(("draw", "rare", "frequent"), [("identities", 4.61, 0.09), ("images", 1.0, 1.0)])
def test_how_often_an_image_is_seen_in_an_epoch(draw, rare, frequent):
    from reid_core.data.samplers import CurriculumBatches

    sizes = np.array([2] * 700 + [100] * 100)  # CION-AL has 15.8 images per identity on average
    pids = np.repeat(np.arange(len(sizes)), sizes)
    counts = np.zeros(len(pids))
    batches = CurriculumBatches(pids, 960, 8, {0: 2}, draw=draw)
    for batch in batches:
        np.add.at(counts, [item.index for item in batch], 1)
    per_epoch = counts / 8
    small = per_epoch[sizes[pids] == 2].mean()
    large = per_epoch[sizes[pids] == 100].mean()
    ratio = 1 if draw == "images" else 100 / 2
    assert small / large == pytest.approx(ratio, rel=0.06)
    if draw == "images":
        assert (small, large) == (pytest.approx(rare, rel=0.06), pytest.approx(frequent, rel=0.06))
