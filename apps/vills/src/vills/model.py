"""The encoder and resampler that VILLS keeps: building them, and the teacher's file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reid_core.files import plain
from reid_core.models.backbones import build_backbone
from reid_pretrain import PerceiverResampler, VideoImageEncoder
from vills.config import ModelConfig, Size

TEACHER_FILE = "teacher.pt"
NAMED = 5
"""Differences that an error names before it counts the rest."""


class CheckpointError(ValueError):
    """A file that is no teacher, or that of another architecture."""


class Descriptor(nn.Module):
    """Images [b 3 h w] or clips [b t 3 h w] -> [b L*d]: what a ReID head stands on.

    Args:
        model: encoder and resampler.
    """

    def __init__(self, model: VideoImageEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.descriptor(x)


def build_model(config: ModelConfig, image_size: Size, frames: int) -> VideoImageEncoder:
    """A randomly initialised encoder with its resampler, drawn from torch's generator.

    Args:
        config: architecture.
        image_size: (height, width) in pixels that position embeddings are made for.
        frames: frames that the time embedding is made for.

    Returns:
        The model.

    Raises:
        ValueError: an unknown backbone, or widths and heads that don't fit.

    Example:
        >>> build_model(ModelConfig(options={"depth": 1}), (32, 16), frames=2)(
        ...     torch.zeros(1, 3, 32, 16)
        ... ).shape
        torch.Size([1, 4, 128])
    """
    encoder = build_backbone(config.backbone, image_size, drop_path=config.drop_path, **config.options)
    resampler = PerceiverResampler(
        encoder.dim,
        num_tokens=config.tokens,
        depth=config.resampler_depth,
        heads=config.resampler_heads,
        max_frames=frames,
    )
    return VideoImageEncoder(encoder, resampler)


def save_teacher(
    model: VideoImageEncoder, config: ModelConfig, image_size: Size, frames: int, path: Path
) -> None:
    """Write the teacher's encoder and resampler, without heads: `{"state_dict", "config"}`.

    Args:
        model: the teacher's model.
        config: its architecture.
        image_size: what it was built for.
        frames: what it was built for.
        path: file to write, whole or not at all.
    """
    state = {
        "state_dict": {name: value.cpu() for name, value in model.state_dict().items()},
        "config": plain({"model": config, "image_size": list(image_size), "frames": frames}),
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def load_teacher(path: Path | str, model: VideoImageEncoder) -> None:
    """Put a teacher's weights into a model, or say why they don't fit.

    Args:
        path: a teacher.pt.
        model: built as the teacher was.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is something else, or of another architecture.
    """
    theirs = _read(Path(path))
    ours = model.state_dict()
    differences = {
        "missing": [name for name in ours if name not in theirs],
        "unexpected": [name for name in theirs if name not in ours],
        "of another shape": [
            f"{name} {tuple(theirs[name].shape)} instead of {tuple(ours[name].shape)}"
            for name in ours
            if name in theirs and theirs[name].shape != ours[name].shape
        ],
    }
    if any(differences.values()):
        found = "; ".join(f"{kind}: {_some(names)}" for kind, names in differences.items() if names)
        raise CheckpointError(
            f"{path} is a checkpoint of another architecture than the configured model ({found}); give model "
            "and pretrain the settings it was made with, or another checkpoint"
        )
    model.load_state_dict(theirs)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}: give a teacher.pt, as the pretrain stage writes it"
        )
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
        weights = dict(state["state_dict"])
        state["config"]
    except Exception as error:
        raise CheckpointError(
            f"{path} is not a teacher ({type(error).__name__}: {str(error).splitlines()[0][:200]}); "
            "give a teacher.pt, as the pretrain stage writes it"
        ) from error
    return weights


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest
