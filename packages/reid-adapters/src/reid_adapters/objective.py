"""Where encoder, prompts and losses meet: both stages of VSLA-CLIP as one objective (Eqs. 3, 10)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from reid_adapters.config import PROJECTED, Level, LossConfig
from reid_adapters.distributed import gather
from reid_adapters.encoder import SetEncoder
from reid_adapters.losses import HardTripletLoss, IDHead, contrastive_loss, visual_to_semantic_loss
from reid_adapters.prompts import IDPromptLearner


class VSLAObjective(nn.Module):
    """Losses of a batch in stage one or stage two; knows no trainer.

    Stage one learns prompts only, with frozen towers: L_i2t + L_t2i (Eq. 3). Stage two trains whatever the
    encoder leaves trainable, with all identities' text features made once: Eq. 10. Make one objective a
    stage, with the same prompts. Stage one wants the encoder without adapters, `attach(model, None, ...)`;
    `detach` it and attach adapters for stage two. With full fine-tuning in stage two this is FT-CLIP, and
    without prompts the paper's baseline.

    Args:
        encoder: from `attach`; stage one freezes it (until detached) and can do without, given features.
        pids: of the training identities; prompts are in their sorted order.
        prompts: learner of as many identities; None leaves out the losses against text.
        stage: 1 or 2.
        config: weights and settings.
        gather: under torch.distributed, losses are over the samples of all processes, whose batches must be
            equally large; DDP's mean of gradients is then that of one process with the whole batch. False
            for those of each process alone.

    Raises:
        ValueError: prompts are missing in stage one, or of another number of identities.

    Example:
        >>> import timm
        >>> from reid_adapters import VSLAConfig, attach
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=0)
        >>> encoder = attach(vit, VSLAConfig(bottleneck=64), image_size=(32, 16))
        >>> objective = VSLAObjective(encoder, pids=[4, 9])
        >>> batch = {"clip": torch.randn(4, 2, 3, 32, 16), "pid": torch.tensor([4, 4, 9, 9])}
        >>> sorted(objective(batch))
        ['id', 'loss', 'triplet']
    """

    pids: Tensor
    texts: Tensor | None

    def __init__(
        self,
        encoder: SetEncoder | None,
        pids: Sequence[int],
        prompts: IDPromptLearner | None = None,
        stage: Literal[1, 2] = 2,
        config: LossConfig | None = None,
        gather: bool = True,
    ):
        super().__init__()
        known = sorted(set(pids))
        if stage not in (1, 2):
            raise ValueError(f"stage must be 1 or 2, got {stage}")
        if prompts is None and stage == 1:
            raise ValueError("prompts are needed in stage one, which learns them")
        if prompts is not None and prompts.identities != len(known):
            raise ValueError(f"prompts are of {prompts.identities} identities, but pids of {len(known)}")
        self.stage = stage
        self.config = config = config or LossConfig()
        self.gather = gather
        self.encoder = encoder
        self.register_buffer("pids", torch.tensor(known))
        self.register_buffer("texts", None)
        if stage == 1:
            self.prompts = prompts
            if encoder is not None:
                encoder.requires_grad_(False)
            return
        if encoder is None:
            raise ValueError("encoder is needed in stage two, which trains it")
        if prompts is not None:
            self.texts = prompts.features()
        if config.triplet:
            self.triplet = HardTripletLoss(config.margin)
        if config.id:
            widths = encoder.level_widths()
            self.heads = nn.ModuleDict(
                {level: IDHead(widths[level], len(known), config.smoothing) for level in config.id_levels}
            )

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            batch: "pid" int64 [b], and "clip" [b t 3 h w] or "image" [b 3 h w], with "platform" int64 [b] for
                an encoder with prompts; in stage one "features" [b e] may be given instead, made once.

        Returns:
            "loss" and each loss in it by name, unweighted.

        Raises:
            ValueError: a pid that is not of the training identities, or nothing to encode.
        """
        labels = self._labels(batch["pid"])
        if self.stage == 1:
            with torch.no_grad():
                visual = batch["features"] if "features" in batch else self._encode(batch)[PROJECTED]
            assert self.prompts is not None
            contrasts = self._contrasts(*self._whole(visual, self.prompts(labels), labels))
            return {"loss": contrasts["i2t"] + contrasts["t2i"], **contrasts}
        encoded = self._encode(batch)
        *gathered, labels = self._whole(*encoded.values(), labels)
        features = dict(zip(encoded, gathered, strict=True))
        losses: dict[str, Tensor] = {}
        visual, weights = features[PROJECTED], self.config
        if self.texts is not None:
            if weights.v2sce:
                losses["v2sce"] = visual_to_semantic_loss(
                    visual, self.texts, labels, weights.scale, weights.smoothing
                )
            losses |= self._contrasts(visual, self.texts[labels], labels)
        if weights.triplet:
            each = [self.triplet(features[level], labels) for level in weights.triplet_levels]
            losses["triplet"] = torch.stack(each).sum()
        if weights.id:
            each = [self.heads[level](features[level], labels) for level in weights.id_levels]
            losses["id"] = torch.stack(each).sum()
        total = sum(getattr(weights, name) * loss for name, loss in losses.items())
        return {"loss": total, **losses}

    def _whole(self, *rows: Tensor) -> Iterator[Tensor]:
        """Rows of the whole batch, of which each process has a part."""
        return (gather(some) for some in rows) if self.gather else iter(rows)

    def _contrasts(self, visual: Tensor, texts: Tensor, labels: Tensor) -> dict[str, Tensor]:
        pairs = {"i2t": (visual, texts), "t2i": (texts, visual)}
        return {
            name: contrastive_loss(*pair, labels, self.config.scale)
            for name, pair in pairs.items()
            if self.stage == 1 or getattr(self.config, name)
        }

    def _encode(self, batch: Mapping[str, Tensor]) -> dict[Level, Tensor]:
        """The levels that the losses take, by name; the projected one always."""
        inputs = batch.get("clip", batch.get("image"))
        if inputs is None or self.encoder is None:
            raise ValueError(f'the batch has {sorted(batch)}; expected "clip" or "image", and an encoder')
        wanted: set[Level] = {PROJECTED}
        if self.stage == 2:
            wanted.update(self.config.id_levels if self.config.id else ())
            wanted.update(self.config.triplet_levels if self.config.triplet else ())
        if wanted == {PROJECTED}:
            return {PROJECTED: self.encoder(inputs, batch.get("platform"))}
        levels = self.encoder.levels(inputs, batch.get("platform"))
        return {name: features for name, features in levels.items() if name in wanted}

    def _labels(self, pids: Tensor) -> Tensor:
        """Places of pids among the training identities."""
        pids = pids.to(self.pids.device)
        labels = torch.searchsorted(self.pids, pids).clamp(max=len(self.pids) - 1)
        known = self.pids[labels] == pids
        of = f"is not of the {len(self.pids)} training identities"
        if pids.is_cuda:  # a look from here would wait for all that the device still has to do
            torch._assert_async(known.all(), f"a pid of the batch {of}")
        elif not torch.compiler.is_compiling() and not known.all():  # a look would break the graph
            raise ValueError(f"pid {pids[~known][0].item()} {of}")
        return labels
