"""benchmark_model's command line, log, profile, result file and errors, on logs of old and new versions."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.targets.benchmark_errors import tool_error
from edgeflex_tflite.targets.benchmark_model import Delegation, Replacement, ToolConfig, ToolReport, parse
from edgeflex_tflite.targets.benchmark_result import message_class, read_result
from edgeflex_tflite.targets.measurement import Latency, NotMeasured, OpTime

GOLDEN = Path(__file__).parents[1] / "golden" / "benchmark_model"
MIB = 1 << 20


def log(name: str) -> str:
    return (GOLDEN / f"{name}.txt").read_text()


def report(name: str) -> ToolReport:
    return parse(log(name))


def reason(figure: object) -> str:
    assert isinstance(figure, NotMeasured), figure
    return figure.reason


def test_command_line_holds_only_what_was_given() -> None:
    config = ToolConfig(graph="/m.tflite", num_threads=4, use_xnnpack=False, warmup_min_secs=0.5, min_secs=2.0)
    assert config.arguments() == [
        "--graph=/m.tflite",
        "--num_threads=4",
        "--use_xnnpack=false",
        "--warmup_min_secs=0.5",
        "--min_secs=2",
    ]


def test_command_line_of_every_flag() -> None:
    config = ToolConfig(
        "/m",
        1,
        True,
        True,
        False,
        True,
        "dsp",
        "/x.so",
        "a:b",
        2,
        0.25,
        60,
        1.5,
        99.0,
        True,
        "csv",
        99,
        True,
        True,
        True,
        "/r",
        "batch_4",
    )
    assert config.arguments() == [
        "--graph=/m", "--num_threads=1", "--use_xnnpack=true", "--use_gpu=true", "--gpu_precision_loss_allowed=false",
        "--use_nnapi=true", "--nnapi_accelerator_name=dsp", "--external_delegate_path=/x.so",
        "--external_delegate_options=a:b", "--warmup_runs=2", "--warmup_min_secs=0.25", "--num_runs=60",
        "--min_secs=1.5", "--max_secs=99", "--enable_op_profiling=true", "--op_profiling_output_mode=csv",
        "--max_profiling_buffer_entries=99",
        "--print_preinvoke_state=true", "--print_postinvoke_state=true", "--report_peak_memory_footprint=true",
        "--result_file_path=/r", "--signature_to_run_for=batch_4",
    ]  # fmt: skip


def test_new_log() -> None:
    found = report("new_xnnpack")
    assert (found.startup_ms, found.first_ms) == (31.842, 21.377)
    latency = found.latency
    assert isinstance(latency, Latency)
    assert (latency.count, latency.min_ms, latency.max_ms, latency.samples_ms) == (64, 15.688, 16.733, ())
    assert latency.mean_ms == pytest.approx(15.9427)
    assert (latency.std_ms, latency.p5_ms, latency.median_ms, latency.p95_ms) == (0.171, 15.733, 15.911, 16.204)
    assert "99th" in reason(latency.p99_ms)
    assert found.peak_delta_bytes == 41.75 * MIB
    assert found.arena_bytes == 15528
    assert found.delegations == (Delegation("XNNPACK", 1, True),)
    assert found.replacements == (Replacement("TfLiteXNNPackDelegate", 3, 3, 1),)
    assert (found.ops, found.ignored_flags) == ((), ())


def test_arena_before_its_total_was_printed() -> None:
    assert report("new_without_totals").arena_bytes == 15400 + 128


def test_arena_that_was_not_asked_for() -> None:
    assert "arenas" in reason(report("new_none").arena_bytes)


def test_the_arena_is_the_one_after_the_inferences() -> None:
    before = "--------------Memory Arena Status Start--------------\n- Total arena memory usage: 7 bytes (0.000 MB)\n"
    assert parse(before + "Memory Arena Status End\n" + log("new_xnnpack")).arena_bytes == 15528


@pytest.mark.parametrize("name", ["new_without_totals", "old", "oldest"])
def test_percentiles_that_an_old_tool_does_not_print(name: str) -> None:
    latency = report(name).latency
    assert isinstance(latency, Latency)
    for percentile in (latency.p5_ms, latency.median_ms, latency.p95_ms):
        assert "no percentiles" in reason(percentile)


def test_log_of_an_old_tool() -> None:
    found = report("old")
    assert (found.startup_ms, found.first_ms, found.peak_delta_bytes) == (870.557, 130.5, 100.25 * MIB)
    assert isinstance(found.latency, Latency)
    assert (found.latency.count, found.latency.mean_ms) == (50, 119.3)
    assert found.delegations == (Delegation("GPU", 1, True),)
    assert found.replacements == (Replacement("TfLiteGpuDelegateV2", 31, None, 1),)


def test_log_of_the_oldest_tool() -> None:
    found = report("oldest")
    assert (found.startup_ms, found.first_ms) == (4.18, 39.1)
    assert isinstance(found.latency, Latency)
    assert (found.latency.count, found.latency.mean_ms, found.latency.std_ms) == (27, 37.55, 0.05)
    assert "did not print" in reason(found.peak_delta_bytes)


def test_times_that_are_all_the_same() -> None:
    found = report("new_all_same")
    assert found.first_ms == 0.004
    assert isinstance(found.latency, Latency)
    assert (found.latency.count, found.latency.min_ms, found.latency.mean_ms, found.latency.max_ms) == (
        5000, 0.004, 0.004, 0.004,
    )  # fmt: skip
    assert found.latency.std_ms == 0.0


def test_without_warm_up_the_first_inference_is_the_first_that_counts() -> None:
    assert report("new_no_warmup").first_ms == 15.981


def test_no_inference_is_not_a_time_of_zero() -> None:
    found = report("new_dry_run")
    assert reason(found.first_ms)
    assert "no inference" in reason(found.latency)


def test_times_above_a_second_are_in_powers_of_ten() -> None:
    latency = report("new_slow").latency
    assert isinstance(latency, Latency)
    assert (latency.mean_ms, latency.max_ms) == (1254.32, 1999.0)


def test_the_memory_monitor_does_not_hide_the_delta() -> None:
    assert report("new_peak_monitor").peak_delta_bytes == 41.75 * MIB


def test_a_process_that_did_not_grow_is_not_measured() -> None:
    text = log("new_none").replace("overall=41.75", "overall=0")
    assert "never larger" in reason(parse(text).peak_delta_bytes)


def test_delegate_that_takes_a_part() -> None:
    found = report("new_gpu_partly")
    assert found.delegations == (Delegation("GPU", 5, False),)
    assert found.replacements == (
        Replacement("TfLiteGpuDelegateV2", 391, 412, 11),
        Replacement("TfLiteXNNPackDelegate", 9, 26, 14),
    )


def test_delegate_that_takes_nothing() -> None:
    assert report("new_gpu_nothing").delegations == (Delegation("GPU", 0, False),)


@pytest.mark.parametrize("name", ["new_gpu_unsupported", "new_external_not_built_in", "new_none"])
def test_delegate_that_is_not_there(name: str) -> None:
    assert report(name).delegations == ()


def test_flags_that_the_tool_ignores() -> None:
    assert [flag.partition("=")[0] for flag in report("new_external_not_built_in").ignored_flags] == [
        "--external_delegate_path",
        "--result_file_path",
    ]


@pytest.mark.parametrize("name", ["profile_table", "profile_csv"])
def test_profile(name: str) -> None:
    assert report(name).ops == (
        OpTime("Fully Connected (NC, QD8, F32, QC8W) GEMM", 2, 6.0),
        OpTime("GELU", 1, 3.0),
        OpTime("Softmax (NC, F32)", 1, 1.0),
    )


@pytest.mark.parametrize("name", ["profile_table", "profile_csv", "profile_table_old"])
def test_the_profiles_statistics_are_not_the_latency(name: str) -> None:
    latency = report(name).latency
    assert isinstance(latency, Latency)
    assert latency.count == (27 if name == "profile_table_old" else 64)
    assert latency.max_ms in {16.733, 37.7}


def test_profile_of_an_old_tool_counts_nodes() -> None:
    assert report("profile_table_old").ops == (OpTime("CONV_2D", 15, 4.2), OpTime("SOFTMAX", 1, 1.8))


def test_profile_of_all_graphs_without_the_inside_of_a_delegate() -> None:
    assert report("profile_two_graphs").ops == (OpTime("TfLiteGpuDelegateV2", 5, 8.0), OpTime("ADD", 8, 2.5))


@pytest.mark.parametrize(
    ("name", "meaning", "words"),
    [
        ("error_custom_op", "no custom op EdgeAttention: use a build", "unresolved custom op: EdgeAttention"),
        ("error_flex", "plus_flex", "Select TensorFlow op"),
        ("error_op_version", "older than the file, it has no 'FULLY_CONNECTED' version '12'", "Registration failed"),
        ("error_delegate", "the GPU delegate refuses this file", "shrink_axis_mask"),
        ("error_load", "cannot load the file", "not a valid Flatbuffer"),
        ("error_signatures", "several signatures", "Signature key: decode"),
        ("error_old_load", "cannot load the file", "Failed to load model"),
    ],
)
def test_errors_in_the_tools_own_words(name: str, meaning: str, words: str) -> None:
    message = str(tool_error(log(name)))
    assert meaning in message
    assert words in message.partition("It says: ")[2]
    assert "Benchmarking failed" not in message


def test_an_error_that_nobody_knows_keeps_its_words() -> None:
    assert "It says: ERROR: the moon is full" in str(tool_error("INFO: x\nERROR: the moon is full\n"))
    assert "It says: nothing" in str(tool_error(""))
    assert "It says: ERROR: Benchmarking failed." in str(tool_error("ERROR: Benchmarking failed.\n"))


RESULT = """
latency_metrics { avg_ms: 12.5 min_ms: 11.5 max_ms: 20.25 stddev_ms: 0.5 init_ms: 30.5 first_inference_ms: 22.5
                  average_warm_up_ms: 13.5 %s }
memory_metrics { init_footprint_kb: 1000 overall_footprint_kb: 2000 peak_mem_mb: 44.5 }
misc_metrics { model_size_mb: 22.5 num_runs: 60 num_warmup_runs: 31 }
"""
PERCENTILES = "median_ms: 12.25 p5_ms: 11.75 p95_ms: 14.75"


def result(text: str) -> bytes:
    return text_format.Parse(text, message_class("BenchmarkResult")()).SerializeToString()


def test_result_file() -> None:
    found = read_result(result(RESULT % PERCENTILES))
    assert (found.startup_ms, found.first_ms, found.peak_delta_bytes) == (30.5, 22.5, 2000 * 1024)
    latency = found.latency
    assert isinstance(latency, Latency)
    assert (latency.count, latency.min_ms, latency.mean_ms, latency.max_ms, latency.std_ms) == (
        60, 11.5, 12.5, 20.25, 0.5,
    )  # fmt: skip
    assert (latency.p5_ms, latency.median_ms, latency.p95_ms) == (11.75, 12.25, 14.75)
    assert reason(latency.p99_ms)


def test_result_file_on_the_wire() -> None:
    """The numbers and types of the fields, by hand: num_runs is field 2 of field 4; p95_ms is field 7 of field 2."""
    floats = b"".join(bytes([field << 3 | 5]) + b"\x00\x00\x80\x3f" for field in (1, 2, 3, 4, 7, 8))
    found = read_result(b"\x12" + bytes([len(floats)]) + floats + b"\x22\x02\x10\x07" + b"\x1a\x02\x10\x05")
    assert isinstance(found.latency, Latency)
    assert (found.latency.count, found.latency.p95_ms, found.startup_ms, found.peak_delta_bytes) == (7, 1.0, 1.0, 5120)


def test_result_file_of_a_tool_without_percentiles() -> None:
    latency = read_result(result(RESULT % "")).latency
    assert isinstance(latency, Latency)
    assert "no median_ms" in reason(latency.median_ms)


def test_result_file_of_no_inference() -> None:
    text = (RESULT % PERCENTILES).replace("num_runs: 60", "num_runs: 0").replace("num_warmup_runs: 31", "")
    found = read_result(result(text))
    assert "no inference" in reason(found.latency)
    assert "no warm-up" in reason(found.first_ms)
    assert "no overall_footprint_kb" in reason(read_result(b"").peak_delta_bytes)


def test_damaged_result_file() -> None:
    with pytest.raises(UserError, match="damaged"):
        read_result(result(RESULT % PERCENTILES)[:-3])
