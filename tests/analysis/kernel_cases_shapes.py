"""Cases of ops that reduce, move or cut, and of ops that XNNPACK does not have; see `kernel_cases.py`."""

from __future__ import annotations

from kernel_cases import I8, ONES, ZERO, absent, add, c, i32, q, x
from kernel_cases_windows import DENSE, DEPTHWISE, MATMUL, POOL, filters, flat, image, single, weights, wide

for name in ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"]:
    reduce = {"table": "ReducerOptions", "keepDims": True}
    add("float", name, [x(2, 3, 4), i32(1, 2)], [x(2, 1, 1)], **reduce)
    add("int8", name, [q(2, 3, 4), i32(2)], [q(2, 3, 1)], **reduce)
    add("int32", name, [x(2, 3, 4, dtype="INT32"), i32(2)], [x(2, 3, 1, dtype="INT32")], "type of input 0", **reduce)
    add("computed", name, [x(2, 3, 4), x(1, dtype="INT32")], [x(2, 3, 1)], "constant input 1", **reduce)

add("float", "PAD", [x(2, 3), c([[0, 1], [2, 0]], "INT32")], [x(3, 5)])
add("int8", "PAD", [q(2, 3), c([[0, 1], [2, 0]], "INT32")], [q(3, 5)])
add("int64", "PAD", [x(2, 3), c([[0, 1], [2, 0]], "INT64")], [x(3, 5)], "type of input 1")
add("computed", "PAD", [x(2, 3), x(2, 2, dtype="INT32")], [x(3, 5)], "constant input 1")
add("int32", "PAD", [x(2, 3, dtype="INT32"), c([[0, 1], [2, 0]], "INT32")], [x(3, 5, dtype="INT32")], "type of input 0")

add("float", "RESHAPE", [x(2, 3), i32(3, 2)], [x(3, 2)])
add("open", "RESHAPE", [x(2, 3), i32(3, -1)], [x(3, 2)])
add("flat", "RESHAPE", [x(2, 3), i32(6)], [x(6)])
add("flat and open", "RESHAPE", [x(2, 3), i32(-1)], [x(6)], "no_legacy_scalar")
add("option", "RESHAPE", [x(2, 3)], [x(3, 2)], table="ReshapeOptions", newShape=[3, 2])
add("int8", "RESHAPE", [q(2, 3), i32(3, 2)], [q(3, 2)])
add("int8 scales", "RESHAPE", [q(2, 3), i32(3, 2)], [q(3, 2, scale=0.25)], "keeps_quantization")
add("int32", "RESHAPE", [x(2, 3, dtype="INT32"), i32(3, 2)], [x(3, 2, dtype="INT32")], "type of input 0")
add("computed", "RESHAPE", [x(2, 3), x(2, dtype="INT32")], [x(3, 2)], "constant input 1")
add("rank 7", "RESHAPE", [x(2, 3), i32(1, 1, 1, 1, 1, 3, 2)], [x(1, 1, 1, 1, 1, 3, 2)], "shape of output 0")

resize = {"table": "ResizeBilinearOptions"}
add("float", "RESIZE_BILINEAR", [x(1, 4, 4, 3), i32(8, 8)], [x(1, 8, 8, 3)], **resize)
add("int8", "RESIZE_BILINEAR", [q(1, 4, 4, 3), i32(8, 8)], [q(1, 8, 8, 3)], **resize)
computed = [x(1, 4, 4, 3), x(2, dtype="INT32")], [x(1, 8, 8, 3)]
add("computed", "RESIZE_BILINEAR", *computed, "constant input 1", **resize)
short = [x(1, 4, 4, 3, dtype="INT16", scales=[1.0]), i32(8, 8)], [x(1, 8, 8, 3, dtype="INT16", scales=[1.0])]
add("int16", "RESIZE_BILINEAR", *short, "type of input 0", **resize)

add("float", "SLICE", [x(4, 3), i32(1, 0), i32(2, 3)], [x(2, 3)])
add("int64", "SLICE", [x(4, 3), c([1, 0], "INT64"), c([2, 3], "INT64")], [x(2, 3)])
add("int8", "SLICE", [q(4, 3), i32(1, 0), i32(2, 3)], [q(2, 3)])
add("rest", "SLICE", [x(4, 3), i32(1, 0), i32(2, -1)], [x(2, 3)], "sizes_are_given")
add("computed", "SLICE", [x(4, 3), x(2, dtype="INT32"), i32(2, 3)], [x(2, 3)], "constant input 1")
add("computed size", "SLICE", [x(4, 3), i32(1, 0), x(2, dtype="INT32")], [x(2, 3)], "constant input 2")
add("int32", "SLICE", [x(4, 3, dtype="INT32"), i32(1, 0), i32(2, 3)], [x(2, 3, dtype="INT32")], "type of input 0")

cut = {"table": "StridedSliceOptions"}
add("float", "STRIDED_SLICE", [x(4, 3), i32(1, 0), i32(3, 3), i32(1, 1)], [x(2, 3)], **cut)
add("int8", "STRIDED_SLICE", [q(4, 3), i32(1, 0), i32(3, 3), i32(1, 1)], [q(2, 3)], **cut)
add("stride", "STRIDED_SLICE", [x(4, 3), i32(0, 0), i32(4, 3), i32(2, 1)], [x(2, 3)], "unit_strides", **cut)
shrunk = [x(4, 3), i32(1, 0), i32(2, 3), i32(1, 1)], [x(3)]
add("shrunk", "STRIDED_SLICE", *shrunk, "option_is shrinkAxisMask", shrinkAxisMask=1, **cut)
added = [x(4, 3), i32(1, 0, 0), i32(2, 4, 3), i32(1, 1, 1)], [x(1, 4, 3)]
add("new", "STRIDED_SLICE", *added, "option_is newAxisMask", newAxisMask=1, **cut)
computed = [x(4, 3), x(2, dtype="INT32"), i32(3, 3), i32(1, 1)], [x(2, 3)]
add("computed", "STRIDED_SLICE", *computed, "constant input 1", **cut)
partial = [x(4, 3), i32(1), i32(3), i32(1)], [x(2, 3)]
add("partial", "STRIDED_SLICE", *partial, "slices_every_dimension", **cut)

for name, table, shapes in [("SPACE_TO_DEPTH", "SpaceToDepthOptions", ((1, 4, 4, 3), (1, 2, 2, 12))),
                            ("DEPTH_TO_SPACE", "DepthToSpaceOptions", ((1, 2, 2, 12), (1, 4, 4, 3)))]:  # fmt: skip
    block = {"table": table, "blockSize": 2}
    add("float", name, [x(*shapes[0])], [x(*shapes[1])], **block)
    add("int8", name, [q(*shapes[0])], [q(*shapes[1])], **block)
    integers = [x(*shapes[0], dtype="INT32")], [x(*shapes[1], dtype="INT32")]
    add("int32", name, *integers, "type of input 0", **block)
    same = [x(*shapes[0])], [x(*shapes[0])]
    add("one", name, *same, "options_above blockSize", table=table, blockSize=1)

for count in (2, 4, 5):
    fits = "" if count < 5 else "number of outputs"
    split = {"table": "SplitOptions", "numSplits": count}
    add(f"{count}", "SPLIT", [c(1, "INT32"), x(2, count)], [x(2, 1)] * count, fits, **split)
add(
    "computed",
    "SPLIT",
    [x(dtype="INT32"), x(2, 4)],
    [x(2, 2)] * 2,
    "constant input 0",
    table="SplitOptions",
    numSplits=2,
)
add("int32", "SPLIT", [c(1, "INT32"), x(2, 4, dtype="INT32")], [x(2, 2, dtype="INT32")] * 2, "type of input 1",
    table="SplitOptions", numSplits=2)  # fmt: skip

add("float", "TRANSPOSE", [x(2, 3, 4), i32(2, 0, 1)], [x(4, 2, 3)])
add("int8", "TRANSPOSE", [q(2, 3, 4), i32(2, 0, 1)], [q(4, 2, 3)])
add("int32", "TRANSPOSE", [x(2, 3, dtype="INT32"), i32(1, 0)], [x(3, 2, dtype="INT32")], "type of input 0")
add("computed", "TRANSPOSE", [x(2, 3), x(2, dtype="INT32")], [x(3, 2)], "constant input 1")

TURNED = {"table": "TransposeConvOptions", "strideW": 2, "strideH": 2, "padding": 0, "version": 3}
small = x(1, 2, 2, 4)
turned = [i32(1, 4, 4, 6), c(filters), small, c(ZERO(6))]
add("float", "TRANSPOSE_CONV", turned, [x(1, 4, 4, 6)], **TURNED)
add("no bias", "TRANSPOSE_CONV", turned[:3], [x(1, 4, 4, 6)], **TURNED)
add("jump", "TRANSPOSE_CONV", [i32(1, 8, 8, 6), c(filters), small, c(ZERO(6))], [x(1, 8, 8, 6)], "transposed_padding",
    **(TURNED | {"strideW": 4, "strideH": 4}))  # fmt: skip
computed = [x(4, dtype="INT32"), *turned[1:]]
add("computed", "TRANSPOSE_CONV", computed, [x(1, 4, 4, 6)], "constant input 0", **TURNED)

add("float", "EXPAND_DIMS", [x(2, 3), i32(0)], [x(1, 2, 3)], "op")
add("float", "SQUEEZE", [x(1, 3)], [x(3)], "op", table="SqueezeOptions")
add("float", "PACK", [x(2, 3), x(2, 3)], [x(2, 2, 3)], "op", table="PackOptions", valuesCount=2)
add("float", "POW", [x(2, 3), x(2, 3)], [x(2, 3)], "op")
add("float", "EQUAL", [x(2, 3), x(2, 3)], [x(2, 3, dtype="BOOL")], "op")
add("float", "REDUCE_PROD", [x(2, 3), i32(1)], [x(2)], "op", table="ReducerOptions")
add("float", "RESIZE_NEAREST_NEIGHBOR", [x(1, 4, 4, 3), i32(8, 8)], [x(1, 8, 8, 3)], "op",
    table="ResizeNearestNeighborOptions")  # fmt: skip

seven = (1, 1, 1, 1, 1, 2, 3)
for name in ["AVERAGE_POOL_2D", "MAX_POOL_2D"]:
    add("tanh", name, [x(1, 4, 4, 3)], [x(1, 2, 2, 3)], "activation", fusedActivationFunction=4, **POOL)
for name in ["MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"]:
    add("empty", name, [x(0, 3), x(0, 3)], [x(0, 3)], "shape of input 0")
add("rank 7", "DEQUANTIZE", [q(*seven)], [x(*seven)], "shape of input 0")
add("rank 7", "QUANTIZE", [x(*seven)], [q(*seven)], "shape of input 0")
add("rank 7", "LEAKY_RELU", [x(*seven)], [x(*seven)], "shape of input 0", table="LeakyReluOptions", alpha=0.5)
add("int16", "QUANTIZE", [x(2, 3, dtype="INT16", scales=[0.5])], [q(2, 3)], "type of input 0")
sixteen = [x(2, 3, dtype="INT16", scales=[0.5])], [x(2, 3, dtype="INT16", scales=[0.5])]
add("int16", "LEAKY_RELU", *sixteen, "type of input 0", table="LeakyReluOptions", alpha=0.5)
several = [q(2, 3, 4), c(ONES((4, 5)), I8, [0.5] * 5, axis=1)], [q(2, 3, 5)]
add("int8 channels", "BATCH_MATMUL", *several, "same_matmul_types", **MATMUL)
add("version 8", "FULLY_CONNECTED", [flat, c(weights), absent], [wide], "not_the_sparse_version", version=8, **DENSE)
add("no axis", "MEAN", [x(2, 3), i32()], [x(2, 3)], "reduces_something", table="ReducerOptions")
add("computed end", "STRIDED_SLICE", [x(4, 3), i32(1, 0), x(2, dtype="INT32"), i32(1, 1)], [x(2, 3)],
    "constant input 2", **cut)  # fmt: skip
add("computed stride", "STRIDED_SLICE", [x(4, 3), i32(1, 0), i32(3, 3), x(2, dtype="INT32")], [x(2, 3)],
    "constant input 3", **cut)  # fmt: skip
integers = [x(4, 3, dtype="INT32"), i32(1, 0), i32(3, 3), i32(1, 1)], [x(2, 3, dtype="INT32")]
add("int32", "STRIDED_SLICE", *integers, "type of input 0", **cut)
dots = [x(4, 3), i32(0, 1), i32(0, 3), i32(1, 1)], [x(4, 2)]
add("dots", "STRIDED_SLICE", *dots, "option_is ellipsisMask", ellipsisMask=1, **cut)
computed = [turned[0], x(6, 3, 3, 4), *turned[2:]]
add("computed filter", "TRANSPOSE_CONV", computed, [x(1, 4, 4, 6)], "constant input 1", **TURNED)
add("computed bias", "TRANSPOSE_CONV", [*turned[:3], x(6)], [x(1, 4, 4, 6)], "constant input 3", **TURNED)
add("computed bias", "DEPTHWISE_CONV_2D", [image, c(single), x(4)], [image], "constant input 2", **DEPTHWISE)
add("tanh", "DEPTHWISE_CONV_2D", [image, c(single), c(ZERO(4))], [image], "activation", fusedActivationFunction=4,
    **DEPTHWISE)  # fmt: skip
short = [x(1, 5, 5, 4, dtype="INT16", scales=[0.5]), c(single, I8, [0.5] * 4, axis=3), c(ZERO(4), "INT64", [0.25] * 4)]
add("int16", "DEPTHWISE_CONV_2D", short, [x(1, 5, 5, 4, dtype="INT16", scales=[0.5])], "type of input 0", **DEPTHWISE)
add("two rows", "RESHAPE", [x(2, 3), c([[3], [2]], "INT32")], [x(3, 2)], "one_row_of_sizes", table="ReshapeOptions",
    newShape=[3, 2])  # fmt: skip
for name in ["AVERAGE_POOL_2D", "MAX_POOL_2D"]:
    padded = [x(1, 4, 4, 3)], [x(1, 2, 2, 3)]
    add("unknown padding", name, *padded, "known_padding", **(POOL | {"padding": 2}))
