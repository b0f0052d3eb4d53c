"""The recipe end to end on a tiny synthetic world: what it leaves, and a second, killed or parallel call."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from cion.cli import APP, main
from cion.config import FinetuneConfig, Network
from cion.networks import build_reid
from cion.pretraining.config import PretrainConfig
from cion.pretraining.recipe import RECIPE
from cion.pretraining.stages.features import given_features
from cion.pretraining.stages.pretrain import PreTraining, build_objective
from cion.pretraining.stages.tracklets import corrupt_tracklets, load_videos
from reid_core.cli.recipes import parse_config
from reid_core.data.samplers import CurriculumBatches
from reid_core.models import load
from reid_core.models.backbones import build_backbone
from reid_core.processes import Runtime

CONFIGS = Path(__file__).parents[1] / "configs"
VARIANTS = ["none", "dino", "raw", "cross_video"]
STAGES = ["prepare", "tracklets", "extractor", "features", "denoise"]
STAGES += [f"pretrain/{name}" for name in VARIANTS[1:]] + [f"finetune/{name}" for name in VARIANTS]
STAGES += ["evaluate"]


def read(path: Path):
    return json.loads(path.read_text())


def state(path: Path):
    return torch.load(path, weights_only=True)["state_dict"]


def test_the_run_scores_every_variant_in_the_order_asked_for(tiny):
    found = read(tiny.folder / "evaluate" / "results.json")
    assert list(found) == VARIANTS
    assert all(0 < values["mAP"] <= 1 for values in found.values())
    assert len({values["mAP"] for values in found.values()}) > 1


def test_a_backbone_of_one_image_size_is_refused_where_local_views_have_another():
    options = {
        "backbone": "beit_base_patch16_224",
        "image_size": "[32, 16]",
        "options": "{depth: 1, embed_dim: 32, num_heads: 2}",
    }
    command = ["run", "--config", str(CONFIGS / "tiny.yaml"), "--pretrain.local_size", "[64, 32]"]
    for name, value in options.items():
        command += [f"--model.{name}", value]
    with pytest.raises(ValueError, match="at pretrain.local_size does not take .* 32x16 alone, got 64x32"):
        RECIPE.check(parse_config(APP, command))


def test_denoising_is_told_level_by_level_beside_the_truth(tiny):
    levels = read(tiny.folder / "denoise" / "stage.json")["summary"]["levels"]
    assert list(levels) == ["raw", "tracklet", "video", "cross_video"]
    for level, values in levels.items():
        identity = np.load(tiny.folder / "denoise" / f"{level}.npy")
        assert values["images"] == (identity >= 0).sum()
        assert values["identities"] == len(np.unique(identity[identity >= 0]))
        assert 0 <= values["f1"] <= 1
    assert levels["cross_video"]["identities"] < levels["tracklet"]["identities"]


def test_pretraining_counts_identities_with_too_few_images(tiny):
    summary = read(tiny.folder / "pretrain" / "raw" / "stage.json")["summary"]
    pids = np.load(tiny.folder / "denoise" / "raw.npy")
    counts = np.unique(pids, return_counts=True)[1]
    assert summary["with_few_images"] == (counts < 4).sum() > 0
    assert read(tiny.folder / "pretrain" / "dino" / "stage.json")["summary"]["with_few_images"] == 0


def test_dino_takes_each_image_for_a_person_of_its_own(tiny):
    summary = read(tiny.folder / "pretrain" / "dino" / "stage.json")["summary"]
    assert summary["identities"] == summary["images"] == 8 * 2 * 4


def test_the_extractor_learns_people_of_its_own_from_the_worlds_truth(tiny):
    summary = read(tiny.folder / "extractor" / "stage.json")["summary"]
    assert (summary["images"], summary["identities"]) == (8 * 2 * 4, 8)


def test_fine_tuning_starts_from_the_teacher(tiny):
    name = "encoder.vit.patch_embed.proj.weight"
    teacher = load_file(tiny.folder / "pretrain" / "raw" / "model" / "model.safetensors")[name]
    far, near = (
        load_file(tiny.folder / "finetune" / variant / "model" / "model.safetensors")[f"extractor.{name}"]
        for variant in ("none", "raw")
    )
    assert (near - teacher).abs().max() < (far - teacher).abs().max()


def test_the_model_folder_gives_the_features_that_were_evaluated_and_says_its_data(tiny):
    stage = tiny.folder / "finetune" / "raw"
    embedder = load(stage / "model")
    rows = tiny.job("evaluate", tiny.config(), tiny.folder).manifest("data.target", "query")
    found = np.load(tiny.folder / "evaluate" / "raw" / "query.npy")
    assert np.allclose(embedder.embed(rows.files), found, atol=1e-5)
    about = read(stage / "model" / "config.json")
    assert about["training_data"] == [
        "synthetic world in the layout of folder (unlabeled)",
        "synthetic world in the layout of market1501",
    ]
    assert about["digest"] == read(stage / "stage.json")["digest"]


@pytest.mark.parametrize(("method", "part"), [("transreid", "extractor.jigsaw.block"), ("mgn", "layer4")])
def test_what_a_head_copies_of_the_backbone_is_pretrained_too(tmp_path, method, part):
    network = Network("vit_nano_patch8", {"depth": 1}, (32, 16))
    if method == "mgn":
        network = Network("resnet18", {}, (64, 32))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        trunk = build_backbone(network.backbone, network.image_size, **network.options).trunk
    weights = {name: value.clone() for name, value in trunk.state_dict().items()}
    save_file(weights, tmp_path / "w.safetensors")
    model = build_reid(
        network, FinetuneConfig(method=method), 3, seed=0, weights=tmp_path / "w.safetensors"
    ).state_dict()
    known = {tuple(value.flatten()[:4].tolist()) for value in weights.values() if value.ndim > 1}
    copies = [value for name, value in model.items() if part in name and value.ndim > 1]
    if method == "mgn":
        copies = [value for name, value in model.items() if "conv" in name and value.ndim > 1]
    assert copies and all(tuple(value.flatten()[:4].tolist()) in known for value in copies)


def test_each_stage_is_a_nested_run_of_its_own(tiny):
    client = mlflow.MlflowClient(tiny.store)
    runs = client.search_runs([client.get_experiment_by_name("cion_tiny").experiment_id])
    assert {"a", *STAGES} <= {run.info.run_name for run in runs}
    parent = next(run for run in runs if run.info.run_name == "a")
    assert {"none/mAP", "cross_video/mAP", "cross_video/rank_1", "pretraining_minutes"} <= set(
        parent.data.metrics
    )
    assert parent.data.params["pretrain/cross_video.curriculum.2"] == "4"


def test_a_second_call_runs_nothing_and_prints_both_tables(tiny, capsys):
    before = {stage: (tiny.folder / stage / "stage.json").stat().st_mtime_ns for stage in STAGES}
    capsys.readouterr()
    assert main(["run", *tiny.command]) == 0
    said = capsys.readouterr()
    assert said.err.count("reused") == len(STAGES)
    assert {stage: (tiny.folder / stage / "stage.json").stat().st_mtime_ns for stage in STAGES} == before
    assert "cross-video" in said.out and "CION, denoised" in said.out


def digests(config):
    """Stage -> its digest, taking what it reads for what the stages' names say."""
    return {stage.name: stage.key({name: str(parts) for name, parts in stage.reads.items()})
            for stage in RECIPE.stages(config)}  # fmt: skip


def test_a_setting_changes_the_stages_that_use_it_and_no_others(tiny):
    whole = digests(tiny.config())
    for options, changed in {
        ("--runtime.workers", "3", "--runtime.batch_size", "7"): set(),
        ("--tracklets.switch", "0.1"): {"tracklets"},
        ("--denoise.consistency", "0.3"): {"denoise"},
        ("--pretrain.local_views", "1"): {f"pretrain/{name}" for name in VARIANTS[1:]},
        ("--finetune.margin", "0.1"): {f"finetune/{name}" for name in VARIANTS},
        ("--evaluate.flip", "true"): {"evaluate"},
        ("--seed", "1"): set(STAGES) - {"prepare", "features", "denoise", "evaluate"} | {"tsne"},
    }.items():
        other = digests(tiny.config(*options))
        assert {name for name in whole if other[name] != whole[name]} == changed, options


def test_pretraining_on_raw_tracklets_does_not_depend_on_how_they_would_be_denoised(tiny, capsys):
    command = ["pretrain", *tiny.command, "--name", "raw", "--variants", "[raw]"]
    assert main([*command, "--denoise.consistency", "0.2"]) == 0
    link = tiny.folder.with_name("raw") / "pretrain" / "raw"
    assert link.resolve() == (tiny.folder / "pretrain" / "raw").resolve()


KILLED = """
import os, signal, sys
import reid_core.recipe.store, reid_core.training.module
from cion.cli import main

stage, _, step = sys.argv[1].partition("@")

def kill_at(path):
    if f"-{stage.replace('/', '-')}-" in f"-{path.parent.name}":
        os.kill(os.getpid(), signal.SIGKILL)

def write_checkpoint(state, path, original=reid_core.training.module.write_checkpoint):
    if str(state["step"]) == step:
        kill_at(path)
    original(state, path)

def write_atomically(path, text, original=reid_core.recipe.store.write_atomically):
    if not step and path.name == reid_core.recipe.store.DONE_FILE:
        kill_at(path)
    original(path, text)

reid_core.training.module.write_checkpoint = write_checkpoint
reid_core.recipe.store.write_atomically = write_atomically
main(sys.argv[2:])
"""


SECOND_PHASE = "pretrain/raw@20"
"""Of the curriculum."""
POINTS = ["tracklets", "extractor@2", "features", "denoise", SECOND_PHASE, "finetune/raw@2", "evaluate"]


@pytest.mark.parametrize(
    "points", [[SECOND_PHASE], pytest.param(POINTS, marks=pytest.mark.slow)], ids=["pretrain", "every stage"]
)
@pytest.mark.faults
def test_killed_it_resumes_to_the_same_bits(tiny, tmp_path, points):
    folder = tmp_path / "cion_tiny" / "a"
    compared = "[raw]" if points == [SECOND_PHASE] else "[raw, cross_video]"
    command = ["run", *tiny.command, "--runs", str(tmp_path), "--variants", compared]
    for point in points:
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, point, *command],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert killed.returncode == -signal.SIGKILL, (point, killed.stderr)
        stage, _, step = point.partition("@")
        assert not (folder / stage / "stage.json").exists()
        if step:
            last = torch.load(folder / stage / "last.ckpt", weights_only=True)
            assert last["step"] == int(step) - 1
    assert main(command) == 0
    for stage in ("pretrain/raw", "finetune/raw", *(["extractor"] if "extractor@2" in points else [])):
        one, whole = (state(place / stage / "final.pt") for place in (folder, tiny.folder))
        assert one.keys() == whole.keys()
        assert all(torch.equal(one[name], whole[name]) for name in whole)
    assert state(folder / "pretrain/raw/final.pt")["loss.centre.value"].any()
    scores, expected = (read(place / "evaluate" / "results.json")["raw"] for place in (folder, tiny.folder))
    assert scores == expected


def test_two_processes_learn_what_one_learns_on_the_whole_batch(tiny, tmp_path):
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this torch has no gloo: two processes on CPU can't talk")
    command = ["run", *tiny.command, "--runs", str(tmp_path), "--variants", "[raw, cross_video]"]
    command += ["--runtime.devices", "2", "--runtime.strategy", "ddp_find_unused_parameters_true"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, "-m", "cion.cli", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "cion_tiny" / "a"
    two, whole = (state(place / "pretrain" / "raw" / "final.pt") for place in (folder, tiny.folder))
    torch.testing.assert_close(two["loss.centre.value"], whole["loss.centre.value"], rtol=1e-3, atol=1e-5)
    name = "student.backbone.vit.blocks.0.attn.qkv.weight"
    apart = (two[name] - whole[name]).abs() - 1e-2 * whole[name].abs()
    # Of a weight whose gradient is nothing but rounding, Adam's step is as large as of any other.
    assert (apart > 1e-4).float().mean() < 1e-3 and apart.max() < 5e-4
    shares = [np.load(folder / "features" / f"extracted.{rank}of2.npy") for rank in (0, 1)]
    assert np.array_equal(np.concatenate(shares), np.load(folder / "features" / "extracted.npy"))
    assert len(shares[0]) == len(shares[1]) == 32
    assert list(read(folder / "evaluate" / "results.json")) == ["raw", "cross_video"]


def test_the_batches_of_two_ranks_are_halves_of_one_ranks(tiny):
    pids, settings = np.arange(64) // 4, tiny.config().pretrain
    whole = CurriculumBatches(pids, settings.batch, 3, settings.curriculum)
    halves = [CurriculumBatches(pids, settings.batch, 3, settings.curriculum, 0, rank, 2) for rank in (0, 1)]
    for step in (0, len(whole) - 1):
        assert whole.batch(step) == halves[0].batch(step) + halves[1].batch(step)


@pytest.mark.parametrize("name", ["demo", "pku_reid"])
def test_a_config_compares_pretraining_with_none(name):
    config = parse_config(APP, ["run", "--config", str(CONFIGS / f"{name}.yaml")])
    assert config.variants[0] == "none" and config.variants[-1] == "cross_video"
    assert max(config.pretrain.curriculum) < config.pretrain.train.epochs


def test_the_prototypes_freeze_for_the_first_epoch():
    settings = PretrainConfig()
    small = replace(settings, objective=replace(settings.objective, prototypes=64))
    section = PreTraining("raw", small, Network("vit_nano_patch8", {"depth": 1}, (32, 16)), seed=0)
    assert build_objective(section, 30, 10, Runtime()).config.freeze_prototypes_steps == 10


def test_mistracking_keeps_each_image_and_its_video(tiny, tmp_path):
    videos = load_videos(tiny.job("features", tiny.config(), tmp_path))
    again = corrupt_tracklets(videos, 0.5, 0.5, 3)
    assert (again.table["path"] == videos.table["path"]).all()
    assert (again.table["video"] == videos.table["video"]).all()
    changed = (again.table["tracklet"] != videos.table["tracklet"]).mean()
    assert 0.2 < changed < 0.9


def test_features_of_another_manifest_are_refused(tiny, tmp_path, capsys):
    videos = load_videos(tiny.job("features", tiny.config(), tmp_path))
    np.save(tmp_path / "f.npy", np.zeros((3, 8), dtype=np.float32))
    with pytest.raises(ValueError, match=r"f.npy holds float32 \(3, 8\), but the manifest .* has 64 rows"):
        given_features(tmp_path / "f.npy", None, videos)
    np.save(tmp_path / "whole.npy", np.zeros((64, 8), dtype=np.float32))
    with pytest.raises(ValueError, match=r"f.npy holds float32 \(3, 8\), and whole.npy 64 rows"):
        given_features(tmp_path / "whole.npy", tmp_path / "f.npy", videos)
    (tmp_path / "empty.npy").touch()
    with pytest.raises(ValueError, match=r"extractor.features: \S+empty.npy is no array of NumPy's"):
        given_features(tmp_path / "empty.npy", None, videos)
    command = ["denoise", *tiny.command, "--name", "given", "--extractor.features", str(tmp_path / "f.npy")]
    assert main(command) == 1
    assert "extract them again" in capsys.readouterr().err


@pytest.mark.faults
def test_given_features_are_denoised_by_and_the_broken_images_left_out(tiny, tmp_path):
    found = np.load(tiny.folder / "features" / "features.npy")
    found[0] = np.nan
    np.save(tmp_path / "f.npy", found)
    np.save(tmp_path / "f.valid.npy", np.arange(len(found)) > 0)
    command = ["denoise", *tiny.command, "--name", "own", "--extractor.features", str(tmp_path / "f.npy")]
    assert main(command) == 0
    folder = tiny.folder.with_name("own")
    assert not (folder / "extractor").exists()
    raw = np.load(folder / "denoise" / "raw.npy")
    assert raw[0] == -1 and np.array_equal(raw[1:], np.load(tiny.folder / "denoise" / "raw.npy")[1:])
    for level in ("tracklet", "video", "cross_video"):
        assert np.load(folder / "denoise" / f"{level}.npy")[0] == -1


def test_a_file_added_to_the_videos_is_noticed(tiny, tmp_path):

    root = Path(shutil.copytree(tiny.data / "videos", tmp_path / "videos"))
    command = ["tracklets", *tiny.command, "--name", "grown", "--data.videos.name", "folder"]
    command += ["--data.videos.root", str(root)]
    numbers = []
    for _ in range(2):
        assert main(command) == 0
        numbers.append(read(tiny.folder.with_name("grown") / "tracklets" / "stage.json")["summary"]["images"])
        (root / "truth.parquet").unlink(missing_ok=True)
        shutil.copy(next(root.glob("*/*/*.jpg")), next(root.glob("*/*")) / "99999.jpg")
    assert numbers == [64, 65]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.synthetic", "null"], "data.target.name: no reader for 'target'"),
        (["--data.videos.name", "folder"], "data.videos.root and data.root are empty"),
        (["--tracklets.raw", "nowhere"], "tracklets.raw: there is no folder nowhere"),
        (["--tracklets.raw", "."], "tracklets.detector: there is no file"),
        (["--model.backbone", "resnet50ibn", "--model.options", "{}"], "resnet50_ibn"),
        (["--finetune.method", "mgn"], "takes a ResNet"),
        (["--variants", "[raw, raw]"], "each once"),
        (["--variants", "[moco]"], "got 'moco'; expected none, dino, identities, raw,"),
        (["--variants", '["weights: none.pth"]'], "variants: none: there is no file none.pth"),
        (["--variants", "[identities]"], "give data.identities, such as cion_al"),
        (["--data.images", "3"], "data.images=3: expected pretrain.batch=8 or more"),
        (["--pretrain.ratio", "0"], "pretrain.ratio=0.0: expected more than 0"),
        (["--runtime.devices", "2"], "use torchrun --nproc_per_node 2"),
        (["--extractor.source", "null"], "the extractor has no weights"),
        (["--extractor.weights", "none.pth"], "extractor.weights: there is no file none.pth"),
        (["--evaluate.protocol", "imagenet"], "protocol=imagenet"),
    ],
)
def test_bad_input_is_one_line_and_status_1(tiny, arguments, message, tmp_path, capsys):
    assert main(["run", *tiny.command, "--runs", str(tmp_path / "runs"), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("cion: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_too_few_people_for_a_batch_are_refused_before_any_training(tiny, capsys):
    for option, message in (
        ("finetune.identities", "finetune.identities=16, but market1501 has 8 people"),
        ("extractor.finetune.identities", "extractor.finetune.identities=16, but folder has 8 people"),
    ):
        assert main(["run", *tiny.command, "--name", "few", f"--{option}", "16"]) == 1
        assert message in capsys.readouterr().err
    assert not (tiny.folder.with_name("few") / "tracklets").exists()


def test_more_prototypes_than_memory_holds_are_refused_before_training(tiny, capsys):
    command = ["pretrain", *tiny.command, "--variants", "[dino]", "--name", "large"]
    assert main([*command, "--pretrain.objective.prototypes", "10000000000"]) == 1
    assert "GiB free; lower prototypes" in capsys.readouterr().err


@pytest.mark.faults
def test_an_unreadable_query_counts_as_a_miss_and_is_told_with_the_results(tiny, tmp_path, capsys):
    data = Path(shutil.copytree(tiny.data / "target", tmp_path / "target"))
    broken = min((data / "query").glob("*.jpg"))
    broken.write_bytes(b"")
    command = ["run", *tiny.command, "--name", "broken", "--variants", "[none]"]
    command += ["--data.target", f"{{name: market1501, root: {data}}}"]
    assert main(command) == 1
    told = capsys.readouterr().err
    assert "finetune/none: done, reused" in told
    folder = tiny.runs / "cion_tiny" / "broken" / "evaluate"
    found = json.loads((folder / "results.json").read_text())["none"]
    assert found["num_unreadable_queries"] == 1 and found["num_valid_queries"] == found["num_queries"]
    assert f"incomplete: evaluate/none: 1 of {found['num_queries']} queries could not be read" in told
    assert (folder / "none" / "query.unreadable.txt").read_text() == f"{broken}\n"
    assert main([*command, "--allow_unreadable", "0.5"]) == 0
