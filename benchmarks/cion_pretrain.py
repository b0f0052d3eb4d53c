"""CION's pre-training step at the paper's setting: images a second and memory of a device's share of a batch.

Float32 and bfloat16, plain and through torch.compile; the whole step with its optimiser, on random images.
Each way runs in a process of its own. To try: `--device cpu --batch 8 --prototypes 1024 --models resnet18`.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from _record import RESULTS, write_record

from cion.config import Network
from cion.pretraining.config import PretrainConfig
from cion.pretraining.stages.pretrain import (
    GLOBAL_VIEWS,
    PreTraining,
    build_objective,
    schedule_pretraining,
)
from cion.zoo.table import MODELS, paper_config
from reid_core.processes import Runtime
from reid_pretrain import index_people

WARM_UP = 2
"""Steps before those that are timed; the first compiles."""
WAYS = [(precision, compiled) for precision in ("float32", "bfloat16") for compiled in (False, True)]


def measure(name: str, precision: str, compiled: bool, arguments: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a step, images a second, peak memory."""
    network, runtime = Network(name), Runtime()
    settings = replace(PretrainConfig(), **{**paper_config(name)["pretrain"], "batch": arguments.batch})
    if arguments.prototypes:
        settings.objective = replace(settings.objective, prototypes=arguments.prototypes)
    gpu = arguments.device == "cuda"
    section = PreTraining("cross_video", settings, network, seed=0)
    objective = build_objective(section, arguments.steps + WARM_UP, 1, runtime).to(arguments.device).train()
    if compiled:
        objective.student.backbone.compile()
        objective.teacher.backbone.compile()
    instances = max(settings.curriculum.values())
    batch = {
        "global": torch.randn(arguments.batch, GLOBAL_VIEWS, 3, *network.image_size),
        "local": torch.randn(arguments.batch, settings.local_views, 3, *settings.local_size),
    }
    person, people = index_people(torch.arange(arguments.batch) // instances)
    batch = {key: value.to(arguments.device) for key, value in batch.items() if value.numel()}
    batch |= {"person": person.to(arguments.device), "people": people}
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    schedule = schedule_pretraining(settings, 1, runtime)
    optimiser = torch.optim.AdamW(trained, lr=schedule.lr)
    seconds = []
    for step in range(arguments.steps + WARM_UP):
        began = time.perf_counter()
        with torch.autocast(arguments.device, torch.bfloat16, precision == "bfloat16"):
            loss = objective(batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, schedule.clip_grad or float("inf"))
        optimiser.step()
        objective.after_step(step)
        if gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    peak = (
        torch.cuda.max_memory_allocated()
        if gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    step_s = statistics.median(seconds[WARM_UP:])
    return {
        "step_s": round(step_s, 3),
        "images_per_second": round(arguments.batch / step_s, 1),
        "peak_gib": round(peak / 2**30, 2),
        "loss": round(loss.item(), 4),
    }


def main() -> None:
    """Print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["resnet50_ibn", "vit_small"])
    parser.add_argument("--batch", type=int, default=120, help="images on a device; the paper's 960 over 8")
    parser.add_argument("--prototypes", type=int, help="fewer than the paper's, to try it out")
    parser.add_argument("--steps", type=int, default=10, help=f"timed, after {WARM_UP} that warm up")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU here; --device cpu with a small --batch tries it out")
    if arguments.part:
        name, precision, compiled = arguments.part
        return print(json.dumps(measure(name, precision, compiled == "True", arguments)))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in arguments.models:
        for precision, compiled in WAYS:
            way = precision + (", compiled" if compiled else "")
            print(f"-- {name}: {way}", file=sys.stderr, flush=True)
            command = [sys.executable, __file__, *sys.argv[1:], "--part", name, precision, str(compiled)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found.setdefault(name, {})[way] = json.loads(done.stdout.splitlines()[-1])
    write_record(
        arguments.output or RESULTS / f"cion_pretrain_{arguments.device}.json",
        "CION's pre-training step at the paper's setting, one device's share of the batch",
        {"gpu": torch.cuda.get_device_name()} if arguments.device == "cuda" else None,
        settings={"batch": arguments.batch, "prototypes": arguments.prototypes, "steps": arguments.steps},
        measured=found,
    )
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
