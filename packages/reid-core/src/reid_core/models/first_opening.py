"""The first opening of an exported file, in a process of its own: a runtime's crash ends that one alone."""

from __future__ import annotations

import importlib.metadata
import signal
import subprocess
import sys
from pathlib import Path

from reid_core.models.formats import RUNTIMES, SUFFIXES

OPEN = """
import sys
from pathlib import Path

from reid_core.models.runtimes import open_exported

open_exported(Path(sys.argv[1]))
"""


def open_apart(path: Path, name: str) -> None:
    """Open an exported file in another process, which ends if the runtime crashes.

    An error that the runtime raises is left to whoever opens the file next.

    Args:
        path: an .onnx, .xml or .torchscript file.
        name: of the model, for errors.

    Raises:
        ValueError: the process was ended by a signal; the message names runtime, version and signal.
    """
    command = [sys.executable, "-c", OPEN, str(path.absolute())]
    status = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode
    if status >= 0:
        return
    format = next(name for name, suffix in SUFFIXES.items() if suffix == path.suffix)
    runtime, package = RUNTIMES[format]
    others = " or ".join(f"--format {name}" for name in ("onnx", "openvino") if name != format)
    raise ValueError(
        f"{name}: {runtime} {importlib.metadata.version(package)} ends the process on this graph "
        f"({signal.Signals(-status).name}); use {others}"
    )
