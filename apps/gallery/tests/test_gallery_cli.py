"""The command line: every command is listed, explained, and refuses what it doesn't know in one line."""

from __future__ import annotations

import inspect

import pytest

from reid_gallery.cli import find_command, first_line, list_commands, main


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    for name in list_commands():
        assert f"  {name} " in listed and first_line(find_command(name)) in listed


def test_every_command_explains_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    for name in list_commands():
        assert main([name, "--help"]) == 0
        said = capsys.readouterr().out
        assert all(option in said for option in inspect.signature(find_command(name)).parameters)


@pytest.mark.parametrize("given", [["no-such"], ["--no-such"]])
def test_an_unknown_command_is_one_line_and_status_1(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(given) == 1
    said = capsys.readouterr().err
    assert f"no command {given[0]!r}" in said and len(said.splitlines()) == 1
