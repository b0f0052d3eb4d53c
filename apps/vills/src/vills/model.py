"""The encoder and resampler that VILLS keeps: building them, and the teacher's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reid_core.files import plain
from reid_core.models.backbones import build_backbone
from reid_core.models.heads import ReIDModel
from reid_core.training.checkpoints import write_checkpoint
from reid_pretrain import PerceiverResampler, VideoImageEncoder
from vills.config import ModelConfig, Shapes

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


def build_model(config: ModelConfig, shapes: Shapes) -> VideoImageEncoder:
    """A randomly initialised encoder with its resampler, drawn from torch's generator.

    Args:
        config: architecture.
        shapes: image size and frames that the embeddings of place and time are made for.

    Returns:
        The model.

    Raises:
        ValueError: an unknown backbone, or widths and heads that don't fit.

    Example:
        >>> model = build_model(ModelConfig(options={"depth": 1}), Shapes((32, 16), (32, 16), frames=2))
        >>> model(torch.zeros(1, 3, 32, 16)).shape
        torch.Size([1, 4, 128])
    """
    encoder = build_backbone(config.backbone, shapes.image, drop_path=config.drop_path, **config.options)
    resampler = PerceiverResampler(
        encoder.dim,
        num_tokens=config.tokens,
        depth=config.resampler_depth,
        heads=config.resampler_heads,
        max_frames=shapes.frames,
    )
    return VideoImageEncoder(encoder, resampler)


def vills(
    model: Mapping[str, Any], image_size: Sequence[int], frame_size: Sequence[int], frames: int
) -> nn.Module:
    """VILLS for retrieval, without a classifier: what a model folder of it names as its builder.

    Args:
        model: settings of `ModelConfig`, by name.
        image_size: (height, width) in pixels that position embeddings are made for.
        frame_size: of a clip's frames.
        frames: of a clip.

    Returns:
        Module from images [b 3 h w] or clips [b t 3 h w] to descriptors [b L*d] of unit length.

    Example:
        >>> arguments = {"model": {"options": {"depth": 1}}, "image_size": [32, 16]}
        >>> vills(**arguments, frame_size=[32, 16], frames=2).eval()(torch.zeros(1, 3, 32, 16)).shape
        torch.Size([1, 512])
    """
    (height, width), (frame_height, frame_width) = image_size, frame_size
    shapes = Shapes((height, width), (frame_height, frame_width), frames)
    network = build_model(ModelConfig(**model), shapes)
    return ReIDModel(Descriptor(network), network.dim, num_classes=0)


def check_model(config: ModelConfig, *shapes: Shapes) -> None:
    """Refuse a model that can't be built or can't take its inputs, on shapes alone: no weight is made.

    Args:
        config: architecture.
        shapes: of all inputs that it will be given; it is built for the first.

    Raises:
        ValueError: an unknown backbone, an unknown option, heads or sizes that don't fit.
    """
    with torch.device("meta"):
        try:
            model = build_model(config, shapes[0])
        except TypeError as error:
            raise ValueError(f"model.options: {error}") from error
        for shape in shapes:
            for name, size in (
                ("an image", (1, 3, *shape.image)),
                ("a clip", (1, shape.frames, 3, *shape.frame)),
            ):
                try:
                    model.descriptor(torch.empty(size))
                except (ValueError, RuntimeError, AssertionError) as error:
                    said = str(error).splitlines()[0] if str(error) else type(error).__name__
                    raise ValueError(
                        f"model.backbone={config.backbone} does not take {name} of {size[-2:]}, "
                        f"{shape.frames} frames: {said}"
                    ) from error


def save_teacher(
    model: VideoImageEncoder, config: ModelConfig, shapes: Shapes, digest: str, path: Path
) -> None:
    """Write the teacher's encoder and resampler, without heads: `{"state_dict", "config", "digest"}`.

    Args:
        model: the teacher's model.
        config: its architecture.
        shapes: what it was built for.
        digest: of the stage that trained it.
        path: file to write, whole or not at all.
    """
    state = {
        "state_dict": {name: value.cpu() for name, value in model.state_dict().items()},
        "config": plain({"model": config, "image_size": list(shapes.image), "frames": shapes.frames}),
        "digest": digest,
    }
    write_checkpoint(state, path)


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
