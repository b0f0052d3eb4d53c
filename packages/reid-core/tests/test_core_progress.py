"""Long work shows a bar on a terminal and plain lines in a log file."""

import os
import pty
import subprocess
import sys

CODE = """
from reid_core.progress import Progress
with Progress("features", total=40) as progress:
    for done in range(1, 41):
        progress.update(done, "loss 1.5")
"""
ESCAPE = b"\x1b["


def test_a_log_file_gets_plain_lines_with_the_rate_and_the_time_left():
    said = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True).stderr
    lines = said.decode().splitlines()
    assert ESCAPE not in said and b"\r" not in said and len(lines) == 10
    assert lines[-1].startswith("features: 40/40 (100%), ") and lines[-1].endswith("0 s left, loss 1.5")


def test_a_terminal_gets_a_bar():
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", CODE], stderr=theirs, check=True, env=environment)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:  # nothing more comes
        pass
    os.close(ours)
    assert ESCAPE in said and "━".encode() in said and b"40/40" in said
