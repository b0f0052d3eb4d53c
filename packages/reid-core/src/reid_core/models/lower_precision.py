"""ONNX graphs in half precision and in 8 bits, by onnxruntime's own tools (extra `onnx`)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from reid_core.models.runtimes import NEEDS_ONNXRUNTIME


def halve_onnx(path: Path) -> None:
    """Make a graph compute in half precision, between float32 inputs and outputs, in place.

    Args:
        path: an .onnx file in float32.
    """
    try:
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise ImportError(NEEDS_ONNXRUNTIME.format(path=path.name)) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one line per constant below half precision's smallest number
        onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), path)


def quantize_onnx(path: Path, batches: Sequence[Tensor]) -> None:
    """Quantize a graph to 8 bits, in place: weights per channel, activations by their extremes.

    Args:
        path: an .onnx file in float32.
        batches: what the model is given of calibration images, float32.
    """
    try:
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ImportError(NEEDS_ONNXRUNTIME.format(path=path.name)) from error

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the library asks for its own class
        def __init__(self) -> None:
            self.batches: Iterator[Tensor] = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"inputs": batch.numpy()}

    prepared, quantized = path.with_suffix(".prepared"), path.with_suffix(".int8")
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it speaks through the root logger
    try:
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(quantized),
            Reader(),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        logging.getLogger().setLevel(level)
    quantized.replace(path)
    prepared.unlink()
