"""What can be seen to be wrong with a configuration before any work."""

from __future__ import annotations

from pathlib import Path

from reid_core.processes import check_processes
from vills.config import Config, sources, written


def check(config: Config) -> None:
    """Refuse what can be seen to be wrong before anything is read, written or trained.

    Args:
        config: the whole configuration.

    Raises:
        ValueError: a setting that can't work; the message names it.
        FileNotFoundError: a root or checkpoint that isn't there.

    Example:
        >>> from vills.config import DataConfig, Source
        >>> check(Config(data=DataConfig(image=Source("market1501"))))
        Traceback (most recent call last):
        ValueError: data.image.root is empty: give data.root or data.image.root, the folder of market1501
    """
    data, tune = config.data, config.finetune
    if data.image is None and data.video is None:
        raise ValueError("data.image and data.video are both missing: give at least one source")
    for name, source in sources(data).items():
        if not source.name:
            raise ValueError(f"{name}.name is empty: give a reader, such as market1501")
        if written(data, source):
            continue
        root = source.root or data.root
        if not root:
            raise ValueError(
                f"{name}.root is empty: give data.root or {name}.root, the folder of {source.name}"
            )
        if not Path(root).is_dir():
            raise FileNotFoundError(
                f"{name}: there is no folder {root}; point data.root or {name}.root to {source.name}"
            )
    for name, path in (
        ("pretrain.checkpoint", config.pretrain.checkpoint),
        ("finetune.checkpoint", tune.checkpoint),
    ):
        if path is not None and not Path(path).is_file():
            raise FileNotFoundError(f"{name}: there is no file {path}; give a teacher.pt")
    if not 1 <= len(config.lse.areas) <= 8:
        raise ValueError(f"lse.areas has {len(config.lse.areas)} areas; expected 1 to 8 (a bit each)")
    check_processes(config.machine, "vills.cli")
    images = tune.image_instances if data.image is not None else 0
    clips = tune.clip_instances if data.video is not None else 0
    if images + clips < 2:
        raise ValueError(
            f"finetune.image_instances={tune.image_instances} and clip_instances={tune.clip_instances} leave "
            f"{images + clips} examples an identity; the triplet loss needs at least 2"
        )
    if config.needs_pretraining and config.pretrain.views < 2 and not config.lse.areas:
        raise ValueError("pretrain.views=1 without areas leaves the student nothing to match")
