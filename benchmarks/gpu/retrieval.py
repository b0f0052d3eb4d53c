"""Evaluation and re-ranking at the sizes of public data sets, and CION's loss beside loops over pairs."""

from __future__ import annotations

from typing import Any

import cion_loss as loops_of
import numpy as np
import torch
from device import device_of
from evaluate import FAR, SIZES
from measure import timed
from runner import Context

from reid_eval import evaluate, k_reciprocal
from reid_pretrain import IdentityGuidedLoss

TINY = 0.02
"""Share of a data set's size with --tiny."""


def evaluation(context: Context) -> None:
    """Market-1501's and MSMT17's sizes, features in the host's memory; re-ranking at Market-1501's."""
    device = device_of(context)
    for name in ("market1501", "msmt17"):
        case = people(name, context.tiny)
        for what, far in (("", ()), (", TAR@FAR", FAR)):
            found = timed(lambda: evaluate(**case, far=far, device=device), 3, warm_up=1)  # noqa: B023
            context.report(f"{name}{what}", **found)
    re_ranking(context, "market1501")


def large_re_ranking(context: Context) -> None:
    """Re-ranking at MSMT17's size, whose sparse part is the host's."""
    re_ranking(context, "msmt17")


def re_ranking(context: Context, name: str) -> None:
    """k-reciprocal encoding with neighbours from the device, then evaluation by its distances."""
    device, case = device_of(context), people(name, context.tiny)
    features = case["query_features"], case["gallery_features"]
    found = timed(lambda: k_reciprocal(*features, device=device), 1, warm_up=0)
    context.report(f"{name}, k-reciprocal encoding", **found)
    reranking = k_reciprocal(*features, device=device)
    found = timed(lambda: evaluate(**case, reranking=reranking, device=device), 1, warm_up=0)
    context.report(f"{name}, evaluated by re-ranked distances", **found)


def people(name: str, tiny: bool) -> dict[str, np.ndarray]:
    """Features of a data set's size: people are random directions, cameras and images add to them."""
    queries, gallery, columns, identities, cameras, distractors, _ = SIZES[name]
    if tiny:
        queries, gallery, identities, distractors = (
            max(1, int(TINY * number)) for number in (queries, gallery, identities, distractors)
        )
    generator = torch.Generator().manual_seed(0)
    centres, views = (torch.randn(n, columns, generator=generator) for n in (identities + 1, cameras))
    found: dict[str, Any] = {}
    for side, count, strangers in (("query", queries, 0), ("gallery", gallery, distractors)):
        pids = torch.randint(1, identities + 1, (count,), generator=generator)
        pids[torch.randperm(count, generator=generator)[:strangers]] = 0
        camids = torch.randint(cameras, (count,), generator=generator)
        noise = torch.randn(count, columns, generator=generator)
        rows = torch.where((pids == 0)[:, None], noise, centres[pids]) + 0.5 * views[camids] + 2.2 * noise
        found |= {
            f"{side}_features": rows.numpy(),
            f"{side}_pids": pids.numpy(),
            f"{side}_camids": camids.numpy(),
        }
    return found


def cion_loss(context: Context) -> None:
    """Forward and backward at K = 65,536 for 8 images a person: sums, and the authors' loops over pairs."""
    device = device_of(context)
    prototypes = 256 if context.tiny else loops_of.PROTOTYPES
    images, instances = loops_of.IMAGES, loops_of.INSTANCES
    torch.manual_seed(0)
    student = torch.rand(loops_of.VIEWS, images, prototypes, device=device, requires_grad=True)
    teacher = torch.rand(loops_of.GLOBAL_VIEWS, images, prototypes, device=device)
    person = torch.arange(images, device=device) // instances
    module = IdentityGuidedLoss(prototypes, "released").to(device).eval()
    calls = {
        "sums": lambda: module(student, teacher, person, images // instances).backward(),
        "loops": lambda: loops_of.loops(student, teacher, instances).backward(),
    }
    seconds = {}
    for name, call in calls.items():
        found = timed(call, 2 if context.tiny else 5, warm_up=1)
        context.report(name, **found)
        seconds[name] = found["seconds"]
    context.report("ratio", times_the_loops=round(seconds["loops"] / seconds["sums"], 1))
