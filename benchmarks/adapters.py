"""What set-level adapters cost: forward pass, training step, memory at 256 x 128 and sets of 8 frames.

Weights and frames are random: neither changes the arithmetic. The forward pass of each method is timed in
turns with the plain ViT, in one process, and so are the training steps of all methods: on a CPU in
processor time, which other programs lengthen less. Beside each ratio is the one that the multiplications
allow, counted. With `--part widths` the ratios are those of the widths of ViT-S, B and L; `--part counted`
prints what is allowed at their whole depths. The peak of a training step is that of a process of its own,
above what it held before the model: once where freed tensors go back to the system, which is what training
needs, and once as glibc comes, which keeps holes of them. On a GPU forward and step run in bf16, with the
paper's 32 clips.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _record import RESULTS, write_record
from open_clip.transformer import VisionTransformer
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from reid_adapters import (
    LoRAConfig,
    PBPConfig,
    VSLAConfig,
    VSLAObjective,
    attach,
    count_parameters,
)

IMAGE_SIZE = (256, 128)
LEARNING_RATE = 1e-4
FREED_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": str(2**18)}
"""glibc's setting under which tensors of 256 KiB and more are mapped, and unmapped when they are freed."""
METHODS: dict[str, tuple[VSLAConfig | LoRAConfig | None, PBPConfig | None]] = {
    "full fine-tuning": (None, None),
    "IFA": (VSLAConfig(cfaa=False), None),
    "VSLA": (VSLAConfig(), None),
    "VSLA + PBP": (VSLAConfig(), PBPConfig()),
    "LoRA": (LoRAConfig(), None),
}
"""What is trained: the paper's bottleneck 256 and prompts; LoRA of rank 16 on attention, through peft."""


def methods_of(arguments: argparse.Namespace) -> dict[str, tuple[Any, PBPConfig | None]]:
    """METHODS, without prompts in so few layers that they would be in more than a quarter of them."""
    return {
        name: (config, pbp)
        for name, (config, pbp) in METHODS.items()
        if pbp is None or 4 * pbp.depth <= arguments.layers
    }


WIDTHS = {"ViT-S": 384, "ViT-B": 768, "ViT-L": 1024}
DEPTHS = {"ViT-S": 12, "ViT-B": 12, "ViT-L": 24}
"""Channels and layers of the transformers that people have."""


def vit(arguments: argparse.Namespace) -> VisionTransformer:
    """A ViT-B/16 of CLIP's kind with random weights."""
    torch.manual_seed(0)
    heads = max(1, arguments.width // 64)
    model = VisionTransformer(
        IMAGE_SIZE, 16, arguments.width, arguments.layers, heads, mlp_ratio=4.0, output_dim=512
    )
    return model.to(arguments.device)


def batch_of(arguments: argparse.Namespace, pbp: bool) -> dict[str, torch.Tensor]:
    """Random clips of as many people as fill the batch in pairs."""
    pid = torch.arange(arguments.clips) // 2
    batch = {
        "clip": torch.randn(arguments.clips, arguments.frames, 3, *IMAGE_SIZE, device=arguments.device),
        "pid": pid.to(arguments.device),
    }
    return batch | ({"platform": torch.arange(arguments.clips) % 2} if pbp else {})


def seconds(call: Callable[[], object], device: str) -> float:
    """Seconds of one call: of the processor, or by the clock with the device's work included."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start


def count(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """What multiplications allow: a forward pass beside the plain ViT's, and how many times faster a step is.

    Counted on the meta device, where nothing is computed; losses and the optimiser multiply next to nothing.
    """
    found: dict[str, dict[str, int]] = {}
    on_meta = argparse.Namespace(**{**vars(arguments), "device": "meta"})
    with torch.device("meta"), sdpa_kernel(SDPBackend.MATH):
        for method, (config, pbp) in methods_of(arguments).items():
            encoder = attach(vit(on_meta), config, pbp).train()
            clips = torch.empty(arguments.clips, arguments.frames, 3, *IMAGE_SIZE)
            platform = None if pbp is None else torch.arange(arguments.clips, device="cpu") % 2
            with FlopCounterMode(display=False) as forward_pass, torch.no_grad():
                encoder(clips, platform)
            with FlopCounterMode(display=False) as step:
                encoder(clips, platform).sum().backward()
            found[method] = {"forward": forward_pass.get_total_flops(), "step": step.get_total_flops()}
    full = found["full fine-tuning"]
    return {
        method: {
            "overhead": round(flops["forward"] / full["forward"] - 1, 3),
            "times_faster": round(full["step"] / flops["step"], 3),
        }
        for method, flops in found.items()
    }


def compare(
    counted: Mapping[str, Mapping[str, float]],
    passes: Mapping[str, Mapping[str, float]],
    timed: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float]]:
    """Measured ratios beside those that the multiplications allow, and the share that is reached."""
    rows = {}
    for method in passes:
        allowed, faster = counted[method], timed[method]["times_faster"]
        rows[method] = {
            "forward_counted": allowed["overhead"],
            "forward_measured": passes[method]["overhead"],
            "forward_share": round((1 + allowed["overhead"]) / (1 + passes[method]["overhead"]), 3),
            "step_counted": allowed["times_faster"],
            "step_measured": faster,
            "step_share": round(faster / allowed["times_faster"], 3),
        }
    return rows


def measure_widths(arguments: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Counted and measured ratios at each of WIDTHS with as many layers as are asked for."""
    found = {}
    for name, width in WIDTHS.items():
        options = argparse.Namespace(**{**vars(arguments), "width": width})
        found[name] = compare(count(options), forward(options), steps(options))
        print(name, json.dumps(found[name]), file=sys.stderr, flush=True)
    return found


def forward(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Forward pass of each method in turns with the plain ViT: medians, and the turns' median ratio."""
    plain = vit(arguments).eval()
    measured = {}
    for method, (config, pbp) in methods_of(arguments).items():
        if method == "full fine-tuning":
            continue
        encoder, batch = attach(vit(arguments), config, pbp).eval(), batch_of(arguments, pbp is not None)
        calls = (
            partial(plain, batch["clip"].flatten(0, 1)),
            partial(encoder, batch["clip"], batch.get("platform")),
        )
        with torch.no_grad(), torch.autocast(arguments.device, torch.bfloat16, arguments.device != "cpu"):
            turns = [[seconds(call, arguments.device) for call in calls] for _ in range(arguments.rounds + 1)]
        without, adapted = zip(*turns[1:], strict=True)  # the first warms up
        measured[method] = {
            "plain_s": round(statistics.median(without), 4),
            "seconds": round(statistics.median(adapted), 4),
            "overhead": round(statistics.median(b / a for a, b in turns[1:]) - 1, 3),
        }
    return measured


def memory(line: str) -> float:
    """A line of /proc/self/status in MB: VmRSS, or VmHWM for the peak."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) / 1024 for row in rows if row.startswith(line))


class Training:
    """A method's training steps with Adam."""

    def __init__(self, method: str, arguments: argparse.Namespace) -> None:
        self.device = arguments.device
        config, pbp = METHODS[method]
        encoder = attach(vit(arguments), config, pbp).train()
        self.counts = count_parameters(encoder)
        self.batch = batch_of(arguments, pbp is not None)
        self.objective = VSLAObjective(encoder, range(arguments.clips // 2)).to(self.device)
        trainable = [parameter for parameter in self.objective.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.Adam(trainable, lr=LEARNING_RATE)

    def step(self) -> None:
        """One step."""
        with torch.autocast(self.device, torch.bfloat16, self.device != "cpu"):
            loss = self.objective(self.batch)["loss"]
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()


def steps(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Training steps of all methods in turns: medians, and the turns' median ratio to full fine-tuning."""
    methods = methods_of(arguments)
    trainings = [Training(method, arguments) for method in methods]
    turns = [
        [seconds(training.step, arguments.device) for training in trainings]
        for _ in range(arguments.rounds + 1)
    ][1:]  # the first warms up
    return {
        method: {
            "seconds": round(statistics.median(turn[place] for turn in turns), 3),
            "fastest_s": round(min(turn[place] for turn in turns), 3),
            "times_faster": round(statistics.median(turn[0] / turn[place] for turn in turns), 3),
        }
        for place, method in enumerate(methods)
    }


def peak(method: str, arguments: argparse.Namespace) -> dict[str, int]:
    """Memory of one method's training, the second step's too: the first has no moments yet."""
    gpu = arguments.device != "cpu"
    small = argparse.Namespace(**{**vars(arguments), "layers": 3, "width": 64})
    Training(method, small).step()  # loads torch's code
    before = memory("VmRSS")
    training = Training(method, arguments)
    for _ in range(2):
        training.step()
    held = torch.cuda.max_memory_allocated() / 2**20 if gpu else memory("VmHWM") - before
    return {
        "peak_mb": round(held),
        "trainable": training.counts.trainable,
        "total": training.counts.total,
    }


def run(part: str, rest: list[str], **environment: str) -> dict[str, Any]:
    """One part in a process of its own, with more in its environment."""
    print(f"-- {part}", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--part", part, *rest]
    everything = {**os.environ, **environment}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=everything)
    return json.loads(done.stdout.splitlines()[-1])


def count_models(arguments: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """What multiplications allow at the widths and depths of whole models; nothing is computed."""
    sizes = ((name, width, DEPTHS[name]) for name, width in WIDTHS.items())
    return {
        name: count(argparse.Namespace(**{**vars(arguments), "width": width, "layers": depth}))
        for name, width, depth in sizes
    }


def record_widths(arguments: argparse.Namespace) -> None:
    """Print and write the ratios at each of WIDTHS."""
    names = ("device", "clips", "frames", "layers", "rounds")
    load_before = round(os.getloadavg()[0], 1)
    found = measure_widths(arguments)
    write_record(
        arguments.output or RESULTS / f"adapters_widths_{arguments.device}.json",
        "Adapters beside the plain ViT and full fine-tuning at three widths: counted and measured",
        {"gpu": torch.cuda.get_device_name()} if arguments.device != "cpu" else None,
        settings={name: getattr(arguments, name) for name in names},
        threads=torch.get_num_threads(),
        load_before=load_before,
        note=arguments.note,
        widths=found,
    )
    print(json.dumps(found, indent=2))


def record_memory(arguments: argparse.Namespace) -> None:
    """Print and write the peak memory of two training steps of whole models at each of WIDTHS, by method."""
    names = ("device", "clips", "frames")
    given = [text for name in names for text in (f"--{name}", str(getattr(arguments, name)))]
    found = {}
    for name, width in WIDTHS.items():
        rest = [*given, "--width", str(width), "--layers", str(DEPTHS[name])]
        held = {method: run(method, rest, **FREED_AT_ONCE)["peak_mb"] for method in methods_of(arguments)}
        shares = {method: round(mb / held["full fine-tuning"], 3) for method, mb in held.items()}
        found[name] = {"peak_mb": held, "share_of_full_fine_tuning": shares}
        print(name, json.dumps(found[name]), file=sys.stderr, flush=True)
    write_record(
        arguments.output or RESULTS / f"adapters_memory_{arguments.device}.json",
        "Peak memory of training whole models of three widths: adapters, LoRA and full fine-tuning",
        {"gpu": torch.cuda.get_device_name()} if arguments.device != "cpu" else None,
        settings={name: getattr(arguments, name) for name in names},
        note=arguments.note,
        widths=found,
    )


def main() -> None:
    """Print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--clips", type=int, help="a batch, even; by default 4 on a CPU and 32 on a GPU")
    parser.add_argument("--frames", type=int, default=8, help="a clip")
    parser.add_argument("--layers", type=int, default=12, help="of the ViT, fewer to try it out")
    parser.add_argument("--width", type=int, default=768, help="of the ViT, less to try it out")
    parser.add_argument("--rounds", type=int, default=5, help="timed, after one that warms up")
    parser.add_argument("--note", default="", help="about the machine, such as what else ran on it")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--part", help="widths, memory, counted, forward, steps or a method's name")
    arguments = parser.parse_args()
    arguments.clips = arguments.clips or (4 if arguments.device == "cpu" else 32)
    if arguments.part in ("forward", "steps"):
        return print(json.dumps({"forward": forward, "steps": steps}[arguments.part](arguments)))
    if arguments.part == "widths":
        return record_widths(arguments)
    if arguments.part == "memory":
        return record_memory(arguments)
    if arguments.part == "counted":
        return print(json.dumps(count_models(arguments), indent=2))
    if arguments.part:
        return print(json.dumps(peak(arguments.part, arguments)))

    load_before = round(os.getloadavg()[0], 1)
    names = ("device", "clips", "frames", "layers", "width", "rounds")
    rest = [text for name in names for text in (f"--{name}", str(getattr(arguments, name)))]
    passes = run("forward", rest)
    timed = run("steps", rest)
    training = {
        method: {**timed[method], **run(method, rest, **FREED_AT_ONCE)} for method in methods_of(arguments)
    }
    if arguments.device == "cpu":
        for method, found in training.items():
            found["peak_with_holes_mb"] = run(method, rest)["peak_mb"]
    full, vsla = training["full fine-tuning"], training["VSLA"]
    promises = {
        "forward overhead of VSLA, at most": (0.25, passes["VSLA"]["overhead"]),
        "times faster a step than full fine-tuning, at least": (1.2, vsla["times_faster"]),
        "share of full fine-tuning's memory, at most": (0.7, vsla["peak_mb"] / full["peak_mb"]),
    }
    write_record(
        arguments.output or RESULTS / f"adapters_{arguments.device}.json",
        f"VSLA beside the plain ViT, full fine-tuning and LoRA on random clips of {arguments.frames} frames",
        {"gpu": torch.cuda.get_device_name()} if arguments.device != "cpu" else None,
        settings={name: getattr(arguments, name) for name in names},
        load_before=load_before,
        note=arguments.note,
        promises={
            name: {"target": target, "measured": round(found, 3)}
            for name, (target, found) in promises.items()
        },
        counted=count(arguments),
        forward=passes,
        training_step=training,
    )
    print(json.dumps({"promises": promises, "forward": passes, "training_step": training}, indent=2))


if __name__ == "__main__":
    main()
