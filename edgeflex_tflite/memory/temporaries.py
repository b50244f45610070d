"""The scratch tensors that each kernel asks for: an explicit table over op types.

The sizes are those of the Prepare functions in LiteRT's `tflite/kernels/*.cc`, for the registrations of
BuiltinOpResolverWithoutDefaultDelegates (`tflite/core/kernels/register.cc`). An op type that is not in the
table is unknown: the planner reports it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeflex_tflite.memory.graph import OPTIONAL, Graph, Op, Tensor, tensor_bytes
from edgeflex_tflite.memory.homes import KNOWN, Home


@dataclass(frozen=True)
class Temporary:
    """One scratch tensor of a kernel.

    Attributes:
        role: What the kernel uses it for.
        bytes: Size.
        home: ARENA for the time of its op, PERSISTENT for good, otherwise not planned.
    """

    role: str
    bytes: int
    home: Home = Home.ARENA


@dataclass(frozen=True)
class Setting:
    """What a rule may look at.

    Attributes:
        graph: The op's graph.
        op: The op.
        homes: Home of each tensor of the graph when the op is prepared.
        num_threads: Threads of the interpreter.
    """

    graph: Graph
    op: Op
    homes: Sequence[Home]
    num_threads: int

    def input(self, position: int) -> Tensor:
        """The tensor at an input position."""
        return self.graph.tensors[self.op.inputs[position]]

    def output(self, position: int = 0) -> Tensor:
        """The tensor at an output position."""
        return self.graph.tensors[self.op.outputs[position]]

    def has(self, position: int) -> bool:
        """Whether an optional input is there."""
        return position < len(self.op.inputs) and self.op.inputs[position] != OPTIONAL

    def home(self, position: int) -> Home:
        """Home of the tensor at an input position."""
        return self.homes[self.op.inputs[position]]


@dataclass(frozen=True)
class Rule:
    """How one op type uses scratch tensors.

    Attributes:
        temporaries: Gives the scratch tensors of one op.
        reserved: Tensor indices the kernel takes whether it uses them or not; None means one for each.
        at_load: The indices are taken when the file is loaded, before any op is prepared.
    """

    temporaries: Callable[[Setting], list[Temporary]]
    reserved: int | None = None
    at_load: bool = False


def rule_for(op: Op) -> Rule | None:
    """The rule of an op type, or None if its kernel was never looked up."""
    if op.name == "LSTM" and op.options.get("kernelType") == _BASIC_LSTM:
        return _NONE
    return _RULES.get(op.name, _NONE if op.name in _WITHOUT_TEMPORARIES else None)


def _t(role: str, dtype: str, *shape: int, home: Home = Home.ARENA) -> Temporary:
    return Temporary(role, tensor_bytes(dtype, shape), home)


def _is_hybrid(data: Tensor, weights: Tensor, types: tuple[str, ...] = ("UINT8", "INT8")) -> bool:
    """Float activations with integer weights: activations are quantized on the fly."""
    return data.dtype == "FLOAT32" and weights.dtype in types


# --- FULLY_CONNECTED (tflite/kernels/fully_connected.cc) --------------------------------------------------

_INT4_BLOCK_ROWS, _INT4_BLOCK_COLUMNS, _INT4_INPUT_ROWS = 4, 32, 4
"""Blocks of the packed 4-bit kernel (`kernels/internal/optimized/fully_connected_4bit.h`) on x86 with SSSE3
and on 64-bit Arm."""


def _fully_connected(s: Setting) -> list[Temporary]:
    data, weights = s.input(0), s.input(1)
    units, depth = weights.shape
    if not _is_hybrid(data, weights, ("UINT8", "INT8", "INT4", "INT2")) or depth == 0:
        return []
    batch = math.prod(data.shape) // depth
    if weights.dtype == "INT4" and s.home(1) is Home.CONSTANT and batch and _fits_int4_blocks(units, depth):
        return _fully_connected_int4(batch, units, depth)
    temporaries = [
        _t("quantized input", "INT8", *data.shape),
        _t("scaling factors", "FLOAT32", batch),
        _t("accumulators", "INT32", units, batch),
        _t("input offsets", "INT32", batch),
        _t("row sums", "INT32", units, home=Home.PERSISTENT),
    ]
    if weights.sparse_ledger_bytes is not None:
        temporaries.append(Temporary("sparse row ledger", weights.sparse_ledger_bytes, Home.PERSISTENT))
    return temporaries


def _fits_int4_blocks(units: int, depth: int) -> bool:
    return depth % 2 == 0 and units >= _INT4_BLOCK_ROWS and depth >= _INT4_BLOCK_COLUMNS


def _fully_connected_int4(batch: int, units: int, depth: int) -> list[Temporary]:
    """Scratch of the packed kernel: sizes rounded up to whole blocks."""
    width = next(w for w in (_INT4_INPUT_ROWS, 2, 1) if batch >= w)
    rows, columns = _round_up(batch, width), _round_up(depth, _INT4_BLOCK_COLUMNS)
    return [
        _t("quantized input", "INT8", rows, columns),
        _t("scaling factors", "FLOAT32", rows),
        _t("accumulators", "INT32", rows, _round_up(units, _INT4_BLOCK_ROWS)),
        _t("input offsets", "INT32", rows),
        Temporary("unused", 0, Home.NOWHERE),
    ]


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


# --- CONV_2D (tflite/kernels/conv.cc) and its relatives ----------------------------------------------------


def _conv_2d(s: Setting) -> list[Temporary]:
    data, weights, output, options = s.input(0), s.input(1), s.output(), s.op.options
    hybrid = _is_hybrid(data, weights, ("UINT8", "INT8", "INT4"))
    undilated = options.get("dilationWFactor", 1) == 1 == options.get("dilationHFactor", 1)
    fixed = s.home(1) not in (Home.ARENA, Home.DYNAMIC)
    transposed = data.dtype == "FLOAT32" and not hybrid and undilated and fixed and s.num_threads != 1
    batch, height, width, channels = output.shape
    patch = math.prod(weights.shape[1:])
    temporaries = []
    if not transposed and _needs_im2col(weights, options, undilated):
        dtype = data.dtype if not hybrid else "UINT8" if weights.dtype == "UINT8" else "INT8"
        temporaries.append(_t("im2col", dtype, batch, height, width, patch))
    if transposed:
        temporaries.append(_t("transposed weights", "FLOAT32", patch, channels, home=Home.PERSISTENT))
    return temporaries + (_conv_2d_hybrid(data, weights, output) if hybrid else [])


def _needs_im2col(weights: Tensor, options: Mapping[str, Any], undilated: bool) -> bool:
    """Every convolution but a pointwise one with stride 1 copies its patches out."""
    pointwise = weights.shape[1] == 1 and weights.shape[2] == 1
    return not (pointwise and undilated and options.get("strideW") == 1 == options.get("strideH"))


def _conv_2d_hybrid(data: Tensor, weights: Tensor, output: Tensor) -> list[Temporary]:
    batch, height, width, channels = output.shape
    groups = data.shape[3] // weights.shape[3]
    rows = math.prod(data.shape[:3]) * groups
    temporaries = [
        _t("quantized input", "INT8", *data.shape),
        _t("scaling factors", "FLOAT32", rows),
        _t("accumulators", "INT32", channels, batch * height * width),
    ]
    if weights.scales_differ and weights.dtype != "UINT8":
        temporaries += [
            _t("input offsets", "INT32", rows),
            _t("row sums", "INT32", channels, home=Home.PERSISTENT),
        ]
    return temporaries


def _depthwise_conv_2d(s: Setting) -> list[Temporary]:
    """`tflite/kernels/depthwise_conv.cc`"""
    data = s.input(0)
    if not _is_hybrid(data, s.input(1), ("INT8",)):
        return []
    return [
        _t("quantized input", "INT8", *data.shape),
        _t("scaling factors", "FLOAT32", data.shape[0]),
        _t("input offsets", "INT32", data.shape[0]),
    ]


def _transpose_conv(s: Setting) -> list[Temporary]:
    """`tflite/kernels/transpose_conv.cc`: the big scratch tensors are heap blocks, not arena."""
    weights, data = s.input(1), s.input(2)
    temporaries = [Temporary("col2im", 0, Home.DYNAMIC), Temporary("transposed weights", 0, Home.DYNAMIC)]
    if data.dtype in ("UINT8", "INT8", "INT16"):
        temporaries.append(Temporary("accumulators", 0, Home.DYNAMIC))
    if _is_hybrid(data, weights, ("INT8",)):
        rows = math.prod(data.shape) // weights.shape[3]
        temporaries += [
            _t("quantized input", "INT8", *data.shape),
            _t("scaling factors", "FLOAT32", rows),
            _t("input offsets", "INT32", rows),
        ]
    return temporaries


def _conv_3d(s: Setting) -> list[Temporary]:
    """`tflite/kernels/conv3d.cc`"""
    weights, options = s.input(1), s.op.options
    factors = ("strideD", "strideH", "strideW", "dilationDFactor", "dilationHFactor", "dilationWFactor")
    if all(options[f] == 1 for f in factors) and weights.shape[:3] == (1, 1, 1):
        return []
    return [_t("im2col", s.input(0).dtype, *s.output().shape[:4], math.prod(weights.shape[:4]))]


def _conv_3d_transpose(s: Setting) -> list[Temporary]:
    """`tflite/kernels/conv3d_transpose.cc`"""
    dilated = any(s.op.options[f"dilation{axis}Factor"] > 1 for axis in "DHW")
    return [] if dilated else [Temporary("col2im", 0, Home.DYNAMIC)]


# --- BATCH_MATMUL (tflite/kernels/batch_matmul.cc) ---------------------------------------------------------


def _batch_matmul(s: Setting) -> list[Temporary]:
    """Room for both transposed operands, used or not, and the tensors of on-the-fly quantization."""
    left, right = s.input(0), s.input(1)
    kept = Home.PERSISTENT if s.home(1) is Home.CONSTANT else Home.ARENA
    temporaries = [
        _t("transposed left operand", left.dtype, *left.shape),
        _t("transposed right operand", right.dtype, *right.shape, home=kept),
    ]
    if not _is_hybrid(left, right, ("INT8",)):
        return temporaries
    rows = left.shape[-1 if s.op.options["adjX"] else -2]
    units = right.shape[-2 if s.op.options["adjY"] else -1]
    batches = math.prod(left.shape[:-2]) * rows
    return [
        *temporaries,
        _t("quantized input", "INT8", *left.shape),
        _t("scaling factors", "FLOAT32", batches),
        _t("accumulators", "INT32", units, rows),
        _t("input offsets", "INT32", batches),
        _t("row sums", "INT32", math.prod(right.shape[:-2]) * units, home=Home.PERSISTENT),
    ]


# --- Reductions (tflite/kernels/reduce.cc) -----------------------------------------------------------------

_ACCUMULATOR = {"FLOAT32": "FLOAT32", "INT32": "INT64", "INT64": "INT64", "BOOL": "BOOL"}


def _reduce(s: Setting, accumulates: bool = False) -> list[Temporary]:
    """Index, resolved axes, accumulators (mean, sum and product only) and the shape of a known input."""
    data, axes = s.input(0), s.input(1)
    rank, known_axes = len(data.shape), s.home(1) in KNOWN
    accumulator = _ACCUMULATOR.get(data.dtype, "INT32")
    sized = Home.ARENA if known_axes else Home.DYNAMIC
    shape_home = Home.ARENA if s.home(0) in KNOWN else Home.DYNAMIC
    return [
        _t("index", "INT32", rank),
        _t("resolved axes", "INT32", math.prod(axes.shape), home=sized),
        _t("accumulators", accumulator, *s.output().shape, home=sized if accumulates else Home.NOWHERE),
        _t("input shape", "INT32", rank, home=shape_home),
    ]


def _reduce_sum(s: Setting) -> list[Temporary]:
    return _reduce(s, accumulates=True)


def _reduce_prod(s: Setting) -> list[Temporary]:
    temporaries = _reduce(s, accumulates=True)
    if s.homes[s.op.outputs[0]] is not Home.FOLDED:
        return temporaries
    return [temporaries[0]] + [Temporary(t.role, t.bytes, Home.DYNAMIC) for t in temporaries[1:]]


# --- Recurrent layers --------------------------------------------------------------------------------------


def _svdf(s: Setting) -> list[Temporary]:
    """`tflite/kernels/svdf.cc`"""
    data, features, time = s.input(0), s.input(1), s.input(2)
    batch, filters = data.shape[0], features.shape[0]
    if data.dtype == "INT8":
        units = filters // s.op.options["rank"]
        return [_t("scratch", "INT32", batch, filters), _t("output", "INT32", units, batch)]
    temporaries = [_t("scratch", "FLOAT32", batch, filters)]
    if _is_hybrid(data, features):
        temporaries += [
            _t("quantized input", features.dtype, *data.shape),
            _t("scaling factors", "FLOAT32", batch),
            _t("float time weights", "FLOAT32", *time.shape, home=Home.PERSISTENT),
            _t("zero points", "FLOAT32", batch),
            _t("row sums", "FLOAT32", filters, home=Home.PERSISTENT),
        ]
    return temporaries


def _rnn(s: Setting) -> list[Temporary]:
    """`tflite/kernels/basic_rnn.cc`, `unidirectional_sequence_rnn.cc`"""
    data, weights, state = s.input(0), s.input(1), s.input(4)
    if not _is_hybrid(data, weights):
        return []
    batch, units = state.shape
    return [
        _t("quantized input", weights.dtype, *data.shape),
        _t("quantized state", weights.dtype, *state.shape),
        _t("scaling factors", "FLOAT32", batch),
        _t("accumulators", "INT32", units, batch),
        _t("zero points", "INT32", batch),
        _t("row sums", "INT32", 2, units, home=Home.PERSISTENT),
    ]


# --- LSTM (tflite/kernels/lstm.cc, unidirectional_sequence_lstm.cc) ----------------------------------------

_BASIC_LSTM = 1
"""The kernel type whose scratch tensors are outputs in the file."""

_TO_INPUT, _TO_OUTPUT, _RECURRENT_TO_OUTPUT, _PROJECTION, _OUTPUT_STATE, _CELL_STATE = 1, 4, 8, 16, 18, 19
_WEIGHTS = (1, 2, 3, 4, 5, 6, 7, 8, _PROJECTION)


def _lstm(s: Setting) -> list[Temporary]:
    data, weights = s.input(0), s.input(_TO_OUTPUT)
    batch, cells = data.shape[0], weights.shape[0]
    if data.dtype == "INT8":
        types = ["INT16"] * 4 + ["INT8", "INT32"] if len(s.op.intermediates) == 5 else ["INT8"] * 2 + ["INT16"] * 6
        return [_t("gate", dtype, batch, cells) for dtype in types]
    gates = 5 if s.has(_TO_INPUT) else 4
    temporaries = [_t("gates", data.dtype, batch, gates * cells)]
    if not _is_hybrid(data, weights):
        return temporaries
    temporaries += _lstm_hybrid(s, batch, cells)
    return temporaries + (_lstm_ledgers(s) if weights.sparse_ledger_bytes is not None else [])


def _sequence_lstm(s: Setting) -> list[Temporary]:
    data, weights = s.input(0), s.input(_TO_OUTPUT)
    batch, cells = data.shape[1 if s.op.options["timeMajor"] else 0], weights.shape[0]
    if data.dtype == "INT8":
        return [_t("gate", dtype, batch, cells) for dtype in ["INT16"] * 4 + ["INT8", "INT32"]]
    gates = 5 if s.has(_TO_INPUT) else 4
    temporaries = [_t("gates", data.dtype, batch, gates * cells + 16)]
    return temporaries + (_lstm_hybrid(s, batch, cells) if _is_hybrid(data, weights) else [])


def _lstm_hybrid(s: Setting, batch: int, cells: int) -> list[Temporary]:
    weights, recurrent = s.input(_TO_OUTPUT), s.input(_RECURRENT_TO_OUTPUT)
    outputs = recurrent.shape[-1]
    rows = (8 if s.has(_TO_INPUT) else 6) + (-(-outputs // cells) if s.has(_PROJECTION) else 0)
    quantized = {"input": 0, "output state": _OUTPUT_STATE, "cell state": _CELL_STATE}
    return [
        *(_t(f"quantized {role}", weights.dtype, *s.input(p).shape) for role, p in quantized.items()),
        *(_t(f"scaling factors of {role}", "FLOAT32", batch) for role in ("input", "output state", "product")),
        _t("recovered cell weights", "FLOAT32", cells),
        _t("accumulators", "INT32", cells, batch),
        _t("zero points of input", "FLOAT32", batch),
        _t("zero points of output state", "FLOAT32", batch),
        _t("row sums", "INT32", rows, cells, home=Home.PERSISTENT),
    ]


def _lstm_ledgers(s: Setting) -> list[Temporary]:
    sizes = [s.input(p).sparse_ledger_bytes if s.has(p) else None for p in _WEIGHTS]
    return [Temporary("sparse row ledger", size or 0, Home.PERSISTENT) for size in sizes]


# --- Others ------------------------------------------------------------------------------------------------


def _add_n(s: Setting) -> list[Temporary]:
    """`tflite/kernels/add_n.cc`: one partial sum for each thread, of at least two addends."""
    threads = min(max(1, len(s.op.inputs) // 2), s.num_threads)
    return [_t("partial sums", s.input(0).dtype, threads, *s.input(0).shape)]


def _detection(s: Setting) -> list[Temporary]:
    """`tflite/kernels/detection_postprocess.cc`"""
    boxes, scores = s.input(0), s.input(1)
    return [_t("decoded boxes", "FLOAT32", boxes.shape[1], 4), _t("scores", "FLOAT32", *scores.shape[1:])]


def _rfft_2d(s: Setting) -> list[Temporary]:
    """`tflite/kernels/rfft2d.cc`"""
    if s.home(1) not in KNOWN:
        return [Temporary(role, 0, Home.DYNAMIC) for role in ("integers", "doubles", "rows", "data")]
    height, width = s.input(0).shape[-2:]
    lengths = s.input(1).data
    if lengths is not None:
        height, width = struct.unpack("<2i", lengths[:8])
    length = max(height, width // 2)
    return [
        _t("integers", "INT32", 2 + math.isqrt(length)),
        _t("doubles", "INT64", length // 2 + width // 4),
        _t("rows", "INT64", height),
        _t("data", "INT64", height, width + 2),
    ]


def _no_temporaries(s: Setting) -> list[Temporary]:
    return []


_NONE = Rule(_no_temporaries)

_RULES: dict[str, Rule] = {
    "ADD_N": Rule(_add_n, at_load=True),
    "BATCH_MATMUL": Rule(_batch_matmul, reserved=7),
    "CONV_2D": Rule(_conv_2d),
    "CONV_3D": Rule(_conv_3d),
    "CONV_3D_TRANSPOSE": Rule(_conv_3d_transpose),
    "DEPTHWISE_CONV_2D": Rule(_depthwise_conv_2d),
    "FULLY_CONNECTED": Rule(_fully_connected, reserved=6),
    "LSTM": Rule(_lstm, reserved=21, at_load=True),
    "MEAN": Rule(_reduce_sum, reserved=4),
    "REDUCE_ALL": Rule(_reduce, reserved=4),
    "REDUCE_ANY": Rule(_reduce, reserved=4),
    "REDUCE_MAX": Rule(_reduce, reserved=4),
    "REDUCE_MIN": Rule(_reduce, reserved=4),
    "REDUCE_PROD": Rule(_reduce_prod, reserved=4),
    "RFFT2D": Rule(_rfft_2d, reserved=4),
    "RNN": Rule(_rnn, reserved=6, at_load=True),
    "SUM": Rule(_reduce_sum, reserved=4),
    "SVDF": Rule(_svdf, reserved=6, at_load=True),
    "TFLite_Detection_PostProcess": Rule(_detection, reserved=2, at_load=True),
    "TRANSPOSE_CONV": Rule(_transpose_conv),
    "UNIDIRECTIONAL_SEQUENCE_RNN": Rule(_rnn, reserved=6, at_load=True),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Rule(_sequence_lstm, reserved=12, at_load=True),
}

_WITHOUT_TEMPORARIES = frozenset({
    "ABS", "ADD", "ARG_MAX", "ARG_MIN", "ASSIGN_VARIABLE", "ATAN2", "AVERAGE_POOL_2D", "AudioSpectrogram",
    "BATCH_TO_SPACE_ND", "BITCAST", "BITWISE_XOR", "BROADCAST_ARGS", "BROADCAST_TO", "BUCKETIZE", "CALL_ONCE",
    "CAST", "CEIL", "COMPLEX_ABS", "CONCATENATION", "COS", "CUMSUM", "DENSIFY", "DEPTH_TO_SPACE", "DEQUANTIZE",
    "DILATE", "DIV", "DYNAMIC_UPDATE_SLICE", "ELU", "EMBEDDING_LOOKUP", "EMBEDDING_LOOKUP_SPARSE", "EQUAL",
    "EXP", "EXPAND_DIMS", "FAKE_QUANT", "FILL", "FLOOR", "FLOOR_DIV", "FLOOR_MOD", "GATHER", "GATHER_ND",
    "GELU", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT",
    "HASHTABLE_LOOKUP", "HASHTABLE_SIZE", "IF", "IMAG", "L2_NORMALIZATION", "L2_POOL_2D", "LEAKY_RELU", "LESS",
    "LESS_EQUAL", "LOCAL_RESPONSE_NORMALIZATION", "LOG", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "LOGISTIC",
    "LOG_SOFTMAX", "LSH_PROJECTION", "MATRIX_DIAG", "MATRIX_SET_DIAG", "MAXIMUM", "MAX_POOL_2D", "MINIMUM",
    "MIRROR_PAD", "MUL", "MULTINOMIAL", "Mfcc", "NEG", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5",
    "NOT_EQUAL", "ONE_HOT", "PACK", "PAD", "PADV2", "POW", "PRELU", "QUANTIZE", "RANDOM_STANDARD_NORMAL",
    "RANDOM_UNIFORM", "RANGE", "RANK", "READ_VARIABLE", "REAL", "REDUCE_WINDOW", "RELU", "RELU6", "RELU_0_TO_1",
    "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_SEQUENCE", "REVERSE_V2",
    "RIGHT_SHIFT", "ROUND", "RSQRT", "SCATTER_ND", "SEGMENT_SUM", "SELECT", "SELECT_V2", "SHAPE", "SIGN", "SIN",
    "SKIP_GRAM", "SLICE", "SOFTMAX", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPARSE_TO_DENSE", "SPLIT",
    "SPLIT_V", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "SQUEEZE", "STABLEHLO_ADD", "STABLEHLO_AND",
    "STABLEHLO_CASE", "STABLEHLO_COMPOSITE", "STABLEHLO_GATHER", "STABLEHLO_MAXIMUM", "STABLEHLO_MINIMUM",
    "STABLEHLO_MULTIPLY", "STABLEHLO_PAD", "STABLEHLO_RNG_BIT_GENERATOR", "STABLEHLO_SCATTER",
    "STABLEHLO_SHIFT_LEFT", "STRIDED_SLICE", "SUB", "TANH", "TILE", "TOPK_V2", "TRANSPOSE", "UNIQUE", "UNPACK",
    "UNSORTED_SEGMENT_MAX", "UNSORTED_SEGMENT_MIN", "UNSORTED_SEGMENT_PROD", "UNSORTED_SEGMENT_SUM",
    "VAR_HANDLE", "WHERE", "WHILE", "ZEROS_LIKE", "aeq.hadamard_rotation",
})  # fmt: skip
"""Op types whose kernels were read and ask for no scratch tensor."""
