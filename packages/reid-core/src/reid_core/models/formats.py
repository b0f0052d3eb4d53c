"""Names of what a model can be exported as; it imports nothing, so that a command's options may use them."""

from __future__ import annotations

from typing import Literal

Format = Literal["onnx", "torchscript", "openvino"]
Precision = Literal["fp32", "fp16", "int8"]

SUFFIXES = {"onnx": ".onnx", "torchscript": ".torchscript", "openvino": ".xml"}
"""How the file of each format ends."""

RUNTIMES = {
    "onnx": ("onnxruntime", "onnxruntime"),
    "torchscript": ("torch", "torch"),
    "openvino": ("OpenVINO", "openvino"),
}
"""What runs each format: its name and its distribution."""
