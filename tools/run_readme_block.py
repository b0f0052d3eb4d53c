"""Run a ```python block of a README, as a reader would who pastes it into a fresh interpreter.

It is the first block, or the one that is fenced with the name of an extra it needs, as in ```python lmdb:

python tools/run_readme_block.py packages/reid-eval/README.md [EXTRA]
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"^```python *([\w-]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def runnable_blocks(text: str) -> dict[str, str]:
    r"""The blocks of a Markdown text that have to run: the first, called "", and those of extras.

    >>> runnable_blocks("Use it:\n\n```python\n1\n```\n```python\n...\n```\n```python lmdb\n2\n```\n")
    {'': '1\n', 'lmdb': '2\n'}
    """
    blocks: dict[str, str] = {}
    for extra, code in BLOCK.findall(text):
        blocks.setdefault(extra, code)
    return blocks


def main() -> None:
    """Command line: one README, and an extra."""
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: run_readme_block.py README.md [EXTRA]")
    readme, extra = Path(sys.argv[1]), " ".join(sys.argv[2:])
    code = runnable_blocks(readme.read_text()).get(extra)
    if code is None:
        sys.exit(f"{readme}: there is no ```{f'python {extra}'.strip()} block to run")
    # A file of its own: worker processes and inspect find the code, and a traceback shows its lines.
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "readme_block.py"
        script.write_text(code)
        sys.path.insert(0, folder)
        exec(compile(code, str(script), "exec"), {"__name__": "__main__", "__file__": str(script)})


if __name__ == "__main__":
    main()
