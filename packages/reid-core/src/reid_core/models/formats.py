"""Names of what a model can be exported as; it imports nothing, so that a command's options may use them."""

from __future__ import annotations

from typing import Literal

Format = Literal["onnx", "torchscript", "openvino"]
Precision = Literal["fp32", "fp16", "int8"]

SUFFIXES = {"onnx": ".onnx", "torchscript": ".torchscript", "openvino": ".xml"}
"""How the file of each format ends."""
