"""Writes configs/paper/*.yaml from the table: `python -m cion.zoo.paper apps/cion/configs/paper`."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from cion.zoo.table import MODELS, paper_config
from reid_core.files import write_atomically


def write_paper_configs(folder: Path) -> None:
    """Write a model's paper setting a file.

    Args:
        folder: gets NAME.yaml.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_paper_configs(Path(folder))
        ...     len(list(Path(folder).glob("*.yaml")))
        32
    """
    for name in MODELS:
        text = yaml.safe_dump(paper_config(name), sort_keys=False)
        write_atomically(folder / f"{name}.yaml", f"# Written by `python -m cion.zoo.paper`.\n{text}")


if __name__ == "__main__":
    write_paper_configs(Path(sys.argv[1]))
