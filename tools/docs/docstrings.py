"""Griffe extension: what the repository's docstrings write and griffe's Google style does not know."""

from __future__ import annotations

import re
from typing import Any

import griffe

SEVERAL = re.compile(
    r"^(?P<indent> +)(?P<names>\w+(?:, \w+)+): (?P<text>.*(?:\n(?P=indent) +.*)*)$", re.MULTILINE
)


def fence_doctests(text: str) -> str:
    r"""Put runs of doctest lines between fences: code, which Markdown would take for quotations.

    >>> fence_doctests("Adds.\n\n>>> 1 + 1\n2\n\nMore.")
    'Adds.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nMore.'
    """
    lines: list[str] = []
    indent: str | None = None  # of the run that the line belongs to
    for line in text.splitlines():
        if indent is None and line.lstrip().startswith(">>>"):
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(f"{indent}```pycon")
        elif indent is not None and not line.strip():
            lines.append(f"{indent}```")
            indent = None
        lines.append(line)
    return "\n".join(lines if indent is None else [*lines, f"{indent}```"])


def split_arguments(text: str) -> str:
    r"""Give arguments that share a description a line each.

    >>> print(split_arguments("Args:\n    mean, std: of each channel,\n        in 0 to 1.\n"))
    Args:
        mean: of each channel,
            in 0 to 1.
        std: of each channel,
            in 0 to 1.
    """
    return SEVERAL.sub(
        lambda found: "\n".join(
            f"{found['indent']}{name}: {found['text']}" for name in found["names"].split(", ")
        ),
        text,
    )


class Docstrings(griffe.Extension):
    """Prepares every docstring."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by griffe for each object that it has read."""
        if obj.docstring is not None:
            obj.docstring.value = fence_doctests(split_arguments(obj.docstring.value))
