"""Models that OpenVINO runs on the CPU (extra `blazepose`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reid_lse.weight_files import refuse_other_file

Shapes = list[list[int]]


def read_model(path: Path, name: str) -> Any:
    """Read a model of any format that OpenVINO reads: *.tflite, *.onnx, *.xml.

    Args:
        path: file.
        name: of the keypoint predictor, for messages.

    Raises:
        FileNotFoundError: no such file.
        ImportError: OpenVINO is not installed.
        ValueError: a file that is no model.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of {name}'s weights; name another or fetch it")
    try:
        import openvino
    except ImportError as error:
        raise ImportError(f"{name} needs OpenVINO: pip install openvino") from error
    refuse_other_file(path)
    try:
        return openvino.Core().read_model(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"{path}: expected a model of {name}; {reason}") from None


def compile_queue(model: Any, threads: int) -> Any:
    """A queue of requests of one crop each, in as many streams as there are cores.

    Batches of crops are no faster on a CPU. All is in float32, so that machines agree.

    Args:
        model: of `read_model`.
        threads: that it runs in; 0 for as many as there are cores.
    """
    import openvino

    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = str(threads)
    return openvino.AsyncInferQueue(openvino.Core().compile_model(model, "CPU", settings))
