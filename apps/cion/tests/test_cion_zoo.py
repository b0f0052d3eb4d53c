"""The zoo: one table of 32 models, their settings, and their files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from cion.cli import APP, main
from cion.config import Network
from cion.pretraining.config import PretrainConfig
from cion.pretraining.stages.pretrain import PreTraining, build_objective, collate
from cion.zoo import MODELS, export, model, published_config
from cion.zoo.files import TERMS
from reid_core.cli.recipes import parse_config
from reid_core.data.transforms import MultiCrop
from reid_core.models import load
from reid_core.models.backbones import ZOO, build_backbone
from reid_core.models.weights import load_weights
from reid_core.processes import Runtime

PAPER = Path(__file__).parents[1] / "configs" / "paper"
SMALL = "ghostnet_0_5"


def test_the_table_holds_reidzoos_32_models():
    assert list(MODELS) == list(ZOO) and len(MODELS) == 32


@pytest.mark.parametrize("name", MODELS)
def test_each_papers_config_is_generated_from_the_table_and_can_be_parsed(name):
    file = PAPER / f"{name}.yaml"
    assert yaml.safe_load(file.read_text()) == published_config(name)


def test_a_papers_config_is_a_run_with_the_papers_values():
    config = parse_config(APP, ["run", "--config", str(PAPER / "resnet50_ibn.yaml")])
    assert (config.model.backbone, config.finetune.recipe) == ("resnet50_ibn", "released")
    assert (config.pretrain.batch, config.pretrain.objective.prototypes) == (960, 65_536)
    assert config.pretrain.curriculum == {0: 2, 40: 4, 60: 6, 80: 8}
    assert (config.denoise.consistency, config.denoise.discrimination) == (0.2, 0.18)


def test_an_unknown_name_is_answered_with_the_nearest(capsys):
    with pytest.raises(ValueError, match="did you mean vit_small"):
        model("vit_smal")
    assert main(["zoo", "config", "vit_smal"]) == 1
    assert "did you mean vit_small" in capsys.readouterr().err


def test_config_prints_the_papers_setting(capsys):
    assert main(["zoo", "config", "vit_small"]) == 0
    paper = yaml.safe_load(capsys.readouterr().out)["pretrain"]
    assert main(["zoo", "config", "vit_small", "--recipe", "released"]) == 0
    released = yaml.safe_load(capsys.readouterr().out)["pretrain"]
    assert (paper["drop_path"], released["drop_path"]) == (0.1, 0)
    assert (paper["global_scale"], released["global_scale"]) == ([0.4, 1.0], [0.8, 1.0])
    assert (paper["local_scale"], released["local_scale"]) == ([0.05, 0.4], [0.05, 0.8])
    assert [one["objective"]["prototypes"] for one in (paper, released)] == [65_536, 65_336]


@pytest.mark.parametrize("name", MODELS)
def test_stochastic_depth_is_swins_alone_in_the_published_code(name):
    assert published_config(name, "released")["pretrain"]["drop_path"] == (0.1 if "swin" in name else 0)


def test_each_parameters_gradient_is_clipped_by_itself():
    train = PretrainConfig().train
    assert (train.clip_mode, train.clip_grad) == ("parameter", 3.0)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(1)
    trunk = build_backbone(SMALL).trunk
    save_file({name: value.clone() for name, value in trunk.state_dict().items()}, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors", trunk


def test_what_is_exported_is_loaded_again(weights, tmp_path):
    file, trunk = weights
    results = {"cross_video": {"mAP": 0.25, "rank_1": 0.5}}
    folder = export(SMALL, file, tmp_path / "out", "synthetic people", results)
    encoder = build_backbone(SMALL)
    assert load_weights(encoder, folder / "model.safetensors").share == 1  # to fine-tune
    got, want = encoder.trunk.state_dict(), trunk.state_dict()
    assert all(torch.equal(got[name], want[name]) for name in want if "num_batches" not in name)
    assert load(folder).embed(np.zeros((1, 256, 128, 3), dtype=np.uint8)).shape == (1, 1280)  # to use
    card = (folder / "README.md").read_text()
    parts = ("GhostNet 0.5", "synthetic people", "licence", "Intended use", "| cross_video | 25.0 | 50.0 |")
    assert all(part in card for part in parts)
    assert json.loads((folder / "config.json").read_text())["arguments"]["backbone"] == SMALL


def test_results_of_another_form_are_refused_by_name(weights, tmp_path, capsys):
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"results": {"mAP": 0.5}, "stages": {}}))  # the run folder's own
    command = ["zoo", "export", SMALL, "--weights", str(weights[0]), "--out", str(tmp_path / "out")]
    assert main([*command, "--accept-terms", "--results", str(file)]) == 1
    assert f"{file}: results has no mAP and rank_1; give results.json of" in capsys.readouterr().err


def test_an_exported_model_is_in_the_registry_with_its_files(weights, tmp_path):
    file, _ = weights
    store = f"sqlite:///{tmp_path}/mlflow.db"
    command = [
        "zoo",
        "export",
        SMALL,
        "--weights",
        str(file),
        "--out",
        str(tmp_path / "out"),
        "--accept-terms",
    ]
    assert main([*command, "--tracking_uri", store]) == 0
    assert main([*command, "--tracking_uri", store]) == 0
    client = mlflow.MlflowClient(store, store)
    versions = client.search_model_versions("name='cion-ghostnet-0-5'")
    assert sorted(int(version.version) for version in versions) == [1, 2]
    files = {Path(item.path).name for item in client.list_artifacts(versions[0].run_id, "model")}
    assert files == {"README.md", "config.json", "model.safetensors"}


def test_weights_of_another_model_are_refused(weights, tmp_path, capsys):
    command = ["zoo", "load", "resnet18", "--weights", str(weights[0])]
    assert main(command) == 1
    assert "build the backbone that the checkpoint was made with" in capsys.readouterr().err


def test_load_says_what_of_a_checkpoint_fits(weights, capsys):
    assert main(["zoo", "load", SMALL, "--weights", str(weights[0])]) == 0
    assert "tensors filled (100.0%)" in capsys.readouterr().out


def test_published_weights_are_exported_with_their_conditions_once_these_are_accepted(
    weights, tmp_path, capsys
):
    command = ["zoo", "export", SMALL, "--weights", str(weights[0]), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert "Give --accept-terms if you accept them" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*command, "--accept-terms"]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert all(f"{number}. {term}" in card for number, term in enumerate(TERMS, start=1))
    assert "A.3" in json.loads((tmp_path / "out" / "config.json").read_text())["license"]


def test_a_runs_own_weights_have_no_conditions(weights, tmp_path):
    (weights[0].with_name("config.json")).write_text("{}")
    command = ["zoo", "export", SMALL, "--weights", str(weights[0]), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert TERMS[1] not in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("command", [["zoo", "list"], ["ablate", "--list"]], ids=" ".join)
def test_a_reader_that_goes_away_ends_it_quietly(command):
    code = "import sys; from cion.cli import main; sys.exit(main(sys.argv[1:]))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code, *command], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_pretrains_a_step(name):
    network, settings = Network(name), PretrainConfig()
    settings.freeze_prototypes_epochs = 0
    settings.drop_path = published_config(name)["pretrain"].get("drop_path", 0.0)
    settings.objective = type(settings.objective)(prototypes=256, head_hidden=64)
    objective = build_objective(PreTraining("raw", settings, network, 0), 1, 1, Runtime()).train()
    views = MultiCrop(network.image_size, settings.local_size, 2)
    images = torch.randint(256, (4, 3, 256, 128), dtype=torch.uint8)
    batch = collate(
        [{"image": views(image), "pid": number // 2, "unreadable": []} for number, image in enumerate(images)]
    )
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=1e-4)
    before = [p.clone() for p in objective.student.backbone.trunk.parameters()]
    loss = objective(batch)["loss"]
    loss.backward()
    optimizer.step()
    objective.after_step(0)
    assert loss.isfinite()
    after = objective.student.backbone.trunk.parameters()
    changed = sum(bool((a != b).any()) for a, b in zip(before, after, strict=True))
    assert changed > 0.7 * len(before)  # a residual branch that begins at zero learns from the second step on
