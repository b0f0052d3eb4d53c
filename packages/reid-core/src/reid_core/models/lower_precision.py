"""ONNX graphs in half precision and in 8 bits, by onnxruntime's own tools (extra `onnx`)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from reid_core.models.formats import Format
from reid_core.models.runtimes import NEEDS_ONNXRUNTIME

MULTIPLYING = ("Conv", "Gemm", "MatMul")
"""All that is in 8 bits for OpenVINO: of further quantized operations it makes graphs it can't compile."""


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


def quantize_onnx(path: Path, batches: Sequence[Tensor], format: Format, name: str) -> None:
    """Quantize a graph to 8 bits, in place: weights per channel, activations by their extremes.

    Args:
        path: an .onnx file in float32.
        batches: what the model is given of calibration images, float32.
        format: what the graph is to be. OpenVINO needs symmetric activations in products of matrices and
            unsigned ones in convolutions; the first convolution stays as it is, for of patches without
            overlap OpenVINO's features are wrong.
        name: of the model, for errors.

    Raises:
        ImportError: onnxruntime or onnx is missing.
        ValueError: onnxruntime can't run the graph on the images, or can't quantize it.
    """
    try:
        import onnx
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
        options: dict[str, Any] = {}
        if format == "openvino":
            nodes = onnx.load(prepared, load_external_data=False).graph.node
            unsigned = [{"quant_type": QuantType.QUInt8, "symmetric": False}]
            convolutions = [node for node in nodes if node.op_type == "Conv"]
            convolved = {node.input[0]: unsigned for node in convolutions[1:]}
            options = {
                "op_types_to_quantize": list(MULTIPLYING),
                "nodes_to_exclude": [node.name for node in convolutions[:1]],
                "extra_options": {"ActivationSymmetric": True, "TensorQuantOverrides": convolved},
            }
        quantize_static(
            str(prepared),
            str(quantized),
            Reader(),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            **options,
        )
    except Exception as error:  # its causes share no class
        reason = (str(error).splitlines() or [type(error).__name__])[-1]
        raise ValueError(f"{name} can't be calibrated for {format} in int8 ({reason[:200]})") from error
    finally:
        logging.getLogger().setLevel(level)
    quantized.replace(path)
    prepared.unlink()
