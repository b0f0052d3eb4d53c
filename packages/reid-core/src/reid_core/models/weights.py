"""Load published checkpoints into backbones: other key names, other image sizes, and an account of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from reid_core.models.backbones import Encoder
from reid_core.models.backbones.layouts import State, find_entry, to_library_names, unwrap
from reid_core.models.checkpoint_files import read_checkpoint_file
from reid_core.models.positions import Grid, Interpolation, fit_positions

MINIMUM = 1.0
"""Share of a backbone's tensors that a checkpoint must fill, and of its own backbone's that must be used."""
HEADS = frozenset({"head", "head_dist", "fc", "classifier", "last_linear", "bottleneck", "projector"})
"""What classifiers and projections are called, which a backbone goes without."""
POSITIONS = frozenset({"pos_embed", "absolute_pos_embed", "positional_embedding"})
NAMED = 5
"""Tensors that a message names before it counts the rest."""


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint filled, counted on both sides.

    Attributes:
        path: the checkpoint.
        entry: which of its entries was taken, such as "state_dict_ema"; "" for the file itself.
        filled, tensors: the backbone's tensors that were filled, of how many.
        used, held: the entry's tensors that were used, of how many.
        share: of the backbone's parameters and running statistics that were filled, 0..1: of the tensors or
            of their elements, whichever is less (a few large tensors must not hide many small ones).
        missing: the backbone's tensors that the checkpoint lacks.
        surplus: tensors of the checkpoint's backbone that this one lacks, such as further blocks.
        unused: the checkpoint's other tensors, such as heads.
        resized: tensors that were interpolated to the backbone's image size.
        grid: rows and columns that the checkpoint's positions were taken for; None where it has none.
    """

    path: Path
    entry: str
    filled: int
    tensors: int
    used: int
    held: int
    share: float
    missing: tuple[str, ...]
    surplus: tuple[str, ...]
    unused: tuple[str, ...]
    resized: tuple[str, ...]
    grid: Grid | None = None

    def __str__(self) -> str:
        parts = [
            f"{self.path}{f' ({self.entry})' if self.entry else ''}: {self.filled} of the backbone's "
            f"{self.tensors} tensors filled ({self.share:.1%}) by {self.used} of the file's {self.held}"
        ]
        for kind in ("missing", "surplus", "unused", "resized"):
            if names := getattr(self, kind):
                parts.append(f"{len(names)} {kind} ({_list_some(names)})")
        if self.grid:
            parts.append(f"positions taken for {self.grid[0]}x{self.grid[1]} patches")
        return "; ".join(parts)


def load_weights(
    encoder: Encoder,
    path: str | Path,
    minimum: float = MINIMUM,
    *,
    entry: str | None = None,
    grid: Grid | None = None,
    interpolation: Interpolation = "timm",
) -> LoadReport:
    """Fill a backbone from a checkpoint of timm, ReIDZoo, TransReID(-SSL), PASS, LUP, SOLIDER or CLIP-ReID.

    The layout is recognised by its key names (`backbones.layouts`). Position embeddings and relative position
    tables are interpolated to the backbone's image size. Nothing is loaded unless all of it fits.

    Args:
        encoder: as `build_backbone` returns it; changed in place.
        path: a safetensors file, or one that `torch.load(weights_only=True)` reads.
        minimum: share of the backbone's tensors that must be filled, and of the tensors of the checkpoint's
            own backbone (heads don't count) that must be used; less than 1 to take over a part.
        entry: which of the file's entries to take, such as "state_dict" or "state_dict_ema"; None for the
            teacher or the averaged weights where the file has them.
        grid: rows and columns of the checkpoint's patches; None to tell them by their number: the backbone's
            where it is the same, a square where it is one, else what is nearest in shape to the backbone's.
        interpolation: of position embeddings: "timm" (bicubic, antialiased) or "dino" (bicubic alone).

    Returns:
        What was filled, what was not.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint or holds more than tensors and plain values, or has no
            such entry. Also where a tensor has another shape than the backbone's or isn't finite; its
            positions are of other tokens or of another grid; or less than `minimum` fits.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from reid_core.models.backbones import build_backbone
        >>> encoder = build_backbone("vit_nano_patch8", (64, 32), depth=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "dino.pth")
        ...     torch.save(
        ...         {"teacher": {f"backbone.{k}": v for k, v in encoder.vit.state_dict().items()}}, file
        ...     )
        ...     report = load_weights(build_backbone("vit_nano_patch8", (128, 64), depth=1), file)
        >>> report.entry, report.share, report.resized, report.grid
        ('teacher', 1.0, ('pos_embed',), (8, 4))
    """
    path = Path(path)
    trunk = encoder.trunk
    content = read_checkpoint_file(path)
    try:
        entry, state = find_entry(content, entry)
        if not state:
            raise ValueError("it holds no tensors: give a state_dict or a checkpoint that has one")
        fitted, report = _fit(trunk, path, entry, state, grid, interpolation)
    except ValueError as error:
        raise ValueError(f"{path}{f' ({entry})' if entry else ''}: {error}") from error
    parts = len(report.surplus) + report.used
    if min(report.share, report.used / parts if parts else 0) < minimum:
        raise ValueError(
            f"{report}. Expected at least {minimum:.0%} of either backbone: build the one that the "
            "checkpoint was made with (its name and options), or give a lower minimum to take over a part"
        )
    trunk.load_state_dict(fitted, strict=False)
    return report


def _fit(
    trunk: nn.Module,
    path: Path,
    entry: str,
    state: State,
    grid: Grid | None,
    interpolation: Interpolation,
) -> tuple[State, LoadReport]:
    """The checkpoint's tensors as the backbone takes them, and what becomes of both sides'."""
    ours = {name: value for name, value in trunk.state_dict().items() if not _is_counter(name)}
    network = {name: value for name, value in unwrap(state).items() if not _is_counter(name)}
    theirs = to_library_names(network, trunk)
    fitted: State = {}
    resized, misfits, bad = [], [], []
    taken: Grid | None = None
    for name in sorted(ours.keys() & theirs.keys()):
        want, have = ours[name], theirs[name]
        if not bool(have.isfinite().all()):
            bad.append(name)
            continue
        positions = fit_positions(name, have, want, trunk, theirs, grid, interpolation)
        taken = positions.grid or taken
        if positions.value.shape != want.shape:
            misfits.append(f"{name} {tuple(have.shape)} instead of {tuple(want.shape)}")
            continue
        if positions.resized:
            resized.append(name)
        fitted[name] = positions.value.to(want.dtype)
    if bad:
        raise ValueError(f"{len(bad)} tensors hold NaN or infinity ({_list_some(bad)}): train it anew")
    if misfits:
        raise ValueError(
            f"tensors of another shape than this backbone's ({_list_some(misfits)}): "
            "build the backbone that the checkpoint was made with"
        )
    left = [name for name in theirs if name not in ours]
    surplus = tuple(name for name in left if _is_of_backbone(name, trunk))
    elements = sum(ours[name].numel() for name in fitted) / sum(value.numel() for value in ours.values())
    return fitted, LoadReport(
        path=path,
        entry=entry,
        filled=len(fitted),
        tensors=len(ours),
        used=len(network) - len(left),
        held=sum(not _is_counter(name) for name in state),
        share=min(len(fitted) / len(ours), elements),
        missing=tuple(name for name in ours if name not in theirs),
        surplus=surplus,
        unused=tuple(name for name in left if name not in surplus),
        resized=tuple(resized),
        grid=taken,
    )


def _is_of_backbone(name: str, trunk: nn.Module) -> bool:
    """Whether a tensor that the backbone lacks is of its structure: leaving it out changes features."""
    first, _, rest = name.partition(".")
    if first.endswith(("_token", "_tokens")):
        return first != "mask_token"  # which only training uses
    return first in POSITIONS or (bool(rest) and first not in HEADS and hasattr(trunk, first))


def _is_counter(name: str) -> bool:
    """Buffers that say nothing of the weights: counts of batches and operations, indices, masks."""
    return name.endswith(
        ("num_batches_tracked", "relative_position_index", "attn_mask", "total_ops", "total_params")
    )


def _list_some(names: Iterable[str]) -> str:
    names = list(names)
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest
