"""What the pages of the repository show as code: Python blocks, and commands in blocks and in the text.

A block that can't be run has its reason in a comment in front of it, which no reader of the page sees:

    <!-- not run: needs a model hub -->
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n+)?"
    r"```(?P<language>\w+) *(?P<extra>[\w-]*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
CHOICES = re.compile(r"^(\w+)(?:\|\w+)+$")
INLINE = re.compile(r"`([a-z][\w-]+ [^`\n]*)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        language: behind the fence, such as "python".
        extra: name of an extra that it needs, "" for none.
        code: the text.
        reason: why it is not run, "" for a block that has to run.
    """

    language: str
    extra: str
    code: str
    reason: str


def pages() -> list[Path]:
    """The repository's Markdown pages but the changelogs."""
    return sorted(
        {
            ROOT / "README.md",
            ROOT / "CONTRIBUTING.md",
            *ROOT.glob("docs/*.md"),
            *ROOT.glob("[pa]*/*/README.md"),
        }
    )


def blocks(text: str) -> list[Block]:
    r"""The fenced blocks of a Markdown text.

    Args:
        text: the page.

    Example:
        >>> blocks("Use:\n\n```python\n1\n```\n<!-- not run: a hub -->\n```python lmdb\n2\n```\n")[1]
        Block(language='python', extra='lmdb', code='2\n', reason='a hub')
    """
    return [
        Block(found["language"], found["extra"], found["code"], found["reason"] or "")
        for found in FENCE.finditer(text)
    ]


def commands(text: str, programs: frozenset[str]) -> list[list[str]]:
    r"""Commands of some programs: lines of bash blocks, and code in the text that gives an option a value.

    Comments go, continued lines are joined, "..." is left out, of several choices (a|b) the first is taken.

    Args:
        text: the page.
        programs: names of programs; `torchrun ... -m PROGRAM.cli` counts as PROGRAM.

    Example:
        >>> commands("```bash\nvills run --seed \\\n  1  # why\nls\n```", frozenset({"vills"}))
        [['vills', 'run', '--seed', '1']]
    """
    lines = [
        line
        for block in blocks(text)
        if block.language == "bash" and not block.reason
        for line in _whole_lines(block.code.replace("\\\n", " "))
    ]
    spans = INLINE.findall(FENCE.sub("", text))
    lines += [span for span in spans if " --" in span and not span.split()[-1].startswith("--")]
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        if words and words[0] == "torchrun" and "-m" in words:
            module, *rest = words[words.index("-m") + 1 :]
            words = [module.removesuffix(".cli").replace("_", "-"), *rest]
        if words and words[0] in programs:
            kept = [word for number, word in enumerate(words) if not _stands_for_more(words, number)]
            found.append([CHOICES.sub(r"\1", word) for word in kept])
    return found


def _whole_lines(code: str) -> list[str]:
    r"""Lines of a shell's code; one with an open quote is joined to the next.

    >>> _whole_lines("a 'b\nc'\nd")
    ["a 'b c'", 'd']
    """
    lines: list[str] = []
    for line in code.splitlines():
        open_quote = bool(lines) and not _is_closed(lines[-1])
        lines[-1:] = [f"{lines[-1]} {line}"] if open_quote else [*lines[-1:], line]
    return lines


def _is_closed(line: str) -> bool:
    try:
        shlex.split(line, comments=True)
    except ValueError:
        return False
    return True


def _stands_for_more(words: list[str], number: int) -> bool:
    """Whether a word is "...", or an option in front of it."""
    return words[number] == "..." or (
        words[number].startswith("--") and words[number + 1 : number + 2] == ["..."]
    )
