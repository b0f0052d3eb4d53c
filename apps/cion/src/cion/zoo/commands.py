"""What `cion zoo` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from cion.zoo.files import export
from cion.zoo.table import MODELS, UNSUPERVISED, model, paper_config
from reid_core.cli.models import cost
from reid_core.files import write_atomically
from reid_core.models.backbones import ZOO


def run_zoo(chosen: Any) -> None:
    """Do one action of `cion zoo`.

    Args:
        chosen: the parsed arguments: action, name, weights, out, data, results, tracking_uri.

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
            text = f"# Written by `cion zoo config --out`.\n{_paper_text(name)}"
            write_atomically(Path(chosen.out) / f"{name}.yaml", text)
        return
    if chosen.name is None:
        raise ValueError(f"cion zoo {chosen.action} takes a model's name: see `cion zoo list`")
    model(chosen.name)
    if chosen.action == "config":
        print(_paper_text(chosen.name), end="")
        return
    if chosen.weights is None or chosen.out is None:
        raise ValueError(
            "cion zoo export takes --weights, a pre-training's model.safetensors, and --out, a folder"
        )
    results = json.loads(Path(chosen.results).read_text()) if chosen.results else None
    export(chosen.name, Path(chosen.weights), Path(chosen.out), chosen.data, results, chosen.tracking_uri)


def _paper_text(name: str) -> str:
    return yaml.safe_dump(paper_config(name), sort_keys=False)


def listing() -> list[str]:
    """A line a model: size, settings and the paper's results.

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
