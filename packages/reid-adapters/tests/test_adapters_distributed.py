"""Two processes with half a batch each train as one process does with the whole batch.

The file is also the program that the test starts once a rank: python test_adapters_distributed.py RANK FOLDER
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from open_clip.model import CLIP
from torch import Tensor, nn

from reid_adapters import IDPromptLearner, LossConfig, VSLAConfig, VSLAObjective, attach

WORLD = 2
RELEASED = LossConfig(
    scale=None, id_levels=("pooled", "projected"), triplet_levels=("penultimate", "pooled", "projected")
)
PIDS = torch.tensor([20, 20, 30, 30, 10, 10, 20, 30])
"""Of the whole batch; in the second half an identity is alone, so that each half's losses differ."""


def compute(stage: Any, rows: slice, wrap: Callable[[Any], Any], together: bool = True) -> dict[str, Tensor]:
    """The losses of some rows of the batch, and all gradients."""
    torch.manual_seed(0)
    clip = CLIP(
        16,
        {"layers": 1, "width": 64, "patch_size": 8, "image_size": 16},
        {"width": 32, "layers": 1, "heads": 2, "context_length": 32},
    )
    clips, features = torch.randn(len(PIDS), 2, 3, 16, 16), torch.randn(len(PIDS), 16)
    prompts = IDPromptLearner(clip, 3)
    encoder = None if stage == 1 else attach(clip.visual, VSLAConfig(bottleneck=64, init="torch"))
    config = RELEASED if stage == "released" else None
    objective = VSLAObjective(encoder, PIDS.tolist(), prompts, 1 if stage == 1 else 2, config, together)
    wrapped = wrap(objective)  # DDP gathers gradients for as long as it lives
    losses = wrapped({"clip": clips[rows], "features": features[rows], "pid": PIDS[rows]})
    losses["loss"].backward()
    gradients = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
    return {name: value.detach() for name, value in losses.items()} | gradients


def run_rank(rank: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=WORLD
    )
    half = len(PIDS) // WORLD
    rows, ddp = slice(rank * half, (rank + 1) * half), nn.parallel.DistributedDataParallel
    found = {str(stage): compute(stage, rows, ddp) for stage in (1, 2, "released")}
    found["alone"] = compute(2, rows, ddp, together=False)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this torch has no gloo: two processes on CPU can't talk")
    folder = tmp_path_factory.mktemp("ranks")
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(folder)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
        )
        for rank in range(WORLD)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors.decode()
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


@pytest.mark.parametrize("stage", [1, 2, "released"])
def test_losses_and_gradients_are_the_whole_batchs(
    stage: int | str, ranks: list[dict[str, dict[str, Tensor]]]
) -> None:
    expected = compute(stage, slice(None), lambda objective: objective)
    for rank in ranks:
        torch.testing.assert_close(rank[str(stage)], expected, rtol=1e-4, atol=1e-6)


def test_each_process_alone_has_the_losses_of_its_half(ranks: list[dict[str, dict[str, Tensor]]]) -> None:
    expected = compute(2, slice(0, len(PIDS) // WORLD), lambda objective: objective)
    torch.testing.assert_close(ranks[0]["alone"]["loss"], expected["loss"])
    assert ranks[0]["alone"]["loss"] != ranks[1]["alone"]["loss"]


if __name__ == "__main__":
    run_rank(int(sys.argv[1]), Path(sys.argv[2]))
