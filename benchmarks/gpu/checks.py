"""The parts of `core`: the tests marked gpu of a member, and some steps of each objective."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from device import device_of
from runner import BENCHMARKS, Context
from trainings import STEPPED, build

PACKAGES = BENCHMARKS.parent / "packages"

STEPS = 3
"""Of each objective, after one in which libraries load."""

MESSAGE = 2000
"""Last characters of a failed test's report that the result keeps."""


class Outcomes:
    """A pytest plugin that keeps what became of each test."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.messages: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        name = report.nodeid.rpartition("/")[2]
        if report.when == "call" or report.outcome != "passed":
            self.found[name] = report.outcome
        if report.outcome != "passed":
            self.messages[name] = str(report.longrepr)[-MESSAGE:]

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.found[report.nodeid] = "failed"
            self.messages[report.nodeid] = str(report.longrepr)[-MESSAGE:]


def run_tests(context: Context, member: str) -> None:
    """Run a member's tests marked gpu, on the device."""
    outcomes = Outcomes()
    short = member.removeprefix("reid-")
    file = PACKAGES / member / "tests" / f"test_{short}_gpu.py"
    options = ["-q", "-m", "gpu", "-p", "no:cacheprovider", "--device", device_of(context), str(file)]
    pytest.main(options, plugins=[outcomes])
    counts = {kind: list(outcomes.found.values()).count(kind) for kind in ("passed", "failed", "skipped")}
    context.report("tests", **counts, outcomes=outcomes.found, messages=outcomes.messages)
    if counts["failed"] or not counts["passed"]:
        raise SystemExit(f"{member}: {counts}")


def steps(context: Context) -> None:
    """Steps of each objective in bfloat16 on a small batch; on a GPU a wait for the device is an error."""
    device = device_of(context)
    for name in STEPPED:
        try:
            training = build(name, device, context.tiny, small_batch=True)
        except ModuleNotFoundError as error:
            context.report(name, left_out=f"not installed: {error.name}")
            continue
        first = training.step(half=True)
        if device == "cuda" and not training.waits:
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(STEPS):
                last = training.step(half=True)
        finally:
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("default")
        losses = {"first_loss": round(first.item(), 4), "last_loss": round(last.item(), 4)}
        if not (first.isfinite() and last.isfinite()):
            raise SystemExit(f"{name}: the loss is not finite: {losses}")
        context.report(name, **losses, waits_for_the_device=training.waits)
        del training
