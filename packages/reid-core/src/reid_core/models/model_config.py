"""A model folder's config.json: what builds the model, what it is fed, and what it was trained on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from reid_core import __version__
from reid_core.files import plain, write_atomically
from reid_core.models.preprocessing import Preprocessing

CONFIG_FILE = "config.json"
FORMAT_VERSION = 1
"""Raised when a reader of the version before would misread the file."""

Metric = Literal["cosine", "euclidean"]

LFS_POINTER = b"version https://git-lfs"
"""How git-LFS begins the small file that it leaves in place of one that wasn't fetched."""


@dataclass(frozen=True)
class ModelConfig:
    """What a model folder's config.json holds.

    Args:
        preprocessing: what is done to an image first.
        dim: length of a feature.
        training_data: names of the data sets that the model was trained on.
        license: of the weights, best an SPDX identifier.
        builder: name under which the entry-point group `reid.models` has what builds the model; None for an
            exported .onnx or .xml file.
        arguments: of the builder, by name.
        metric: how features are compared; with "cosine" they are of unit length.
        flip: whether a feature is the mean of that of the image and that of its mirror image.
        digest: of the training stage that made the model, which ties the folder to its run; empty elsewhere.
        reid_core: version of reid-core that wrote it.

    Raises:
        ValueError: a value that can't be; the message names the field.

    Example:
        >>> config = ModelConfig(Preprocessing((256, 128)), 512, ("MSMT17",), "mit")
        >>> ModelConfig.from_dict(config.to_dict()) == config
        True
    """

    preprocessing: Preprocessing
    dim: int
    training_data: tuple[str, ...]
    license: str
    builder: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    metric: Metric = "cosine"
    flip: bool = False
    digest: str = ""
    reid_core: str = __version__

    def __post_init__(self) -> None:
        if type(self.dim) is not int or self.dim < 1:
            _refuse("dim", self.dim, "the length of a feature")
        if isinstance(self.training_data, str) or not all(isinstance(x, str) for x in self.training_data):
            _refuse("training_data", self.training_data, "a list of data sets' names")
        object.__setattr__(self, "training_data", tuple(self.training_data))
        if not self.training_data or not all(self.training_data):
            _refuse("training_data", self.training_data, 'at least one name; ["unknown"] where nobody knows')
        if not isinstance(self.license, str) or not self.license:
            _refuse("license", self.license, 'a name such as "apache-2.0"; "unknown" where nobody knows')
        if self.builder is not None and not isinstance(self.builder, str):
            _refuse("builder", self.builder, "a builder's name")
        if not isinstance(self.arguments, Mapping):
            _refuse("arguments", self.arguments, "the builder's arguments by name")
        object.__setattr__(self, "arguments", plain(self.arguments))
        if self.metric not in get_args(Metric):
            _refuse("metric", self.metric, " or ".join(map(repr, get_args(Metric))))
        if type(self.flip) is not bool:
            _refuse("flip", self.flip, "true or false")

    def to_dict(self) -> dict[str, Any]:
        """The content of config.json, in JSON's types."""
        return {"format_version": FORMAT_VERSION, **plain(self)}

    @classmethod
    def from_dict(cls, content: Any) -> ModelConfig:
        """A configuration from the content of config.json.

        Args:
            content: as `to_dict` gives it.

        Raises:
            ValueError: another format, an unknown or missing key, or a value that can't be.
        """
        if not isinstance(content, dict) or "format_version" not in content:
            raise ValueError("it has no format_version, so it isn't a model folder's")
        version = content["format_version"]
        if version != FORMAT_VERSION:
            raise ValueError(
                f"format_version {version!r}; this reid-core reads {FORMAT_VERSION}: install a newer one"
            )
        values = {key: value for key, value in content.items() if key != "format_version"}
        preprocessing = values.get("preprocessing", {})
        if not isinstance(preprocessing, dict):
            _refuse("preprocessing", preprocessing, "an object")
        return _of_keys(cls, {**values, "preprocessing": _of_keys(Preprocessing, preprocessing)})

    def save(self, path: str | Path) -> None:
        """Write config.json, whole or not at all.

        Args:
            path: the file.
        """
        write_atomically(path, json.dumps(self.to_dict(), indent=2) + "\n")


def read_config(path: Path) -> ModelConfig:
    """Read a config.json.

    Args:
        path: an existing file.

    Raises:
        ValueError: it isn't a model folder's; the message names the file and the key.
    """
    refuse_placeholder(path)
    try:
        return ModelConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


def refuse_placeholder(path: Path) -> None:
    """Refuse a file that stands for another: a git-LFS pointer, or the web page of a failed download.

    Args:
        path: an existing file.

    Raises:
        ValueError: it is one.
    """
    with open(path, "rb") as file:
        start = file.read(64).lstrip().lower()
    if start.startswith(LFS_POINTER):
        raise ValueError(f"{path} is a git-LFS pointer, not the file itself: fetch it with `git lfs pull`")
    if start.startswith((b"<!doctype html", b"<html")):
        raise ValueError(f"{path} is a web page, not a model's file: download the file itself")


def _of_keys(cls: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass from exactly its own keys."""
    fields = dataclasses.fields(cls)
    missing = [f.name for f in fields if _is_required(f) and f.name not in values]
    unknown = sorted(values.keys() - {f.name for f in fields})
    if missing or unknown:
        raise ValueError(f"keys of {cls.__name__}: missing {missing}, unknown {unknown}")
    return cls(**values)


def _is_required(f: dataclasses.Field) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _refuse(name: str, value: object, expected: str) -> None:
    raise ValueError(f"{name}: got {value!r}; expected {expected}")
