"""Scratch tensors of recurrent layers: LiteRT's `tflite/kernels/lstm.cc` and its relatives."""

from __future__ import annotations

from edgeflex_tflite.memory.homes import Home
from edgeflex_tflite.memory.scratch import Setting, Temporary, is_hybrid, scratch


def svdf(s: Setting) -> list[Temporary]:
    """`tflite/kernels/svdf.cc`"""
    data, features, time = s.input(0), s.input(1), s.input(2)
    batch, filters = data.shape[0], features.shape[0]
    if data.dtype == "INT8":
        units = filters // s.op.options["rank"]
        return [scratch("scratch", "INT32", batch, filters), scratch("output", "INT32", units, batch)]
    temporaries = [scratch("scratch", "FLOAT32", batch, filters)]
    if is_hybrid(data, features):
        temporaries += [
            scratch("quantized input", features.dtype, *data.shape),
            scratch("scaling factors", "FLOAT32", batch),
            scratch("float time weights", "FLOAT32", *time.shape, home=Home.PERSISTENT),
            scratch("zero points", "FLOAT32", batch),
            scratch("row sums", "FLOAT32", filters, home=Home.PERSISTENT),
        ]
    return temporaries


def rnn(s: Setting) -> list[Temporary]:
    """`tflite/kernels/basic_rnn.cc`, `unidirectional_sequence_rnn.cc`"""
    data, weights, state = s.input(0), s.input(1), s.input(4)
    if not is_hybrid(data, weights):
        return []
    batch, units = state.shape
    return [
        scratch("quantized input", weights.dtype, *data.shape),
        scratch("quantized state", weights.dtype, *state.shape),
        scratch("scaling factors", "FLOAT32", batch),
        scratch("accumulators", "INT32", units, batch),
        scratch("zero points", "INT32", batch),
        scratch("row sums", "INT32", 2, units, home=Home.PERSISTENT),
    ]


BASIC_LSTM = 1
"""The kernel type whose scratch tensors are outputs in the file."""

_TO_INPUT, _TO_OUTPUT, _RECURRENT_TO_OUTPUT, _PROJECTION, _OUTPUT_STATE, _CELL_STATE = 1, 4, 8, 16, 18, 19
_WEIGHTS = (1, 2, 3, 4, 5, 6, 7, 8, _PROJECTION)


def lstm(s: Setting) -> list[Temporary]:
    """`tflite/kernels/lstm.cc`, the full kernel."""
    data, weights = s.input(0), s.input(_TO_OUTPUT)
    batch, cells = data.shape[0], weights.shape[0]
    if data.dtype == "INT8":
        types = ["INT16"] * 4 + ["INT8", "INT32"] if len(s.op.intermediates) == 5 else ["INT8"] * 2 + ["INT16"] * 6
        return [scratch("gate", dtype, batch, cells) for dtype in types]
    gates = 5 if s.has(_TO_INPUT) else 4
    temporaries = [scratch("gates", data.dtype, batch, gates * cells)]
    if not is_hybrid(data, weights):
        return temporaries
    temporaries += _lstm_hybrid(s, batch, cells)
    return temporaries + (_lstm_ledgers(s) if weights.sparse_ledger_bytes is not None else [])


def sequence_lstm(s: Setting) -> list[Temporary]:
    """`tflite/kernels/unidirectional_sequence_lstm.cc`"""
    data, weights = s.input(0), s.input(_TO_OUTPUT)
    batch, cells = data.shape[1 if s.op.options["timeMajor"] else 0], weights.shape[0]
    if data.dtype == "INT8":
        return [scratch("gate", dtype, batch, cells) for dtype in ["INT16"] * 4 + ["INT8", "INT32"]]
    gates = 5 if s.has(_TO_INPUT) else 4
    temporaries = [scratch("gates", data.dtype, batch, gates * cells + 16)]
    return temporaries + (_lstm_hybrid(s, batch, cells) if is_hybrid(data, weights) else [])


def _lstm_hybrid(s: Setting, batch: int, cells: int) -> list[Temporary]:
    weights, recurrent = s.input(_TO_OUTPUT), s.input(_RECURRENT_TO_OUTPUT)
    outputs = recurrent.shape[-1]
    rows = (8 if s.has(_TO_INPUT) else 6) + (-(-outputs // cells) if s.has(_PROJECTION) else 0)
    quantized = {"input": 0, "output state": _OUTPUT_STATE, "cell state": _CELL_STATE}
    return [
        *(scratch(f"quantized {role}", weights.dtype, *s.input(p).shape) for role, p in quantized.items()),
        *(scratch(f"scaling factors of {role}", "FLOAT32", batch) for role in ("input", "output state", "product")),
        scratch("recovered cell weights", "FLOAT32", cells),
        scratch("accumulators", "INT32", cells, batch),
        scratch("zero points of input", "FLOAT32", batch),
        scratch("zero points of output state", "FLOAT32", batch),
        scratch("row sums", "INT32", rows, cells, home=Home.PERSISTENT),
    ]


def _lstm_ledgers(s: Setting) -> list[Temporary]:
    sizes = [s.input(p).sparse_ledger_bytes if s.has(p) else None for p in _WEIGHTS]
    return [Temporary("sparse row ledger", size or 0, Home.PERSISTENT) for size in sizes]
