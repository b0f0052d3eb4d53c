"""A model of the zoo as a portable model folder, whose card says what is known of it, and in the registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cion.config import Network
from cion.networks import LICENSE, MODEL_FOLDER, save_network
from cion.zoo.table import UNSUPERVISED, model, published_config
from reid_core.cli.models import cost
from reid_core.files import write_atomically
from reid_core.models.backbones import ZOO, build_backbone
from reid_core.models.folder import CARD_FILE
from reid_core.models.parts import ClassFeature
from reid_core.models.weights import load_weights

TERMS = (
    "Privacy: users protect the privacy of all persons in the data, and bear all consequences of misuse.",
    "Redistribution: the models, whole or in part, are not passed on without the creators' prior approval.",
    "Commercial use: the models, whole, in part or derived, are not used commercially.",
    "Modification: the models, whole or in part, are not modified.",
)
"""ReIDZoo's conditions (CION A.3), in short."""
TERMS_LICENSE = "ReIDZoo's conditions (CION A.3); see the card"


def export(
    name: str,
    weights: Path,
    folder: Path,
    data: str = "",
    results: Mapping[str, Any] | None = None,
    tracking_uri: str | None = None,
    bound: bool = False,
) -> Path:
    """Write a model folder (`reid_core.models.load`) with a model card, and register it with MLflow.

    Args:
        name: as `cion zoo list` shows it.
        weights: what pre-training ended with, or any checkpoint that fits the backbone.
        folder: to write to.
        data: what it was pre-trained on.
        results: model -> measure -> rate in 0..1, such as results.json of a run.
        tracking_uri: MLflow store; None registers nothing.
        bound: whether the weights are ReIDZoo's, whose conditions the card then states.

    Returns:
        The folder.

    Raises:
        ValueError: an unknown name, or a checkpoint of another backbone.
        FileNotFoundError: there is no such checkpoint.
    """
    model(name)
    encoder = build_backbone(name)
    print(load_weights(encoder, weights))
    save_network(
        folder.parent,
        ClassFeature(encoder),
        Network(name),
        [data or "unknown"],
        name=folder.name,
        license=TERMS_LICENSE if bound else LICENSE,
    )
    card = folder / CARD_FILE
    write_atomically(card, card.read_text() + describe(name, results, bound))
    if tracking_uri is not None:
        register(name, folder, tracking_uri)
    return folder


def describe(name: str, results: Mapping[str, Any] | None = None, bound: bool = False) -> str:
    """What a model's card says beside what every card does, in Markdown.

    Args:
        name: as `cion zoo list` shows it.
        results: model -> measure -> rate in 0..1.
        bound: whether the weights are ReIDZoo's.

    Example:
        >>> print(describe("vit_tiny").splitlines()[1])
        ## ViT-T, pre-trained with CION
    """
    size, row, settings = cost(name), model(name), published_config(name)["pretrain"]
    lines = [
        "",
        f"## {ZOO[name].paper}, pre-trained with CION",
        "",
        f"`{name}`: {size.parameters / 1e6:.2f} M parameters, {size.flops / 1e9:.2f} GFLOPs (2 MACs).",
        "Zuo et al., Cross-video Identity Correlating for Person Re-identification Pre-training, 2024.",
        f"The paper's settings are {json.dumps(settings)}; those of this file are its run's.",
        "",
        "Intended use: research on retrieval of persons who know of it. Not for surveillance of people who",
        "have not agreed, nor for decisions about them (docs/responsible-use.md).",
    ]
    if bound:
        lines += ["", "Conditions of ReIDZoo's models (CION A.3), which bind whoever uses this file:", ""]
        lines += [f"{number}. {term}" for number, term in enumerate(TERMS, start=1)]
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
    client.log_artifacts(run.info.run_id, str(folder), MODEL_FOLDER)
    registered = f"cion-{name.replace('_', '-')}"
    try:
        client.get_registered_model(registered)
    except MlflowException:
        client.create_registered_model(registered, description=ZOO[name].paper)
    source = f"{run.info.artifact_uri}/{MODEL_FOLDER}"
    client.create_model_version(registered, source, run.info.run_id, description=describe(name)[:4000])
    client.set_terminated(run.info.run_id)
