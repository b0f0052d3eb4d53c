"""Losses against direct transcriptions of the paper's equations, and the objective that joins them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.model import CLIP
from torch import Tensor

from reid_adapters import PBPConfig, SetEncoder, VSLAConfig, attach, detach
from reid_adapters.encoder import part_of
from reid_adapters.losses import HardTripletLoss, IDHead, contrastive_loss, visual_to_semantic_loss
from reid_adapters.objective import LossConfig, VSLAObjective
from reid_adapters.prompts import IDPromptLearner

PIDS = [30, 10, 20]


def samples(seed: int, count: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=generator)
    return (*torch.randn(2, count, 5, generator=generator), labels)


def cosine(left: Tensor, right: Tensor) -> float:
    return F.cosine_similarity(left, right, dim=0).item()


@given(seed=st.integers(0, 999))
@settings(max_examples=10, deadline=None)
def test_t2i_is_equation_2(seed: int) -> None:
    images, texts, labels = samples(seed)
    total = 0.0
    for i, y in enumerate(labels):
        positives = [p for p in range(len(labels)) if labels[p] == y]
        below = sum(math.exp(cosine(image, texts[i])) for image in images)
        total += sum(math.log(math.exp(cosine(images[p], texts[i])) / below) for p in positives) / -len(
            positives
        )
    found = contrastive_loss(texts, images, labels, scale=1.0)
    assert found.item() == pytest.approx(total / len(labels), rel=1e-4)


@given(seed=st.integers(0, 999))
@settings(max_examples=10, deadline=None)
def test_v2sce_is_equation_7(seed: int) -> None:
    videos, texts, labels = samples(seed)
    texts, identities, smoothing = texts[:3], 3, 0.1
    total = 0.0
    for video, y in zip(videos, labels, strict=True):
        below = sum(math.exp(cosine(video, text)) for text in texts)
        for k in range(identities):
            q = smoothing / identities + (1 - smoothing if k == y else 0)
            total -= q * math.log(math.exp(cosine(video, texts[k])) / below)
    found = visual_to_semantic_loss(videos, texts, labels, scale=1.0, smoothing=smoothing)
    assert found.item() == pytest.approx(total / len(labels), rel=1e-4)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_triplet_is_equation_8_of_the_hardest(distance: Any) -> None:
    features, _, _ = samples(1)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    total = 0.0
    for i in range(6):
        if distance == "cosine":
            d = [1 - cosine(features[i], other) for other in features]
        else:
            d = [(features[i] - other).norm().item() for other in features]
        farthest = max(d[j] for j in range(6) if labels[j] == labels[i] and j != i)
        nearest = min(d[j] for j in range(6) if labels[j] != labels[i])
        total += max(farthest - nearest + 0.3, 0)
    found = HardTripletLoss(0.3, distance)(features, labels)
    assert found.item() == pytest.approx(total / 6, rel=1e-4)


def test_inner_products_are_the_released_code_s() -> None:
    images, texts, labels = samples(2)
    logits = images @ texts.T
    positives = (labels[:, None] == labels).float()
    expected = -((logits.log_softmax(1) * positives).sum(1) / positives.sum(1)).mean()
    torch.testing.assert_close(contrastive_loss(images, texts, labels, scale=None), expected)


def parts() -> tuple[CLIP, dict[str, Tensor]]:
    torch.manual_seed(0)
    clip = CLIP(
        16,
        {"layers": 2, "width": 64, "patch_size": 8, "image_size": 32},
        {"width": 32, "layers": 1, "heads": 2, "context_length": 32},
    )
    return clip, {"clip": torch.randn(4, 2, 3, 32, 32), "pid": torch.tensor([20, 20, 30, 10])}


def gradients(objective: VSLAObjective) -> set[str]:
    return {name for name, parameter in objective.named_parameters() if parameter.grad is not None}


def test_stage_one_learns_prompts_alone_and_takes_features_made_before() -> None:
    clip, batch = parts()
    encoder = attach(clip.visual, None)
    objective = VSLAObjective(encoder, PIDS, IDPromptLearner(clip, 3), stage=1)
    losses = objective(batch)
    assert losses["loss"] == losses["i2t"] + losses["t2i"]
    losses["loss"].backward()
    assert gradients(objective) == {"prompts.id_prompts", "prompts.shared_prompts"}
    features = encoder(batch["clip"]).detach()
    alone = VSLAObjective(None, PIDS, objective.prompts, stage=1)
    torch.testing.assert_close(alone({"features": features, "pid": batch["pid"]}), losses)
    assert all(parameter.requires_grad for parameter in detach(encoder).parameters())


def test_stage_two_is_equation_10() -> None:
    clip, batch = parts()
    prompts = IDPromptLearner(clip, 3)
    encoder = attach(clip.visual, VSLAConfig(bottleneck=64), PBPConfig(depth=1, length=2))
    objective = VSLAObjective(encoder, PIDS, prompts)
    batch["platform"] = torch.tensor([0, 1, 1, 0])
    losses = objective(batch)
    visual, texts, labels = (
        encoder(batch["clip"], batch["platform"]),
        prompts.features(),
        torch.tensor([1, 1, 2, 0]),
    )
    expected = {
        "v2sce": visual_to_semantic_loss(visual, texts, labels),
        "i2t": contrastive_loss(visual, texts[labels], labels),
        "t2i": contrastive_loss(texts[labels], visual, labels),
        "triplet": HardTripletLoss(0.3)(visual, labels),
        "id": objective.heads["projected"](visual, labels),
    }
    weights = {"v2sce": 1.0, "triplet": 1.0, "id": 0.25, "i2t": 1.0, "t2i": 1.0}
    expected["loss"] = torch.stack([weights[name] * loss for name, loss in expected.items()]).sum()
    torch.testing.assert_close(losses, expected)
    losses["loss"].backward()
    trained = {part_of(name) for name in gradients(objective) if name.startswith("encoder")}
    assert trained == {"ifa", "cfaa", "prompts"}
    assert not any(name.startswith("prompts") for name, _ in objective.named_parameters())


def test_the_release_s_losses_are_sums_over_features_of_several_depths() -> None:
    clip, batch = parts()
    encoder = attach(clip.visual, VSLAConfig(bottleneck=64))
    released = LossConfig(
        id_levels=("pooled", "projected"), triplet_levels=("penultimate", "pooled", "projected")
    )
    objective = VSLAObjective(encoder, PIDS, config=released)
    levels, labels = encoder.levels(batch["clip"]), torch.tensor([1, 1, 2, 0])
    losses = objective(batch)
    triplet = sum(HardTripletLoss(0.3)(level, labels) for level in levels.values())
    identity = sum(objective.heads[name](levels[name], labels) for name in ("pooled", "projected"))
    torch.testing.assert_close(
        losses, {"loss": triplet + 0.25 * identity, "triplet": triplet, "id": identity}
    )


def test_without_prompts_it_is_the_baseline_and_losses_can_be_left_out() -> None:
    clip, batch = parts()
    encoder = attach(clip.visual, None)
    assert set(VSLAObjective(encoder, PIDS)(batch)) == {"loss", "triplet", "id"}
    only = LossConfig(triplet=0, id=0, i2t=0, t2i=0)
    objective = VSLAObjective(encoder, PIDS, IDPromptLearner(clip, 3), config=only)
    losses = objective(batch)
    assert set(losses) == {"loss", "v2sce"} and losses["loss"] == losses["v2sce"]
    losses["loss"].backward()
    assert clip.visual.conv1.weight.grad is not None  # FT-CLIP trains all of it


def test_a_few_steps_lower_the_loss() -> None:
    clip, batch = parts()
    encoder: SetEncoder = attach(clip.visual, VSLAConfig(bottleneck=64))
    objective = VSLAObjective(encoder, PIDS, IDPromptLearner(clip, 3))
    optimiser = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=1e-3)
    values = []
    for _ in range(12):
        loss = objective(batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < 0.5 * values[0]


def test_levels_that_a_model_has_not_are_refused() -> None:
    vit = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=0, img_size=32)
    objective = VSLAObjective(attach(vit, None), PIDS, config=LossConfig(id_levels=("pooled",)))
    with pytest.raises(ValueError, match="TimmViT doesn't say where its class token is"):
        objective({"clip": torch.randn(3, 1, 3, 32, 32), "pid": torch.tensor(PIDS)})
    with pytest.raises(ValueError, match="id_levels must be different levels out of penultimate, pooled"):
        LossConfig(id_levels=("pooled", "pooled"))


def test_bad_input_is_named() -> None:
    clip, batch = parts()
    encoder, prompts = attach(clip.visual, None), IDPromptLearner(clip, 3)
    with pytest.raises(ValueError, match="prompts are of 3 identities, but pids of 2"):
        VSLAObjective(encoder, [1, 2], prompts)
    with pytest.raises(ValueError, match="prompts are needed in stage one"):
        VSLAObjective(encoder, PIDS, stage=1)
    with pytest.raises(ValueError, match="encoder is needed in stage two"):
        VSLAObjective(None, PIDS, prompts)
    with pytest.raises(ValueError, match="stage must be 1 or 2, got 3"):
        VSLAObjective(encoder, PIDS, prompts, stage=3)  # type: ignore[arg-type]
    objective = VSLAObjective(encoder, PIDS)
    for pid in (15, 31):
        with pytest.raises(ValueError, match=f"pid {pid} is not of the 3 training identities"):
            objective({**batch, "pid": torch.tensor([20, pid, 30, 10])})
    with pytest.raises(ValueError, match='expected "clip" or "image"'):
        objective({"pid": batch["pid"]})
    with pytest.raises(ValueError, match="rows of the same samples"):
        contrastive_loss(torch.ones(2, 3), torch.ones(2, 3), torch.ones(3))
    with pytest.raises(ValueError, match='distance must be "cosine" or "euclidean"'):
        HardTripletLoss(distance="manhattan")  # type: ignore[arg-type]
    assert IDHead(4, 3).neck.bias.requires_grad is False
