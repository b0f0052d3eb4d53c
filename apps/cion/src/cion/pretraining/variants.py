"""What a run compares: how the backbone began that is fine-tuned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cion.config import BACKBONE

LEVELS = ("tracklet", "video", "cross_video")
"""Of denoising (CION 3.2)."""
NONE, DINO, RAW, IDENTITIES, WEIGHTS = "none", "dino", "raw", "identities", "weights"
ON_TRACKLETS = (RAW, *LEVELS)
PRETRAINED = (DINO, IDENTITIES, *ON_TRACKLETS)


@dataclass(frozen=True)
class Variant:
    """One entry of `variants`.

    Attributes:
        name: of its stages, folders and results.
        kind: none, weights, or what pre-training takes for a person.
        weights: checkpoint of the backbone, of the kind "weights".
    """

    name: str
    kind: str
    weights: Path | None = None


def parse_variants(entries: Sequence[str], backbone: str) -> list[Variant]:
    """The entries of `variants`, each checked by itself.

    Args:
        entries: none, dino, raw, identities, tracklet, video, cross_video, or "weights: PATH", in which
            {backbone} stands for the backbone's name.
        backbone: its name.

    Returns:
        The variants. A checkpoint's name is its file's, with as many of the folders above it as tell it from
        the others.

    Raises:
        ValueError: none at all, one twice, or an unknown one.

    Example:
        >>> [one.name for one in parse_variants(["dino", "weights: lup/{backbone}.pth"], "resnet50")]
        ['dino', 'resnet50']
        >>> two = parse_variants(["weights: a/model/w.pth", "weights: b/model/w.pth"], "resnet50")
        >>> [one.name for one in two]
        ['a-model-w', 'b-model-w']
    """
    kinds = (NONE, *PRETRAINED)
    paths = {}
    for entry in entries:
        kind, separator, path = (text.strip() for text in entry.partition(":"))
        if kind == WEIGHTS and path:
            paths[entry] = Path(path.replace(BACKBONE, backbone))
        elif separator or kind not in kinds:
            raise ValueError(f'variants: got {entry!r}; expected {", ".join(kinds)} or "weights: PATH"')
    if not entries or len(set(entries)) < len(entries) or len(set(paths.values())) < len(paths):
        raise ValueError(f"variants={list(entries)}: expected one or more, each once")
    reserved = set(entries) - set(paths)
    names = _short_names(list(paths.values()), reserved)
    return [
        Variant(names[paths[entry]], WEIGHTS, paths[entry]) if entry in paths else Variant(entry, entry)
        for entry in entries
    ]


def _short_names(paths: Sequence[Path], reserved: set[str]) -> dict[Path, str]:
    """Each path's last parts, as many as tell all paths apart, joined by hyphens."""
    parts = {path: [part for part in path.with_suffix("").parts if part.strip("./")] for path in paths}
    for number in range(1, max(map(len, parts.values()), default=0) + 1):
        names = {path: "-".join(own[-number:]) for path, own in parts.items()}
        if len({*names.values(), *reserved}) == len(paths) + len(reserved):
            return names
    if paths:
        raise ValueError(f"variants: {', '.join(map(str, paths))} have the same names; rename a file")
    return {}
