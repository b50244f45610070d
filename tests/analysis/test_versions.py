"""The oldest release that runs a file."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflex_tflite.analysis.versions import RuntimeNeeds, newer_than, release, runtime_needs
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.graph import Graph
from edgeflex_tflite.parse import load_graphs
from tests.tiny import Tiny


def graphs(*ops: tuple[str, int]) -> tuple[Graph, ...]:
    """Ops of these names and versions; "custom X" is a custom one that is called X."""
    t = Tiny()
    for name, version in ops:
        x, y = t.tensor(4), t.tensor(4)
        if name.startswith("custom "):
            t.op("CUSTOM", [x], [y], custom_code=name.removeprefix("custom "), version=version)
        else:
            t.op(name, [x], [y], version=version)
    return load_graphs(t.build([], []))


@pytest.mark.parametrize(
    ("name", "version", "first"),
    [
        ("ADD", 1, "1.5.0"),
        ("FULLY_CONNECTED", 12, "2.17.0"),
        ("CONV_2D", 5, "2.4.0"),
        ("BATCH_MATMUL", 4, "2.5.0"),
        ("GELU", 1, "2.9.0"),
        ("STABLEHLO_COMPOSITE", 1, "2.17.0"),
    ],
)
def test_each_version_of_an_op_came_with_a_release(name: str, version: int, first: str) -> None:
    assert runtime_needs(graphs((name, version))) == RuntimeNeeds(first, (f"{name} version {version}",), ())


def test_the_newest_op_decides() -> None:
    """As numbers: 2.17 is newer than 2.9."""
    found = runtime_needs(graphs(("GELU", 1), ("FULLY_CONNECTED", 12), ("STABLEHLO_COMPOSITE", 1), ("ADD", 1)))
    assert found == RuntimeNeeds("2.17.0", ("FULLY_CONNECTED version 12", "STABLEHLO_COMPOSITE version 1"), ())


def test_ops_of_all_graphs_count() -> None:
    assert runtime_needs([*graphs(("ADD", 1)), *graphs(("GELU", 1))]).release == "2.9.0"


def test_a_version_that_is_not_listed_is_said() -> None:
    found = runtime_needs(graphs(("ADD", 1), ("ADD", 99)))
    assert found == RuntimeNeeds("1.5.0", ("ADD version 1",), ("ADD version 99",))


def test_custom_ops_are_no_matter_of_the_release() -> None:
    """Whatever they are called."""
    custom = graphs(("custom GELU", 1), ("custom my_op", 1), ("custom MY_OP", 7))
    assert runtime_needs(custom) == RuntimeNeeds("1.5.0", (), ())
    assert newer_than(custom, "1.5.0") == ()


def test_a_file_without_ops_runs_anywhere() -> None:
    assert runtime_needs(graphs()) == RuntimeNeeds("1.5.0", (), ())


def test_ops_that_a_release_does_not_run_are_named() -> None:
    used = graphs(("GELU", 1), ("FULLY_CONNECTED", 12), ("ADD", 1), ("ADD", 99))
    assert newer_than(used, "2.8.4") == ("FULLY_CONNECTED version 12 (2.17.0)", "GELU version 1 (2.9.0)")
    assert newer_than(used, "2.9.0") == newer_than(used, "2.9") == ("FULLY_CONNECTED version 12 (2.17.0)",)
    assert newer_than(used, "2.17.0") == ()


KNOWN = [("ADD", 1), ("ADD", 5), ("CONV_2D", 6), ("FULLY_CONNECTED", 12), ("GELU", 1), ("BATCH_MATMUL", 3)]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(KNOWN), min_size=1), st.tuples(st.integers(1, 2), st.integers(0, 25), st.integers(0, 3))
)
def test_a_release_is_too_old_just_when_it_is_older_than_the_one_that_is_needed(
    ops: list[tuple[str, int]], given_release: tuple[int, int, int]
) -> None:
    used = graphs(*ops)
    too_old = given_release < release(runtime_needs(used).release)
    assert bool(newer_than(used, ".".join(map(str, given_release)))) == too_old


@pytest.mark.parametrize(("text", "numbers"), [("2.13.0", (2, 13, 0)), ("2.13", (2, 13, 0)), ("1.5.2", (1, 5, 2))])
def test_a_release_is_read_as_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert release(text) == numbers


@pytest.mark.parametrize("text", ["", "2", "latest", "2.13.0.1", "2.x", "v2.13.0", "2..1", "-2.1", "2.13.0rc1", "2.²"])
def test_what_is_no_release_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"is no TensorFlow Lite release: give one as in 2\.13\.0"):
        release(text)
