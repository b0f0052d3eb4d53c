"""The encoder and resampler that VILLS keeps: building them, and the teacher's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from reid_core.models.backbones import build_backbone
from reid_core.models.dry_run import check_inputs
from reid_core.models.heads import ReIDModel
from reid_core.training.checkpoints import load_state, read_checkpoint, write_checkpoint
from reid_pretrain import ClassTokenPool, PerceiverResampler, VideoImageEncoder
from vills.config import ModelConfig, Shapes

TEACHER_FILE = "teacher.pt"


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
        >>> import torch
        >>> model = build_model(ModelConfig(options={"depth": 1}), Shapes((32, 16), (32, 16), frames=2))
        >>> model(torch.zeros(1, 3, 32, 16)).shape
        torch.Size([1, 4, 128])
    """
    encoder = build_backbone(config.backbone, shapes.image, drop_path=config.drop_path, **config.options)
    if not config.tokens:
        return VideoImageEncoder(encoder, ClassTokenPool())
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
        >>> import torch
        >>> arguments = {"model": {"options": {"depth": 1}}, "image_size": [32, 16]}
        >>> vills(**arguments, frame_size=[32, 16], frames=2).eval()(torch.zeros(1, 3, 32, 16)).shape
        torch.Size([1, 512])
    """
    (height, width), (frame_height, frame_width) = image_size, frame_size
    shapes = Shapes((height, width), (frame_height, frame_width), frames)
    network = build_model(ModelConfig(**model), shapes)
    return ReIDModel(Descriptor(network), network.dim, num_classes=0)


def check_model(config: ModelConfig, *shapes: Shapes, masks: bool = False) -> None:
    """Refuse a model that can't be built or can't take its inputs, on shapes alone: no weight is made.

    Args:
        config: architecture.
        shapes: of all inputs that it will be given; it is built for the first.
        masks: whether patches will be hidden, as in pre-training.

    Raises:
        ValueError: an unknown backbone, an unknown option, heads or sizes that don't fit, or a backbone that
            can't hide patches.
    """

    def build() -> Descriptor:
        model = build_model(config, shapes[0])
        if masks and not model.encoder.takes_mask:
            raise ValueError(
                f"model.backbone={config.backbone} can't hide patches, which pre-training's masking loss "
                "needs: choose a vit_* backbone, or finetune.init=scratch"
            )
        return Descriptor(model)

    inputs = [(1, 3, *one.image) for one in shapes] + [(1, one.frames, 3, *one.frame) for one in shapes]
    check_inputs(f"model.backbone={config.backbone}", build, inputs)


def save_teacher(model: VideoImageEncoder, steps: int, digest: str, path: Path) -> None:
    """Write the teacher's encoder and resampler, without heads.

    Args:
        model: the teacher's model.
        steps: that it was trained for.
        digest: of the stage that trained it.
        path: file to write, whole or not at all.
    """
    weights = {name: value.cpu() for name, value in model.state_dict().items()}
    write_checkpoint({"state_dict": weights, "step": steps, "digest": digest}, path)


def load_teacher(path: Path, model: VideoImageEncoder) -> None:
    """Put a teacher's weights into a model, or say why they don't fit.

    Args:
        path: a teacher.pt.
        model: built as the teacher was.

    Raises:
        ValueError: the file is something else, or of another architecture.
    """
    load_state(path, read_checkpoint(path), model)
