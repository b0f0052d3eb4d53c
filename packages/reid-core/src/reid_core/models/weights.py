"""Load published checkpoints into backbones: other key names, other image sizes, and an account of it."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed, resample_abs_pos_embed_nhwc, resize_rel_pos_bias_table
from torch import Tensor

from reid_core.models.backbones import Encoder
from reid_core.models.backbones.layouts import State, to_library_names, unwrap

MINIMUM = 0.95
"""Share of a backbone's parameters that a checkpoint must fill."""
NAMED = 5
"""Tensors that a message names before it counts the rest."""


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint filled.

    Attributes:
        path: the checkpoint.
        share: of the backbone's parameters and running statistics that were filled, 0..1: of the tensors or
            of their elements, whichever is less (a few large tensors must not hide many small ones).
        missing: the backbone's tensors that the checkpoint lacks.
        unused: the checkpoint's tensors that the backbone lacks, such as heads.
        resized: tensors that were interpolated to the backbone's image size.
    """

    path: Path
    share: float
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    resized: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{self.path}: {self.share:.1%} of the backbone's parameters filled"]
        for kind in ("missing", "unused", "resized"):
            if names := getattr(self, kind):
                parts.append(f"{len(names)} {kind} ({_some(names)})")
        return "; ".join(parts)


def load_weights(encoder: Encoder, path: str | Path, minimum: float = MINIMUM) -> LoadReport:
    """Fill a backbone from a checkpoint of timm, ReIDZoo, TransReID(-SSL), PASS, LUP, SOLIDER or CLIP-ReID.

    The layout is recognised by its key names (`backbones.layouts`). Position embeddings and relative position
    tables are interpolated to the backbone's image size. Nothing is loaded unless enough fits.

    Args:
        encoder: as `build_backbone` returns it; changed in place.
        path: a .safetensors file, or one that `torch.load(weights_only=True)` reads.
        minimum: share of the backbone's parameters that must be filled.

    Returns:
        What was filled, what was not.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds more than tensors and plain values, or no tensors; a tensor has another
            shape than the backbone's; or less than `minimum` was filled.

    Example:
        >>> import tempfile
        >>> from reid_core.models.backbones import build_backbone
        >>> encoder = build_backbone("vit_nano_patch8", (64, 32), depth=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "dino.pth")
        ...     torch.save(
        ...         {"teacher": {f"backbone.{k}": v for k, v in encoder.vit.state_dict().items()}}, file
        ...     )
        ...     report = load_weights(build_backbone("vit_nano_patch8", (128, 64), depth=1), file)
        >>> report.share, report.resized
        (1.0, ('pos_embed',))
    """
    path = Path(path)
    trunk = encoder.trunk
    ours = {k: v for k, v in trunk.state_dict().items() if not k.endswith("num_batches_tracked")}
    theirs = to_library_names(read_state(path), trunk)
    fitted: State = {}
    resized, misfits = [], []
    for name in ours.keys() & theirs.keys():
        want, have = ours[name], theirs[name]
        value = _resize(name, have, want, trunk)
        if value.shape != want.shape:
            misfits.append(f"{name} {tuple(have.shape)} instead of {tuple(want.shape)}")
            continue
        if value is not have:
            resized.append(name)
        fitted[name] = value.to(want.dtype)
    elements = sum(ours[name].numel() for name in fitted) / sum(value.numel() for value in ours.values())
    report = LoadReport(
        path=path,
        share=min(len(fitted) / len(ours), elements),
        missing=tuple(name for name in ours if name not in theirs),
        unused=tuple(name for name in theirs if name not in ours and not _counter(name)),
        resized=tuple(sorted(resized)),
    )
    if misfits:
        raise ValueError(
            f"{path} has tensors of another shape than this backbone ({_some(sorted(misfits))}): "
            "build the backbone that the checkpoint was made with"
        )
    if report.share < minimum:
        raise ValueError(
            f"{report}. Expected at least {minimum:.0%}: build the backbone that the checkpoint was made "
            "with (its name and options)"
        )
    trunk.load_state_dict(fitted, strict=False)
    return report


def read_state(path: Path) -> State:
    """Read the network's tensors of a checkpoint, without pickle, on the CPU.

    Args:
        path: a .safetensors file, or one that `torch.load(weights_only=True)` reads.

    Returns:
        As `backbones.layouts.unwrap`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file can't be read so, or holds no tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}: give a file")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            # DINO and its kin keep their command line beside the tensors; a Namespace can do nothing.
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} can't be read as weights alone ({str(error).splitlines()[0][:200]}); where you trust "
            "it, load it yourself and save its state_dict with safetensors"
        ) from error
    state = unwrap(content)
    if not state:
        raise ValueError(f"{path} holds no tensors: give a state_dict or a checkpoint that has one")
    return state


def _resize(name: str, value: Tensor, want: Tensor, trunk: Any) -> Tensor:
    """The value at the wanted image size if it depends on that; the value itself if it has it already."""
    if value.shape == want.shape or value.shape[-1] != want.shape[-1]:
        return value
    if name == "pos_embed" and want.ndim == 4:  # VOLO
        return resample_abs_pos_embed_nhwc(value, list(want.shape[1:3]))
    if name == "pos_embed":
        prefix = 0 if getattr(trunk, "no_embed_class", False) else getattr(trunk, "num_prefix_tokens", 0)
        hiera = getattr(trunk, "tokens_spatial_shape", None)
        grid = trunk.patch_embed.grid_size if hiera is None else tuple(hiera)
        old = _old_grid(value.shape[1] - prefix, grid)
        return resample_abs_pos_embed(value, list(grid), list(old), prefix)
    if name == "positional_embedding":  # CLIP
        old = _old_grid(len(value) - 1, trunk.grid_size)
        return resample_abs_pos_embed(value[None], list(trunk.grid_size), list(old))[0]
    if name.endswith("relative_position_bias_table"):
        window = trunk.get_submodule(name.rpartition(".")[0]).window_size
        return resize_rel_pos_bias_table(value, new_window_size=window, new_bias_shape=want.shape)
    return value


def _old_grid(patches: int, grid: tuple[int, int]) -> tuple[int, int]:
    """(h, w) that so many patches were: a square, or else what is nearest in shape to the backbone's grid.

    ImageNet's images are square, persons' twice or three times as high as wide; neither 2 n^2 nor 3 n^2 is a
    square, so one does not pass for the other.
    """
    side = math.isqrt(patches)
    if side * side == patches:
        return side, side
    shape = grid[0] / grid[1]
    pairs = [(h, patches // h) for h in range(1, patches + 1) if patches % h == 0]
    height, width = min(pairs, key=lambda pair: abs(math.log(pair[0] / pair[1] / shape)))
    if not 0.5 <= height / width / shape <= 2:
        raise ValueError(
            f"the checkpoint has positions for {patches} patches, which make no grid like this backbone's "
            f"{grid[0]}x{grid[1]}: build the backbone for images of the checkpoint's shape"
        )
    return height, width


def _counter(name: str) -> bool:
    return name.endswith(("num_batches_tracked", "relative_position_index", "attn_mask"))


def _some(names: Any) -> str:
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest
