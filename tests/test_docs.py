"""The documentation: every command in it is one that the program takes, and the guide's first pages are run."""

from __future__ import annotations

import dataclasses
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from absl import flags

from edgeflex_tflite import benchmark, cli, convert, recipe
from edgeflex_tflite.bundle.kinds import chosen_bundles
from tests.command import QUICK, environment

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
COMMANDS = ("analyze", "benchmark", "bundle", "convert", "serve", "sweep", "tune")
HEAVY = ("torch", "timm", "numpy", "ray", "plotly", "litert_torch", "ai_edge_litert", "ai_edge_quantizer", "tensorflow")
LEFT_OUT = "..."
"""What a page writes for flags that it does not say."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A command line of a page."""

    page: str
    command: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {self.command} {shlex.join(self.arguments)}"


def examples(page: str, text: str) -> Iterator[Example]:
    """Commands of a page, in its order: continued lines are joined, and a shell loop is run through once."""
    text = re.sub(r"\\\n\s*", "", text)
    for loop in re.finditer(r"for (\w+) in (\S+) ", text):
        text = text.replace(f"${loop[1]}", loop[2])
    for found in re.finditer(rf"(?:python -m edgeflex_tflite\.|`)({'|'.join(COMMANDS)})\b((?: [^\n`]*)?)", text):
        arguments = shlex.split(found[2], comments=True)
        if found[0].startswith("python") or any(argument.startswith("--") for argument in arguments):
            yield Example(page, found[1], tuple(argument for argument in arguments if argument != LEFT_OUT))


EXAMPLES = [example for page in PAGES for example in examples(str(page.relative_to(ROOT)), page.read_text())]
FIRST_MODEL = [example for example in EXAMPLES if example.page == "docs/guide/first_model.md"]


def parse(example: Example) -> tuple[flags.FlagValues, list[str]]:
    """The flags of an example, and what stands beside them. Raises flags.Error or UserError for what is refused."""
    place = "bundle.__main__" if example.command == "bundle" else example.command
    values = flags.FlagValues()
    importlib.import_module(f"edgeflex_tflite.{place}").define_flags(values)
    rest = values([example.command, *example.arguments])[1:]
    if example.command in ("convert", "tune", "sweep"):
        cli.only_flags(rest)
    if example.command == "convert":
        begun = recipe.PRESETS.get(values.recipe, recipe.Recipe())
        begun.overruled_by(cli.given(values, convert.RECIPE_FLAGS))
    if example.command in ("convert", "bundle"):
        chosen_bundles(values)
    if example.command == "sweep":
        from edgeflex_tflite.sweeping.points import parse_vary

        parse_vary(values.vary)
    if example.command == "benchmark":
        assert set(values.target) <= set(benchmark.TARGETS)
    return values, rest


@pytest.mark.parametrize("command", COMMANDS)
def test_help_answers_without_anything_heavy(command: str, tmp_path: Path) -> None:
    """Modules of these names that cannot be imported stand before the real ones."""
    for name in HEAVY:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} was imported for --help')\n")
    done = run("--help", command=command, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python -m edgeflex_tflite.{command}" in done.stdout
    assert "\nflags:\n" in done.stdout


def test_the_stand_ins_of_heavy_modules_are_what_is_imported(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('numpy was imported')\n")
    assert "numpy was imported" in run("--data=nowhere", command="convert", folder=tmp_path).stderr


def test_commands_are_found_in_all_forms() -> None:
    text = """
    for p in fp16 fp32; do
        python -m edgeflex_tflite.convert --precision=$p \\
            --seed=1   # a word
    done

Take `convert --bundle=web`, not `convert`, and `python -m edgeflex_tflite.serve out`.
    python -m edgeflex_tflite.convert ... --overwrite
"""
    found = [(each.command, each.arguments) for each in examples("page", text)]
    assert found == [
        ("convert", ("--precision=fp16", "--seed=1")),
        ("convert", ("--bundle=web",)),
        ("serve", ("out",)),
        ("convert", ("--overwrite",)),
    ]


def test_every_command_is_documented() -> None:
    assert {example.command for example in EXAMPLES} == set(COMMANDS)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_documented_command_is_one_that_the_program_takes(example: Example) -> None:
    parse(example)


@pytest.mark.parametrize(
    "line",
    [
        "convert --precison=fp32",
        "convert --precision=int3",
        "convert --target=ethos-u55-257",
        "convert --bundle=ios",
        "convert out",
        "sweep --vary=precison=fp32",
    ],
)
def test_a_wrong_command_would_be_found(line: str) -> None:
    (example,) = examples("page", f"python -m edgeflex_tflite.{line}")
    with pytest.raises((flags.Error, cli.UserError)):
        parse(example)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_flag_that_a_page_names_is_some_commands(page: Path) -> None:
    """In `--name` and `--name=value` outside of command lines too; other programs' flags are told by their hyphens."""
    known = set(OTHERS)
    for command in COMMANDS:
        values, _ = parse(Example("", command, ()))
        known |= {spelling for name in values for spelling in (name, f"no{name}")}
    named = set(re.findall(r"`--([a-z0-9_]+)(?==|`)", page.read_text()))
    assert named <= known


def messages() -> list[str]:
    """What the tables of the troubleshooting page quote as said by this project; `...` stands for what varies."""
    text = (ROOT / "docs" / "guide" / "troubleshooting.md").read_text()
    tables = re.findall(r"\| what is said .*\n\|---.*\n((?:\|.*\n)+)", text)
    return [
        quote for table in tables for row in table.splitlines() for quote in re.findall("`(.*?)`", row.split("|")[1])
    ]


@pytest.mark.parametrize("message", messages())
def test_a_message_of_the_troubleshooting_page_is_one_that_the_program_says(message: str) -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "edgeflex_tflite").rglob("*.py"))
    joined = re.sub(r'"\s*\n\s*f?"', "", sources)
    said = ".*?".join(re.escape(part.strip()) for part in message.split("..."))
    assert re.search(said, joined), "the message has changed"


OTHERS = ("help", "constraint")
"""The flag that every command has, and one of pip."""


def run(*arguments: str, command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    asked = [sys.executable, "-m", f"edgeflex_tflite.{command}", *arguments]
    return subprocess.run(asked, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_first_pages_of_the_guide_do_what_they_say(tmp_path: Path) -> None:
    """Every command of the page, one after the other, on fewer images; then the page of Python, in the same folder."""
    assert {example.command for example in FIRST_MODEL} == {"convert", "analyze", "benchmark", "bundle"}
    for example in FIRST_MODEL:
        fewer = QUICK if example.command == "convert" else ()
        done = run(*example.arguments, *fewer, command=example.command, folder=tmp_path)
        assert done.returncode == 0, f"{example}\n{done.stderr}"
    made = {path.name for path in (tmp_path / "out" / "first").iterdir()}
    assert {"model.tflite", "report.html", "android"} <= made
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "guide" / "python.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "'int3'" in done.stdout
