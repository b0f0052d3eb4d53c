"""Check that prose is plain English and that functions have verbs or nouns as names.

    python tools/check_prose.py

It reads README files and docs/, and of the code docstrings, descriptions of attributes and help of options. A
finding is printed as FILE:LINE: what to write: the words; then the exit status is 1. Code is not read.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST_SENTENCE = 40
"""Words outside brackets."""
COUNTED = (
    "images|clips|frames|identities|batches|tokens|prompts|crops|tracklets|minutes|hours|pixels|views|entries|"
    "rows|epochs|seeds|steps|areas|bytes|GB|MB|ms"
)
NO_NOUN = "of|in|with|from|for|to|on|than|that|after|or|without|and|by|as|at|is|has|for|over|where|a|an"
RULES: dict[str, str] = {
    'write "one X per Y"': rf"\b(?:[Aa]n?|[Oo]ne) (?!(?:{NO_NOUN})\b)[a-z-]+ an? [a-z-]+",
    'write "X per Y"': rf"\b(?i:{COUNTED}) an? (?!(?:second|minute|hour|day)\b)[a-z]+",
    'write "resumes" or "continues"': r"\bgo(?:es|ing)? on\b(?! (?:a|the) )",
    'write "person 3, camera 1"': r"\bbefore (?:[\w-]+ ){0,2}cameras?\b",
    'write "status", or name it': r"\b[Ww]hat stands\b",
    'write "given", "untested" or "must pass"': r"\bat hand\b|\bhas to hold\b|\bfor want of\b",
    'write "not specified"': r"\bgarbled\b|\b(?:paper|text|authors?) (?:is |are )?silent\b",
    'write "in random order"': r"\border of chance\b",
    'write "literal"': r"\bto the letter\b|\bpaper's letter\b",
    'write "for" or "given"': r"\b(?:is|are|be) told (?:for|to|beside|as)\b|\btells? of\b",
    'write "searched for" or "computed"': r"\bsought\b",
    'write "a few megabytes"': r"\bsmall enough to mail\b",
    'write "as a CNN\'s ... are"': r"\bCNN's map are\b",
}
STARTS_WITH_AND = re.compile(r"and ")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`|\]\([^)]*\)|<!--.*?-->|https?://\S+", re.DOTALL)
BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
NOT_PROSE = re.compile(r"^\s*(?:\||#|>>>|\.\.\. )")
ITEM = re.compile(r"^\s*(?:[-*] |\d+\. |[\w`*]+(?:, [\w`*]+)*: )")
VERBS = {"embed", "feed", "seed", "need", "speed", "proceed", "succeed", "exceed", "shed"}
IRREGULAR = {
    "begun",
    "bound",
    "built",
    "chosen",
    "done",
    "drawn",
    "found",
    "given",
    "gone",
    "held",
    "kept",
    "known",
    "left",
    "lost",
    "made",
    "met",
    "paid",
    "said",
    "seen",
    "sent",
    "shown",
    "sought",
    "spent",
    "taken",
    "told",
    "understood",
    "worn",
    "written",
}


def sentences(text: str) -> Iterator[tuple[int, str]]:
    r"""Sentences of a text, each with its line from 0, without code and tables; an item of a list begins one.

    Args:
        text: Markdown, or a docstring.

    Example:
        >>> list(sentences("One. Two\nlines are: a, b.\n- an item\n>>> code"))
        [(0, 'One.'), (0, 'Two lines are: a, b.'), (2, 'an item')]
        >>> list(sentences("height, width: of a crop\nseed: of all"))
        [(0, 'of a crop'), (1, 'of all')]
    """
    text = FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)
    text = CODE.sub(lambda code: "X" + "\n" * code[0].count("\n"), text)
    start, words = 0, ""
    for number, line in enumerate([*text.splitlines(), ""]):
        ends = not line.strip() or NOT_PROSE.match(line) or ITEM.match(line)
        if ends and words:
            yield from ((start, part) for part in re.split(r"(?<=[.!?]) +", words) if part)
            words = ""
        if ends and (not line.strip() or NOT_PROSE.match(line)):
            continue
        start = start if words else number
        words = f"{words} {ITEM.sub('', line, count=1) if ends else line}".strip()


def faults(text: str) -> Iterator[tuple[int, str]]:
    r"""What is wrong in a text: line from 0, and a message.

    Args:
        text: Markdown, or a docstring.

    Example:
        >>> list(faults("Writes a file.\n\nOne row an image."))
        [(2, 'write "one X per Y": One row an image')]
    """
    for line, sentence in sentences(text):
        for advice, pattern in RULES.items():
            found = re.search(pattern, sentence)
            if found:
                yield line, f"{advice}: {found[0]}"
        words = len(BRACKETS.sub("", sentence).split())
        if words > LONGEST_SENTENCE:
            yield line, f"{words} words; write at most {LONGEST_SENTENCE}: {sentence[:60]} ..."


def prose(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Docstrings, descriptions of attributes and help of options in code: line, and text.

    Args:
        tree: a module.

    Example:
        >>> [text for _, text in prose(ast.parse('add("--a", help="what it is")'))]
        ['what it is']
    """
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(node, ast.keyword) and node.arg in ("help", "description"):
            value = node.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.lineno, value.value


def is_participle(name: str) -> bool:
    """Whether a function's name is a bare participle.

    Args:
        name: of the function.

    Example:
        >>> [is_participle(name) for name in ("_padded", "written", "embed", "read_sorted")]
        [True, True, False, False]
    """
    word = name.strip("_")
    return "_" not in word and word not in VERBS and (word.endswith("ed") or word in IRREGULAR)


def participles(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Functions whose names are bare participles: line, and message. Properties may have such names.

    Args:
        tree: a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_participle(node.name):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            if not any("property" in decorator or decorator.endswith(".setter") for decorator in decorators):
                yield node.lineno, f"a function's name is a verb or a noun: {node.name}"


def findings(root: Path) -> Iterator[str]:
    """Every finding below a folder.

    Args:
        root: of the repository.
    """
    pages = {
        root / "README.md",
        root / "CONTRIBUTING.md",
        *root.glob("docs/*.md"),
        *root.glob("[pa]*/*/README.md"),
    }
    for page in sorted(pages):
        for line, message in faults(page.read_text()):
            yield f"{page.relative_to(root)}:{line + 1}: {message}"
    for file in sorted([*root.glob("packages/*/src/**/*.py"), *root.glob("apps/*/src/**/*.py")]):
        tree = ast.parse(file.read_text())
        found = [(line + offset, message) for line, text in prose(tree) for offset, message in faults(text)]
        for line, message in sorted([*found, *participles(tree)]):
            yield f"{file.relative_to(root)}:{line}: {message}"


def main() -> int:
    """Print the findings; the exit status is 1 if there are any."""
    found = list(findings(ROOT))
    print("\n".join(found) if found else "prose: no findings")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
