"""VILLS' objective: where student, teacher, heads and losses meet (Eqs. 6-12)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reid_pretrain.encoder import VideoImageEncoder
from reid_pretrain.heads import EmbeddingHead, PrototypeHead
from reid_pretrain.losses import AlignmentLoss, DINOLoss, KoLeoLoss, MaskingLoss
from reid_pretrain.schedules import cosine

MODALITIES = ("image", "video")


@dataclass(frozen=True)
class VILLSConfig:
    """Settings of the objective.

    Attributes:
        prototypes: K of the feature and masking heads (DINO: 65,536; the paper is silent).
        head_hidden: width of the heads' MLPs (DINO: 2,048).
        head_bottleneck: channels before the prototypes (DINO: 256).
        embedding: channels of the alignment space (the paper is silent; DINO's bottleneck).
        feature_weight, masking_weight, koleo_weight, alignment_weight: lambda_1..4 of Eq. 12 (4.3.2: 1, 1, 3
            and 2).
        student_temperature, teacher_temperature, centre_momentum: DINO's 0.1, 0.04 and 0.9.
        alignment_temperature: CLIP's 0.07, learnt.
        momentum: of the teacher at the first step, 1 at the last by a cosine (DINO: 0.996).
        freeze_prototypes_steps: steps in which the prototypes don't learn (DINO: the first epoch).
    """

    prototypes: int = 65_536
    head_hidden: int = 2_048
    head_bottleneck: int = 256
    embedding: int = 256
    feature_weight: float = 1.0
    masking_weight: float = 1.0
    koleo_weight: float = 3.0
    alignment_weight: float = 2.0
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    centre_momentum: float = 0.9
    alignment_temperature: float = 0.07
    momentum: float = 0.996
    freeze_prototypes_steps: int = 0


class Branch(nn.Module):
    """A student or a teacher: the shared encoder, and feature and masking heads for images and for videos."""

    def __init__(self, model: VideoImageEncoder, config: VILLSConfig):
        super().__init__()
        self.model = model
        shape = (model.encoder.dim, config.prototypes, config.head_hidden, config.head_bottleneck)
        self.feature_heads = nn.ModuleDict({name: PrototypeHead(*shape) for name in MODALITIES})
        self.masking_heads = nn.ModuleDict({name: PrototypeHead(*shape) for name in MODALITIES})


class VILLS(nn.Module):
    """Self-supervised learning of images and videos with one encoder (VILLS 3.2).

    The teacher sees the original images and videos, the student sees them too, with patches hidden, and the
    local regions of LSE; only the student learns by gradient, the teacher is its moving average.

    Args:
        model: encoder and resampler, the student's start; the teacher's is a copy.
        config: settings.
        steps: optimiser steps of the whole training, for the momentum schedule.
    """

    step: Tensor

    def __init__(self, model: VideoImageEncoder, config: VILLSConfig | None = None, steps: int = 1):
        super().__init__()
        self.config = config = config or VILLSConfig()
        self.steps = steps
        self.student = Branch(model, config)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.alignment_heads = nn.ModuleDict(
            {name: EmbeddingHead(model.dim, config.embedding, config.head_hidden) for name in MODALITIES}
        )
        distillation = (
            config.prototypes,
            config.student_temperature,
            config.teacher_temperature,
            config.centre_momentum,
        )
        self.feature_loss = nn.ModuleDict({name: DINOLoss(*distillation) for name in MODALITIES})
        self.masking_loss = nn.ModuleDict({name: MaskingLoss(*distillation) for name in MODALITIES})
        self.koleo_loss = KoLeoLoss()
        self.alignment_loss = AlignmentLoss(config.alignment_temperature)
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """
        Args:
            batch: normalised floats and boolean masks, for b images, v videos, g views, a areas:
                images [b g 3 h w], image_masks [b g n], image_regions [b a 3 h' w'],
                image_regions_valid [b a], videos [v g t 3 h w], video_masks [v g t n],
                video_regions [v a t 3 h' w'], video_regions_valid [v a], and frames [v 3 h w], one of each
                video. Either modality may be missing.

        Returns:
            `loss` (Eq. 12) and its parts: feature, masking, koleo (means over the modalities that are there)
            and alignment.
        """
        parts: dict[str, list[Tensor]] = {"feature": [], "masking": [], "koleo": []}
        videos = None
        for name in MODALITIES:
            if f"{name}s" in batch:
                losses, tokens = self.distil(name, batch)
                for part, value in losses.items():
                    parts[part].append(value)
                if name == "video":
                    videos = tokens
        if not parts["feature"]:
            raise ValueError(f"the batch has neither 'images' nor 'videos': got {sorted(batch)}")
        losses = {part: torch.stack(values).mean() for part, values in parts.items()}
        config = self.config
        loss = (
            config.feature_weight * losses["feature"]
            + config.masking_weight * losses["masking"]
            + config.koleo_weight * losses["koleo"]
        )
        if videos is not None:
            frames = self.student.model(batch["frames"])
            losses["alignment"] = self.alignment_loss(
                self.alignment_heads["video"](videos.flatten(1)),
                self.alignment_heads["image"](frames.flatten(1)),
            )
            loss = loss + config.alignment_weight * losses["alignment"]
        return {"loss": loss, **losses}

    def distil(self, name: str, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Eqs. 8-10 for one modality; also the student's tokens of the first view, [b L d]."""
        views = batch[f"{name}s"]
        masks = batch[f"{name}_masks"]
        number, count = views.shape[:2]
        views = views.transpose(0, 1).flatten(0, 1)  # the views of one image are `number` rows apart
        masks = masks.transpose(0, 1).flatten(0, 1)
        if masks.sum() == 1:  # the heads' batch norm can't see one patch alone: this batch hides none
            masks = torch.zeros_like(masks)
        student, teacher = self.student, self.teacher
        freeze = bool(self.step < self.config.freeze_prototypes_steps)

        with torch.no_grad():
            patches, tokens = teacher.model.encode(views)
            teacher_features = teacher.feature_heads[name](tokens).unflatten(0, (count, number))
            teacher_hidden = teacher.masking_heads[name](patches[masks])

        patches, tokens = student.model.encode(views, masks)
        hidden = student.masking_heads[name](patches[masks], freeze)
        valid = batch[f"{name}_regions_valid"]
        area_of, image_of = valid.T.nonzero(as_tuple=True)  # area by area
        regions = student.model(batch[f"{name}_regions"][image_of, area_of]) if len(image_of) else tokens[:0]
        logits = student.feature_heads[name](torch.cat([tokens, regions]), freeze)
        split = [len(tokens), *valid.sum(0).tolist()]
        globals_, *locals_ = logits.split(split)
        images = image_of.split(split[1:])

        losses = {
            "feature": self.feature_loss[name](
                globals_.unflatten(0, (count, number)),
                teacher_features,
                list(zip(locals_, images, strict=True)),
            ),
            "masking": self.masking_loss[name](hidden, teacher_hidden, masks),
            "koleo": torch.stack([self.koleo_loss(t.flatten(1)) for t in tokens.split(number)]).mean(),
        }
        return losses, tokens[:number]

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """The teacher follows the student; call it after optimiser step number `step` (from 0)."""
        momentum = cosine(self.config.momentum, 1.0, step, self.steps)
        pairs = zip(self.teacher.parameters(), self.student.parameters(), strict=True)
        teacher, student = zip(*pairs, strict=True)
        torch._foreach_lerp_(list(teacher), list(student), 1 - momentum)
        self.step.fill_(step + 1)
