"""The key layouts that published checkpoints come in, brought to the names of timm and open_clip."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, Tensor]

WRAPPERS = ("teacher", "state_dict_ema", "model_ema", "state_dict", "model", "student")
"""Entries that hold a checkpoint's tensors, most wanted first: DINO and its kin evaluate the teacher, timm
the average of the weights."""

PREFIXES = (
    "module.",  # DistributedDataParallel
    "_orig_mod.",  # torch.compile
    "backbone.",  # DINO, TransReID-SSL, PASS, SOLIDER, ReIDZoo, fast-reid
    "encoder_q.",  # MoCo, and so LUP
    "image_encoder.",  # CLIP-ReID
    "visual.",  # CLIP with its text tower
    "base.",  # TransReID and what derives from it, fine-tuned
    "model.",
    "encoder.",
    *("vit.", "trunk.", "cnn.", "swin.", "volo.", "clip."),  # this package's encoders
)


def find_entry(content: Any, entry: str | None = None) -> tuple[str, State]:
    """The entry of a checkpoint that holds the network, and its tensors as they are named there.

    Args:
        content: what a checkpoint file holds.
        entry: name of the entry, dots between levels; None for the most wanted of `WRAPPERS`.

    Returns:
        The entry's name, "" for the file itself, and its tensors; none where it holds none.

    Raises:
        ValueError: there is no such entry.

    Example:
        >>> find_entry({"state_dict": {"x": torch.zeros(1)}, "state_dict_ema": {"x": torch.ones(1)}})
        ('state_dict_ema', {'x': tensor([1.])})
        >>> find_entry({"state_dict": {"x": torch.zeros(1)}, "state_dict_ema": {}}, "state_dict")
        ('state_dict', {'x': tensor([0.])})
    """
    names: list[str] = []
    if entry:
        names = [entry] if isinstance(content, Mapping) and entry in content else entry.split(".")
        for name in names:
            if not isinstance(content, Mapping) or not isinstance(content.get(name), Mapping):
                there = [str(key) for key in content if isinstance(content[key], Mapping)]
                raise ValueError(
                    f"it has no entry {entry!r} of tensors; there are {', '.join(there) or 'none'}"
                )
            content = content[name]
    while isinstance(content, Mapping):
        name = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), "")
        if not name:
            return ".".join(names), {
                str(key): value for key, value in content.items() if torch.is_tensor(value)
            }
        names, content = [*names, name], content[name]
    return "", {}


def unwrap(state: State) -> State:
    """The tensors of the network itself, without the wrappers and heads around it.

    Args:
        state: as `find_entry` returns it.

    Returns:
        Tensors by the names that the network's own code gives them.

    Example:
        >>> unwrap({"module.backbone.norm.bias": torch.zeros(2), "module.head.weight": torch.zeros(1)})
        {'norm.bias': tensor([0., 0.])}
    """
    while prefix := next((p for p in PREFIXES if any(name.startswith(p) for name in state)), ""):
        state = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
    return state


def to_library_names(state: State, trunk: nn.Module) -> State:
    """Rename (and where needed reorder) a published network's tensors as timm or open_clip has them.

    Layouts are told by their names: ResNet and IBN-a, GhostNet, VOLO, ViT with or without TransReID-SSL's
    stem, and CLIP are the same in the libraries; Swin (Microsoft's and SOLIDER's), RepViT and PASS are
    renamed here; ConvNeXt, EdgeNeXt and FastViT by timm.

    Args:
        state: as `unwrap` returns it.
        trunk: an encoder's `trunk`.

    Returns:
        A new dict.

    Raises:
        ValueError: the checkpoint is of another structure than the trunk.
    """
    if "part_token1" in state:
        return _pass(state, trunk)
    if any(".attn.w_msa." in name for name in state):
        return _solider(state)
    if "layers.0.blocks.0.norm1.weight" in state:
        return _swin(state)
    if "features.0.0.c.weight" in state:
        return _repvit(state, trunk)
    if type(trunk).__name__ in ("ConvNeXt", "EdgeNeXt", "FastVit"):
        try:
            return sys.modules[type(trunk).__module__].checkpoint_filter_fn(state, trunk)
        except KeyError as error:
            raise ValueError(
                f"the checkpoint is of another structure than {type(trunk).__name__}: it holds {error}"
            ) from error
    return dict(state)


def _pass(state: State, trunk: nn.Module) -> State:
    """PASS (Zhu et al., ECCV 2022): three part tokens, each with a position of its own; timm's registers."""
    if getattr(trunk, "num_prefix_tokens", 1) != 4:
        raise ValueError(
            "the checkpoint has PASS's three part tokens, which this backbone lacks: build it with "
            "reg_tokens=3"
        )
    parts = ["part_token1", "part_token2", "part_token3"]
    positions = ["cls_pos", "part1_pos", "part2_pos", "part3_pos"]
    renamed = {name: value for name, value in state.items() if name not in {*parts, *positions}}
    renamed["reg_token"] = torch.cat([state[name] for name in parts], dim=1)
    renamed["pos_embed"] = torch.cat([state[name] for name in (*positions, "pos_embed")], dim=1)
    return renamed


def _swin(state: State) -> State:
    """Microsoft's Swin (and ReIDZoo's): a stage ends with what timm begins the next with."""
    late = "layers.0.downsample.reduction.weight" in state
    renamed = {}
    for name, value in state.items():
        if late:
            name = re.sub(r"layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name)
        renamed[re.sub(r"^norm3\.", "norm.", name)] = value
    return renamed


def _solider(state: State) -> State:
    """SOLIDER's Swin, which is MMDetection's: other names, and patches merged in the order of an unfold."""
    replacements = {
        r"^patch_embed\.projection\.": "patch_embed.proj.",
        r"^stages\.": "layers.",
        r"\.attn\.w_msa\.": ".attn.",
        r"\.ffn\.layers\.0\.0\.": ".mlp.fc1.",
        r"\.ffn\.layers\.1\.": ".mlp.fc2.",
        r"^semantic_embed_w\.": "semantic.",
        r"^semantic_embed_b\.": "semantic.",
    }
    renamed = {}
    for name, value in state.items():
        if ".downsample." in name:
            # Channel-major with the window's rows first -> window-major with its columns first.
            value = value.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]].transpose(-1, -2).flatten(-2)
        part = {"semantic_embed_w": "scale.", "semantic_embed_b": "shift."}.get(name.split(".")[0])
        for pattern, replacement in replacements.items():
            name = re.sub(pattern, replacement, name)
        if part:
            name = re.sub(r"(?<=^semantic\.)(\d+)\.", rf"\1.{part}", name)
        renamed[name] = value
    return _swin(renamed)


def _repvit(state: State, trunk: Any) -> State:
    """RepViT's own code has one flat list of blocks, timm stages."""
    block = {
        "token_mixer.0.": "token_mixer.",
        "token_mixer.1.": "se.",
        "channel_mixer.m.0.": "channel_mixer.conv1.",
        "channel_mixer.m.2.": "channel_mixer.conv2.",
    }
    downsample = {
        "token_mixer.0.": "spatial_downsample.",
        "token_mixer.2.": "channel_downsample.",
        "channel_mixer.m.0.": "ffn.conv1.",
        "channel_mixer.m.2.": "ffn.conv2.",
    }
    features: list[tuple[str, dict[str, str]]] = [("stem.", {"0.": "conv1.", "2.": "conv2."})]
    for index, stage in enumerate(trunk.stages):
        if not isinstance(stage.downsample, nn.Identity):
            where = f"stages.{index}.downsample."
            features += [(f"{where}pre_block.", block), (where, downsample)]
        features += [(f"stages.{index}.blocks.{number}.", block) for number in range(len(stage.blocks))]
    renamed = {}
    for name, value in state.items():
        match = re.match(r"features\.(\d+)\.(.+)", name)
        if match and int(match[1]) >= len(features):
            name = f"stages.{name}"  # a block of a larger model: the trunk has none, and the name says so
        elif match:
            where, names = features[int(match[1])]
            rest = match[2].replace(".conv_reduce.", ".fc1.").replace(".conv_expand.", ".fc2.")
            old = next((old for old in names if rest.startswith(old)), "")
            name = where + names.get(old, "") + rest.removeprefix(old)
        renamed[name] = value
    return renamed
