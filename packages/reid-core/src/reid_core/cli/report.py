"""What `reid-data` reads and prints about a data set; imported by its commands when they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reid_core.data.counts import ALL, count, differences
from reid_core.data.manifest import Manifest
from reid_core.data.readers import is_manifest_file, read
from reid_core.data.readiness import Gaps

if TYPE_CHECKING:
    from reid_core.data.checks import Findings  # which needs torch, and counting does not


def read_source(source: str, root: str | None, options: dict[str, Any] | None) -> Manifest:
    """Read what --source, --root and --options name.

    Raises:
        ValueError: a data set without its folder, and as `read`.
    """
    if root is None and not is_manifest_file(source):
        raise ValueError(f"{source}: give the data set's folder with --root")
    return read(source, root, **(options or {}))


def print_counts(manifest: Manifest) -> None:
    """Print counts of all images and of each split."""
    for part, counts in count(manifest).items():
        name = manifest.name if part == ALL else f"  {part}"
        print(f"{name}: {', '.join(f'{number} {what}' for what, number in counts.items())}")


def print_gaps(gaps: Gaps) -> None:
    """Print what is missing for training and for evaluation."""
    for purpose, lines in gaps._asdict().items():
        print("\n".join(f"{purpose}: {line}" for line in lines) or f"{purpose}: nothing is missing")


def print_differences(manifest: Manifest) -> None:
    """Print where the counts differ from the published ones, if there are any."""
    different = differences(manifest)
    if different:
        print(f"differs from the published: {'; '.join(different)}")
    elif different is not None:
        print("as published")


def describe(findings: Findings) -> list[tuple[str, str, list[str]]]:
    """Kind, what it means, and one line per finding."""
    return [
        ("unreadable", "unreadable images", [f"{path}: {why}" for path, why in findings.unreadable.items()]),
        (
            "unreachable",
            "images that the storage did not give",
            [f"{path}: {why}" for path, why in findings.unreachable.items()],
        ),
        ("duplicates", "groups of images with the same bytes", [" = ".join(g) for g in findings.duplicates]),
        ("one_camera", "identities of one camera", [f"pid {pid}" for pid in findings.one_camera]),
        ("missing", "query identities missing from the gallery", [f"pid {pid}" for pid in findings.missing]),
    ]
