"""VILLS' objective: where student, teacher, heads and losses meet (Eqs. 6-12)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reid_pretrain.config import VILLSConfig
from reid_pretrain.distributed import world_size
from reid_pretrain.encoder import VideoImageEncoder
from reid_pretrain.heads import EmbeddingHead, PrototypeHead
from reid_pretrain.indices import MODALITIES, index_views
from reid_pretrain.losses import AlignmentLoss, DINOLoss, KoLeoLoss, MaskingLoss
from reid_pretrain.teacher import SelfDistillation


class Branch(nn.Module):
    """A student or a teacher: the shared encoder, and feature and masking heads for images and for videos."""

    def __init__(self, model: VideoImageEncoder, config: VILLSConfig):
        super().__init__()
        self.model = model
        shape = (model.encoder.dim, config.prototypes, config.head_hidden, config.head_bottleneck)
        self.feature_heads = nn.ModuleDict({name: PrototypeHead(*shape) for name in MODALITIES})
        self.masking_heads = nn.ModuleDict({name: PrototypeHead(*shape) for name in MODALITIES})


class VILLS(SelfDistillation):
    """Self-supervised learning of images and videos with one encoder (VILLS 3.2).

    The teacher sees the original images and videos, the student sees them too, with patches hidden, and the
    local regions of LSE; only the student learns by gradient, the teacher is its moving average.

    Args:
        model: encoder and resampler, the student's start; the teacher's is a copy.
        config: settings.
        steps: optimiser steps of the whole training, for the momentum schedule.

    Raises:
        ValueError: the encoder says that it can't hide patches (`takes_mask` is False).
    """

    student: Branch
    teacher: Branch

    def __init__(self, model: VideoImageEncoder, config: VILLSConfig | None = None, steps: int = 1):
        if not getattr(model.encoder, "takes_mask", True):
            raise ValueError(
                f"{type(model.encoder).__name__} can't hide patches (takes_mask is False), which VILLS' "
                "masking loss needs: choose a transformer whose patch tokens are its patches, such as a ViT"
            )
        config = config or VILLSConfig()
        super().__init__(Branch(model, config), steps, config.momentum, config.freeze_prototypes_steps)
        self.config = config
        own = {name: EmbeddingHead(model.dim, config.embedding, config.head_hidden) for name in MODALITIES}
        self.alignment_heads = nn.ModuleDict(own if config.alignment_heads == "own" else {})
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

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """
        Args:
            batch: normalised floats and boolean masks, for b images, v videos, g views, a areas:
                images [b g 3 h w], image_masks [b g n], image_regions [b a 3 h' w'],
                image_regions_valid [b a], videos [v g t 3 h w], video_masks [v g t n],
                video_regions [v a t 3 h' w'], video_regions_valid [v a], and frames [v 3 h w], one of each
                video. Either modality may be missing. With what `index_views` adds to it on the host, the
                step never waits for the device.

        Returns:
            `loss` (Eq. 12) and its parts: feature, masking, koleo (means over the modalities that are there)
            and alignment.
        """
        parts: dict[str, list[Tensor]] = {"feature": [], "masking": [], "koleo": []}
        videos = None
        for name in MODALITIES:
            if f"{name}s" in batch:
                if f"{name}_hidden" not in batch:
                    batch = index_views(batch)
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
            losses["alignment"] = self.align(videos, self.student.model(batch["frames"]))
            loss = loss + config.alignment_weight * losses["alignment"]
        return {"loss": loss, **losses}

    def align(self, videos: Tensor, frames: Tensor) -> Tensor:
        """Eq. 11 of the student's tokens of videos and of one frame of each, [v L d]."""
        if self.config.alignment_heads == "own":
            heads = self.alignment_heads
            return self.alignment_loss(heads["video"](videos.flatten(1)), heads["image"](frames.flatten(1)))
        freeze, student = self.freeze_prototypes, self.student
        losses = [
            self.alignment_loss(
                heads["video"](videos, freeze).flatten(1), heads["image"](frames, freeze).flatten(1)
            )
            for heads in (student.feature_heads, student.masking_heads)
        ]
        return torch.stack(losses).mean()

    def distil(self, name: str, batch: Mapping[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
        """Eqs. 8-10 for one modality; also the student's tokens of the first view, [b L d]."""
        number, count = batch[f"{name}s"].shape[:2]
        # The views of one image are `number` rows apart.
        views, masks = (batch[f"{name}{part}"].transpose(0, 1).flatten(0, 1) for part in ("s", "_masks"))
        hidden = batch[f"{name}_hidden"]
        student, teacher, freeze = self.student, self.teacher, self.freeze_prototypes

        with torch.no_grad():
            patches, tokens = teacher.model.encode(views)
            teacher_features = teacher.feature_heads[name](tokens).unflatten(0, (count, number))
            teacher_hidden = teacher.masking_heads[name](patches.flatten(0, -2).index_select(0, hidden))

        patches, tokens = student.model.encode(views, masks)
        student_hidden = student.masking_heads[name](patches.flatten(0, -2).index_select(0, hidden), freeze)
        places, counts = batch[f"{name}_region_places"], batch[f"{name}_region_counts"]
        regions = tokens[:0]
        if len(places) or world_size() > 1:
            # Batch norms talk across ranks: one without a valid region takes the first along, and drops it.
            chosen = places if len(places) else places.new_zeros(1)
            regions = student.model(batch[f"{name}_regions"].flatten(0, 1).index_select(0, chosen))
            regions = regions[: len(places)]
        logits = student.feature_heads[name](torch.cat([tokens, regions]), freeze)
        images = (places // len(counts)).split(counts)

        losses = {
            "feature": self.feature_loss[name](logits, teacher_features, images),
            "masking": self.masking_loss[name](student_hidden, teacher_hidden, masks, hidden),
            "koleo": torch.stack([self.koleo_loss(t.flatten(1)) for t in tokens.split(number)]).mean(),
        }
        return losses, tokens[:number]
