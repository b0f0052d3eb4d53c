"""The zoo: one table of 32 models, their settings, and their files."""

from __future__ import annotations

import json
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
from cion.zoo import MODELS, export, model, paper_config
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
    assert yaml.safe_load(file.read_text()) == paper_config(name)


def test_a_papers_config_is_a_run_with_the_papers_values():
    config = parse_config(APP, ["run", "--config", str(PAPER / "resnet50_ibn.yaml")])
    assert (config.model.backbone, config.finetune.method) == ("resnet50_ibn", "mgn")
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
    assert yaml.safe_load(capsys.readouterr().out)["pretrain"] == {
        "batch": 960,
        "local_views": 8,
        "drop_path": 0.1,
    }


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


def test_an_exported_model_is_in_the_registry_with_its_files(weights, tmp_path):
    file, _ = weights
    store = f"sqlite:///{tmp_path}/mlflow.db"
    command = ["zoo", "export", SMALL, "--weights", str(file), "--out", str(tmp_path / "out")]
    assert main([*command, "--tracking_uri", store]) == 0
    assert main([*command, "--tracking_uri", store]) == 0
    client = mlflow.MlflowClient(store, store)
    versions = client.search_model_versions("name='cion-ghostnet-0-5'")
    assert sorted(int(version.version) for version in versions) == [1, 2]
    files = {Path(item.path).name for item in client.list_artifacts(versions[0].run_id, "model")}
    assert files == {"README.md", "config.json", "model.safetensors"}


def test_weights_of_another_model_are_refused(weights, tmp_path, capsys):
    command = ["zoo", "export", "resnet18", "--weights", str(weights[0]), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert "build the backbone that the checkpoint was made with" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_pretrains_a_step(name):
    network, settings = Network(name), PretrainConfig()
    settings.freeze_prototypes_epochs = 0
    settings.drop_path = paper_config(name)["pretrain"].get("drop_path", 0.0)
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
