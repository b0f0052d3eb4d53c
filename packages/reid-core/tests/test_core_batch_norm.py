"""Batch norms of several ranks: what one process computes on the whole batch, however it is divided."""

from __future__ import annotations

import copy
import tempfile

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from reid_core.training.batch_norm import BatchNormSync

ROWS = 5
CASES = {
    "rows": (lambda: nn.BatchNorm1d(3), (ROWS, 3)),
    "maps": (lambda: nn.BatchNorm2d(3), (ROWS, 3, 4, 2)),
    "maps with timm's activation": (lambda: BatchNormAct2d(3), (ROWS, 3, 4, 2)),
    "without weights": (lambda: nn.BatchNorm1d(3, affine=False), (ROWS, 3)),
    "mean of all batches": (lambda: nn.BatchNorm1d(3, momentum=None), (ROWS, 3)),
}
DIVISIONS = {"one row and the rest": (0, 1, ROWS), "no row and all": (0, 0, ROWS)}


def compute(case, rows, synced):
    """Output, gradients and running statistics after two batches, of some rows of them."""
    build, shape = CASES[case]
    torch.manual_seed(0)
    layer = nn.Sequential(build())
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    if synced:
        layer = BatchNormSync(on_gpu=False).apply(layer)
    x = (3 * torch.randn(shape) + 1).requires_grad_()
    layer(x.detach()[rows] + 1)
    found = layer(x[rows])
    (found * torch.randn(shape)[rows]).square().sum().backward()
    gradients = [parameter.grad for parameter in layer.parameters()]
    return {"output": found.detach(), "input": x.grad[rows], "weights": gradients, **layer.state_dict()}


def run_rank(rank, file, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    found = {
        (case, division): compute(case, slice(at[rank], at[rank + 1]), synced=True)
        for case in CASES
        for division, at in DIVISIONS.items()
    }
    results.put((rank, {key: {k: as_lists(v) for k, v in one.items()} for key, one in found.items()}))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def as_lists(value):
    return [as_lists(each) for each in value] if isinstance(value, list) else value.tolist()


@pytest.fixture(scope="module")
def ranks():
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo: two processes on CPU can't talk")
    context = torch.multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        started = [context.Process(target=run_rank, args=(i, f"{folder}/meet", results)) for i in range(2)]
        for process in started:
            process.start()
        found = dict(results.get() for _ in started)
        for process in started:
            process.join(60)
    return [found[0], found[1]]


@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_normalise_and_learn_as_one_does(ranks, case, division):
    whole = compute(case, slice(None), synced=False)
    parts = [rank[case, division] for rank in ranks]

    def close(found, wanted):
        torch.testing.assert_close(torch.tensor(found), wanted, rtol=1e-4, atol=1e-5)

    for name in ("output", "input"):
        close(parts[0][name] + parts[1][name], whole[name])
    for *halves, wanted in zip(*(part["weights"] for part in parts), whole["weights"], strict=True):
        close((torch.tensor(halves[0]) + torch.tensor(halves[1])).tolist(), wanted)
    for name in ("0.running_mean", "0.running_var"):
        for part in parts:
            close(part[name], whole[name])


def test_in_one_process_a_synchronised_batch_norm_is_a_plain_one():
    plain = nn.Sequential(BatchNormAct2d(3))
    synced = BatchNormSync(on_gpu=False).apply(copy.deepcopy(plain))
    x = torch.randn(4, 3, 2, 2)
    for mode in (True, False):
        torch.testing.assert_close(synced.train(mode)(x), plain.train(mode)(x))


def test_on_gpus_the_layers_are_torchs_own():
    model = BatchNormSync(on_gpu=True).apply(nn.Sequential(nn.BatchNorm1d(3)))
    assert type(model[0]) is nn.SyncBatchNorm
