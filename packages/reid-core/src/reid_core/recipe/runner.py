"""Runs a recipe: each stage whose output is not there yet, in a run of its own, under locks."""

from __future__ import annotations

import importlib.metadata
import shlex
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from reid_core.files import plain, write_atomically
from reid_core.processes import check_device, check_processes, process_rank, share
from reid_core.recipe import store
from reid_core.recipe.config import RecipeConfig, check_names, public, tracking_uri
from reid_core.recipe.lease import hold
from reid_core.recipe.record import (
    NOTE,
    REPORT_FILE,
    describe_run,
    effective_settings,
    record_datasets,
    record_models,
    record_pages,
    record_results,
)
from reid_core.recipe.results import flatten_counts, incomplete_results
from reid_core.recipe.rows import PREPARE, load_rows
from reid_core.recipe.sources import Sources, scan
from reid_core.recipe.stage import Job, Stage
from reid_core.tracking.events import redact
from reid_core.tracking.tracker import Tracker

CONFIG_FILE = "config.yaml"

Summaries = dict[str, dict[str, Any]]


def _nothing(*_: Any) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What an app declares: its stages, what they read, and what can be checked before them.

    Args:
        name: the app's, which its stages' folders are named after.
        module: that torchrun starts with `-m`.
        sources: configuration -> data sources.
        stages: configuration -> stages in order, `prepare` first; those that the target reads are run.
        check: configuration -> nothing; raises ValueError or OSError for what is wrong on the face of it.
        check_data: configuration, function from (source, splits) to its rows -> nothing; the same for what
            needs the data, right after `prepare`.
        results: summaries of the stages that were run -> metrics of the whole run, by name, as
            `flatten_results` names them; logged to its parent run, whole numbers (counts) as parameters.
        main: configuration -> the model, among several, whose metrics tables show and which is registered,
            DATASET/MODEL where results have the data set's name in front; "" where there is but one.
        publish: configuration, function from a stage's name to its folder, summaries -> nothing; called when
            the last stage is done, to print tables.
        trials: configuration -> settings of each run that a table's row is the mean over, such as a data
            set's ten divisions of its people; one run by default.
    """

    name: str
    module: str
    sources: Callable[[Any], Sources]
    stages: Callable[[Any], list[Stage]]
    check: Callable[[Any], None] = _nothing
    check_data: Callable[[Any, Callable[..., Any]], None] = _nothing
    results: Callable[[Summaries], dict[str, float]] = lambda _: {}
    main: Callable[[Any], str] = lambda _: ""
    publish: Callable[[Any, Callable[[str], Path], Summaries, Tracker], None] = _nothing
    trials: Callable[[Any], Sequence[Mapping[str, Any]]] = lambda _: ({},)


def run(
    recipe: Recipe,
    config: RecipeConfig,
    until: str | None = None,
    force: Collection[str] = (),
    paper: Mapping[str, float] | None = None,
) -> Summaries:
    """Run a recipe's stages up to one of them; finished output is used, an interrupted stage resumes.

    Args:
        recipe: what to run.
        config: its configuration.
        until: name of the last stage, or of a group such as "finetune" of "finetune/scratch"; None for all.
        force: names of stages, or groups, to do again; their earlier output is set aside, not removed.
        paper: the paper's results by name, for the run's description.

    Returns:
        The summaries of the stages that the target needs, by name.

    Raises:
        ValueError: a setting that can't work.
        OSError: a root or file that isn't there.
        Busy: the same run is being written by another process.
    """
    stages = share_checks(recipe, config)
    order = needed_stages(stages, until)
    unknown = [name for name in force if not any(_is(stage, name) for stage in stages)]
    if unknown:
        raise ValueError(
            f"--force {unknown[0]}: no such stage; there are {', '.join(s.name for s in stages)}"
        )
    if config.runtime.threads is not None:
        import torch

        torch.set_num_threads(config.runtime.threads)
    with (
        _hold_run(config),
        Tracker.start(
            config.experiment,
            config.name,
            config.folder,
            tracking_uri(config),
            tags={
                "mlflow.source.name": redact(shlex.join([recipe.name, *sys.argv[1:]])),
                "mlflow.source.type": "LOCAL",
            },
            program=recipe.name,
        ) as tracker,
    ):
        share(lambda: _write_config(config, tracker))
        tracker.params(effective_settings(config, order))
        session = _Session(recipe, config, tracker, set(force))
        for stage in order:
            session.execute(stage)
            if stage.name == PREPARE:
                session.check_data()
                prepared = session.folders[PREPARE]
                record_datasets(tracker, session.sources, prepared, session.summaries[PREPARE], order)
        results = recipe.results(session.summaries)
        counts = {name: number for name, number in results.items() if isinstance(number, int)}
        tracker.metrics({name: number for name, number in results.items() if name not in counts})
        tracker.params(counts | flatten_counts(session.summaries))
        about = describe_run(results, paper or {}, session.done, session.folders, config.folder)
        tracker.tags({NOTE: about})
        record_results(tracker, config, session.summaries, results)
        record_models(tracker, session.folders, config.register, recipe.main(config))
        share(lambda: record_pages(tracker, session.folders, config.folder))
        session.report_incomplete()
        if until is None or order[-1] is stages[-1]:
            share(lambda: recipe.publish(config, session.folders.__getitem__, session.summaries, tracker))
    return session.summaries


def share_checks(recipe: Recipe, config: RecipeConfig) -> list[Stage]:
    """Check all that can be checked at once, and list the stages; every process does it.

    Args:
        recipe: what is to be run.
        config: its configuration.
    """
    check_names(config)
    check_processes(config.runtime, recipe.module)
    check_device(config.runtime)
    recipe.sources(config).check()
    recipe.check(config)
    return recipe.stages(config)


def needed_stages(stages: Sequence[Stage], until: str | None = None) -> list[Stage]:
    """The stages that one of them needs, itself last, in the recipe's order.

    Args:
        stages: all, each behind those that it reads.
        until: name of a stage or group; None for the last stage.

    Raises:
        ValueError: no such stage, or one that reads a later one.

    Example:
        >>> none = lambda job: {}
        >>> stages = [Stage("a", none, 0), Stage("b", none, 0), Stage("c", none, 0, {"a": None})]
        >>> [stage.name for stage in needed_stages(stages, "c")]
        ['a', 'c']
    """
    until = until or stages[-1].name
    wanted = {stage.name for stage in stages if _is(stage, until)}
    if not wanted:
        raise ValueError(f"no stage {until!r}; there are {', '.join(stage.name for stage in stages)}")
    chosen: list[Stage] = []
    for stage in reversed(stages):
        if stage.name in wanted:
            wanted |= set(stage.reads)
            chosen.insert(0, stage)
    missing = wanted - {stage.name for stage in chosen}
    if missing:
        raise ValueError(f"stage {sorted(missing)[0]!r} is read before it is made")
    return chosen


class _Session:
    """One run of a recipe, and what passes between its stages: folders, digests and summaries."""

    def __init__(self, recipe: Recipe, config: RecipeConfig, tracker: Tracker, force: set[str]) -> None:
        self.recipe, self.config, self.tracker, self.force = recipe, config, tracker, force
        self.sources, self.runs = recipe.sources(config), Path(config.runs)
        self.folders: dict[str, Path] = {}
        self.keys: dict[str, str] = {}
        self.summaries: Summaries = {}
        self.done: dict[str, str] = {}  # stages done by this run, with the keys of their nested runs
        self.console = Console(stderr=True, quiet=process_rank() > 0, highlight=False)

    def execute(self, stage: Stage) -> None:
        """Have a stage done, or find that it is, and link it into the run folder."""
        with ExitStack() as held:
            state = share(lambda: self._begin(stage, held))
            folder = Path(state["folder"])
            self.folders[stage.name], self.keys[stage.name] = folder, state["key"]
            if state["summary"] is None:
                state["summary"] = self._work(stage, folder, state)
            else:
                self.console.print(f"[dim]{stage.name}: done, reused[/dim] ({folder})", soft_wrap=True)
                if stage.report and not (folder / REPORT_FILE).exists():
                    self.console.print(
                        f"{stage.name}: an earlier version has left no {REPORT_FILE}: the same command with "
                        f"--force {stage.name} makes one",
                        soft_wrap=True,
                    )
            self.summaries[stage.name] = state["summary"]

    def check_data(self) -> None:
        """What can be checked only now that the data have been read."""
        prepared = self.folders[PREPARE]
        roots = self.sources.roots(prepared)
        for source, root in self.sources.roots_in_files().items():
            file = self.sources.by_name[source].name
            self.console.print(f"[dim]{source}: images in {root}, as {file} says[/dim]", soft_wrap=True)
        self.recipe.check_data(
            self.config, lambda source, *splits: load_rows(prepared, source, roots[source], splits)
        )

    def report_incomplete(self) -> None:
        """Say, and note in the run, where more was unreadable than is allowed; the results stand."""
        lines = list(incomplete_results(self.summaries, self.config.allow_unreadable))
        for line in lines:
            self.console.print(
                f"incomplete: {line}; *.unreadable.txt below {self.config.folder} names the files: "
                "mend them, or allow more by --allow_unreadable SHARE",
                soft_wrap=True,
            )
        self.tracker.tags({"incomplete": "; ".join(lines)} if lines else {})

    def _begin(self, stage: Stage, held: ExitStack) -> dict[str, Any]:
        """Rank 0: lock and open the stage's folder unless its output is there already."""
        key = stage.key(self._inputs(stage))
        label = stage.name if stage.shared else f"{self.recipe.name}-{stage.name}"
        folder = store.stage_folder(self.runs, label, key)
        again = any(_is(stage, name) for name in self.force)
        state = {"folder": str(folder), "key": key, "resumed": False, "summary": None}
        done = None if again else store.record(folder)
        if done is None:
            held.enter_context(hold(folder, f"stage {folder.name}", wait=True))
            done = None if again else store.record(folder)  # whoever was waited for may have done it
        if done is None:
            state["resumed"] = store.begin(folder, key, again)
        elif done["digest"] != key:
            raise store.StageError(f"{folder} holds the output of another digest ({done['digest']})")
        else:
            state["summary"] = done["summary"]
        store.link(self.config.folder, stage.name, folder)
        self.tracker.tags({f"stage.{stage.name}": folder.name})
        return state

    def _work(self, stage: Stage, folder: Path, state: dict[str, Any]) -> dict[str, Any]:
        self.console.print(f"[bold]{stage.name}[/bold]{' (resumed)' if state['resumed'] else ''}")
        started = time.monotonic()
        with self.tracker.child(stage.name, fresh=not state["resumed"]) as nested:
            settings = plain(stage.section)
            nested.params(settings if isinstance(settings, dict) else {})
            nested.tags({"digest": state["key"]})
            job = Job(
                section=stage.section,
                inputs={name: self.folders[name] for name in stage.reads},
                files=stage.files,
                folder=folder,
                digest=state["key"],
                runtime=self.config.runtime,
                logger=nested,
                # a stage that reads no data can be run without them
                roots=self.sources.roots(self.folders[PREPARE]) if PREPARE in self.folders else {},
                parts=stage.reads,
                watched=stage.watched,
            )
            self.tracker.wait_until_imported()
            self.done[stage.name] = nested.key
            with nested.monitor():
                summary = dict(stage.work(job)) if stage.collective or process_rank() == 0 else {}
            about: dict[str, Any] = {
                "stage": stage.name,
                "digest": state["key"],
                "section": stage.section,
                "inputs": {name: self.keys[name] for name in stage.reads},
                "version": stage.version,
                "log": {"run": f"{self.config.experiment}/{self.config.name}", "key": nested.key},
                "packages": packages(),
                "seconds": round(time.monotonic() - started, 3),
                "summary": summary,
            }
            done: dict[str, Any] = share(lambda: store.finish(folder, about))
        return done

    def _inputs(self, stage: Stage) -> dict[str, str]:
        """Digests of what a stage reads: of a stage or of the parts of it, and of the folders it watches."""
        inputs = {name: scan(path, self.runs) for name, path in stage.watched.items()}
        for name, parts in stage.reads.items():
            if parts is None:
                inputs[name] = self.keys[name]
                continue
            there = self.summaries[name]["parts"]
            inputs |= {f"{name}:{part}": there.get(part, "") for part in parts}
        return inputs


def packages() -> dict[str, str]:
    """Versions of the packages that make a result, listed beside it; no digest has them."""
    names = ("reid-core", "reid-eval", "reid-lse", "reid-denoise", "reid-adapters", "reid-pretrain", "torch")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@contextmanager
def _hold_run(config: RecipeConfig) -> Iterator[None]:
    """The run folder's lock, held by rank 0."""
    with ExitStack() as held:
        share(
            lambda: held.enter_context(
                hold(config.folder, f"run {config.experiment}/{config.name}", wait=False)
            )
        )
        yield


def _write_config(config: RecipeConfig, tracker: Tracker) -> None:
    text = yaml.safe_dump(public(config), sort_keys=False)
    write_atomically(config.folder / CONFIG_FILE, text)
    tracker.artifact(config.folder / CONFIG_FILE)


def _is(stage: Stage, name: str) -> bool:
    return stage.name == name or stage.name.startswith(f"{name}/")
