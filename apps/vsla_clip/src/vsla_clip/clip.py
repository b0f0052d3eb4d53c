"""CLIP: its architecture, its weights to begin with, and what a method attaches to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import open_clip
import torch
from torch import Tensor, nn

from reid_adapters import IDPromptLearner, SetEncoder, attach, load_initial, load_released
from reid_core.data.datasets import seed_torch
from reid_core.processes import process_rank
from reid_core.recipe import Job
from reid_core.training.checkpoints import read_checkpoint
from reid_core.training.loop import FINAL
from vsla_clip.config import Adaptation, CLIPConfig, Size, Stage1Config


def build_clip(
    config: CLIPConfig, size: Size, checkpoint: Path | None = None, seed: int = 0
) -> open_clip.CLIP:
    """CLIP with published weights, or random ones, on the CPU.

    Args:
        config: architecture and tag.
        size: height and width that a small one is made for.
        checkpoint: file of weights laid over them.
        seed: of random weights.

    Returns:
        An open_clip CLIP, in eval mode.

    Raises:
        ValueError: weights that can't be had, or a checkpoint of another shape.
    """
    with seed_torch(seed):
        clip = build_architecture(config, size) if config.pretrained is None else _load_published(config)
    if config.pretrained is not None:
        _tell(f"open_clip's {config.name}, {config.pretrained}", len(list(clip.parameters())), 0, 0)
    if checkpoint is not None:
        report = load_initial(clip, checkpoint)
        # Without a tag the rest would be random; ViFi-CLIP's holds no token embedding (and needs the tag).
        lacking = report.missing if config.pretrained is None else []
        if report.mismatched or lacking:
            raise ValueError(f"clip.checkpoint: {checkpoint} doesn't fit clip.name {config.name}: {report}")
        _tell(str(checkpoint), len(report.matched), len(report.missing), len(report.resized))
    return clip.eval()


def _tell(source: str, loaded: int, missing: int, resized: int) -> None:
    """Print what of the initial weights matched, in rank 0."""
    if process_rank() == 0:
        print(f"initial weights from {source}: {loaded} loaded, {missing} missing, {resized} resized")


def build_architecture(config: CLIPConfig, size: Size) -> open_clip.CLIP:
    """CLIP with random weights; on the meta device, with none.

    Args:
        config: architecture.
        size: height and width that a small one is made for.

    Raises:
        ValueError: no such architecture, or settings that it doesn't have.
    """
    settings = open_clip.get_model_config(config.name) if config.small is None else config.small
    if settings is None:
        raise ValueError(f"clip.name: open_clip has no {config.name!r}; see open_clip.list_models()")
    if config.small is not None:
        vision = {**settings.get("vision_cfg", {}), "image_size": tuple(size)}
        settings = {**settings, "vision_cfg": vision}
    kind = open_clip.CustomTextCLIP if settings.pop("custom_text", False) else open_clip.CLIP
    try:
        return kind(**settings)
    except TypeError as error:
        raise ValueError(f"clip.small: {error}") from error


def _load_published(config: CLIPConfig) -> open_clip.CLIP:
    try:
        return open_clip.create_model(config.name, pretrained=config.pretrained)
    except Exception as error:  # a download fails in as many ways as there are libraries below
        raise ValueError(
            f"clip.pretrained: {config.pretrained!r} of {config.name} can't be loaded ({error}); without "
            "network, put it into Hugging Face's cache, or give a file as clip.checkpoint"
        ) from error


def load_clip(job: Job) -> open_clip.CLIP:
    """A fresh CLIP with the weights that a stage begins with: nothing is attached to it.

    Args:
        job: its section has `clip` and `prepared`; it may read the stage clip, or a file checkpoint.
    """
    clip = build_clip(job.section.clip, job.section.prepared.size, job.files.get("checkpoint"))
    if "clip" in job.inputs:
        clip.load_state_dict(read_weights(job.inputs["clip"], "clip"))
    return clip


def read_weights(folder: Path, module: str) -> dict[str, Tensor]:
    """Weights of a module of the objective that a stage has trained.

    Args:
        folder: of the stage.
        module: its name in the objective.
    """
    state, prefix = read_checkpoint(folder / FINAL)["state_dict"], f"{module}."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def adapt(visual: nn.Module, change: Adaptation, size: Size) -> SetEncoder:
    """Attach what a method trains to CLIP's image encoder; what it doesn't train is frozen.

    Args:
        visual: open_clip's image tower, with nothing attached.
        change: the method's.
        size: height and width of a frame.

    Returns:
        Clips [b t 3 h w] -> features [b e].
    """
    encoder = attach(visual, change.adapters, change.pbp, image_size=size)
    return encoder if change.adapters else encoder.requires_grad_(change.full)


def load_authors(config: CLIPConfig, size: Size, platforms: Sequence[str], file: Path) -> SetEncoder:
    """The image encoder of a checkpoint of the authors' code, with its adapters and prompts.

    Args:
        config: architecture; its weights are the file's.
        size: height and width of a frame.
        platforms: in the order of the file's prompts, if it has some.
        file: the checkpoint.

    Raises:
        ValueError: the file is another, or doesn't fit.
    """
    encoder, report = load_released(build_architecture(config, size).visual, file, tuple(platforms), size)
    if report.missing or report.mismatched:
        raise ValueError(f"released: {file} doesn't fit clip.name {config.name}: {report}")
    _tell(str(file), len(report.matched), 0, 0)
    return encoder.eval()


def build_prompts(
    config: Stage1Config, clip: open_clip.CLIP, identities: int, seed: int = 0
) -> IDPromptLearner:
    """Prompts as they begin, a function of the seed.

    Args:
        config: numbers of tokens.
        clip: open_clip's.
        identities: how many.
        seed: of the tokens.
    """
    with seed_torch(seed):
        return IDPromptLearner(clip, identities, config.id_tokens, config.shared_tokens, config.words)


def check_model(
    config: CLIPConfig, prompts: Stage1Config, change: Adaptation, size: Size, levels: bool
) -> None:
    """Refuse a model that can't be built or can't take its inputs, on shapes alone: no weight is made.

    Args:
        config: architecture.
        prompts: numbers of tokens.
        change: what the method attaches.
        size: height and width of a frame.
        levels: whether other features than the projected one are wanted.

    Raises:
        ValueError: an unknown architecture or tag, sizes that don't fit, or a prompt that is too long.
    """
    with torch.device("meta"):
        clip = build_architecture(config, size)
        tags = open_clip.list_pretrained_tags_by_model(config.name)
        if config.pretrained is not None and config.pretrained not in tags:
            raise ValueError(
                f"clip.pretrained: open_clip has no {config.pretrained!r} of {config.name}; there are "
                f"{', '.join(tags)}"
            )
        try:
            build_prompts(prompts, clip, identities=1)
            platform = torch.zeros(1, dtype=torch.int64, device="cpu")
            encoder = adapt(clip.visual, change, size)
            (encoder.levels if levels else encoder)(torch.empty(1, 1, 3, *size), platform)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"clip.name {config.name} with frames of {size}: {error}") from error
