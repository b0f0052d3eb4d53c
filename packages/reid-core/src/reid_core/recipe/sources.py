"""Data sources of a recipe, and `prepare`: sources on disk -> validated manifests, the same in every app."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reid_core import data  # lazy: jsonargparse would run an import that is for type checkers alone
from reid_core.options import Options
from reid_core.recipe.rows import PREPARE, images_root, manifest_file, part
from reid_core.recipe.stage import Job, Stage

WORLD_FOLDER = "synthetic"
WRITERS = {"market1501": "write_market1501", "mars": "write_mars", "folder": "write_folder"}
"""Layouts of the synthetic world, and who writes each."""
THREADS = 16
"""That look at files: it is the file system that is waited for."""


@dataclass
class Source:
    """A data set on disk and how it is read."""

    name: str = ""
    """Reader (`reid-data list` prints them), or a manifest file (.parquet, .csv, .tsv)."""
    root: str = ""
    """Folder of the data set as released."""
    options: Options = field(default_factory=dict)
    """The reader's own options, such as train_fraction and seed of pku_reid; `reid-data list` prints them."""
    platforms: dict[int, str] = field(default_factory=dict)
    """Camera id -> ground, aerial, wearable or another name in lower case, where the data set itself doesn't
    say so."""


@dataclass
class Synthetic:
    """A synthetic world, written in the layouts of real data sets and read by their readers."""

    world: Options = field(default_factory=dict)
    """Settings of reid_core.synthetic.World: identities, cameras, seed, height and width (pixels), occlusion,
    clutter, clothing_change, colour_cast, blur, noise, aerial_cameras, box_jitter, switch, tracklet_length
    (frames) and bags."""
    layouts: dict[str, Options] = field(default_factory=dict)
    """Folders to write, by name, with the options of each one's writer. `layout` is market1501, mars or
    folder, by default the name. `identities: n` takes the world's first n people; a folder's may be
    `[first, end]`, and lie beyond the labelled people: passers-by of the same cameras."""


@dataclass(frozen=True)
class Preparation:
    """What `prepare` gets.

    Attributes:
        sources: by name; without their roots, which change no result.
        synthetic: the world to write first.
        needed: splits that a source must have, by its name.
        tracklets: names of the sources whose needed splits must have tracklets.
    """

    sources: Mapping[str, Source]
    synthetic: Synthetic | None
    needed: Mapping[str, Sequence[str]]
    tracklets: Sequence[str]


@dataclass(frozen=True)
class Sources:
    """All data sources of a run.

    Args:
        by_name: dotted name in the configuration, such as "data.image" -> source.
        root: folder of each source that names none of its own.
        synthetic: a world to write; a source without a root that has the name of one of its layouts reads it.
        needed: splits that a source must have, by its name.
        tracklets: names of the sources whose needed splits must have tracklets.
    """

    by_name: Mapping[str, Source]
    root: str = ""
    synthetic: Synthetic | None = None
    needed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tracklets: Sequence[str] = ()

    def check(self) -> None:
        """Refuse what can be seen to be wrong before anything is read.

        Raises:
            ValueError: no name, no root, no such reader or layout.
            FileNotFoundError: a root or manifest file that isn't there.
        """
        from reid_core.data.manifest import PLATFORM, PLATFORM_RULE
        from reid_core.data.readers import find_reader

        if self.synthetic is not None:
            for name, options in self.synthetic.layouts.items():
                layout = options.get("layout", name)
                if layout not in WRITERS:
                    raise ValueError(
                        f"data.synthetic.layouts: no writer for {layout!r}; there are {', '.join(WRITERS)}"
                    )
                if layout != "folder" and not isinstance(options.get("identities", 0), int):
                    raise ValueError(
                        f"data.synthetic.layouts.{name}.identities={options['identities']}: {layout} takes a "
                        "number of people, the first of the world"
                    )
        for name, source in self.by_name.items():
            if not source.name:
                raise ValueError(f"{name}.name is empty: give a reader, such as market1501")
            for platform in source.platforms.values():
                if not re.fullmatch(PLATFORM, platform):
                    raise ValueError(f"{name}.platforms: expected names of {PLATFORM_RULE}, not {platform!r}")
            if self._is_written(source):
                continue
            if is_manifest(source):
                if not Path(source.name).is_file():
                    raise FileNotFoundError(f"{name}.name: there is no file {source.name}")
                continue
            try:
                find_reader(source.name)
            except ValueError as error:
                raise ValueError(f"{name}.name: {error}") from error
            root = source.root or self.root
            if not root:
                raise ValueError(f"{name}.root and data.root are empty: give the folder of {source.name}")
            if not Path(root).is_dir():
                raise FileNotFoundError(
                    f"{name}.root: there is no folder {root}; give the folder of {source.name}"
                )

    def stage(self) -> Stage:
        """The stage that reads them all."""
        here = {name: source for name, source in self.by_name.items() if not self._is_written(source)}
        return Stage(
            PREPARE,
            prepare,
            Preparation(
                {
                    name: Source(self.reader(name), "", source.options, source.platforms)
                    for name, source in self.by_name.items()
                },
                self.synthetic,
                self.needed,
                self.tracklets,
            ),
            files={name: Path(source.name) for name, source in here.items() if is_manifest(source)},
            watched={
                name: Path(source.root or self.root)
                for name, source in here.items()
                if not is_manifest(source)
            },
            shared=True,
        )

    def reader(self, name: str) -> str:
        """Name of the reader that understands a source; "manifest" for a manifest file.

        Args:
            name: of the source.
        """
        source = self.by_name[name]
        if self.synthetic is not None and self._is_written(source):
            return str(self.synthetic.layouts[source.name].get("layout", source.name))
        return "manifest" if is_manifest(source) else source.name

    def roots(self, prepared: Path) -> dict[str, Path]:
        """Folder that each source's paths are relative to, where its images lie now.

        Args:
            prepared: folder of the stage `prepare`.
        """
        roots: dict[str, Path] = {}
        for name, source in self.by_name.items():
            if self._is_written(source):
                roots[name] = prepared / WORLD_FOLDER / source.name
            elif given := source.root or self.root:
                roots[name] = Path(given)
            else:
                roots[name] = images_root(Path(source.name))
        return roots

    def roots_in_files(self) -> dict[str, Path]:
        """Folder of the images of each source whose manifest file alone says it, outside its own folder."""
        files = {
            name: Path(source.name)
            for name, source in self.by_name.items()
            if is_manifest(source) and not (source.root or self.root)
        }
        roots = {name: images_root(file) for name, file in files.items()}
        return {name: root for name, root in roots.items() if root != files[name].parent}

    def _is_written(self, source: Source) -> bool:
        return self.synthetic is not None and not source.root and source.name in self.synthetic.layouts


def list_trials(sources: Mapping[str, Source | None], splits: Mapping[str, int]) -> list[dict[str, Any]]:
    """Settings of each run that a row of a table is the mean over: the divisions of PRID2011 and the like.

    Args:
        sources: dotted name -> source; one whose options name a split is not divided.
        splits: reader -> number of its divisions.

    Returns:
        For each run, dotted name -> setting; one run without any where nothing is divided.

    Example:
        >>> list_trials({"data.video": Source("prid2011")}, {"prid2011": 10})[3]
        {'data.video.options': {'split': 3}}
    """
    divided = {
        f"{name}.options": (source.options, splits[source.name])
        for name, source in sources.items()
        if source is not None and source.name in splits and "split" not in source.options
    }
    return [
        {name: {**options, "split": run % number} for name, (options, number) in divided.items()}
        for run in range(max((number for _, number in divided.values()), default=1))
    ]


def is_manifest(source: Source) -> bool:
    """Whether a source is a manifest file rather than a folder that a reader understands.

    Args:
        source: any.

    Example:
        >>> is_manifest(Source("crops.csv")), is_manifest(Source("market1501"))
        (True, False)
    """
    from reid_core.data.readers import is_manifest_file

    return is_manifest_file(source.name)


def prepare(job: Job) -> dict[str, Any]:
    """Write the synthetic world if one is asked for, read every source, check it and save its manifest.

    Args:
        job: its section is a `Preparation`; its folder gets synthetic/LAYOUT/ and SOURCE.parquet.

    Returns:
        "sources": name -> numbers of images and tracklets, and where they differ from the published ones;
        "parts": part -> digest of its rows and of the sizes of their files.

    Raises:
        FileNotFoundError: a root is missing.
        ValueError: an empty split, a file name that can't be parsed.
    """
    from reid_core.data.counts import differences
    from reid_core.data.digests import rows_digest
    from reid_core.data.readers import read

    section: Preparation = job.section
    if section.synthetic is not None:
        workers = job.runtime.threads or os.cpu_count() or 1
        write_world(section.synthetic, job.folder / WORLD_FOLDER, workers)
    counts: dict[str, Any] = {}
    parts: dict[str, str] = {}
    for name, source in section.sources.items():
        known = str(job.files[name]) if name in job.files else source.name
        manifest = _below(read(known, job.roots[name], **source.options), job.roots[name])
        if source.platforms:
            manifest = name_platforms(name, manifest, source.platforms)
        rows = {split: _rows(name, manifest, split) for split in section.needed.get(name, ())}
        for split in rows if name in section.tracklets else ():
            if not rows[split].tracklets():
                raise ValueError(
                    f"{name}: the {split} split of {manifest.name} has no tracklets; use a source of videos"
                )
        manifest.save(manifest_file(job.folder, name))
        counts[name] = {"images": len(manifest), "tracklets": len(manifest.tracklets())}
        written = job.roots[name].is_relative_to(job.folder)
        if different := None if written else differences(manifest):
            counts[name]["differs"] = different
            print(f"{name}: differs from the published: {'; '.join(different)}", file=sys.stderr)
        whole = parts[part(name)] = rows_digest(manifest)
        splits = manifest.table["split"].unique()
        for split in splits:  # of millions of unlabeled rows, no file is asked for its size twice
            parts[part(name, split)] = whole if len(splits) == 1 else rows_digest(manifest.select(split))
    return {"sources": counts, "parts": parts}


def _below(manifest: data.Manifest, root: Path) -> data.Manifest:
    """The rows with paths from the folder that the user named, where a reader found its own below that."""
    root = root.absolute()  # as a manifest's is
    if manifest.root == root or not manifest.root.is_relative_to(root):
        return manifest
    between = manifest.root.relative_to(root).as_posix()
    return data.Manifest(
        manifest.table.assign(path=f"{between}/" + manifest.table["path"]), root, manifest.name
    )


def write_world(synthetic: Synthetic, folder: Path, workers: int) -> None:
    """Write each layout of a synthetic world that isn't there yet.

    Args:
        synthetic: layouts and dials.
        folder: gets a folder per name.
        workers: processes.
    """
    from reid_core import synthetic as worlds

    world = worlds.World(**synthetic.world)
    for name, given in synthetic.layouts.items():
        options, people = dict(given), world
        writer = WRITERS[options.pop("layout", name)]
        identities = options.pop("identities", None)
        if isinstance(identities, int):
            people = replace(world, identities=identities)
        elif identities is not None:
            first, end = identities
            options["identities"] = range(first, end)
            people = replace(world, identities=max(world.identities, end))
        if not (folder / name).exists():  # a layout appears only when it is whole
            getattr(worlds, writer)(people, folder / name, workers=workers, **options)


def name_platforms(source: str, manifest: data.Manifest, platforms: Mapping[int, str]) -> data.Manifest:
    """Rows with the platform of each one's camera.

    Args:
        source: its name, for the error.
        manifest: the rows.
        platforms: camera id -> platform.

    Raises:
        ValueError: a camera that is not named.
    """
    names = manifest.table["camid"].map(dict(platforms))
    if names.isna().any():
        raise ValueError(f"{source}.platforms names none of camera {manifest.camids[names.isna()][0]}")
    return data.Manifest(manifest.table.assign(platform=names), manifest.root, manifest.name)


def scan(folder: Path, apart: Path | None = None) -> str:
    """Digest of the relative names, sizes and times of all files below a folder; hidden ones are passed over.

    Args:
        folder: to look at; links are followed.
        apart: folder below it that is left out, such as that of all runs.

    Returns:
        64 hexadecimal digits.
    """
    hidden = None if apart is None else os.path.realpath(apart)
    with ThreadPoolExecutor(THREADS) as pool:
        return _scan(str(folder), hidden, (), pool)


def _scan(folder: str, hidden: str | None, above: tuple[str, ...], pool: ThreadPoolExecutor | None) -> str:
    here = os.path.realpath(folder)
    if here in above or here == hidden:
        return ""
    lines, folders = [], []
    with os.scandir(folder) as found:
        for item in found:
            if item.name.startswith("."):
                continue
            if item.is_dir():
                folders.append(item.name)
            else:
                lines.append(f"{item.name}\0{_size_and_time(item)}")
    folders.sort()
    below = [(f"{folder}/{name}", hidden, (*above, here), None) for name in folders]
    digests = pool.map(lambda each: _scan(*each), below) if pool else [_scan(*each) for each in below]
    lines += [f"{name}/\0{found}" for name, found in zip(folders, digests, strict=True)]
    return hashlib.sha256("\n".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest()


def _size_and_time(item: os.DirEntry[str]) -> str:
    try:
        about = item.stat()
    except FileNotFoundError:  # a link that leads nowhere
        return "-"
    return f"{about.st_size}\0{about.st_mtime_ns}"


def _rows(name: str, manifest: data.Manifest, split: str) -> data.Manifest:
    try:
        return manifest.select(split)
    except ValueError as error:
        raise ValueError(f"{name}: the {split} split is empty under {manifest.root} ({error})") from error
