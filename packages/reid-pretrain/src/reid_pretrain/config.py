"""Settings of both objectives; no torch is imported here, so that a configuration is read at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Weighting = Literal["paper", "released"]
"""How CION's loss averages, see `IdentityGuidedLoss`."""
AlignmentHeads = Literal["own", "all"]
"""What VILLS' videos and frames are aligned by, see `VILLSConfig`."""


@dataclass(frozen=True)
class VILLSConfig:
    """Settings of VILLS' objective.

    Attributes:
        prototypes: K, prototypes of the feature and masking heads (DINO: 65,536; not specified in the paper).
        head_hidden: channels of the heads' hidden layers (DINO: 2,048).
        head_bottleneck: channels before the prototypes (DINO: 256).
        embedding: channels of the alignment space (not specified in the paper; DINO's bottleneck).
        feature_weight: lambda_1 of Eq. 12, weight of the feature loss (4.3.2: 1).
        masking_weight: lambda_2 of Eq. 12, weight of the masking loss (4.3.2: 1).
        koleo_weight: lambda_3 of Eq. 12, weight of the KoLeo loss (4.3.2: 3).
        alignment_weight: lambda_4 of Eq. 12, weight of the video-image alignment (4.3.2: 2).
        student_temperature: softmax temperature of the student's outputs (DINO: 0.1).
        teacher_temperature: softmax temperature of the teacher's outputs (DINO: 0.04).
        centre_momentum: share that the running mean of the teacher's outputs keeps at each step (DINO: 0.9).
        alignment_temperature: softmax temperature at which the learnt one of the alignment begins (CLIP:
            0.07).
        alignment_heads: "own" aligns videos and frames in a space of its own, by a head for each; "all" by
            the outputs of the feature and the masking heads, the mean of both (Eq. 11's "all heads").
        momentum: share of its weights that the teacher keeps at the first step; a cosine leads to 1 at the
            last (DINO: 0.996).
        freeze_prototypes_steps: first steps in which the prototypes don't learn (DINO: those of one epoch).

    Example:
        >>> VILLSConfig(prototypes=1024).koleo_weight
        3.0
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
    alignment_heads: AlignmentHeads = "own"
    momentum: float = 0.996
    freeze_prototypes_steps: int = 0


@dataclass(frozen=True)
class CIONConfig:
    """Settings of CION's objective.

    Attributes:
        prototypes: K, prototypes of the head (DINO: 65,536).
        head_hidden: channels of the head's hidden layers (DINO: 2,048).
        head_bottleneck: channels before the prototypes (DINO: 256).
        head_batch_norm: whether the head's MLP has batch norms (DINO and CION: no); short trainings from
            random weights need them.
        weighting: how the loss's terms are averaged: "paper" takes the mean of all of Eq. 9, "released" does
            as the authors' code, see `IdentityGuidedLoss`.
        student_temperature: softmax temperature of the student's outputs (DINO: 0.1).
        teacher_temperature: softmax temperature of the teacher's outputs (DINO: 0.04).
        centre_momentum: share that the running mean of the teacher's outputs keeps at each step (DINO: 0.9).
        momentum: share of its weights that the teacher keeps at the first step; a cosine leads to 1 at the
            last (DINO: 0.996).
        freeze_prototypes_steps: first steps in which the prototypes don't learn (DINO: those of one epoch).

    Example:
        >>> CIONConfig().weighting
        'paper'
    """

    prototypes: int = 65_536
    head_hidden: int = 2_048
    head_bottleneck: int = 256
    head_batch_norm: bool = False
    weighting: Weighting = "paper"
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    centre_momentum: float = 0.9
    momentum: float = 0.996
    freeze_prototypes_steps: int = 0
