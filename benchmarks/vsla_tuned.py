"""Ways of adapting a small CLIP, each with a learning rate that validation people chose.

A third of the training people is held out; each method is trained on the others at each rate, and its best
rate by the held-out people's mAP is what it is trained with on all training people, once per seed (division
of the people, or world; with --search-seed a world of its own chooses for all). Nothing else differs between
methods: the same stages before, batches and steps. Each training is a run of `vsla-clip`, whose finished
stages are reused: called again, the script resumes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pandas as pd
from _record import RESULTS, ROOT, read_stages, write_record

from reid_core.cli.recipes import parse_config
from reid_core.data.manifest import Manifest
from reid_core.data.samplers import mix
from reid_core.training.loop import FINAL
from vsla_clip.cli import APP, main
from vsla_clip.config import METHODS
from vsla_clip.recipe import protocol

HELD_OUT = 3
"""One of so many training people is held out."""
FULL, ADAPTERS = "stage2.full_lr", "stage2.train.lr"
"""Options of the learning rate where the whole encoder is trained, and where adapters are."""
MEASURES = ("mAP", "rank_1")


def hold_out(manifest: Manifest, seed: int) -> Manifest:
    """Training people alone, divided again: some of them are sought among one another.

    Args:
        manifest: with a training split.
        seed: of the division.

    Returns:
        Rows of the others as train, those of the held out both as query and as gallery.
    """
    train = manifest.table[(manifest.table["split"] == "train") & (manifest.pids >= 0)]
    people = sorted(train["pid"].unique().tolist(), key=lambda pid: mix(seed, pid))
    held = train["pid"].isin(people[: len(people) // HELD_OUT])
    query, gallery = train[held].assign(split="query"), train[held].assign(split="gallery")
    gallery["tracklet"] += int(train["tracklet"].max()) + 1
    return Manifest(
        pd.concat([train[~held], query, gallery], ignore_index=True), manifest.root, manifest.name
    )


class Cells:
    """Runs of one configuration, one per training.

    Args:
        arguments: the script's.
        overrides: further options of every run.
    """

    def __init__(self, arguments: argparse.Namespace, overrides: list[str]) -> None:
        self.runs, self.seeded = arguments.runs.resolve(), arguments.seeded
        self.experiment = arguments.experiment or f"{arguments.config.stem}_tuned"
        self.common = ["--config", str(arguments.config.resolve()), "--runs", str(self.runs)]
        self.common += ["--experiment", self.experiment, *overrides]
        self.deadline = time.monotonic() + 60 * arguments.minutes
        first = self.call("clip", "clip", arguments.seeds[0])
        self.clip = ["--clip.checkpoint", str(first / "clip" / FINAL), "--clip.captioned", "null"]

    def call(self, command: str, name: str, seed: int, *options: str) -> Path:
        """Run `vsla-clip`, unless it is past the time for beginning.

        Args:
            command: run or a stage.
            name: of the run.
            seed: of weights and batches, and of what `--seeded` names.
            options: further ones.

        Returns:
            The run's folder.
        """
        folder = self.runs / self.experiment / name
        if command == "run" and (folder / "evaluate" / "stage.json").exists():
            return folder
        if time.monotonic() > self.deadline:
            sys.exit("time is up: the same command goes on")
        words = [command, *self.common, "--name", name, "--seed", str(seed), f"--{self.seeded}", str(seed)]
        if main([*words, *options]) != 0:
            sys.exit(f"{name} failed")
        return folder

    def score(self, name: str, seed: int, *options: str) -> dict[str, Any]:
        """Measures and parameters of a run.

        Args:
            name, seed, options: as for `call`.
        """
        stages = read_stages(self.call("run", name, seed, *self.clip, *options))
        found = stages["evaluate"]["summary"]["all"]
        counts = stages.get("stage2", {}).get("summary", {"trainable": 0})
        return {measure: found[measure] for measure in MEASURES} | {"trainable": counts["trainable"]}

    def held_out(self, seed: int) -> list[str]:
        """Options of the data in which a seed's training people are divided again.

        Args:
            seed: of the division.
        """
        prepared = self.call("prepare", f"seed{seed}.prepare", seed, *self.clip) / "prepare"
        file = self.runs / self.experiment / f"seed{seed}.held_out.parquet"
        if not file.exists():
            hold_out(Manifest.load(prepared / "data.video.parquet"), seed).save(file)
        kept = protocol(parse_config(APP, ["run", *self.common]))
        return [
            *("--data.video.name", str(file), "--data.video.options", "{}", "--data.video.platforms", "{}"),
            *("--data.synthetic", "null", "--data.root", str(Manifest.load(file).root)),
            *("--evaluate.protocol", kept),
        ]


def rate_option(method: str) -> str:
    """The option of a method's learning rate."""
    return FULL if METHODS[method].tune == "all" else ADAPTERS


def search(cells: Cells, method: str, seed: int, rates: list[float]) -> dict[str, float]:
    """mAP of the held-out people at each rate.

    Args:
        cells: the runs.
        method: of METHODS.
        seed: whose training people.
        rates: to try.
    """
    data = cells.held_out(seed)
    return {
        f"{rate:g}": cells.score(
            f"seed{seed}.held_out.{method}.{rate:g}",
            seed,
            *data,
            *("--method", method, f"--{rate_option(method)}", f"{rate:g}"),
        )["mAP"]
        for rate in rates
    }


def summarise(rows: dict[str, dict[str, dict[str, Any]]], methods: list[str]) -> dict[str, dict[str, Any]]:
    """Mean and standard deviation over seeds, per cent, of each method."""
    table: dict[str, dict[str, Any]] = {}
    for method in methods:
        values = {measure: [100 * rows[seed][method][measure] for seed in rows] for measure in MEASURES}
        table[method] = {"trainable": next(iter(rows.values()))[method]["trainable"]}
        for measure, each in values.items():
            spread = stdev(each) if len(each) > 1 else 0.0
            table[method][measure] = {
                "mean": round(mean(each), 1),
                "std": round(spread, 1),
                "seeds": [round(value, 1) for value in each],
            }
    return table


def run_all() -> None:
    """Search, train, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "apps/vsla_clip/configs/pku_reid.yaml")
    parser.add_argument("--methods", nargs="+", default=["ft_clip", "vsla_clip", "lora", "adaptformer"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seeded", default="data.video.options.seed", help="option that gets the seed too")
    parser.add_argument(
        "--search-seed", type=int, help="whose held-out people choose for all seeds; each its own by default"
    )
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 4e-3, 1.6e-2], help="of adapters")
    parser.add_argument("--full-rates", type=float, nargs="+", default=[7.5e-5, 3e-4, 1.2e-3])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmarks")
    parser.add_argument("--experiment", help="folder below runs")
    parser.add_argument("--minutes", type=float, default=1e6, help="after which no training begins")
    parser.add_argument("--output", type=Path, default=RESULTS / "vsla_pku_tuned.json")
    arguments, overrides = parser.parse_known_args()
    cells = Cells(arguments, overrides)
    found: dict[str, dict[str, dict[str, float]]] = {}
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for seed in arguments.seeds:
        rows[str(seed)] = {"frozen": cells.score(f"seed{seed}.frozen", seed, "--method", "frozen")}
        found[str(seed)] = {}
        for method in arguments.methods:
            rates = arguments.full_rates if rate_option(method) == FULL else arguments.rates
            searched = seed if arguments.search_seed is None else arguments.search_seed
            scores = found[str(seed)][method] = search(cells, method, searched, rates)
            best = max(scores, key=scores.__getitem__)
            options = ("--method", method, f"--{rate_option(method)}", best)
            score = cells.score(f"seed{seed}.{method}.{best}", seed, *options)
            rows[str(seed)][method] = {**score, "lr": float(best)}
    table = summarise(rows, ["frozen", *arguments.methods])
    write_record(
        arguments.output,
        "retrieval of test people's tracklets, %, each method at the rate that held-out people chose",
        options=[
            "PATH" if before.endswith(".root") else word
            for before, word in zip(["", *overrides], overrides, strict=False)
        ],
        config=str(arguments.config.resolve().relative_to(ROOT)),
        rates={"adapters": arguments.rates, "full fine-tuning": arguments.full_rates},
        search_seed=arguments.search_seed,
        table=table,
        held_out_mAP=found,
        seeds=rows,
    )
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    run_all()
