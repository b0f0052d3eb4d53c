"""What would wait for a device in a training step: nothing, but for the batch-hard miner where it is used."""

from __future__ import annotations

import pytest
import timm
import torch
from open_clip.model import CLIP

from reid_adapters import IDPromptLearner, LossConfig, PBPConfig, VSLAConfig, VSLAObjective, attach

PIDS = torch.tensor([4, 4, 9, 9])
CHECKS = ["_local_scalar_dense"]
"""On the CPU an id is looked at from here, which waits for nothing; a GPU looks itself."""

MINER = {"nonzero": 3, "lift_fresh": 2}
"""pytorch-metric-learning's: where its pairs are, twice, and which anchors have both, and two constants."""


def stage_two(**weights: float) -> tuple[VSLAObjective, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    settings = dict(img_size=16, patch_size=8, embed_dim=64, depth=1, num_heads=2, num_classes=0)
    vit = timm.models.VisionTransformer(**settings)
    encoder = attach(vit, VSLAConfig(bottleneck=64), PBPConfig(depth=1, length=2))
    batch = {"clip": torch.randn(4, 2, 3, 16, 16), "pid": PIDS, "platform": torch.tensor([0, 1, 0, 1])}
    return VSLAObjective(encoder, PIDS.tolist(), config=LossConfig(**weights)), batch


def stage_one() -> tuple[VSLAObjective, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    vision = {"layers": 1, "width": 64, "patch_size": 8, "image_size": 16}
    clip = CLIP(16, vision, {"width": 64, "layers": 1, "heads": 2, "context_length": 32})
    objective = VSLAObjective(None, PIDS.tolist(), IDPromptLearner(clip, 2), stage=1)
    return objective, {"features": torch.randn(4, 16), "pid": PIDS}


@pytest.mark.parametrize(
    ("make", "checks", "miner"),
    [(stage_one, 1, {}), (lambda: stage_two(triplet=0), 2, {}), (stage_two, 2, MINER)],
    ids=["stage one", "stage two, no triplets", "stage two"],
)
def test_a_step_waits_for_nothing_but_the_miner(make, checks, miner, host_reads):
    objective, batch = make()
    with host_reads() as reads:
        objective(batch)["loss"].backward()
    assert sorted(reads) == sorted(checks * CHECKS + [name for name, n in miner.items() for _ in range(n)])
