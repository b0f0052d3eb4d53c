"""Weights of other projects: the authors' VSLA-CLIP state dicts, ViFi-CLIP's and OpenAI's CLIP."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reid_adapters.attaching import attach
from reid_adapters.config import PBPConfig, VSLAConfig
from reid_adapters.encoder import SetEncoder
from reid_adapters.positions import resize_positions
from reid_adapters.prompts import IDPromptLearner
from reid_adapters.weight_files import read_weight_file

State = Mapping[str, Tensor]
POSITIONS = "positional_embedding"
"""Name in an image tower of CLIP's."""

ADAPTERS = (
    ("dat_cross.temporal_block.temporal_attn.in_proj_", "cfaa.qkv."),
    ("dat_cross.temporal_block.temporal_attn.out_proj.", "cfaa.proj."),
    ("dat_cross.", "cfaa."),
    ("dat.", "ifa."),
)
"""Names in a block of the released code and here; what else a block has is the base's."""


@dataclass(frozen=True)
class Report:
    """What of a checkpoint went where.

    Attributes:
        matched: names here that were filled.
        missing: names here that the checkpoint doesn't have.
        unused: names in the checkpoint that have no place here.
        mismatched: names here whose shapes differ, with both shapes.
        resized: names here that were filled with position embeddings of another grid, resampled.
    """

    matched: list[str]
    missing: list[str]
    unused: list[str]
    mismatched: list[str]
    resized: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{len(self.matched)} matched"]
        for kind in ("missing", "unused", "mismatched", "resized"):
            names = getattr(self, kind)
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            lines += [f"{len(names)} {kind}: {shown}"] if names else []
        return "\n".join(lines)


def load_released(
    model: nn.Module,
    source: str | Path | State,
    platforms: tuple[str, ...] = ("ground", "uav"),
    image_size: tuple[int, int] = (256, 128),
) -> tuple[SetEncoder, Report]:
    """Attach the authors' released VSLA-CLIP to open_clip's ViT: adapters, prompts and the base's weights.

    What is attached is read off the shapes. The base's weights become the checkpoint's, so after `detach` it
    is the released base, with its own position embeddings.

    Args:
        model: `clip.visual` of open_clip's "ViT-B-16-quickgelu", which the authors' model is.
        source: a file, read without pickle, or a state dict.
        platforms: names of the checkpoint's platforms in order, if it has prompts.
        image_size: (height, width) it was trained at.

    Returns:
        The encoder and a report of what matched.

    Raises:
        ValueError: the file can't be read, or holds no adapters, or the number of platforms differs.

    Example:
        >>> load_released(nn.Identity(), {"visual.proj": torch.zeros(1)})
        Traceback (most recent call last):
        ValueError: no adapters in the state dict: it has no key such as ...resblocks.0.dat.down.weight
    """
    state = read_state(source)
    bottlenecks = {
        part: tensor.shape[0]
        for key, tensor in state.items()
        for part in ("dat", "dat_cross")
        if key.endswith(f"resblocks.0.{part}.down.weight")
    }
    if not bottlenecks:
        raise ValueError(
            "no adapters in the state dict: it has no key such as ...resblocks.0.dat.down.weight"
        )
    config = VSLAConfig(
        bottleneck=next(iter(bottlenecks.values())),
        ifa="dat" in bottlenecks,
        cfaa="dat_cross" in bottlenecks,
        activation="quick_gelu",
    )
    pbp, found = None, {}
    if "cv_embed" in state:
        depth, length, count, _ = state["cv_embed"].shape
        if count != len(platforms):
            raise ValueError(f"the state dict has prompts of {count} platforms, but platforms is {platforms}")
        pbp = PBPConfig(platforms, depth, length)
        for number, prompts in enumerate(state["cv_embed"].transpose(1, 2)):
            found[f"transformer.resblocks.{number}.pbp.prompts"] = ("cv_embed", prompts)
    for key, tensor in state.items():
        if key.startswith("image_encoder."):
            found[_visual_name(key.removeprefix("image_encoder."))] = (key, tensor)
    encoder = attach(model, config, pbp, image_size=image_size)
    return encoder, _copy(dict(encoder.base.named_parameters()), found, state)


def load_released_prompts(learner: IDPromptLearner, source: str | Path | State) -> Report:
    """Fill an ID prompt learner and its text tower from the authors' released state dict.

    Args:
        learner: of the checkpoint's number of identities, with the prompt it was trained with: SET_LEVEL's or
            CLIP_REID's.
        source: a file, read without pickle, or a state dict.

    Returns:
        A report of what matched; the image encoder's keys are left out of it.

    Example:
        >>> load_released_prompts(None, {"proj": torch.zeros(1)})
        Traceback (most recent call last):
        ValueError: no learnt prompts in the state dict: it has no key prompt_learner.cls_ctx
    """
    state = read_state(source)
    if "prompt_learner.cls_ctx" not in state:
        raise ValueError("no learnt prompts in the state dict: it has no key prompt_learner.cls_ctx")
    found = {"id_prompts": ("prompt_learner.cls_ctx", state["prompt_learner.cls_ctx"])}
    sides = [f"prompt_learner.{side}_prompt" for side in ("prefix", "suffix")]
    if all(side in state for side in sides):
        found["shared_prompts"] = (sides[0], torch.cat([state[side][0] for side in sides]))
    for side, length in (("prefix", len(learner.prefix)), ("suffix", len(learner.suffix))):
        if f"prompt_learner.token_{side}" in state:  # the released suffix goes on with padding
            key = f"prompt_learner.token_{side}"
            found[side] = (key, state[key][0, :length])
    for key, tensor in state.items():
        if key.startswith("text_encoder."):
            found[key.removeprefix("text_encoder.")] = (key, tensor)
    rest = {key: value for key, value in state.items() if key not in sides and "image_encoder." not in key}
    targets = dict(learner.named_parameters()) | {"prefix": learner.prefix, "suffix": learner.suffix}
    return _copy(targets, found, rest)


def load_initial(clip: nn.Module, source: str | Path | State) -> Report:
    """Fill an open_clip CLIP from ViFi-CLIP's checkpoint or a state dict of OpenAI's names.

    ViFi-CLIP's holds no token embedding: start from OpenAI's weights, as VSLA-CLIP does. Position embeddings
    of images of another size, which are square in published weights, are resampled.

    Args:
        clip: open_clip's model of the same architecture, such as "ViT-B-16-quickgelu".
        source: a file, read without pickle, or a state dict; of a module that holds the CLIP as `clip`, too.

    Returns:
        A report of what matched.

    Raises:
        ValueError: the file can't be read, or nothing matched.

    Example:
        >>> print(
        ...     load_initial(
        ...         nn.ModuleDict({"visual": nn.Linear(2, 1)}), {"image_encoder.bias": torch.ones(1)}
        ...     )
        ... )
        1 matched
        1 missing: visual.weight
    """
    state = read_state(source)
    found = {}
    for key, tensor in state.items():
        name = re.sub(r"^image_encoder\.", "visual.", key)
        found[re.sub(r"^(text_encoder|clip)\.", "", name)] = (key, tensor)
    resized = _resize_positions(clip, found)
    return replace(_copy(dict(clip.named_parameters()), found, state), resized=resized)


def read_state(source: str | Path | State) -> dict[str, Tensor]:
    """A state dict from a file or as given, without the wrappers of trainers and DataParallel.

    Args:
        source: a file, as `read_weight_file` takes it, or a state dict.

    Returns:
        Tensors by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else than a file of weights, or holds no tensors.

    Example:
        >>> read_state({"module.proj": torch.ones(1)})
        {'proj': tensor([1.])}
    """
    state: Any = source if isinstance(source, Mapping) else read_weight_file(source)
    for wrapper in ("model", "state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    named = state.items() if isinstance(state, Mapping) else ()
    tensors = {str(key).removeprefix("module."): value for key, value in named if torch.is_tensor(value)}
    if not tensors:
        raise ValueError(f"no tensors in {source if isinstance(source, str | Path) else 'the state dict'}")
    return tensors


def _resize_positions(clip: nn.Module, found: dict[str, tuple[str, Tensor]]) -> list[str]:
    """Resample the image tower's position embeddings in `found` to its grid; names of what was resampled."""
    grid, target = (getattr(getattr(clip, "visual", None), of, None) for of in ("grid_size", POSITIONS))
    name = f"visual.{POSITIONS}"
    if grid is None or target is None or name not in found:
        return []
    key, tensor = found[name]
    side = math.isqrt(len(tensor) - 1)
    fits = tensor.ndim == 2 and side**2 == len(tensor) - 1 and tensor.shape[1] == target.shape[1]
    if tensor.shape == target.shape or not fits:
        return []
    found[name] = (key, resize_positions(tensor.float(), (side, side), tuple(grid)))
    return [f"{name} from {side} x {side} to {grid[0]} x {grid[1]}"]


def _visual_name(name: str) -> str:
    """A name in the released image encoder -> the same parameter's in an attached open_clip ViT."""
    match = re.match(r"(transformer\.resblocks\.\d+\.)(.*)", name)
    if match is None:
        return name
    block, rest = match.groups()
    for theirs, ours in ADAPTERS:
        if rest.startswith(theirs):
            return block + ours + rest.removeprefix(theirs)
    return f"{block}block.{rest}"


@torch.no_grad()
def _copy(targets: Mapping[str, Tensor], found: Mapping[str, tuple[str, Tensor]], state: State) -> Report:
    """Copy tensors by name where shapes agree; `found` says which key of the state each comes from."""
    matched, mismatched, used = [], [], set()
    for name, (key, tensor) in found.items():
        if name not in targets:
            continue
        used.add(key)
        if targets[name].shape == tensor.shape:
            targets[name].data.copy_(tensor)
            matched.append(name)
        else:
            mismatched.append(f"{name} {list(targets[name].shape)}, not {list(tensor.shape)}")
    if not matched:
        raise ValueError(f"nothing matched: the state dict has keys such as {', '.join(list(state)[:3])}")
    missing = [name for name in targets if name not in found]
    return Report(matched, missing, [key for key in state if key not in used], mismatched)
