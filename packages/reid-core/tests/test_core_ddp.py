"""Two processes train as one with the doubled batch, where no layer looks across the samples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from reid_core.data.samplers import Draw, RandomBatches
from reid_core.models.backbones import build_backbone
from reid_core.training.config import TrainConfig
from reid_core.training.loop import fit

STEPS = 20


class Identities(nn.Module):
    """A ViT with the identity loss alone: no batch norm, no triplet."""

    def __init__(self, spoilt: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.spoilt = spoilt
        self.encoder = build_backbone("vit_nano_patch8", (32, 16), depth=1, embed_dim=32, num_heads=2)
        self.classifier = nn.Linear(32, 4)
        self.losses: list[float] = []

    def forward(self, batch):
        logits = self.classifier(self.encoder(batch["x"]).cls)
        loss = nn.functional.cross_entropy(logits, batch["y"])
        self.losses.append(float(loss.detach()))
        return {"loss": loss * torch.nan if self.spoilt else loss}


class Pictures:
    def __len__(self) -> int:
        return 64

    def __getitem__(self, draw: Draw) -> dict:
        label = draw.index % 4
        noise = torch.randn(3, 32, 16, generator=torch.Generator().manual_seed(draw.index))
        return {"x": noise + label, "y": label}


def train(rank: int, world: int, folder: Path, spoilt: bool = False) -> list[float]:
    objective = Identities(spoilt)
    batches = RandomBatches(64, 8, STEPS, seed=1, rank=rank, world_size=world)
    # the encoder's mask token has no part in this loss
    strategy = "ddp_find_unused_parameters_true" if world > 1 else "auto"
    config = TrainConfig(
        STEPS,
        lr=1e-3,
        warmup_steps=2,
        accelerator="cpu",
        devices=world,
        strategy=strategy,
        precision="32-true",
    )
    fit(objective, Pictures(), batches, None, config, folder)
    return objective.losses


def test_two_processes_have_the_loss_curve_of_one_with_the_doubled_batch(tmp_path):
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo: two processes on CPU can't talk")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0", __file__, str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    ranks = [rank["losses"] for rank in found]
    together = [(a + b) / 2 for a, b in zip(*ranks, strict=True)]
    alone = train(0, 1, tmp_path / "alone")
    assert (
        len(alone) == STEPS and alone[-1] < 0.8 * alone[0]
    )  # it learns, so that a wrong gradient would show
    assert together == pytest.approx(alone, abs=1e-4)
    assert ranks[0] != ranks[1]
    assert all(
        rank["broadcasts"] < STEPS for rank in found
    )  # nothing but gradients is exchanged at each step


if __name__ == "__main__":
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    out = Path(sys.argv[1])
    counts = {"broadcasts": 0}
    broadcast = torch.distributed.broadcast

    def count(*args, **kwargs):
        counts["broadcasts"] += 1
        return broadcast(*args, **kwargs)

    torch.distributed.broadcast = count
    losses = train(rank, world, out / "together")
    error = ""
    try:
        train(rank, world, out / "spoilt", spoilt=rank == 1)
    except FloatingPointError as raised:
        error = str(raised)
    (out / f"rank{rank}.json").write_text(json.dumps({"losses": losses, "error": error, **counts}))
