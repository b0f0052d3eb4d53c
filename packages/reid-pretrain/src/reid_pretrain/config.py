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
        prototypes: K of the feature and masking heads (DINO: 65,536; not specified in the paper).
        head_hidden: width of the heads' MLPs (DINO: 2,048).
        head_bottleneck: channels before the prototypes (DINO: 256).
        embedding: channels of the alignment space (not specified in the paper; DINO's bottleneck).
        feature_weight: lambda_1 of Eq. 12, weight of the feature loss (4.3.2: 1).
        masking_weight: lambda_2 of Eq. 12, weight of the masking loss (4.3.2: 1).
        koleo_weight: lambda_3 of Eq. 12, weight of the KoLeo loss (4.3.2: 3).
        alignment_weight: lambda_4 of Eq. 12, weight of the video-image alignment (4.3.2: 2).
        student_temperature: softmax temperature of the student's outputs (DINO: 0.1).
        teacher_temperature: softmax temperature of the teacher's outputs (DINO: 0.04).
        centre_momentum: of the running mean that centres the teacher's outputs (DINO: 0.9).
        alignment_temperature: where the learnt temperature of the alignment begins (CLIP: 0.07).
        alignment_heads: "own" aligns videos and frames in a space of its own, by a head for each; "all" by
            the outputs of the feature and the masking heads, the mean of both (Eq. 11's "all heads").
        momentum: of the teacher at the first step, 1 at the last by a cosine (DINO: 0.996).
        freeze_prototypes_steps: steps in which the prototypes don't learn (DINO: the first epoch).

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
        prototypes: K of the head (DINO: 65,536).
        head_hidden: width of the head's MLP (DINO: 2,048).
        head_bottleneck: channels before the prototypes (DINO: 256).
        head_batch_norm: whether the head's MLP has batch norms (DINO and CION: no); short trainings from
            random weights need them.
        weighting: "paper" (Eq. 9) or "released", see `IdentityGuidedLoss`.
        student_temperature: softmax temperature of the student's outputs (DINO: 0.1).
        teacher_temperature: softmax temperature of the teacher's outputs (DINO: 0.04).
        centre_momentum: of the running mean that centres the teacher's outputs (DINO: 0.9).
        momentum: of the teacher at the first step, 1 at the last by a cosine (DINO: 0.996).
        freeze_prototypes_steps: steps in which the prototypes don't learn (DINO: the first epoch).

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
