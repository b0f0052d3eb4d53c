"""Two processes on half a batch each compute what one process computes on the whole batch.

The file is also the program that the test starts once a rank: python test_pretrain_distributed.py RANK FOLDER
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from reid_pretrain import AlignmentLoss, DINOLoss, IdentityGuidedLoss, KoLeoLoss, MaskingLoss

WORLD = 2
BATCH, PATCHES, DIM, K = 6, 4, 5, 7
LOSSES = ("koleo", "alignment", "feature", "regions", "masking", "identity", "identity_released")


def inputs() -> dict[str, Tensor]:
    """The whole batch; the second half of it hides nothing: one rank has no row for the masking loss."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(BATCH, PATCHES, generator=generator) < 0.6
    mask[BATCH // WORLD :] = False
    return {
        "koleo": torch.randn(BATCH, DIM, generator=generator),
        "alignment": torch.randn(BATCH, 2, DIM, generator=generator),
        "feature": torch.randn(BATCH, 2, DIM, generator=generator),
        "regions": torch.randn(BATCH, 2, DIM, generator=generator),
        "masking": torch.randn(BATCH, PATCHES, DIM, generator=generator),
        "identity": torch.randn(BATCH, 3, DIM, generator=generator),
        "identity_released": torch.randn(BATCH, 3, DIM, generator=generator),
        "pid": torch.arange(BATCH) // 3,  # a rank has whole people
        "mask": mask,
    }


def compute(name: str, rows: slice, wrap=lambda module: module) -> dict[str, Tensor]:
    """Loss, gradient of a linear layer that all rows share, and centre (empty where the loss has none)."""
    torch.manual_seed(0)
    linear = nn.Linear(DIM, K)
    shared = wrap(linear)
    batch = {key: value[rows] for key, value in inputs().items()}
    x = shared(batch[name])
    module: nn.Module
    if name == "koleo":
        module = KoLeoLoss()
        loss = module(x)
    elif name == "alignment":
        module = AlignmentLoss()
        loss = module(x[:, 0], x[:, 1])
    elif name == "feature":
        module = DINOLoss(K)
        views = x.transpose(0, 1)
        rows = views.flatten(0, 1)
        module(rows, views.detach())  # moves the centre before the loss that is compared
        loss = module(rows, views.detach())
    elif name == "regions":  # of two areas, valid in some images; one rank has none
        module = DINOLoss(K)
        views, areas = x.transpose(0, 1), batch["mask"][:, :2].T
        rows = torch.cat([views.flatten(0, 1), *(x[area, 1] for area in areas)])
        loss = module(rows, views.detach(), [area.nonzero()[:, 0] for area in areas])
    elif name.startswith("identity"):
        module = IdentityGuidedLoss(K, "released" if name.endswith("released") else "paper")
        views = x.transpose(0, 1)
        module(views, views[:2].detach(), batch["pid"])
        loss = module(views, views[:2].detach(), batch["pid"])
    else:
        module = MaskingLoss(K)
        hidden = x[batch["mask"]]
        module(hidden, hidden.detach(), batch["mask"])
        loss = module(hidden, hidden.detach(), batch["mask"])
    loss.backward()
    centre = module.centre.value if hasattr(module, "centre") else torch.zeros(0)
    return {"loss": loss.detach(), "gradient": linear.weight.grad, "centre": centre}


def run_rank(rank: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=WORLD
    )
    half = BATCH // WORLD
    rows = slice(rank * half, (rank + 1) * half)
    parallel = nn.parallel.DistributedDataParallel
    torch.save({name: compute(name, rows, parallel) for name in LOSSES}, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this torch has no gloo: two processes on CPU can't talk")
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__]
    processes = [
        subprocess.Popen([*command, str(rank), str(folder)], env=environment, stderr=subprocess.PIPE)
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


@pytest.mark.parametrize("name", LOSSES)
def test_two_processes_equal_one_on_the_whole_batch(ranks, name):
    want = compute(name, slice(None))
    loss = torch.stack([rank[name]["loss"] for rank in ranks]).mean()  # as DDP averages gradients
    torch.testing.assert_close(loss, want["loss"])
    assert want["gradient"].any()
    for rank in ranks:
        torch.testing.assert_close(rank[name]["gradient"], want["gradient"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(rank[name]["centre"], want["centre"])


if __name__ == "__main__":
    run_rank(int(sys.argv[1]), Path(sys.argv[2]))
