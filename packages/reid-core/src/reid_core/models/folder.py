"""The portable model folder: weights as safetensors, what builds them, and a model card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reid_core.files import atomic, plain, write_atomically
from reid_core.models.builders import build
from reid_core.models.inference import batch_features, eval_mode
from reid_core.models.model_card import model_card
from reid_core.models.model_config import CONFIG_FILE, Metric, ModelConfig, read_config, refuse_placeholder
from reid_core.models.preprocessing import Preprocessing

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "README.md"
SAME = 1e-3
"""Greatest difference, relative to the largest value, between a model's features and those of what its
builder makes of the same weights, on the same device: only the order of sums may differ."""
NAMED = 5
"""Tensors that a message names before it counts the rest."""


def save(
    folder: str | Path,
    model: nn.Module,
    builder: str,
    arguments: Mapping[str, Any],
    preprocessing: Preprocessing,
    *,
    training_data: Sequence[str],
    license: str,
    metric: Metric = "cosine",
    flip: bool = False,
    digest: str = "",
) -> ModelConfig:
    """Write a model folder: model.safetensors, config.json and README.md.

    Nothing is written unless the builder makes a module with the same tensors, which gives a random image
    the same features. config.json is written last: an interrupted save leaves no model folder.

    Args:
        folder: made where missing; a model folder there is replaced.
        model: from images `[b 3 h w]` or clips `[b t 3 h w]` to features `[b d]`; without classifiers, as
            `ReIDModel.without_classifier` gives it.
        builder: name of what builds the model (entry-point group `reid.models`), such as "bnneck".
        arguments: of the builder, by name, in JSON's types.
        preprocessing: what is done to an image first.
        training_data: names of the data sets that the model was trained on; ["unknown"] where nobody knows.
        license: of the weights, best an SPDX identifier.
        metric: how features are compared.
        flip: whether a feature is the mean of that of the image and that of its mirror image.
        digest: of the training stage that made the model.

    Returns:
        What config.json holds.

    Raises:
        ValueError: an unknown builder, another module than the builder's, weights that aren't finite, or a
            value that can't be.
        TypeError: an argument is nothing that JSON has.

    Example:
        >>> import tempfile
        >>> from reid_core.models.builders import build
        >>> arguments = {"backbone": "vit_nano_patch8", "image_size": (64, 32), "options": {"depth": 1}}
        >>> folder = tempfile.mkdtemp()
        >>> facts = {"training_data": ["none"], "license": "apache-2.0"}
        >>> model = build("bnneck", arguments)
        >>> save(folder, model, "bnneck", arguments, Preprocessing((64, 32)), **facts).dim
        128
        >>> sorted(path.name for path in Path(folder).iterdir())
        ['README.md', 'config.json', 'model.safetensors']
    """
    arguments = plain(arguments)  # what a reader will build with
    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    with torch.random.fork_rng(devices=[]):  # a training goes on with the random numbers that it had
        rebuilt = build(builder, arguments)
    _fill(rebuilt, state, f"the model that is saved with builder {builder!r}")
    features = probe(model, preprocessing)
    rebuilt.to(next((parameter.device for parameter in model.parameters()), "cpu"))
    for ours, theirs in zip(features, probe(rebuilt, preprocessing), strict=True):
        if ours.shape != theirs.shape or (ours - theirs).abs().max() > SAME * ours.abs().max():
            raise ValueError(
                f"builder {builder!r} with {arguments} gives other features than the model, with the "
                "same weights: give the arguments that the model was built with"
            )
    config = ModelConfig(
        preprocessing=preprocessing,
        dim=features[0].shape[1],
        training_data=tuple(training_data),
        license=license,
        builder=builder,
        arguments=arguments,
        metric=metric,
        flip=flip,
        digest=digest,
    )
    folder = Path(folder)
    (folder / CONFIG_FILE).unlink(missing_ok=True)
    with atomic(folder / WEIGHTS_FILE) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})
    write_atomically(folder / CARD_FILE, model_card(config))
    config.save(folder / CONFIG_FILE)
    return config


def read_folder(folder: Path) -> tuple[nn.Module, ModelConfig]:
    """The model of a model folder, on the CPU in eval mode, and what its config.json holds.

    Args:
        folder: as `save` writes it.

    Raises:
        FileNotFoundError: config.json or model.safetensors is missing.
        ValueError: a file is something else, the builder is unknown or refuses its arguments, a tensor is
            missing, unexpected, of another shape or not finite.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} is no model folder: it has no {name}. reid_core.models.save writes one; weights "
                "in other formats are not read"
            )
    config = read_config(folder / CONFIG_FILE)
    if config.builder is None:
        raise ValueError(f"{folder / CONFIG_FILE} names no builder: give the .onnx or .xml file beside it")
    path = folder / WEIGHTS_FILE
    refuse_placeholder(path)
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): fetch it again") from error
    try:
        with torch.random.fork_rng(devices=[]):  # as in save
            model = build(config.builder, config.arguments)
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG_FILE}: {error}") from error
    return _fill(model, state, str(path)).eval(), config


def probe(model: nn.Module, preprocessing: Preprocessing) -> list[Tensor]:
    """Features of random images, of each kind that the model takes: `[2 d]` float32, on the CPU.

    Args:
        model: from images or clips to features.
        preprocessing: what the model takes.

    Raises:
        ValueError: they aren't finite `[b d]`.
    """
    generator = torch.Generator().manual_seed(0)
    shapes: list[tuple[int, ...]] = []
    if preprocessing.takes_images:
        shapes.append((2, 3, *preprocessing.size))
    if preprocessing.frames is not None:
        size = preprocessing.frame_size or preprocessing.size
        shapes.append((2, preprocessing.frames, 3, *size))
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    camids = getattr(model, "camids", None)
    camid = None if camids is None else camids[:1].repeat(2)
    with eval_mode(model), torch.inference_mode():
        features = [
            batch_features(model, torch.rand(shape, generator=generator).to(device), camid=camid).cpu()
            for shape in shapes
        ]
    for shape, rows in zip(shapes, features, strict=True):
        if not rows.isfinite().all():
            raise ValueError(f"the model's feature of a random input of shape {shape} is not finite")
    return features


def _fill(model: nn.Module, state: Mapping[str, Tensor], source: str) -> nn.Module:
    """The module with those weights, or an error that says which don't fit."""
    ours = model.state_dict()
    faults = {
        "missing": (name for name in ours if name not in state),
        "unexpected": (name for name in state if name not in ours),
        "of another shape or type": (
            f"{name} {_kind(state[name])} instead of {_kind(ours[name])}"
            for name in ours
            if name in state and _kind(state[name]) != _kind(ours[name])
        ),
        "not finite": (name for name in state if not state[name].isfinite().all()),
    }
    found = [f"{kind}: {text}" for kind, names in faults.items() if (text := _some(names))]
    if found:
        raise ValueError(
            f"{source}: tensors {'; '.join(found)}. Expected those of the builder's module, all finite: a "
            "model for retrieval has no classifiers (without_classifier), and arguments are those it was "
            "built with"
        )
    model.load_state_dict(dict(state))
    return model


def _kind(value: Tensor) -> str:
    """Shape, and whether numbers are floats or integers."""
    return f"{'float' if value.is_floating_point() else 'integer'}{list(value.shape)}"


def _some(names: Iterable[str]) -> str:
    names = list(names)
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest
