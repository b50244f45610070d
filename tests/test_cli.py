"""What every command does with its command line: help, exit codes, and errors as one line."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import NoReturn

import pytest
from absl import flags

from edgeflex_tflite import cli, convert
from edgeflex_tflite.errors import UserError, VerificationError
from edgeflex_tflite.recipe import Recipe


def convert_flags() -> dict[str, flags.Flag]:
    values = flags.FlagValues()
    convert.define_flags(values)
    return {name: values[name] for name in values}


Main = Callable[[flags.FlagValues, list[str]], None]


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_integer("count", 3, "How many.", flag_values=values)
    flags.DEFINE_string("name", None, "Which.", flag_values=values)


def run_command(main: Main, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    return cli.run(main, define, "What it does.\n")


def raising(error: BaseException) -> Main:
    def main(_: flags.FlagValues, rest: list[str]) -> NoReturn:
        raise error

    return main


def test_a_command_gets_its_flags(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    got: list[tuple[int, str | None, dict]] = []

    def main(values: flags.FlagValues, rest: list[str]) -> None:
        got.append((values.count, values.name, cli.given(values, ("count", "name"))))

    assert run_command(main, "--name=3", monkeypatch=monkeypatch) == 0
    assert got == [(3, "3", {"name": "3"})]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("no such\n  file: give another"), cli.BAD_INPUT, "error: no such file: give another\n"),
        (VerificationError("it differs"), cli.FAILED_CHECK, "error: it differs\n"),
    ],
)
def test_an_expected_error_is_one_line(
    error: Exception, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(raising(error), monkeypatch=monkeypatch) == code
    assert capsys.readouterr() == ("", said)


def test_exit_codes_are_as_documented() -> None:
    assert (cli.BAD_INPUT, cli.FAILED_CHECK, cli.INTERRUPTED) == (2, 3, 130)


def test_an_interruption_says_what_is_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(KeyboardInterrupt()), monkeypatch=monkeypatch) == cli.INTERRUPTED
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("interrupted: ")
    assert "nothing was written" in err
    assert err.count("\n") == 1


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(raising(ZeroDivisionError()), monkeypatch=monkeypatch)


@pytest.mark.parametrize("arguments", [("--cuont=1",), ("--count=x",), ("--count",)])
def test_a_bad_command_line_never_starts_the_command(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = raising(AssertionError("the command was started"))
    assert run_command(started, *arguments, monkeypatch=monkeypatch) == cli.BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "--help" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("flag", ["--help", "-h", "-help", "--helpfull"])
def test_help_lists_flags_and_stops(
    flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = raising(AssertionError("the command was started"))
    assert run_command(started, "--count=x", flag, monkeypatch=monkeypatch) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("What it does.\n")
    assert "--count: How many." in out
    assert "(default: '3')" in out


def described(help_text: str, name: str) -> str:
    """What `--help` says about a flag, on one line."""
    match = re.search(rf"^ +--(?:\[no\])?{name}:\s(.*?)(?=^ +--|\Z)", help_text, flags=re.DOTALL | re.MULTILINE)
    assert match, f"--help does not list --{name}"
    return " ".join(match[1].split())


@pytest.fixture
def help_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["convert", "--help"])
    assert cli.run(convert.main, convert.define_flags, convert.__doc__ or "") == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(convert_flags()))
def test_every_flag_of_convert_is_described_with_its_default(name: str, help_text: str) -> None:
    words, flag = described(help_text, name), convert_flags()[name]
    assert len(re.sub(r"\(.*?\)|<.*?>", "", words).split()) >= 3
    if name in convert.RECIPE_FLAGS:
        assert flag.default is None, "the recipe is the one home of its defaults"
        assert f"Recipe default: {getattr(Recipe(), name)!r}." in words
    elif flag.default is None:
        assert "Default: " in words or name == "checkpoint", "what happens without it must be said"
    else:
        assert f"(default: {flag.default_as_str})" in words


def test_every_key_of_the_recipe_is_a_flag() -> None:
    assert set(convert.RECIPE_FLAGS) == set(Recipe.__dataclass_fields__)
    assert set(convert.RECIPE_FLAGS) <= set(convert_flags())
