"""Export: a model as ONNX, OpenVINO IR or TorchScript, for any number of images or clips at a time."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from reid_core.files import atomic, write_atomically
from reid_core.models.embedder import Embedder
from reid_core.models.first_opening import open_apart
from reid_core.models.folder import CARD_FILE
from reid_core.models.formats import SUFFIXES, Format, Precision
from reid_core.models.inference import eval_mode
from reid_core.models.lower_precision import halve_onnx, quantize_onnx
from reid_core.models.model_card import model_card
from reid_core.models.model_config import CONFIG_FILE, ModelConfig
from reid_core.models.preprocessing import Preprocessing
from reid_core.models.reading import input_batches
from reid_core.models.runtimes import ExportedModel, open_exported, write_torchscript

TOLERANCE = 1e-4
"""Greatest difference between features of a module and of its fp32 export, relative to the largest value."""
CALIBRATION = 128
"""Images, or clips, that int8 takes the ranges of activations from."""
CALIBRATION_BATCH = 8


def export(
    embedder: Embedder,
    folder: str | Path,
    format: Format = "onnx",
    precision: Precision = "fp32",
    *,
    tracklets: bool = False,
    calibration: Iterable[Any] = (),
) -> Path:
    """Write a model for another runtime: its file, config.json, and a model card beside it.

    The file takes any number of images, or clips, of the model's size; `load` opens it. It has the network
    alone: normalisation, mirror images and unit length stay with the embedder, as config.json says. With
    "fp16", ONNX and TorchScript compute in half precision between float32 inputs and outputs; OpenVINO keeps
    its weights in half precision, and a CPU computes in single. "int8" quantizes weights per channel and
    activations by their extremes over the calibration images (onnxruntime's static quantization). For
    OpenVINO these are convolutions but the first, and products of matrices. An int8 file is first opened in
    a process of its own, so that a crash of its runtime is an error here.

    Args:
        embedder: as `load` gives it, or around any module.
        folder: for model.onnx, model.xml and model.bin, or model.torchscript; made where missing.
        format: "onnx" (extra `onnx`), "openvino" (extras `onnx` and `openvino`), or "torchscript".
        precision: "fp32", "fp16" or "int8".
        tracklets: of a model that takes both images and clips, whether clips are exported; an image is then
            a clip of one repeated frame. Without, images are, and a tracklet's feature is their mean.
        calibration: for "int8", images or tracklets as for `Embedder.embed`; the first 128 are used.

    Returns:
        The file to give to `load`.

    Raises:
        ImportError: an extra is missing.
        ValueError: an unknown format or precision, int8 without calibration images or in TorchScript, or a
            network that torch can't export or that makes its number of inputs a constant. So is a graph that
            can't be quantized or that ends its runtime's process, and an export whose features are not the
            module's. Nothing is written then.

    Example:
        >>> import tempfile
        >>> network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export(Embedder(network, Preprocessing((8, 4))), folder, "torchscript").name
        'model.torchscript'
    """
    if format not in SUFFIXES or precision not in get_args(Precision):
        raise ValueError(
            f"format={format!r}, precision={precision!r}: expected {', '.join(SUFFIXES)} and "
            f"{', '.join(get_args(Precision))}"
        )
    if isinstance(embedder.model, ExportedModel):
        raise ValueError(f"{embedder.model.path} is an exported model already: give the model folder")
    if format == "torchscript" and precision == "int8":
        raise ValueError("TorchScript has fp32 and fp16: for int8 choose onnx or openvino")
    preprocessing = _exported_preprocessing(embedder.preprocessing, tracklets)
    batches: list[Tensor] = []
    if precision == "int8":
        batches = _calibration_batches(calibration, preprocessing)
        if not batches:
            raise ValueError(
                f"{type(embedder.model).__name__} as {format} in int8 takes the ranges of activations from "
                f"images: give calibration images like those it is for, best {CALIBRATION} or more"
            )
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    model = embedder.model.cpu()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as name, eval_mode(model):
        path = Path(name) / f"model{SUFFIXES[format]}"
        example = _example(preprocessing, batch=2)
        if format == "torchscript":
            write_torchscript(model, example, path, half=precision == "fp16")
        else:
            graph = path.with_suffix(".onnx")
            _write_onnx(model, example, graph)
            if precision == "fp16" and format == "onnx":
                halve_onnx(graph)
            if precision == "int8":
                quantize_onnx(graph, batches, format, type(model).__name__)
            if format == "openvino":
                _write_openvino(graph, path, half=precision == "fp16")
                graph.unlink()
        if precision == "int8":
            open_apart(path, type(model).__name__)
        _check(model, path, preprocessing, precision)
        config = _config(embedder, preprocessing)
        folder.mkdir(exist_ok=True)
        (folder / CONFIG_FILE).unlink(missing_ok=True)  # an interrupted export leaves none
        for file in Path(name).iterdir():
            with atomic(folder / file.name) as temporary:
                os.replace(file, temporary)
    write_atomically(folder / CARD_FILE, model_card(config, path.name))
    config.save(folder / CONFIG_FILE)
    return folder / path.name


def _exported_preprocessing(preprocessing: Preprocessing, tracklets: bool) -> Preprocessing:
    """Of the one kind of input that the file takes."""
    if tracklets and preprocessing.frames is None:
        raise ValueError(
            "tracklets=True, but this model takes images: export images, and a tracklet's feature is the "
            "mean of its frames'"
        )
    if preprocessing.frame_size is None:  # one kind only
        return preprocessing
    if tracklets:
        return replace(preprocessing, size=preprocessing.frame_size, frame_size=None)
    return replace(preprocessing, frames=None, frame_size=None)


def _calibration_batches(images: Iterable[Any], preprocessing: Preprocessing) -> list[Tensor]:
    batches, count = [], 0
    for batch in input_batches(images, preprocessing, CALIBRATION_BATCH):
        batches.append(batch)
        count += len(batch)
        if count >= CALIBRATION:
            break
    return batches


def _example(preprocessing: Preprocessing, batch: int) -> Tensor:
    """Random inputs, as `folder.probe` gives them."""
    frames = () if preprocessing.frames is None else (preprocessing.frames,)
    generator = torch.Generator().manual_seed(batch)
    return torch.rand((batch, *frames, 3, *preprocessing.size), generator=generator)


def _write_onnx(model: nn.Module, example: Tensor, path: Path) -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"exporting needs {error.name}: pip install onnx onnxruntime onnxscript") from error
    shapes = ({0: torch.export.Dim("batch")},)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own internals; the result is checked
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=["inputs"],
                output_names=["features"],
                verbose=False,
            )
        assert program is not None
        program.save(str(path))
    except Exception as error:  # its causes share no class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"torch can't export {type(model).__name__} as ONNX ({reason})") from error
    shape = program.model.graph.inputs[0].shape
    if shape is not None and isinstance(shape[0], int):  # torch silently makes it a graph of that number
        raise ValueError(
            f"{type(model).__name__} as ONNX takes {shape[0]} inputs only: `forward` makes the number of "
            "its inputs a constant, as len(x) and int(x.shape[0]) do; write x.shape[0]"
        )


def _write_openvino(graph: Path, path: Path, half: bool) -> None:
    try:
        import openvino
    except ImportError as error:
        raise ImportError("OpenVINO IR needs openvino: pip install openvino") from error
    openvino.save_model(openvino.Core().read_model(graph), path, compress_to_fp16=half)


def _check(model: nn.Module, path: Path, preprocessing: Preprocessing, precision: Precision) -> None:
    """Refuse an export that takes another number of inputs only, or whose features differ."""
    exported = open_exported(path)
    for batch in (1, 3):
        inputs = _example(preprocessing, batch)
        with torch.inference_mode():
            expected = model(inputs).float()
        try:
            features = exported(inputs)
        except Exception as error:  # of three runtimes
            reason = (str(error).splitlines() or [type(error).__name__])[-1]
            raise ValueError(
                f"the export as {path.suffix[1:]} ({precision}) fails at a batch of {batch} ({reason}): the "
                "network takes the example's number of images for a constant"
            ) from error
        if features.shape != expected.shape or not features.isfinite().all():
            raise ValueError(
                f"the export as {path.suffix[1:]} ({precision}) gives {tuple(features.shape)} for "
                f"{tuple(inputs.shape)}, or numbers that aren't finite; expected {tuple(expected.shape)}"
            )
        difference = float((features - expected).abs().max() / expected.abs().max())
        if precision == "fp32" and difference > TOLERANCE:
            raise ValueError(
                f"the export as {path.suffix[1:]} differs from the module by {difference:.1e} of the largest "
                f"value, at a batch of {batch}; at most {TOLERANCE:.0e} was expected: export another format"
            )


def _config(embedder: Embedder, preprocessing: Preprocessing) -> ModelConfig:
    known = embedder.config
    return ModelConfig(
        preprocessing=preprocessing,
        dim=embedder.dim,
        training_data=known.training_data if known else ("unknown",),
        license=known.license if known else "unknown",
        metric=embedder.metric,
        flip=embedder.flip,
        digest=known.digest if known else "",
    )
