"""A stage of a recipe: named work with exactly what its result depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid_core.files import digest, file_digest
from reid_core.recipe.rows import PREPARE, load_rows, load_tracked, part

if TYPE_CHECKING:
    from reid_core.data.manifest import Manifest
    from reid_core.tracking.tracker import Tracker

Parts = Sequence[str] | None
"""Names of the parts of a stage's output that another one reads; None for all of it."""


@dataclass(frozen=True)
class Stage:
    """One step of a recipe, from files to a folder of files.

    Its digest is over the section of the configuration that it is given, the digests of what it reads, and
    `version`: whatever the work gets, and nothing else. Where and how fast it runs (`Runtime`), where data
    lie and which release of a package does the work are not in it.

    Args:
        name: such as "pretrain" or "finetune/scratch".
        work: does it; returns a summary of JSON's types. What it finds in its folder is its own, of an
            attempt that was interrupted.
        section: what of the configuration it gets; whatever `reid_core.files.plain` takes. The seed is in it
            where it is used.
        reads: earlier stages, each with the parts of its output that are read (None for all).
        files: files of the user's that are read, by name; their content enters the digest.
        watched: folders of the user's that are read, by name; relative names, sizes and times of their files
            enter the digest.
        version: raised by whoever changes what the work computes.
        collective: every process enters the work (distributed training), not rank 0 alone.
        shared: the same work in every app, so that apps share its output; else it is the app's own.
        report: whether it leaves a report.html: a run that finds finished output without one, of an earlier
            version, says what makes it.

    Example:
        >>> stage = Stage("count", lambda job: {"total": sum(range(job.section["to"]))}, {"to": 3})
        >>> stage.key({}) == Stage("count", stage.work, {"to": 4}).key({})
        False
    """

    name: str
    work: Callable[[Job], Mapping[str, Any]]
    section: Any
    reads: Mapping[str, Parts] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    watched: Mapping[str, Path] = field(default_factory=dict)
    version: int = 1
    collective: bool = False
    shared: bool = False
    report: bool = False

    def key(self, inputs: Mapping[str, str]) -> str:
        """The stage's digest.

        Args:
            inputs: digests of the parts that it reads, and of the folders that it watches.

        Returns:
            64 hexadecimal digits.
        """
        files = {name: file_digest(path) for name, path in self.files.items()}
        content = {"section": self.section, "inputs": inputs, "files": files, "version": self.version}
        return digest({"stage": self.name, **content})


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a stage's work gets.

    Attributes:
        section: the stage's section of the configuration.
        inputs: folder of each stage that it reads, by name.
        files: the stage's files, by name.
        folder: its own, which it writes to.
        digest: its digest, for checkpoints and weights.
        runtime: what it runs on; must not change the result.
        logger: its nested run.
        roots: folder of each data source, by name.
        parts: those of each stage's output that it may read.
        watched: the stage's watched folders, by name.
    """

    section: Any
    inputs: Mapping[str, Path]
    files: Mapping[str, Path]
    folder: Path
    digest: str
    runtime: Any
    logger: Tracker
    roots: Mapping[str, Path]
    parts: Mapping[str, Parts]
    watched: Mapping[str, Path] = field(default_factory=dict)

    def manifest(self, source: str, *splits: str) -> Manifest:
        """Rows of a data source, at the place where the data lie now.

        Args:
            source: its name, such as "data.image", which the stage `prepare` has read; of raw video, the name
                of the stage that has tracked it.
            splits: those wanted; none for all rows.

        Returns:
            The rows.

        Raises:
            ValueError: a split that the stage has not said it reads.
        """
        if source in self.inputs:
            return load_tracked(self.inputs[source])
        declared = self.parts[PREPARE]
        undeclared = [
            name
            for name in map(lambda split: part(source, split), splits or ("*",))
            if declared is not None and name not in declared and part(source, "*") not in declared
        ]
        if undeclared:
            raise ValueError(f"the stage reads {undeclared[0]} without saying so: add it to its `reads`")
        return load_rows(self.inputs[PREPARE], source, self.roots[source], splits)

    def title(self, source: str) -> str:
        """What a data source is called in a model card: its data set's name, and whether it is synthetic.

        Args:
            source: its name, such as "data.image"; one that `prepare` does not read is raw video.
        """
        if source not in self.roots:
            return "raw video"
        name = load_rows(self.inputs[PREPARE], source, self.roots[source]).name
        written = self.roots[source].is_relative_to(self.inputs[PREPARE])
        return f"synthetic world in the layout of {name}" if written else name
