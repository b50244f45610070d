"""A recipe says all that a user may choose: it survives JSON, and what cannot be is refused where it is written."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflex_tflite import recipe as recipes
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.recipe import CHOICES, LARGEST, LEVERS, PRESETS, Recipe, descriptions, from_dict, kind_of, load
from edgeflex_tflite.rewrites import ALL, IN_FLOAT, REWRITES

FIELDS = [field.name for field in dataclasses.fields(Recipe)]
COUNT = st.integers(1, 10**6)
RATIO_OR_BUDGET: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({}),
    st.fixed_dictionaries({"memory_budget_mb": st.floats(1e-3, 1e4) | st.integers(1, 10**4)}),
    st.fixed_dictionaries({"prune_ratio": st.floats(0, 0.999)}),
)
IN_FLOATS = {
    "precision": st.sampled_from(["mixed", "fp32", "int8_static"]),
    "stream": st.sampled_from(["auto", "fp32"]),
}
PIECES_OR_MERGING: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({}, optional={"arena_budget_kb": st.floats(1e-3, 1e6) | COUNT}),
    st.fixed_dictionaries(
        IN_FLOATS | {"spend": st.just("tokens"), "max_accuracy_drop": st.floats(0, 100)},
        optional={"merge_tokens": COUNT},
    ),
    st.fixed_dictionaries(
        IN_FLOATS,
        optional={
            "merge_tokens": COUNT,
            "latency_target_ms": st.floats(1e-3, 1e6) | COUNT,
            "int4_block": st.sampled_from([0, 32, 64, 128, 256]),
            "spend": st.just("bytes"),
            "batch_sizes": st.sampled_from(["1", "1,4", "1, 999"]),
        },
    ),
    st.fixed_dictionaries(
        {
            "precision": st.just("int8_full"),
            "stream": st.just("auto"),
            "target": st.sampled_from(["ethos-u55-256", "edgetpu", "qualcomm:SM8650"]),
        }
    ),
)
OTHERS = st.fixed_dictionaries(
    {},
    optional={name: st.sampled_from(choices) for name, choices in CHOICES.items() if name != "spend"}
    | {
        "refit": st.booleans(),
        "levers": st.lists(st.sampled_from(LEVERS), min_size=1, unique=True).map(",".join),
        "skip_rewrites": st.lists(st.sampled_from(list(REWRITES)), unique=True).map(",".join),
        "mirror": st.booleans(),
        "crops": st.integers(0, 10**6),
        "read_weight": COUNT,
        "awq": st.booleans(),
        "fp16_sites": st.sampled_from(["", r"^head$", "a|b"]),
        "fp32_sites": st.sampled_from(["", r"\.0\.", "ü"]),
        "max_accuracy_drop": st.none() | st.floats(0, 100) | st.integers(0, 100),
        "calibration_samples": COUNT,
        "eval_samples": st.none() | COUNT,
        "width_multiple": COUNT,
        "probe_samples": COUNT,
        "awq_tokens": COUNT,
        "int4_block": st.just(0),
        "seed": st.integers(0, LARGEST - 1),
    },
).filter(
    lambda found: (
        "branches" not in found.get("levers", "")
        or found.get("probe_samples", 64) < found.get("calibration_samples", 128)
    )
)


def test_strategy_covers_every_field() -> None:
    drawn = {
        *CHOICES,
        "refit",
        "levers",
        "skip_rewrites",
        "mirror",
        "crops",
        "read_weight",
        "awq",
        "fp16_sites",
        "fp32_sites",
        "max_accuracy_drop",
        "calibration_samples",
    }
    drawn |= {
        "eval_samples",
        "width_multiple",
        "probe_samples",
        "awq_tokens",
        "int4_block",
        "seed",
        "memory_budget_mb",
        "arena_budget_kb",
        "merge_tokens",
        "latency_target_ms",
        "batch_sizes",
        "prune_ratio",
        "target",
    }
    assert drawn == set(FIELDS)


@given(RATIO_OR_BUDGET, OTHERS, PIECES_OR_MERGING)
def test_json_round_trip(one: dict[str, Any], others: dict[str, Any], layout: dict[str, Any]) -> None:
    chosen = one | others | layout
    recipe = from_dict(chosen)
    again = from_dict(json.loads(recipe.to_json()))
    assert again == recipe
    assert again.sha256 == recipe.sha256
    assert again.to_json() == recipe.to_json()
    assert all(getattr(recipe, name) == value for name, value in chosen.items())


def test_file_round_trip(tmp_path: Path) -> None:
    recipe = Recipe(precision="int8_static", prune_ratio=0.25, fp32_sites="ü", max_accuracy_drop=1)
    (tmp_path / "a.json").write_text(recipe.to_json())
    assert load(str(tmp_path / "a.json")) == recipe


def test_file_may_leave_out_what_it_does_not_change(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"awq": false}')
    assert load(str(tmp_path / "a.json")) == Recipe(awq=False)


def test_json_names_every_field_in_order() -> None:
    assert list(json.loads(Recipe().to_json())) == FIELDS


def test_hash_of_the_defaults() -> None:
    """Written down, so that a change of a default or of the form is a decision."""
    assert Recipe().sha256 == "fb26ee9626dd2a4d61b424894979aed5bc882cb964ebec633be6546049906e5b"


def test_hash_tells_recipes_apart() -> None:
    changes: list[dict[str, Any]] = [{}, {"awq": False}, {"seed": 1}, {"prune_ratio": 0.5}, {"memory_budget_mb": 0.5}]
    assert len({Recipe(**change).sha256 for change in changes}) == len(changes)


@pytest.mark.parametrize("name", ["memory_budget_mb", "max_accuracy_drop"])
def test_equal_recipes_have_equal_hashes(name: str) -> None:
    whole, decimal = from_dict({name: 10}), from_dict({name: 10.0})
    assert whole == decimal
    assert whole.sha256 == decimal.sha256


UNKNOWN = [
    ("prune_ration", "unknown recipe key 'prune_ration': did you mean 'prune_ratio'?"),
    ("Precision", "did you mean 'precision'?"),
    ("xyz", "unknown recipe key 'xyz': known keys: target, precision, memory_budget_mb, "),
]


@pytest.mark.parametrize(("key", "message"), UNKNOWN)
def test_unknown_key(key: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        from_dict({"awq": True, key: 1})
    assert message in str(refusal.value)


WRONG_TYPES = [
    ("precision", 8, "str"),
    ("memory_budget_mb", "12", "float or null"),
    ("memory_budget_mb", True, "float or null"),
    ("prune_ratio", [0.5], "float or null"),
    ("compensate", True, "str"),
    ("refit", "false", "bool"),
    ("awq", None, "bool"),
    ("fp16_sites", None, "str"),
    ("calibration_samples", 1.5, "int"),
    ("calibration_samples", 64.0, "int"),
    ("calibration_samples", None, "int"),
    ("calibration_samples", True, "int"),
    ("eval_samples", "all", "int or null"),
    ("seed", None, "int"),
]


@pytest.mark.parametrize(("probe", "fits"), [(31, True), (32, False)])
def test_branches_need_other_images_than_the_probe_has(probe: int, fits: bool) -> None:
    values = {"levers": "mlp,branches", "calibration_samples": 32, "probe_samples": probe}
    if fits:
        assert from_dict(values).lever_list == ("mlp", "branches")
        return
    with pytest.raises(UserError, match="give more than 32 calibration_samples, or fewer probe_samples than 32"):
        from_dict(values)


@pytest.mark.parametrize(("name", "value", "kinds"), WRONG_TYPES)
def test_wrong_type(name: str, value: Any, kinds: str) -> None:
    with pytest.raises(UserError) as refusal:
        from_dict({name: value})
    assert str(refusal.value) == f"{name} is {value!r}: it must be {kinds}"


BAD_VALUES = [
    (
        "precision",
        "int4",
        "precision is 'int4': choose one of mixed, fp32, fp16, int8_dynamic, int4_dynamic, int8_static, int8_full",
    ),
    ("levers", "mlp,int5", "levers has 'int5': give some of mlp,heads,qk,v,branches,int4,fp16"),
    ("levers", "", "levers has ''"),
    ("skip_rewrites", "shift,gelu", "skip_rewrites has 'gelu': give some of shift,centre,last_block,scale,"),
    ("rounding", "awq", "choose one of gptq, nearest"),
    ("prune_score", "wanda", "choose one of obs, energy, flap, mean_abs, magnitude, taylor, hessian"),
    ("compensate", "true", "compensate is 'true': choose one of ridge, bias, none"),
    ("allocation", "even", "allocation is 'even': choose one of measured, uniform"),
    ("input_layout", "NHWC", "choose one of nhwc, nchw"),
    ("input_range", "0-2", "choose one of 0-255, 0-1, normalized"),
    ("memory_budget_mb", 0, "memory_budget_mb is 0: give a number above 0"),
    ("memory_budget_mb", -1.5, "memory_budget_mb is -1.5: give a number above 0"),
    ("memory_budget_mb", float("nan"), "memory_budget_mb is nan: give a number above 0 and below 2**63"),
    ("memory_budget_mb", float("inf"), "memory_budget_mb is inf: give a number above 0 and below 2**63"),
    ("memory_budget_mb", 10**400, "and below 2**63"),
    ("prune_ratio", 1, "prune_ratio is 1: give the share of MLP neurons to cut, from 0 to below 1"),
    ("prune_ratio", -0.1, "from 0 to below 1"),
    ("prune_ratio", float("nan"), "from 0 to below 1"),
    ("max_accuracy_drop", -0.5, "max_accuracy_drop is -0.5: give percentage points, 0 or more"),
    ("max_accuracy_drop", float("nan"), "max_accuracy_drop is nan: give percentage points, 0 or more, up to 100"),
    ("max_accuracy_drop", float("inf"), "up to 100"),
    ("calibration_samples", 0, "calibration_samples is 0: give a number above 0"),
    ("eval_samples", -3, "eval_samples is -3"),
    ("width_multiple", 0, "width_multiple is 0"),
    ("probe_samples", 0, "probe_samples is 0"),
    ("awq_tokens", 0, "awq_tokens is 0"),
    ("merge_tokens", -1, "merge_tokens is -1: give a number of pairs a block, 0 or more"),
    ("latency_target_ms", 0, "latency_target_ms is 0: give a number above 0"),
    ("batch_sizes", "1,0", "batch_sizes has '0': give whole numbers of images from 1 to 999"),
    ("batch_sizes", "1,-4", "batch_sizes has '-4': give whole numbers"),
    ("batch_sizes", "1,4.5", "batch_sizes has '4.5': give whole numbers"),
    ("batch_sizes", "1,four", "batch_sizes has 'four': give whole numbers"),
    ("batch_sizes", "1,1000", "batch_sizes has '1000': give whole numbers"),
    ("batch_sizes", "1,", "batch_sizes has '': give whole numbers"),
    ("batch_sizes", "", "batch_sizes has '': give whole numbers"),
    ("batch_sizes", "1,4, 4", "give each number of images once"),
    ("batch_sizes", "4,1", "batch_sizes is '4,1': begin with 1"),
    ("batch_sizes", "8", "batch_sizes is '8': begin with 1"),
    ("seed", -1, "seed is -1: give a number from 0 to below 2**63"),
    ("seed", LARGEST, "give a number from 0 to below 2**63"),
    ("fp16_sites", "(", "fp16_sites is not a regular expression: "),
    ("fp32_sites", "a**", "fp32_sites is not a regular expression: multiple repeat"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD_VALUES)
def test_bad_value(name: str, value: Any, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        from_dict({name: value})
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prune_ratio", 0),
        ("prune_ratio", 0.999),
        ("max_accuracy_drop", 0),
        ("max_accuracy_drop", 100),
        ("eval_samples", 1),
        ("seed", LARGEST - 1),
    ],
)
def test_ends_of_the_ranges_are_allowed(name: str, value: Any) -> None:
    assert getattr(from_dict({name: value}), name) == value


def test_a_change_overrules_its_counterpart() -> None:
    ratio, budget = Recipe(prune_ratio=0.5, seed=3), Recipe(memory_budget_mb=10.0, seed=3)
    assert ratio.overruled_by({"memory_budget_mb": 10.0}) == budget
    assert budget.overruled_by({"prune_ratio": 0.5}) == ratio
    assert ratio.overruled_by({"awq": False}) == Recipe(prune_ratio=0.5, seed=3, awq=False)
    with pytest.raises(UserError, match="contradict each other"):
        ratio.overruled_by({"prune_ratio": 0.5, "memory_budget_mb": 10.0})


def test_budget_and_ratio_contradict_each_other() -> None:
    with pytest.raises(UserError, match="memory_budget_mb and prune_ratio contradict each other"):
        Recipe(memory_budget_mb=10.0, prune_ratio=0.5)
    with pytest.raises(UserError, match="give the budget or the ratio, not both"):
        Recipe(prune_ratio=0.5).replace(memory_budget_mb=10.0)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"arena_budget_kb": 100.0}, "an arena budget is of one image at a time"),
        ({"target": "edgetpu"}, "target edgetpu takes one image at a time"),
        ({"target": "ethos-u55-256"}, "target ethos-u55-256 takes one image at a time"),
    ],
)
def test_what_several_batch_sizes_do_not_go_with(other: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_dict({"batch_sizes": "1,4", **other})
    assert from_dict({"batch_sizes": "1", **other}).batches == (1,)


@pytest.mark.parametrize(
    "merging", [{"merge_tokens": 1}, {"latency_target_ms": 5.0}, {"spend": "tokens", "max_accuracy_drop": 1.0}]
)
@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"arena_budget_kb": 100.0}, "blocks that merge tokens do not compute in pieces"),
        ({"precision": "int8_full"}, "need a precision other than int8_full"),
        ({"precision": "int8_static", "stream": "int16"}, "stream auto or fp32"),
    ],
)
def test_what_merging_does_not_go_with(merging: dict[str, Any], other: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Recipe(**merging, **other)


def test_blocks_of_int4_weights() -> None:
    with pytest.raises(UserError, match="int4_block is 48: give one of 32, 64, 128, 256, or 0"):
        Recipe(int4_block=48)
    with pytest.raises(UserError, match="give int4_block or arena_budget_kb, not both"):
        Recipe(int4_block=32, arena_budget_kb=100.0)


def test_what_the_loss_is_given_for() -> None:
    with pytest.raises(UserError, match="spend is 'tokens': give max_accuracy_drop"):
        Recipe(spend="tokens")
    with pytest.raises(UserError, match="as few tokens as are needed and spend 'tokens' as many as may be"):
        Recipe(spend="tokens", max_accuracy_drop=1.0, latency_target_ms=5.0)
    smallest, fewest = (Recipe(spend=spend, max_accuracy_drop=1.0) for spend in ("bytes", "tokens"))
    assert smallest.spends_accuracy and not smallest.measures_merging and not smallest.merges
    assert fewest.measures_merging and fewest.merges and not fewest.spends_accuracy


def test_replace() -> None:
    recipe = Recipe(seed=3)
    assert recipe.replace(prune_ratio=0.5) == Recipe(seed=3, prune_ratio=0.5)
    assert recipe == Recipe(seed=3)
    with pytest.raises(UserError, match="did you mean 'seed'"):
        recipe.replace(sed=1)


@pytest.mark.parametrize(("megabytes", "expected"), [(None, None), (1.0, 10**6), (1.5, 1_500_000), (1e-6, 1)])
def test_budget_in_bytes(megabytes: float | None, expected: int | None) -> None:
    assert Recipe(memory_budget_mb=megabytes).memory_budget_bytes == expected


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets(name: str) -> None:
    assert load(name) is PRESETS[name]
    assert from_dict(json.loads(PRESETS[name].to_json())) == PRESETS[name]


def test_named_presets() -> None:
    assert set(PRESETS) == {"paper", "balanced", "smallest", "edgetpu", "npu"}
    paper = PRESETS["paper"]
    assert (paper.prune_score, paper.compensate, paper.refit, paper.precision) == ("mean_abs", "none", False, "mixed")


@pytest.mark.parametrize("target", ["ethos-u85-1024", "edgetpu", "mediatek:MT6991"])
def test_a_target_brings_its_precision_unless_one_is_given(target: str) -> None:
    assert from_dict({"target": target}).precision == "int8_full"
    assert load("paper").overruled_by({"target": target}).precision == "int8_full"
    assert Recipe(precision="fp32").overruled_by({"target": "cpu"}).precision == "fp32"
    with pytest.raises(
        UserError, match=rf"target {target} and precision mixed contradict each other: give precision int"
    ):
        Recipe().overruled_by({"target": target, "precision": "mixed"})


def test_phones_take_floats_and_microcontrollers_do_not() -> None:
    assert from_dict({"target": "qualcomm:SM8650", "precision": "fp32"}).precision == "fp32"
    with pytest.raises(UserError, match="contradict each other"):
        from_dict({"target": "ethos-u55-256", "precision": "fp32"})


def test_an_edge_tpu_has_no_16_bits() -> None:
    with pytest.raises(UserError, match="an Edge TPU computes in 8 bits: stream int16 contradicts target edgetpu"):
        from_dict({"target": "edgetpu", "stream": "int16"})


@pytest.mark.parametrize("target", ["ethos-u", "ethos-u55", "qualcomm", "qualcomm:", "apple:M4", "tpu", ""])
def test_unknown_target(target: str) -> None:
    with pytest.raises(
        UserError, match=r"choose one of cpu, ethos-u55-32, .*, edgetpu, or VENDOR:CHIP of a vendor among"
    ):
        from_dict({"target": target})


NOT_RECIPES: list[tuple[bytes, str]] = [
    (b"{", "is not valid JSON"),
    (b"", "is not valid JSON"),
    (b"\xff\xfe\xfa", "is not valid JSON"),
    (b"9" * 5000, "is not valid JSON"),
    (b"[1]", "must be a JSON object of recipe keys, not a list"),
    (b"null", "not a NoneType"),
    (b'{"max_accuracy_drop": NaN}', "give percentage points"),
    (b'{"memory_budget_mb": Infinity}', "below 2**63"),
]


@pytest.mark.parametrize(("content", "message"), NOT_RECIPES, ids=[row[0][:12].decode("latin1") for row in NOT_RECIPES])
def test_bad_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError) as refusal:
        load(str(tmp_path / "a.json"))
    assert message in str(refusal.value)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> str:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.json").touch()
    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(UserError, match=r"a\.json cannot be read: Permission denied"):
        load(str(tmp_path / "a.json"))


@pytest.mark.parametrize("name", ["nowhere.json", "balance", ""])
def test_neither_preset_nor_file(name: str) -> None:
    with pytest.raises(UserError, match=r"is neither a preset \(balanced, paper, .*\) nor a JSON file"):
        load(name)


def test_every_field_is_described() -> None:
    described = descriptions()
    assert list(described) == FIELDS
    assert all(len(text) > 10 and text.endswith(".") and "  " not in text for text in described.values())
    assert described["fp16_sites"] == described["fp32_sites"]
    assert described["precision"].endswith("or `int8_full`.")
    assert described["seed"] == "of every random choice."


def test_descriptions_name_every_choice() -> None:
    described = descriptions()
    for name in ("precision", "prune_score", "allocation", "compensate"):
        assert all(f"`{choice}`" in described[name] for choice in CHOICES[name])


@pytest.mark.parametrize(
    ("name", "kind"), [("precision", str), ("memory_budget_mb", float), ("eval_samples", int), ("awq", bool)]
)
def test_kind_of_a_field(name: str, kind: type) -> None:
    assert kind_of(name) is kind


def test_every_field_has_a_kind_that_flags_know() -> None:
    assert {kind_of(name) for name in FIELDS} == {str, float, int, bool}


def test_recipes_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().seed = 1  # type: ignore[misc]


def test_defaults_have_one_home() -> None:
    """The module makes no second recipe with values of its own beside the presets."""
    assert [name for name, value in vars(recipes).items() if isinstance(value, Recipe)] == []


def test_rewrites_of_a_recipe() -> None:
    """A scale in a norm is for integer weights; what is exact in float alone is for float between the linears."""
    assert Recipe(precision="fp32").rewrites == ALL
    assert Recipe().rewrites == ALL - {"scale"}
    assert Recipe(precision="fp16", skip_rewrites="flat, shift").rewrites == ALL - {"flat", "shift"}
    assert Recipe(precision="int8_full").rewrites == ALL - {"scale", *IN_FLOAT}
    assert Recipe(precision="int8_static", stream="int16").rewrites == ALL - {"scale", *IN_FLOAT}
