"""A model of the zoo as files: weights, a card that says what they are, and the model registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cion.pretraining.stages.pretrain import save_backbone
from cion.stages.finetune import BACKBONE_FILE
from cion.zoo.table import UNSUPERVISED, model, paper_config
from reid_core.cli.models import cost
from reid_core.files import write_atomically
from reid_core.models.backbones import ZOO, Encoder, build_backbone
from reid_core.models.weights import load_weights

CARD_FILE, CONFIG_FILE = "README.md", "config.json"


def export(
    name: str,
    weights: Path,
    folder: Path,
    data: str = "",
    results: Mapping[str, Any] | None = None,
    tracking_uri: str | None = None,
) -> Path:
    """Write a model's weights as safetensors with a model card, and register it with MLflow.

    Args:
        name: as `cion zoo list` shows it.
        weights: what pre-training ended with, or any checkpoint that fits the backbone.
        folder: to write backbone.safetensors, config.json and README.md to.
        data: what it was pre-trained on.
        results: model -> measure -> rate in 0..1, such as results.json of a run.
        tracking_uri: MLflow store; None registers nothing.

    Returns:
        The folder.

    Raises:
        ValueError: an unknown name, or a checkpoint of another backbone.
        FileNotFoundError: there is no such checkpoint.
    """
    model(name)
    encoder = build_backbone(name)
    report = load_weights(encoder, weights)
    folder.mkdir(parents=True, exist_ok=True)
    save_backbone(encoder.trunk, folder / BACKBONE_FILE)
    settings = {"name": name, "image_size": [256, 128], "pretraining": paper_config(name)["pretrain"]}
    write_atomically(folder / CONFIG_FILE, json.dumps(settings, indent=2) + "\n")
    write_atomically(folder / CARD_FILE, card(name, data, results))
    print(report)
    if tracking_uri is not None:
        register(name, folder, tracking_uri)
    return folder


def load(folder: Path) -> Encoder:
    """A backbone that `export` wrote: images [b 3 h w] to class and patch tokens, `trunk` the timm model.

    Args:
        folder: with backbone.safetensors and config.json.

    Returns:
        The backbone, in eval mode.

    Raises:
        FileNotFoundError: a file is missing.
    """
    for file in (CONFIG_FILE, BACKBONE_FILE):
        if not (folder / file).is_file():
            raise FileNotFoundError(
                f"there is no {folder / file}: give a folder that `cion zoo export` wrote"
            )
    settings = json.loads((folder / CONFIG_FILE).read_text())
    encoder = build_backbone(settings["name"], tuple(settings["image_size"]))
    load_weights(encoder, folder / BACKBONE_FILE)
    return encoder.eval()


def card(name: str, data: str = "", results: Mapping[str, Any] | None = None) -> str:
    """A model card in Markdown: what it is, how it was made, for what it is, and what is known of it.

    Args:
        name: as `cion zoo list` shows it.
        data: what it was pre-trained on.
        results: model -> measure -> rate in 0..1.

    Example:
        >>> print(card("vit_tiny").splitlines()[0])
        # ViT-T, pre-trained with CION
    """
    size, row, settings = cost(name), model(name), paper_config(name)["pretrain"]
    lines = [
        f"# {ZOO[name].paper}, pre-trained with CION",
        "",
        f"`{name}`: {size.parameters / 1e6:.2f} M parameters, {size.flops / 1e9:.2f} GFLOPs (2 MACs).",
        "Zuo et al., Cross-video Identity Correlating for Person Re-identification Pre-training, 2024",
        "",
        f"- **Data:** {data or 'not told'}",
        f"- **Settings:** the paper's are {json.dumps(settings)}; those of this file are its run's.",
        "- **Licence:** the code's is Apache-2.0; weights carry the terms of their data.",
        "- **Intended use:** research on retrieval of persons who know of it. Not for surveillance of people",
        "  who have not agreed, nor for decisions about them (docs/responsible-use.md).",
    ]
    if results:
        lines += ["", "| measured here, % | mAP | Rank-1 |", "| --- | --- | --- |"]
        lines += [
            f"| {key} | {100 * found['mAP']:.1f} | {100 * found['rank_1']:.1f} |"
            for key, found in results.items()
        ]
    if row.unsupervised or row.supervised:
        lines += ["", "| the paper's weights, % | mAP | Rank-1 |", "| --- | --- | --- |"]
        pairs = list(zip(UNSUPERVISED, row.unsupervised or (), strict=False))
        pairs += list(zip(("Market-1501, MGN", "MSMT17, MGN"), row.supervised or (), strict=False))
        lines += [f"| {column} | {mean} | {rank} |" for column, (mean, rank) in pairs]
    return "\n".join(lines) + "\n"


def register(name: str, folder: Path, tracking_uri: str) -> None:
    """Log an exported model to an MLflow store and register it there under `cion-NAME`.

    Args:
        name: as `cion zoo list` shows it.
        folder: as `export` wrote it.
        tracking_uri: the store.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri, tracking_uri)
    experiment = client.get_experiment_by_name("cion_zoo")
    number = experiment.experiment_id if experiment else client.create_experiment("cion_zoo")
    run = client.create_run(number, run_name=name)
    client.log_artifacts(run.info.run_id, str(folder), "model")
    registered = f"cion-{name.replace('_', '-')}"
    try:
        client.get_registered_model(registered)
    except MlflowException:
        client.create_registered_model(registered, description=ZOO[name].paper)
    source = f"{run.info.artifact_uri}/model"
    client.create_model_version(registered, source, run.info.run_id, description=card(name)[:4000])
    client.set_terminated(run.info.run_id)
