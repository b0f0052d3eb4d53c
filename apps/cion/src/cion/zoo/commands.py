"""What `cion zoo` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from cion.zoo.files import TERMS, export
from cion.zoo.table import MODELS, UNSUPERVISED, model, published_config
from reid_core.cli.models import cost
from reid_core.files import write_atomically
from reid_core.models.backbones import ZOO, build_backbone
from reid_core.models.model_config import CONFIG_FILE
from reid_core.models.weights import load_weights


def run_zoo(chosen: Any) -> None:
    """Do one action of `cion zoo`.

    Args:
        chosen: the parsed arguments: action, name, recipe, weights, out, data, results, tracking_uri,
            accept_terms.

    Raises:
        ValueError: an unknown or missing name, or a missing argument.
        FileNotFoundError: a file that isn't there.
    """
    if chosen.action == "list":
        for line in listing():
            print(line, flush=True)
        return
    if chosen.action == "config" and chosen.name is None and chosen.out is not None:
        for name in MODELS:
            text = f"# Written by `cion zoo config --out`.\n{_text(name, chosen.recipe)}"
            write_atomically(Path(chosen.out) / f"{name}.yaml", text)
        return
    if chosen.name is None:
        raise ValueError(f"cion zoo {chosen.action} takes a model's name: see `cion zoo list`")
    model(chosen.name)
    if chosen.action == "config":
        print(_text(chosen.name, chosen.recipe), end="")
        return
    if chosen.weights is None or (chosen.out is None and chosen.action == "export"):
        raise ValueError(
            f"cion zoo {chosen.action} takes --weights, a checkpoint, such as a pre-training's "
            "model.safetensors, and export --out, a folder"
        )
    weights = Path(chosen.weights)
    if chosen.action == "load":
        encoder = build_backbone(chosen.name)
        print(load_weights(encoder, weights))
        return
    results = _read_results(Path(chosen.results)) if chosen.results else None
    bound = not weights.with_name(CONFIG_FILE).is_file()
    if bound and not chosen.accept_terms:
        raise ValueError(
            f"{weights} is no run's own (no {CONFIG_FILE} lies beside it), so ReIDZoo's conditions bind it "
            f"(CION A.3): {' '.join(TERMS)} Give --accept-terms if you accept them; the card will state them"
        )
    export(chosen.name, weights, Path(chosen.out), chosen.data, results, chosen.tracking_uri, bound)


def _read_results(file: Path) -> dict[str, Any]:
    """Models with their numbers; refuse a file that holds others, such as the run folder's results.json."""
    results: dict[str, Any] = json.loads(file.read_text())
    for name, numbers in results.items():
        if not isinstance(numbers, dict) or not {"mAP", "rank_1"} <= set(numbers):
            raise ValueError(
                f"--results {file}: {name} has no mAP and rank_1; give results.json of a run's stage evaluate"
            )
    return results


def _text(name: str, recipe: str) -> str:
    return yaml.safe_dump(published_config(name, recipe), sort_keys=False)


def listing() -> list[str]:
    """One line per model: size, settings and the paper's results.

    Example:
        >>> lines = listing()
        >>> len(lines)
        33
    """
    head = f"{'name':<18}{'paper':<20}{'M param':>9}{'GFLOPs':>8}{'batch':>7}{'local':>6}"
    lines = [head + "".join(f"{column:>13}" for column in UNSUPERVISED)]
    for name, row in MODELS.items():
        size = cost(name)
        batch = f"8x{row.batch_per_gpu}" if row.batch_per_gpu else "-"
        results = row.unsupervised or ()
        lines.append(
            f"{name:<18}{ZOO[name].paper:<20}{size.parameters / 1e6:>9.2f}{size.flops / 1e9:>8.2f}{batch:>7}"
            f"{row.local_views:>6}" + "".join(f"{f'{a}/{b}':>13}" for a, b in results)
        )
    return lines
