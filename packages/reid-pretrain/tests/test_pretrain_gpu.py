"""Losses, encoder and objectives on a GPU against float64 on the CPU."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from reid_pretrain import (
    CION,
    VILLS,
    AlignmentLoss,
    CIONConfig,
    DINOLoss,
    IdentityGuidedLoss,
    KoLeoLoss,
    MaskingLoss,
    PerceiverResampler,
    VideoImageEncoder,
    VILLSConfig,
    index_people,
    index_views,
)

pytestmark = pytest.mark.gpu

EXACT = (1e-5, 1e-4)
"""Relative errors of a loss and of its gradient in float32: TF32's 3e-4 would show."""

HALF = (0.01, 0.1)
"""The same in bfloat16, whose roundings are 4e-3, and 0.1 after division by the teacher's temperature."""

K, DIM, BATCH = 512, 48, 16


class Patches(nn.Module):
    """Patches, a mask token and one attention: a small encoder with masks, and a backbone for CION."""

    dim = DIM

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(48, DIM)
        self.mask_token = nn.Parameter(torch.randn(DIM))
        self.norm, self.qkv = nn.LayerNorm(DIM), nn.Linear(DIM, 3 * DIM)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> SimpleNamespace:
        patches = self.linear(rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=4, q=4))
        if mask is not None:
            patches = torch.where(mask[..., None], self.mask_token.to(patches.dtype), patches)
        qkv = rearrange(self.qkv(self.norm(patches)), "b n (three h c) -> three b h n c", three=3, h=4)
        mixed = F.scaled_dot_product_attention(*qkv)
        tokens = patches + rearrange(mixed, "b h n c -> b n (h c)")
        return SimpleNamespace(cls=tokens.mean(1), patches=tokens, grid=(x.shape[2] // 4, x.shape[3] // 4))


def logits(*shape: int) -> Tensor:
    return torch.rand(*shape, K) * 2 - 1


def mask() -> Tensor:
    return torch.rand(BATCH, 8) < 0.4


def losses() -> dict[str, tuple[nn.Module, tuple]]:
    """Each loss with its inputs."""
    torch.manual_seed(0)
    hidden = mask()
    rows = int(hidden.sum())
    people = torch.arange(BATCH) // 4
    return {
        "feature": (DINOLoss(K), (logits(2 * BATCH, 3).requires_grad_(), logits(2, BATCH, 3))),
        "feature, regions": (
            DINOLoss(K),
            (logits(2 * BATCH + 5).requires_grad_(), logits(2, BATCH), [torch.arange(5)]),
        ),
        "masking": (MaskingLoss(K), (logits(rows).requires_grad_(), logits(rows), hidden)),
        "koleo": (KoLeoLoss(), (torch.randn(BATCH, DIM, requires_grad=True),)),
        "alignment": (AlignmentLoss(), tuple(torch.randn(2, BATCH, DIM, requires_grad=True).unbind())),
        **{
            f"identity, {weighting}": (
                IdentityGuidedLoss(K, weighting),
                (logits(10, BATCH).requires_grad_(), logits(2, BATCH), people, 4),
            )
            for weighting in ("paper", "released")
        },
    }


@pytest.mark.parametrize("name", list(losses()))
def test_losses_agree_with_float64_also_under_autocast(name, against_float64):
    module, inputs = losses()[name]
    inputs = tuple(x.detach().requires_grad_(x.requires_grad) if torch.is_tensor(x) else x for x in inputs)
    against_float64(module, inputs, EXACT, EXACT)


def vills_batch() -> dict:
    torch.manual_seed(1)
    return index_views(
        {
            "images": torch.randn(BATCH, 2, 3, 16, 8),
            "image_masks": torch.rand(BATCH, 2, 8) < 0.3,
            "image_regions": torch.randn(BATCH, 3, 3, 8, 4),
            "image_regions_valid": torch.rand(BATCH, 3) < 0.8,
            "videos": torch.randn(BATCH, 2, 4, 3, 8, 8),
            "video_masks": torch.rand(BATCH, 2, 4, 4) < 0.3,
            "video_regions": torch.randn(BATCH, 3, 4, 3, 4, 4),
            "video_regions_valid": torch.rand(BATCH, 3) < 0.8,
            "frames": torch.randn(BATCH, 3, 16, 8),
        }
    )


def cion_batch() -> dict:
    torch.manual_seed(1)
    person, people = index_people(torch.arange(BATCH) // 4)
    views = {"global": torch.randn(BATCH, 2, 3, 16, 8), "local": torch.randn(BATCH, 4, 3, 8, 4)}
    return {**views, "person": person, "people": people}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    heads = {"prototypes": K, "head_hidden": 64, "head_bottleneck": 32}
    if name == "vills":
        model = VideoImageEncoder(Patches(), PerceiverResampler(DIM, 4, heads=4, max_frames=4))
        return VILLS(model, VILLSConfig(embedding=16, **heads), steps=10)
    return CION(Patches(), CIONConfig(weighting=name.removeprefix("cion, "), **heads), steps=10)


BATCHES = {"vills": vills_batch, "cion, paper": cion_batch, "cion, released": cion_batch}


@pytest.mark.parametrize("name", BATCHES)
def test_objectives_agree_with_float64(name, against_float64):
    against_float64(build(name), BATCHES[name](), EXACT, HALF)


def test_encoder_and_resampler_agree_with_float64(device):
    torch.manual_seed(0)
    model = VideoImageEncoder(Patches(), PerceiverResampler(DIM, 4, heads=4, max_frames=4)).eval()
    exact = copy.deepcopy(model).double()
    model.to(device)
    for x in (torch.randn(4, 3, 16, 8), torch.randn(3, 4, 3, 16, 8), torch.randn(3, 6, 3, 8, 8)):
        with torch.no_grad():
            want, found = exact.descriptor(x.double()), model.descriptor(x.to(device)).cpu().double()
            with torch.autocast(device, torch.bfloat16):
                half = model.descriptor(x.to(device)).cpu().double()
        assert (found - want).norm() / want.norm() < EXACT[0]
        assert (half - want).norm() / want.norm() < HALF[0]


@pytest.mark.parametrize("name", BATCHES)
def test_training_steps_wait_for_nothing(name, device, host_reads):
    objective = build(name).to(device).train()
    batch = {key: x.to(device) if torch.is_tensor(x) else x for key, x in BATCHES[name]().items()}
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, fused=True)

    def step(number: int) -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            loss = objective(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step(number)
        return loss

    first = step(0)  # libraries load
    with host_reads() as reads:
        for number in range(1, 4):
            loss = step(number)
    assert reads == []
    assert loss.isfinite() and loss < first
