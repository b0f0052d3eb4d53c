"""What can be seen to be wrong with a configuration before any work."""

from __future__ import annotations

from pathlib import Path

from reid_core.data.manifest import PLATFORMS
from reid_core.data.readers import READERS, is_manifest_file
from reid_eval import find_protocol
from vsla_clip.config import Config
from vsla_clip.methods import METHODS


def check(config: Config) -> None:
    """Refuse what can be seen to be wrong before anything is read, written or trained.

    Args:
        config: the whole configuration.

    Raises:
        ValueError: a setting that can't work; the message names it.
        FileNotFoundError: a root or checkpoint that isn't there.

    Example:
        >>> check(Config())
        Traceback (most recent call last):
        ValueError: data.root is empty: give the folder of g2a_vreid
    """
    data, clip = config.data, config.clip
    find_protocol(config.evaluate.protocol)
    if data.synthetic is None:
        if data.name not in READERS and not is_manifest_file(data.name):
            raise ValueError(f"data.name: no reader {data.name!r}; there are {', '.join(READERS)}")
        if not data.root:
            raise ValueError(f"data.root is empty: give the folder of {data.name}")
        if not Path(data.root).is_dir():
            raise FileNotFoundError(f"data.root: there is no folder {data.root}; give that of {data.name}")
    if not config.rows:
        raise ValueError(f"rows is empty: give some of {', '.join(METHODS)}")
    for name in (config.method, *config.rows):
        if name not in METHODS:
            raise ValueError(f"method and rows: no {name!r}; there are {', '.join(METHODS)}")
    for name in config.pbp.platforms:
        if name not in PLATFORMS:
            raise ValueError(
                f"pbp.platforms: data sets have {', '.join(filter(None, PLATFORMS))}, not {name!r}"
            )
    if clip.checkpoint is not None and not Path(clip.checkpoint).is_file():
        raise FileNotFoundError(f"clip.checkpoint: there is no file {clip.checkpoint}")
    if clip.pretrained is None and clip.checkpoint is None and clip.captioned is None:
        raise ValueError(
            "clip has random weights, against which nothing can be learned: give clip.pretrained (openai), "
            "clip.checkpoint (a file) or, with clip.small, clip.captioned"
        )
    if clip.captioned is not None and clip.small is None:
        raise ValueError("clip.captioned trains a small CLIP from random weights: give clip.small its sizes")
    if clip.small is not None and clip.pretrained is not None:
        raise ValueError(
            "clip.small is no architecture of open_clip's, so clip.pretrained has no weights for it"
        )


def check_platforms(config: Config, methods: list[str], platforms: list[str]) -> None:
    """Refuse prompts of platforms for a data set that doesn't say which platform a tracklet is from.

    Args:
        config: the whole configuration.
        methods: names of METHODS that are to be trained.
        platforms: of the data set's tracklets.

    Raises:
        ValueError: a platform without prompts.

    Example:
        >>> check_platforms(Config(), ["vsla_clip_pbp"], ["aerial", "ground"])
    """
    prompted = [name for name in methods if METHODS[name].pbp]
    unknown = [name for name in platforms if name not in config.pbp.platforms]
    if prompted and unknown:
        raise ValueError(
            f"{prompted[0]} has prompts of {', '.join(config.pbp.platforms)}, but data has tracklets from "
            f"{unknown[0] or 'platforms that ' + config.data.name + ' does not name'}: "
            "choose another method or other rows, or set pbp.platforms"
        )
