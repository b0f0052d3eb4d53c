"""A model ready for use: images and tracklets in, descriptors out."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from huggingface_hub import ModelHubMixin, snapshot_download
from torch import Tensor, nn
from torch.nn import functional

from reid_core.data.manifest import Manifest
from reid_core.models.folder import WEIGHTS_FILE, probe, read_folder, save
from reid_core.models.formats import SUFFIXES
from reid_core.models.inference import batch_features, eval_mode, pick_device
from reid_core.models.inputs import items
from reid_core.models.model_config import CONFIG_FILE, Metric, ModelConfig, read_config
from reid_core.models.preprocessing import Preprocessing
from reid_core.models.reading import Job, read_ahead
from reid_core.models.runtimes import ExportedModel, open_exported

BATCH_SIZE = 64
AHEAD = 2
"""Batches that are decoded while the model works."""
THREADS = 8
"""At most so many threads decode where the caller names no number; more wait for Python's lock."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

Errors = Literal["raise", "mask"]


class Embedder(ModelHubMixin):
    """Any module from images or clips to features, with its preprocessing; `load` makes one from a file.

    With `metric` "cosine" descriptors are of unit length. A tracklet's is the mean of its frames' (made unit
    length again), or what a model of clips makes of T frames spread evenly over it.

    Args:
        model: from images `[b 3 h w]` or clips `[b t 3 h w]`, float, to features `[b d]`.
        preprocessing: what is done to an image first.
        dim: d; None for what the model gives.
        metric: how descriptors are to be compared.
        flip: whether a descriptor is the mean of that of the image and that of its mirror image.

    Attributes:
        config: of the folder that the model was loaded from; None where there was none.

    Raises:
        ValueError: the model doesn't give finite `[b dim]` for a random input.

    Example:
        >>> embedder = Embedder(nn.Flatten(), Preprocessing((2, 1)))
        >>> embedder.embed([np.zeros((20, 10, 3), np.uint8), torch.zeros(3, 20, 10, dtype=torch.uint8)]).shape
        (2, 6)
    """

    config: ModelConfig | None = None

    def __init__(
        self,
        model: nn.Module,
        preprocessing: Preprocessing,
        *,
        dim: int | None = None,
        metric: Metric = "cosine",
        flip: bool = False,
    ) -> None:
        widths = {features.shape[1] for features in probe(model, preprocessing)}
        if len(widths) > 1 or (dim is not None and widths != {dim}):
            widths_text = " and ".join(map(str, sorted(widths)))
            raise ValueError(f"the model's features are of length {widths_text}; expected {dim or 'one'}")
        self.model, self.preprocessing = model, preprocessing
        self.dim, self.metric, self.flip = widths.pop(), metric, flip

    @overload
    def embed(
        self,
        inputs: Iterable[Any] | Manifest,
        *,
        batch_size: int = ...,
        device: str | torch.device = ...,
        workers: int | None = ...,
        errors: Literal["raise"] = ...,
        tracklets: bool = ...,
    ) -> np.ndarray: ...

    @overload
    def embed(
        self,
        inputs: Iterable[Any] | Manifest,
        *,
        batch_size: int = ...,
        device: str | torch.device = ...,
        workers: int | None = ...,
        errors: Literal["mask"],
        tracklets: bool = ...,
    ) -> tuple[np.ndarray, np.ndarray]: ...

    def embed(
        self,
        inputs: Iterable[Any] | Manifest,
        *,
        batch_size: int = BATCH_SIZE,
        device: str | torch.device = "auto",
        workers: int | None = None,
        errors: Errors = "raise",
        tracklets: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Descriptors of images and tracklets.

        Args:
            inputs: of images (paths, uint8 arrays `[h w 3]` or tensors `[3 h w]`, RGB, or Pillow images) and
                tracklets (lists of images, `[t h w 3]`, `[t 3 h w]`, or the rows of one tracklet as a
                Manifest) in any order; or a Manifest. It may be a generator: images are read as they are
                needed.
            batch_size: images, or clips, that the model is given at a time.
            device: where the model runs, and stays; "auto" takes a CUDA device if there is one.
            workers: threads that decode.
            errors: "raise" stops at an image that can't be read; "mask" continues without it, and a tracklet
                without the frames that can't be read.
            tracklets: of a Manifest, one descriptor per tracklet in place of one per row.

        Returns:
            `[n dim]` float32, finite; with errors="mask" also bool `[n]`, False where nothing could be read
            and the row is zeros.

        Raises:
            UnreadableImage: an image can't be read and errors is "raise"; the message names it.
            TypeError: an input is nothing of these.
            ValueError: an array of another shape or type, a feature that isn't finite (the input is named),
                or an argument that can't be.
        """
        features, masks = [np.empty((0, self.dim), dtype=np.float32)], [np.empty(0, dtype=bool)]
        for rows, valid in self.stream(
            inputs, batch_size=batch_size, device=device, workers=workers, errors=errors, tracklets=tracklets
        ):
            features.append(rows)
            masks.append(valid)
        together = np.concatenate(features)
        return (together, np.concatenate(masks)) if errors == "mask" else together

    def stream(
        self,
        inputs: Iterable[Any] | Manifest,
        *,
        batch_size: int = BATCH_SIZE,
        device: str | torch.device = "auto",
        workers: int | None = None,
        errors: Errors = "raise",
        tracklets: bool = False,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Descriptors in parts, for more of them than memory holds. Arguments as of `embed`.

        Yields:
            `[b dim]` float32 and valid, bool `[b]`, in the order of the inputs.
        """
        workers = min(THREADS, os.cpu_count() or 1) if workers is None else workers
        if batch_size < 1 or workers < 1:
            raise ValueError(f"batch_size={batch_size}, workers={workers}: expected 1 or more")
        if errors not in ("raise", "mask"):
            raise ValueError(f'errors={errors!r}: expected "raise" or "mask"')
        exported = isinstance(self.model, ExportedModel)
        if exported and torch.device("cpu" if device == "auto" else device).type != "cpu":
            raise ValueError(f"device={device!r}: an exported model runs on the CPU")
        place = torch.device("cpu") if exported else pick_device(device)
        entries = items(inputs, tracklets)
        loaded = read_ahead(entries, self.preprocessing, workers, AHEAD * batch_size, errors == "mask")
        return self._stream(loaded, batch_size, place)

    def _stream(
        self, loaded: Generator[tuple[Job, Tensor | None]], batch_size: int, device: torch.device
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self.model.to(device)
        with closing(loaded):  # its threads end with this, whatever ends it
            rows = self._rows(loaded, batch_size, device)
            whole = (self._mean(part) for _, part in groupby(rows, key=lambda row: row[0].item))
            while part := list(islice(whole, batch_size)):
                features, valid = zip(*part, strict=True)
                yield torch.stack(features).numpy(), np.array(valid)

    def _rows(
        self, loaded: Iterable[tuple[Job, Tensor | None]], batch_size: int, device: torch.device
    ) -> Iterator[tuple[Job, Tensor | None]]:
        """The model's feature [d] of each job, in batches of one kind; None where there is nothing."""
        for _, same in groupby(loaded, key=lambda pair: pair[0].clip):
            while batch := list(islice(same, batch_size)):
                readable = [(job, pixels) for job, pixels in batch if pixels is not None]
                rows = iter(self._run(readable, device) if readable else ())
                for job, pixels in batch:
                    yield job, None if pixels is None else next(rows)

    def _run(self, batch: list[tuple[Job, Tensor]], device: torch.device) -> Tensor:
        """Features [b d] of what could be read."""
        pixels = torch.stack([pixels for _, pixels in batch])
        if device.type == "cuda":
            pixels = pixels.pin_memory()
        with eval_mode(self.model), torch.inference_mode():
            inputs = self.preprocessing.normalise(pixels.to(device, non_blocking=True))
            rows = batch_features(self.model, inputs, self.flip)
            rows = (functional.normalize(rows, dim=1) if self.metric == "cosine" else rows).cpu()
        if rows.shape[1] != self.dim:
            raise ValueError(f"{batch[0][0].label}: the model gave {rows.shape[1]} numbers, not {self.dim}")
        broken = (~rows.isfinite()).any(dim=1).nonzero()
        if len(broken):
            raise ValueError(f"the feature of {batch[int(broken[0])][0].label} is not finite")
        return rows

    def _mean(self, rows: Iterable[tuple[Job, Tensor | None]]) -> tuple[Tensor, bool]:
        """An item's descriptor, and whether anything of it could be read."""
        total, count = torch.zeros(self.dim), 0
        for _, row in rows:
            if row is not None:
                total += row
                count += 1
        if count > 1:
            total = functional.normalize(total, dim=0) if self.metric == "cosine" else total / count
        return total, count > 0

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        **preprocessing: Any,
    ) -> Embedder:
        """`load`, under the name that huggingface_hub's models have."""
        return load(
            pretrained_model_name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            force_download=force_download,
            local_files_only=local_files_only,
            **preprocessing,
        )

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the model folder that it was loaded from; `save_pretrained` and `push_to_hub` call it."""
        about = self.config
        if about is None or about.builder is None or isinstance(self.model, ExportedModel):
            raise ValueError(
                "this model has no builder, so no folder can be made of it: use reid_core.models.save, which "
                "asks for one"
            )
        save(
            save_directory,
            self.model,
            about.builder,
            about.arguments,
            self.preprocessing,
            training_data=about.training_data,
            license=about.license,
            metric=self.metric,
            flip=self.flip,
        )


def load(
    source: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    **preprocessing: Any,
) -> Embedder:
    """Load a model folder, a model of a hub, or an exported model.

    Args:
        source: a folder as `save` writes it; a hub's OWNER/NAME; an .onnx file (extra `onnx`); an .xml
            file of OpenVINO with its .bin beside it (extra `openvino`); or a .torchscript archive, which is
            a program: load those of people that you trust.
        revision, cache_dir, token, force_download, local_files_only: of
            `huggingface_hub.snapshot_download`, for a hub's model.
        preprocessing: fields of `Preprocessing`, for an exported model; where its input has a fixed size and
            number of frames, those may be left out. Without any, the config.json beside the file is read.

    Returns:
        The model, on the CPU.

    Raises:
        FileNotFoundError: there is no such folder or file, and no such model on the hub.
        ImportError: the extra is not installed.
        ValueError: a file is something else than it should be; the message says what and names it.

    Example:
        >>> load("runs/no/model")
        Traceback (most recent call last):
        FileNotFoundError: there is no folder or file runs/no/model
    """
    path = Path(source)
    if path.is_file():
        if path.suffix not in SUFFIXES.values():
            raise ValueError(
                f"{path} is no .onnx, .xml or .torchscript file: give a model folder, as "
                "reid_core.models.save writes it; a checkpoint's weights alone say neither what "
                "builds the model nor what it is fed"
            )
        return _load_exported(path, preprocessing)
    if preprocessing:
        raise ValueError(
            f"{source}: {', '.join(preprocessing)} can't be given, since a model folder says it itself"
        )
    if not path.is_dir():
        if not HUB_ID.fullmatch(str(source)):
            raise FileNotFoundError(f"there is no folder or file {source}")
        try:
            path = Path(
                snapshot_download(
                    str(source),
                    revision=revision,
                    cache_dir=cache_dir,
                    token=token,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    allow_patterns=[CONFIG_FILE, WEIGHTS_FILE],
                )
            )
        except Exception as error:  # a download fails in as many ways as there are libraries below
            raise FileNotFoundError(
                f"there is no folder {source} here, and as a hub's model it can't be fetched ({error})"
            ) from error
    return _of_config(*read_folder(path), path / CONFIG_FILE)


def _load_exported(path: Path, fields: dict[str, Any]) -> Embedder:
    model = open_exported(path)
    beside = path.with_name(CONFIG_FILE)
    if not fields and beside.is_file():
        return _of_config(model, read_config(beside), beside)
    if not fields:
        raise ValueError(
            f"{path} has no {CONFIG_FILE} beside it: say what the model is fed, such as load(path, "
            'mean=(0, 0, 0), std=(1, 1, 1), max_value=255, channels="BGR")'
        )
    known = {"size": model.size, "frames": model.shape[1] if len(model.shape) == 5 else None}
    fields = {**{name: value for name, value in known.items() if value is not None}, **fields}
    try:
        return Embedder(model, Preprocessing(**fields))
    except TypeError as error:  # an unknown field, or no size where the file has none
        raise ValueError(f"{path}: {error}: give fields of reid_core.models.Preprocessing") from error


def _of_config(model: nn.Module, config: ModelConfig, file: Path) -> Embedder:
    try:
        embedder = Embedder(
            model, config.preprocessing, dim=config.dim, metric=config.metric, flip=config.flip
        )
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{file} doesn't fit its model: {error}") from error
    embedder.config = config
    return embedder
