"""Backbones, heads, features and the training loop on a GPU give the CPU's numbers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from reid_core.data.samplers import Draw, RandomBatches
from reid_core.models import Embedder, Preprocessing
from reid_core.models.backbones import build_backbone
from reid_core.models.features import extract
from reid_core.models.heads import ReIDModel, ReIDObjective
from reid_core.models.parts import (
    BranchedModel,
    BranchedObjective,
    ClassFeature,
    MGNExtractor,
    TransReIDExtractor,
)
from reid_core.training.config import TrainConfig
from reid_core.training.loop import fit

pytestmark = pytest.mark.gpu

EXACT = (1e-5, 3e-4)
"""Relative errors of a loss and of its gradient in float32: TF32, with 3e-4 a product, would show."""

HALF = (0.03, 0.2)
"""The same in bfloat16, whose roundings are 4e-3."""

STEPS = 20
PIDS = torch.tensor([3, 3, 8, 8, 5, 5, 9, 9])
SIZE = (64, 32)
NANO = {"depth": 2}

BACKBONES: dict[str, dict[str, Any]] = {
    "vit_nano_patch8": NANO,
    "vit_nano_conv8": NANO,
    "resnet18": {},
    "resnet18_ibn": {},
    "swin_tiny": {"depths": (1, 1), "embed_dim": 24, "num_heads": (2, 4)},
    "volo_d1": {},
    "edgenext_x_small": {},
}
"""One of each kind, small."""


class Weighted(nn.Module):
    """A loss in which every channel of every token counts differently."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.encoder(images)
        weights = torch.linspace(-1, 1, self.encoder.dim, device=images.device, dtype=images.dtype)
        return sum((x.tanh() * weights).square().mean() for x in (tokens.cls, tokens.patches))


def images(count: int = len(PIDS)) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(count, 3, *SIZE)


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_agree_with_float64(name, against_float64):
    torch.manual_seed(0)
    # In eval mode: batch norms of a random network on few images magnify roundings without end.
    against_float64(Weighted(build_backbone(name, SIZE, **BACKBONES[name])).eval(), (images(),), EXACT, HALF)


def objective(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "mgn":
        return BranchedObjective(BranchedModel(MGNExtractor(build_backbone("resnet18")), 4), PIDS.tolist())
    encoder = build_backbone("vit_nano_patch8", SIZE, **NANO)
    if name == "transreid":
        return BranchedObjective(BranchedModel(TransReIDExtractor(encoder), 4), PIDS.tolist())
    return ReIDObjective(ReIDModel(ClassFeature(encoder), encoder.dim, 4), PIDS.tolist(), normalize=True)


@pytest.mark.parametrize("name", ["bag of tricks", "transreid"])
def test_fine_tuning_objectives_agree_with_float64(name, against_float64):
    against_float64(objective(name), {"image": images(), "pid": PIDS}, EXACT, HALF)


def test_mgn_trains_on_the_device(device):
    found = objective("mgn").to(device).train()
    found({"image": images().to(device), "pid": PIDS.to(device)})["loss"].backward()
    assert all(p.grad.isfinite().all() for p in found.parameters() if p.grad is not None)


class Pictures:
    """Images of four people, drawn from their numbers."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, draw: Draw | int) -> dict[str, Any]:
        index = draw.index if isinstance(draw, Draw) else draw
        noise = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(index))
        return {"image": noise + index % 4, "y": index % 4}


def test_extracted_features_are_the_cpus(device, tmp_path):
    torch.manual_seed(0)
    model = ClassFeature(build_backbone("vit_nano_patch8", SIZE, **NANO)).eval()
    found, want, half = (
        extract(
            model, Pictures(), tmp_path / f"{name}.npy", batch_size=16, device=where, autocast=autocast
        ).array
        for name, where, autocast in (("a", device, None), ("b", "cpu", None), ("c", device, torch.bfloat16))
    )
    assert np.linalg.norm(found - want) < 1e-5 * np.linalg.norm(want)
    assert np.linalg.norm(half - want) < 0.02 * np.linalg.norm(want)


def test_an_embedder_gives_the_descriptors_of_the_cpu(device):
    torch.manual_seed(0)
    encoder = build_backbone("vit_nano_patch8", SIZE, **NANO)
    embedder = Embedder(ClassFeature(encoder), Preprocessing(SIZE, channels="BGR"), flip=True)
    crops = [np.random.default_rng(seed).integers(0, 256, (90, 50, 3), dtype=np.uint8) for seed in range(6)]
    found, want = (embedder.embed(crops, device=where, batch_size=4) for where in (device, "cpu"))
    np.testing.assert_allclose(found, want, atol=1e-4)


class Identities(nn.Module):
    """A ViT with the identity loss alone, so that two halves of a batch are the whole one.

    Args:
        way: "compile" for compiled blocks, "checkpointing" for a last block that is computed again backwards.
        stop: step after which the training stops, as a kill would stop it.
    """

    def __init__(self, way: str = "", stop: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder: Any = build_backbone("vit_nano_patch8", SIZE, **NANO)
        self.encoder.mask_token.requires_grad_(False)  # without a part in this loss
        self.classifier = nn.Linear(self.encoder.dim, 4)
        self.way, self.stop, self.losses = way, stop, []
        if way == "compile":
            # On a CPU the tracing is tried alone: compiling takes minutes there.
            backend = "inductor" if torch.cuda.is_available() else "eager"
            for block in self.encoder.vit.blocks:
                block.compile(backend=backend)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        x, grid = self.encoder.before_last(batch["image"])
        last = partial(self.encoder.last, grid=grid)
        tokens = checkpoint(last, x, use_reentrant=False) if self.way == "checkpointing" else last(x)
        loss = nn.functional.cross_entropy(self.classifier(tokens.cls).float(), batch["y"])
        self.losses.append(loss.detach())
        return {"loss": loss}

    def after_step(self, step: int) -> None:
        if step == self.stop:
            raise InterruptedError


def train(
    folder: Path, device: str, objective: Identities, rank: int = 0, world: int = 1, **changes: Any
) -> list[float]:
    """Train for 20 steps; the loss of each."""
    settings: dict[str, Any] = dict(lr=1e-3, warmup_steps=2, checkpoint_every=5, precision="32-true")
    accelerator = "gpu" if device == "cuda" else "cpu"
    config = TrainConfig(STEPS, accelerator=accelerator, **{**settings, **changes})
    fit(objective, Pictures(), RandomBatches(64, 16, STEPS, 1, rank, world), None, config, folder)
    return torch.stack(objective.losses).tolist()


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    losses = train(tmp_path_factory.mktemp("cpu"), "cpu", Identities())
    assert losses[-1] < 0.8 * losses[0]  # it learns, so that a wrong gradient would show
    return losses


FITS: dict[str, tuple[str, dict[str, Any], float]] = {
    "float32": ("", {}, 1e-3),
    "bfloat16": ("", {"precision": "bf16-mixed"}, 0.05),
    "compile": ("compile", {}, 1e-3),
    "checkpointing": ("checkpointing", {}, 1e-3),
}
"""Way, settings, and how far a step's loss may be from that of the CPU in float32."""


@pytest.mark.parametrize("name", FITS)
def test_twenty_steps_have_the_losses_of_the_cpus(name, device, tmp_path, on_cpu):
    way, changes, bound = FITS[name]
    assert train(tmp_path, device, Identities(way), **changes) == pytest.approx(on_cpu, abs=bound)
    state = torch.load(tmp_path / "final.pt", weights_only=True)["state_dict"]
    assert state.keys() == Identities().state_dict().keys()


def test_a_stopped_training_ends_where_the_whole_one_does(device, tmp_path, on_cpu):
    with pytest.raises(InterruptedError):
        train(tmp_path, device, Identities(stop=12))
    done = torch.load(tmp_path / "last.ckpt", weights_only=True)["step"]
    assert done == 10
    assert train(tmp_path, device, Identities()) == pytest.approx(on_cpu[done:], abs=1e-3)


def test_two_processes_on_one_device_have_the_losses_of_one(device, tmp_path, on_cpu):
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, device, str(tmp_path)],
            env={**os.environ, **address, "NODE_RANK": str(rank), "LOCAL_RANK": "0"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        for process in ranks:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in ranks:
            process.kill()
    losses = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert losses[0] != losses[1]
    assert np.mean(losses, axis=0).tolist() == pytest.approx(on_cpu, abs=1e-3)


def run_rank(device: str, folder: Path) -> None:
    """One of two processes: two machines of one device each, which are one."""
    rank = int(os.environ["NODE_RANK"])
    StrategyRegistry.register("ddp_gloo", DDPStrategy, process_group_backend="gloo")
    losses = train(folder, device, Identities(), rank, 2, num_nodes=2, strategy="ddp_gloo")
    (folder / f"{rank}.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    run_rank(sys.argv[1], Path(sys.argv[2]))
