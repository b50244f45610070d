"""Which op types ask for scratch tensors: an explicit table.

It holds for the registrations of LiteRT's BuiltinOpResolverWithoutDefaultDelegates
(`tflite/core/kernels/register.cc`). An op type that is not in the table was never looked up.
"""

from __future__ import annotations

from edgeflex_tflite.graph import Op
from edgeflex_tflite.memory import scratch_conv as conv
from edgeflex_tflite.memory import scratch_dense as dense
from edgeflex_tflite.memory import scratch_other as other
from edgeflex_tflite.memory import scratch_recurrent as recurrent
from edgeflex_tflite.memory.scratch import Rule


def rule_for(op: Op) -> Rule | None:
    """The rule of an op type, or None if its kernel was never looked up."""
    if op.name == "LSTM" and op.options.get("kernelType") == recurrent.BASIC_LSTM:
        return _NONE
    return _RULES.get(op.name, _NONE if op.name in _WITHOUT_TEMPORARIES else None)


_NONE = Rule(lambda setting: [])

_RULES: dict[str, Rule] = {
    "ADD_N": Rule(other.add_n, at_load=True),
    "BATCH_MATMUL": Rule(dense.batch_matmul, reserved=7),
    "CONV_2D": Rule(conv.conv_2d),
    "CONV_3D": Rule(conv.conv_3d),
    "CONV_3D_TRANSPOSE": Rule(conv.conv_3d_transpose),
    "DEPTHWISE_CONV_2D": Rule(conv.depthwise_conv_2d),
    "FULLY_CONNECTED": Rule(dense.fully_connected, reserved=6),
    "LSTM": Rule(recurrent.lstm, reserved=21, at_load=True),
    "MEAN": Rule(other.reduce_sum, reserved=4),
    "REDUCE_ALL": Rule(other.reduce, reserved=4),
    "REDUCE_ANY": Rule(other.reduce, reserved=4),
    "REDUCE_MAX": Rule(other.reduce, reserved=4),
    "REDUCE_MIN": Rule(other.reduce, reserved=4),
    "REDUCE_PROD": Rule(other.reduce_prod, reserved=4),
    "RFFT2D": Rule(other.rfft_2d, reserved=4),
    "RNN": Rule(recurrent.rnn, reserved=6, at_load=True),
    "SUM": Rule(other.reduce_sum, reserved=4),
    "SVDF": Rule(recurrent.svdf, reserved=6, at_load=True),
    "TFLite_Detection_PostProcess": Rule(other.detection, reserved=2, at_load=True),
    "TRANSPOSE_CONV": Rule(conv.transpose_conv),
    "UNIDIRECTIONAL_SEQUENCE_RNN": Rule(recurrent.rnn, reserved=6, at_load=True),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Rule(recurrent.sequence_lstm, reserved=12, at_load=True),
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
