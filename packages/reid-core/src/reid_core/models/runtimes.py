"""Exported models, run on the CPU: ONNX (extra `onnx`), OpenVINO IR (extra `openvino`), TorchScript."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reid_core.models.model_config import refuse_placeholder

Shape = tuple[int | None, ...]

NEEDS_ONNXRUNTIME = "{path}: ONNX needs onnxruntime; pip install onnxruntime onnx"
SHAPE_FILE = "input_shape.json"
"""Where a TorchScript archive keeps its input's shape: the format itself has none."""


class ExportedModel(nn.Module):
    """A model of another runtime, called like a module; it has no weights of torch's and runs on the CPU.

    Args:
        run: from a float array of the input's shape to the output.
        shape: of the input, `[n 3 h w]` or `[n t 3 h w]`; None where any length goes.
        dtype: of the input.
        path: the file, for errors.

    Raises:
        ValueError: the input is of another shape or type.
    """

    def __init__(self, run: Callable[[np.ndarray], np.ndarray], shape: Shape, dtype: Any, path: Path) -> None:
        super().__init__()
        if len(shape) not in (4, 5) or shape[-3] not in (3, None) or np.dtype(dtype).kind != "f":
            raise ValueError(
                f"{path} takes {np.dtype(dtype)} {list(shape)}; expected floats [n 3 h w] or [n t 3 h w]"
            )
        self.run, self.shape, self.dtype, self.path = run, shape, dtype, path

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) that the model takes; None where any goes."""
        height, width = self.shape[-2:]
        return None if height is None or width is None else (height, width)

    def forward(self, x: Tensor) -> Tensor:
        """Images `[b 3 h w]` or clips `[b t 3 h w]`, float -> `[b d]`, in as many runs as the file's own
        batch size asks for."""
        wanted = (None, *self.shape[1:])
        if x.ndim != len(wanted) or any(w not in (None, s) for w, s in zip(wanted, x.shape, strict=True)):
            raise ValueError(
                f"{self.path} takes {list(self.shape)} (None: any), not {list(x.shape)}: give the "
                "preprocessing such a size and number of frames"
            )
        inputs = x.numpy().astype(self.dtype, copy=False)
        step = self.shape[0] or len(inputs)
        outputs = []
        for first in range(0, len(inputs), step):
            part = inputs[first : first + step]
            filler = np.zeros((step - len(part), *part.shape[1:]), dtype=self.dtype)
            outputs.append(self.run(np.concatenate([part, filler]))[: len(part)])
        return torch.from_numpy(np.concatenate(outputs))


def open_exported(path: Path) -> ExportedModel:
    """Open an exported model on as many threads as torch has.

    Args:
        path: an .onnx file, an .xml file of OpenVINO with its .bin beside it, or a .torchscript archive. The
            last is a program, which torch runs as it stands: open those of people that you trust.

    Raises:
        ImportError: the extra is not installed.
        ValueError: the file is something else, or has more than one input or output.
    """
    refuse_placeholder(path)
    openers = {".onnx": _open_onnx, ".xml": _open_openvino, ".torchscript": _open_torchscript}
    return openers[path.suffix](path)


def write_torchscript(model: nn.Module, example: Tensor, path: Path, half: bool) -> None:
    """Trace a module in eval mode to a TorchScript archive.

    Args:
        model: from images or clips to features, float32, on the CPU.
        example: what it takes; another number of images is left to the archive's user.
        path: of the archive.
        half: whether it computes in half precision, between float32 inputs and outputs.

    Raises:
        ValueError: torch can't trace it.
    """
    module = copy.deepcopy(model)
    traced = _Half(module.half()) if half else module
    with warnings.catch_warnings(), torch.inference_mode():
        # Of shapes taken for constants, for which the caller tries other batches, and of torch's plans.
        warnings.simplefilter("ignore")
        try:
            script = torch.jit.trace(traced, example, check_trace=False)
        except Exception as error:  # its causes share no class
            raise ValueError(f"torch can't trace {type(model).__name__} ({_first_line(error)})") from error
        shape = json.dumps([None, *example.shape[1:]])
        torch.jit.save(script, str(path), _extra_files={SHAPE_FILE: shape.encode()})


class _Half(nn.Module):
    """Half precision inside, float32 outside."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.half()).float()


def _open_torchscript(path: Path) -> ExportedModel:
    found = {SHAPE_FILE: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch advises torch.export, whose files run in torch alone
            script = torch.jit.load(str(path), map_location="cpu", _extra_files=found).eval()
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} can't be opened as TorchScript ({_first_line(error)})") from error
    shape = tuple(json.loads(found[SHAPE_FILE])) if found[SHAPE_FILE] else (None, 3, None, None)

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return script(torch.from_numpy(x)).numpy()

    return ExportedModel(run, shape, np.float32, path)


def _open_onnx(path: Path) -> ExportedModel:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(NEEDS_ONNXRUNTIME.format(path=path)) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no class of their own
        raise ValueError(f"{path} can't be opened as ONNX ({_first_line(error)})") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    _check_single(path, inputs, outputs)
    given = inputs[0]
    dtype = {"tensor(float)": np.float32, "tensor(float16)": np.float16}.get(given.type, object)
    shape = tuple(side if isinstance(side, int) else None for side in given.shape)
    return ExportedModel(lambda x: session.run(None, {given.name: x})[0], shape, dtype, path)


def _open_openvino(path: Path) -> ExportedModel:
    try:
        import openvino
    except ImportError as error:
        raise ImportError(f"{path}: OpenVINO IR needs openvino; pip install openvino") from error
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise FileNotFoundError(f"{path} needs {weights.name} beside it, which holds the weights")
    refuse_placeholder(weights)
    core = openvino.Core()
    # Some CPUs would compute in half precision by default.
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    try:
        model = core.read_model(path)
        compiled = core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        # Its lines of "Exception from FILE" say where; the next one says what.
        lines = [line for line in str(error).splitlines() if not line.startswith("Exception from")]
        reason = next((line for line in lines if line.strip()), _first_line(error))[:200]
        raise ValueError(f"{path} can't be opened as OpenVINO IR ({reason})") from error
    _check_single(path, model.inputs, model.outputs)
    shape = tuple(
        None if side.is_dynamic else side.get_length() for side in model.input().get_partial_shape()
    )
    dtype = model.input().get_element_type().to_dtype()
    return ExportedModel(lambda x: compiled(x)[0], shape, dtype, path)


def _check_single(path: Path, inputs: Any, outputs: Any) -> None:
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"{path} has {len(inputs)} inputs and {len(outputs)} outputs; expected one of each: export the "
            "model from images to features alone"
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
