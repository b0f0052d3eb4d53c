"""Save what was trained and load it onto the same kind of base: adapter.safetensors beside config.json."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reid_adapters.attaching import DEFAULT, attach, detach, digest_of
from reid_adapters.attachment import attachments_of
from reid_adapters.backbones import Backbone, backbone_of
from reid_adapters.block import current_name
from reid_adapters.config import PBPConfig
from reid_adapters.encoder import SetEncoder
from reid_adapters.identity import describe_base, differences
from reid_adapters.methods import find_method
from reid_adapters.weight_files import refuse_other_file

WEIGHTS, CONFIG = "adapter.safetensors", "config.json"


def save_pretrained(encoder: nn.Module, folder: str | Path, base_name: str | None = None) -> None:
    """Write adapters, prompts and whatever else is trained, with their configuration; not the base.

    Args:
        encoder: from `attach`; a compiled or DDP-wrapped one too.
        folder: made if it isn't there; holds adapter.safetensors and config.json afterwards.
        base_name: what to call the base, such as "ViT-B-16-quickgelu openai"; None for its class.

    Raises:
        TypeError: not an encoder of this package.
        ValueError: nothing to save but the base itself (config None).

    Example:
        >>> import tempfile, timm
        >>> from reid_adapters import VSLAConfig
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_pretrained(attach(vit, VSLAConfig(bottleneck=64)), folder)
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['adapter.safetensors', 'config.json']
    """
    for wrapper in ("module", "_orig_mod"):  # DDP, torch.compile
        encoder = getattr(encoder, wrapper, encoder)
    if not isinstance(encoder, SetEncoder):
        raise TypeError(f"encoder must come from attach(), got {type(encoder).__name__}")
    base, attachment = encoder.base, encoder.attachment
    config, pbp = attachment.config, attachment.pbp
    if config is None:
        raise ValueError(
            "the base's own weights are trained (config None): save its state_dict() after detach()"
        )
    shape = attachment.backbone.shape(base)
    weights = {name: tensor.contiguous() for name, tensor in _trained_parameters(base).items()}
    attachment.take_off(base)
    try:
        identity = describe_base(base, attachment.backbone)
    finally:
        attachment.put_on(base)
    record = {
        "base": {
            "name": base_name or type(base).__name__,
            "digest": attachment.digest,
            "width": shape.width,
            "depth": len(attachment.backbone.blocks(base)),
            "identity": identity,
        },
        "method": config.method,
        "config": asdict(config),
        "pbp": None if pbp is None else asdict(pbp),
        "image_size": shape.image_size,
        "stride": attachment.stride,
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{WEIGHTS}.writing"
    save_file(weights, temporary)
    os.replace(temporary, folder / WEIGHTS)
    temporary = folder / f"{CONFIG}.writing"
    temporary.write_text(json.dumps(record, indent=2) + "\n")
    os.replace(temporary, folder / CONFIG)


def load_pretrained(
    model: nn.Module,
    folder: str | Path,
    backbone: Backbone | None = None,
    *,
    name: str = DEFAULT,
    check_base: bool = True,
) -> SetEncoder:
    """Attach what `save_pretrained` wrote to the base that it was trained on.

    An adapter of the same name that the base has already is removed first.

    Args:
        model: the base, with the weights that the adapters were trained on.
        folder: with adapter.safetensors and config.json.
        backbone: as in `attach`.
        name: of the adapter on this base.
        check_base: refuse a base of the right shapes that is another one: of another class, activation,
            number of heads or epsilon, or with other weights. A folder that doesn't say is not checked.

    Returns:
        SetEncoder, ready to train further; call eval() for inference.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or of a base of other shapes, or of another base: the message says in
            what.

    Example:
        >>> import tempfile, timm
        >>> from reid_adapters import VSLAConfig
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_pretrained(attach(vit, VSLAConfig(bottleneck=64), image_size=(64, 32)), folder)
        ...     load_pretrained(vit, folder).attachment.config.bottleneck
        64
    """
    path = Path(folder, CONFIG)
    record = _read_config(path)
    refuse_other_file(file := Path(folder, WEIGHTS))
    try:
        weights = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is no safetensors file, or cut short or damaged: {error}") from error
    weights = {current_name(key): tensor for key, tensor in weights.items()}
    if isinstance(model, SetEncoder):
        model = model.base
    held = attachments_of(model)
    if held is not None and name in held.adapters:
        detach(model, name)
        held = attachments_of(model)
    active = None if held is None else held.adapters[held.active]
    if active is not None:
        active.take_off(model)
    try:
        _compare(path, record["base"], model, backbone or backbone_of(model), check_base)
    finally:
        if active is not None:
            active.put_on(model)
    encoder = attach(
        model,
        record["config"],
        record["pbp"],
        image_size=tuple(record["image_size"]),
        stride=record["stride"] and tuple(record["stride"]),
        backbone=backbone,
        name=name,
    )
    wanted = _trained_parameters(model)
    wrong = sorted(set(wanted) ^ set(weights)) or [
        key for key, tensor in wanted.items() if tensor.shape != weights[key].shape
    ]
    if wrong:
        detach(model, name)
        raise ValueError(f"{file} doesn't hold what {CONFIG} beside it says: {', '.join(wrong[:5])}")
    for key, tensor in wanted.items():
        tensor.data.copy_(weights[key])
    return encoder


def _compare(
    path: Path, theirs: dict[str, Any], model: nn.Module, backbone: Backbone, check_base: bool
) -> None:
    """Raise ValueError where a bare base is not the one that a config.json describes."""
    name, kind = theirs["name"], type(model).__name__
    ours = {
        "width": backbone.shape(model).width,
        "depth": len(backbone.blocks(model)),
        "digest": digest_of(model),
    }
    differ = [f"{key} {theirs[key]}, not {value}" for key, value in ours.items() if theirs[key] != value]
    if differ:
        raise ValueError(
            f"{path} is of a base {name!r} of other shapes than this {kind}: " + "; ".join(differ)
        )
    other = differences(theirs["identity"], describe_base(model, backbone)) if check_base else []
    if other:
        raise ValueError(
            f"{path} is of a base {name!r} that is not this {kind}: {'; '.join(other)}; load that base's "
            "weights, or give check_base=False if the adapter is to work on this one"
        )


def _trained_parameters(base: nn.Module) -> dict[str, Tensor]:
    """Adapters, prompts and the base's trained parameters, by their names in the base while attached."""
    attachment = SetEncoder(base).attachment
    saved = attachment.added | attachment.tuned
    return {name: parameter.detach() for name, parameter in base.named_parameters() if name in saved}


def _read_config(path: Path) -> dict[str, Any]:
    """A config.json with its configurations made, or an error that names the file."""
    try:
        record = json.loads(path.read_text())
        record["config"] = find_method(record["method"]).config(**record["config"])
        record["pbp"] = record["pbp"] and PBPConfig(**record["pbp"])
        [record[key] for key in ("image_size", "stride")]
        [record["base"][key] for key in ("name", "digest", "width", "depth")]
        record["base"] = {"identity": {}, **record["base"]}  # version 0.1.0 wrote none
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not what save_pretrained writes ({error!r})") from error
    return record
