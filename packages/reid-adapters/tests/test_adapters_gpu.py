"""Losses, adapters and both stages' objectives on a GPU against float64 on the CPU."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from reid_adapters import (
    HardTripletLoss,
    IDHead,
    IDPromptLearner,
    LoRAConfig,
    LossConfig,
    PBPConfig,
    VSLAConfig,
    VSLAObjective,
    attach,
    contrastive_loss,
    visual_to_semantic_loss,
)

pytestmark = pytest.mark.gpu

EXACT = (1e-5, 1e-4)
"""Relative errors of a loss and of its gradient in float32: TF32's 3e-4 would show."""

HALF = (0.03, 0.3)
"""The same in bfloat16, whose roundings are 4e-3, magnified by CLIP's scale of 100 before the softmax."""

PIDS = torch.tensor([4, 4, 9, 9, 7, 7, 9, 4])
SIZE = (32, 16)


class Call(nn.Module):
    """A function of a loss as a module."""

    def __init__(self, function: Any, *more: Any) -> None:
        super().__init__()
        self.function, self.more = function, more

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs, *self.more)


def rows(count: int = len(PIDS)) -> Tensor:
    return torch.randn(count, 24).requires_grad_()


LABELS = torch.searchsorted(PIDS.unique(), PIDS)
LOSSES: dict[str, Any] = {
    "contrast": lambda: (Call(contrastive_loss), (rows(), rows(), LABELS)),
    "contrast, inner products": lambda: (Call(contrastive_loss, None), (rows(), rows(), LABELS)),
    "visual to semantic": lambda: (Call(visual_to_semantic_loss), (rows(), rows(3), LABELS)),
    "triplet": lambda: (HardTripletLoss(), (rows(), LABELS)),
    "triplet, euclidean": lambda: (HardTripletLoss(distance="euclidean"), (rows(), LABELS)),
    "identity": lambda: (IDHead(24, 3), (rows(), LABELS)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_agree_with_float64(name, against_float64):
    torch.manual_seed(0)
    half = (
        (0.02, 0.1) if name == "identity" else EXACT
    )  # a linear layer: the others compute in full precision
    against_float64(*LOSSES[name](), EXACT, half)


def clip() -> nn.Module:
    open_clip = pytest.importorskip("open_clip", reason="needs open_clip_torch")
    torch.manual_seed(0)
    return open_clip.model.CLIP(
        16,
        {"layers": 3, "width": 64, "patch_size": 8, "image_size": 32},
        {"width": 64, "layers": 2, "heads": 2, "context_length": 32},
    )


def vit(kind: str) -> nn.Module:
    if kind == "open_clip":
        return clip().visual
    torch.manual_seed(0)
    settings = dict(img_size=32, patch_size=8, embed_dim=64, depth=3, num_heads=2, num_classes=0)
    return timm.models.VisionTransformer(**settings)


def encoder(kind: str, config: VSLAConfig | LoRAConfig | None, pbp: PBPConfig | None = None) -> nn.Module:
    """As after some training: what is trainable away from its initial zeros."""
    found = attach(vit(kind), config, pbp, image_size=SIZE)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in found.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    return found


METHODS: dict[str, tuple] = {
    "vsla": (VSLAConfig(bottleneck=64), None),
    "vsla and prompts": (VSLAConfig(bottleneck=64), PBPConfig(depth=2, length=3)),
    "lora": (LoRAConfig(rank=2), None),
    "full": (None, None),
}


def batch(prompts: bool) -> dict[str, Tensor]:
    torch.manual_seed(2)
    found = {"clip": torch.randn(len(PIDS), 4, 3, *SIZE), "pid": PIDS}
    return found | ({"platform": torch.arange(len(PIDS)) % 2} if prompts else {})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["open_clip", "timm"])
def test_stage_two_agrees_with_float64(kind, method, against_float64):
    if method == "lora":
        pytest.importorskip("peft", reason="needs peft")
    objective = VSLAObjective(encoder(kind, *METHODS[method]), PIDS.tolist())
    against_float64(objective, batch(METHODS[method][1] is not None), EXACT, HALF)


def test_stage_two_against_texts_agrees_with_float64(against_float64):
    model = clip()
    prompts = IDPromptLearner(model, 3)
    objective = VSLAObjective(
        attach(model.visual, METHODS["vsla"][0], image_size=SIZE), PIDS.tolist(), prompts
    )
    against_float64(objective, batch(False), EXACT, HALF)


def test_stage_one_agrees_with_float64(against_float64):
    objective = VSLAObjective(None, PIDS.tolist(), IDPromptLearner(clip(), 3), stage=1)
    torch.manual_seed(3)
    against_float64(objective, {"features": torch.randn(len(PIDS), 16), "pid": PIDS}, EXACT, HALF)


@pytest.mark.parametrize("kind", ["open_clip", "timm"])
def test_gradient_checkpointing_changes_no_gradient(kind, device):
    plain = encoder(kind, *METHODS["vsla and prompts"]).to(device)
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    given = {name: x.to(device) for name, x in batch(True).items()}
    for model in (plain, saving):
        model(given["clip"], given["platform"]).square().mean().backward()
    pairs = zip(plain.parameters(), saving.parameters(), strict=True)
    for one, other in ((a.grad, b.grad) for a, b in pairs if a.grad is not None):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["open_clip", "timm"])
def test_training_steps_wait_for_nothing_where_there_are_no_triplets(kind, device, host_reads):
    found = encoder(kind, *METHODS["vsla and prompts"])
    objective = VSLAObjective(found, PIDS.tolist(), config=LossConfig(triplet=0)).to(device).train()
    given = {name: x.to(device) for name, x in batch(True).items()}
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, fused=True)

    def step() -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            loss = objective(given)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    first = step()  # libraries load
    with host_reads() as reads:
        for _ in range(3):
            loss = step()
    # On the CPU, pids and platforms are looked at from here: that waits for nothing.
    assert reads == [] if device == "cuda" else 6 * ["_local_scalar_dense"]
    assert loss.isfinite() and loss < first
