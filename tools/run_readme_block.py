"""Run the first ```python block of a README, as a reader would who pastes it into a fresh interpreter.

python tools/run_readme_block.py packages/reid-eval/README.md
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def first_block(text: str) -> str | None:
    r"""Code of the first Python block of a Markdown text, or None.

    >>> first_block("Use it:\n\n```python\nprint(1)\n```\n")
    'print(1)\n'
    """
    match = BLOCK.search(text)
    return match.group(1) if match else None


def main() -> None:
    """Command line: one README."""
    if len(sys.argv) != 2:
        sys.exit("usage: run_readme_block.py README.md")
    readme = Path(sys.argv[1])
    code = first_block(readme.read_text())
    if code is None:
        sys.exit(f"{readme}: there is no ```python block to run")
    # A file of its own: worker processes and inspect find the code, and a traceback shows its lines.
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "readme_block.py"
        script.write_text(code)
        sys.path.insert(0, folder)
        exec(compile(code, str(script), "exec"), {"__name__": "__main__", "__file__": str(script)})


if __name__ == "__main__":
    main()
