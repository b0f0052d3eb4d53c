"""Two processes on half a batch each pre-train and fine-tune as one process does on the whole batch.

The file is also each process' program: python test_vills_ranks.py FOLDER COMMAND... leaves RANK.pt in FOLDER.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cosine_similarity

from vills.cli import main
from vills.stages import finetune, pretrain

pytestmark = pytest.mark.slow

STEPS = 5
BUILDERS = {"pretrain": (pretrain, "build_objective"), "finetune": (finetune, "build_finetuning")}
OPTIONS = {
    "name": "ranks",
    "model.drop_path": "0",
    "finetune.init": "pretrained",
    **{f"{stage}.train.steps": str(STEPS) for stage in BUILDERS},
    **{f"{stage}.train.precision": "32-true" for stage in BUILDERS},
}
COMMAND = [word for name, value in OPTIONS.items() for word in (f"--{name}", value)]


def flat(state):
    """Weights that learn by gradient, as one vector."""
    return torch.cat([value.flatten() for name, value in state.items() if not name.startswith("teacher.")])


def train(command):
    """Pre-train and fine-tune; stage -> losses of each step and the update of all weights."""
    with pytest.MonkeyPatch.context() as patch:
        found = {}
        for stage, (module, name) in BUILDERS.items():
            build = getattr(module, name)

            def recorded(*arguments, stage=stage, build=build):
                objective, losses = build(*arguments), []
                before = {name: value.clone() for name, value in objective.named_parameters()}
                objective.register_forward_hook(
                    lambda module, given, out: losses.append({k: float(v.detach()) for k, v in out.items()})
                )
                found[stage] = (losses, before, objective)
                return objective

            patch.setattr(module, name, recorded)
        assert main(["finetune", *command, "--traceback"]) == 0
    return {
        stage: {"losses": losses, "update": flat(dict(objective.named_parameters())).detach() - flat(before)}
        for stage, (losses, before, objective) in found.items()
    }


@pytest.fixture(scope="module")
def one_and_two(tiny, tmp_path_factory):
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("this torch has no gloo: two processes on CPU can't talk")
    folder = tmp_path_factory.mktemp("ranks")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = ["--runtime.devices", "2", "--runtime.strategy", "ddp_find_unused_parameters_true"]
    command = [*tiny.on_disk, *COMMAND, "--runs", str(folder / "two"), *options]
    done = subprocess.run(
        [*launch, __file__, str(folder), *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    return train([*tiny.on_disk, *COMMAND, "--runs", str(folder / "one")]), ranks


@pytest.mark.parametrize("stage", BUILDERS)
def test_two_ranks_have_the_losses_of_one(one_and_two, stage):
    one, ranks = one_and_two
    assert len(one[stage]["losses"]) == STEPS
    for alone, *halves in zip(one[stage]["losses"], *(rank[stage]["losses"] for rank in ranks), strict=True):
        for name, loss in alone.items():
            mean = sum(half[name] for half in halves) / len(halves)
            assert mean == pytest.approx(loss, abs=1e-4), name


@pytest.mark.parametrize("stage", BUILDERS)
def test_two_ranks_learn_what_one_learns(one_and_two, stage):
    one, ranks = one_and_two
    assert one[stage]["update"].abs().max() > 0
    for rank in ranks:
        assert cosine_similarity(one[stage]["update"], rank[stage]["update"], dim=0) > 0.999


if __name__ == "__main__":
    rank = os.environ["RANK"]
    torch.save(train(sys.argv[2:]), Path(sys.argv[1]) / f"{rank}.pt")
