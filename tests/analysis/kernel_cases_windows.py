"""Cases of pooling, products and convolutions; see `kernel_cases.py`."""

from __future__ import annotations

from kernel_cases import I8, ONES, U8, ZERO, absent, add, c, packed, q, x

POOL = {"table": "Pool2DOptions", "strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2, "padding": 1}
for name in ["AVERAGE_POOL_2D", "MAX_POOL_2D"]:
    int8 = "type of input 0" if name == "AVERAGE_POOL_2D" else ""
    add("float", name, [x(1, 4, 4, 3)], [x(1, 2, 2, 3)], **POOL)
    add("int8", name, [q(1, 4, 4, 3)], [q(1, 2, 2, 3)], int8, **POOL)
    add("gaps", name, [x(1, 4, 4, 3)], [x(1, 1, 1, 3)], "pooling_window", **(POOL | {"strideW": 3, "strideH": 3}))
    one = POOL | {"strideW": 1, "strideH": 1, "filterWidth": 1, "filterHeight": 1}
    add("one", name, [x(1, 4, 4, 3)], [x(1, 4, 4, 3)], **one)
add("int16", "MAX_POOL_2D", [x(1, 4, 4, 3, dtype="INT16", scales=[1.0])], [x(1, 2, 2, 3, dtype="INT16", scales=[1.0])],
    "type of input 0", **POOL)  # fmt: skip

MATMUL = {"table": "BatchMatMulOptions"}
add("float", "BATCH_MATMUL", [x(2, 3, 4), x(2, 4, 5)], [x(2, 3, 5)], **MATMUL)
add("turned", "BATCH_MATMUL", [x(2, 4, 3), x(2, 5, 4)], [x(2, 3, 5)], adjX=True, adjY=True, **MATMUL)
add("int8", "BATCH_MATMUL", [q(2, 3, 4), q(2, 4, 5)], [q(2, 3, 5)], **MATMUL)
add("left zero point", "BATCH_MATMUL", [q(2, 3, 4, zero=3), q(2, 4, 5)], [q(2, 3, 5, zero=3)], **MATMUL)
skew = [q(2, 3, 4), q(2, 4, 5, zero=3)], [q(2, 3, 5)]
add("right zero point", "BATCH_MATMUL", *skew, "second_zero_point_is_zero", **MATMUL)
dynamic = [x(2, 3, 4), c(ONES((2, 4, 5)), I8, [0.5])], [x(2, 3, 5)]
add("dynamic", "BATCH_MATMUL", *dynamic, **MATMUL)
short = [x(2, 3, 4, dtype="INT16", scales=[0.5]), x(2, 4, 5, dtype="INT16", scales=[0.5])]
add("int16", "BATCH_MATMUL", short, [x(2, 3, 5, dtype="INT16", scales=[0.5])], "type of input 0", **MATMUL)
along = [x(2, 3, 4), c(ONES((4, 5)), I8, [0.5] * 5, axis=1)], [x(2, 3, 5)]
add("channels", "BATCH_MATMUL", *along, **MATMUL)
along = [x(2, 3, 4), c(ONES((4, 5)), I8, [0.5] * 4, axis=0)], [x(2, 3, 5)]
add("rows", "BATCH_MATMUL", *along, "type of input 1", **MATMUL)

JOIN = {"table": "ConcatenationOptions", "axis": -1}
for count in (1, 2, 5, 6):
    fits = "" if 2 <= count <= 5 else "number of inputs"
    add(f"{count}", "CONCATENATION", [x(2, 3)] * count, [x(2, 3 * count)], fits, **JOIN)
add("int8 scales", "CONCATENATION", [q(2, 3), q(2, 3)], [q(2, 6)], **JOIN)
add("int32", "CONCATENATION", [x(2, 3, dtype="INT32")] * 2, [x(2, 6, dtype="INT32")], "type of inputs", **JOIN)
mixed = [q(2, 3, dtype=U8), q(2, 3, dtype=U8, scale=0.25)], [q(2, 6, dtype=U8)]
add("uint8 scales", "CONCATENATION", *mixed, "uint8_parameters_agree", **JOIN)

CONV = {"table": "Conv2DOptions", "strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1, "padding": 0}
image, filters = x(1, 5, 5, 4), ONES((6, 3, 3, 4))
add("float", "CONV_2D", [image, c(filters), c(ZERO(6))], [x(1, 5, 5, 6)], **CONV)
add("computed", "CONV_2D", [image, x(6, 3, 3, 4), c(ZERO(6))], [x(1, 5, 5, 6)], "constant input 1", **CONV)
add("computed bias", "CONV_2D", [image, c(filters), x(6)], [x(1, 5, 5, 6)], "constant input 2", **CONV)
add(
    "tanh", "CONV_2D", [image, c(filters), c(ZERO(6))], [x(1, 5, 5, 6)], "activation", fusedActivationFunction=4, **CONV
)
grouped = [x(1, 5, 5, 8), c(filters), c(ZERO(6))], [x(1, 5, 5, 6)]
add("groups", "CONV_2D", *grouped, **CONV)
rows = [0.5] * 6
int8 = [q(1, 5, 5, 4), c(filters, I8, rows), c(ZERO(6), "INT32", [0.25] * 6)], [q(1, 5, 5, 6)]
add("int8", "CONV_2D", *int8, **CONV)
add("dynamic", "CONV_2D", [image, c(filters, I8, rows), c(ZERO(6))], [x(1, 5, 5, 6)], **CONV)
short = [x(1, 5, 5, 4, dtype="INT16", scales=[0.5]), c(filters, I8, rows), c(ZERO(6), "INT64", [0.25] * 6)]
add("int16", "CONV_2D", short, [x(1, 5, 5, 6, dtype="INT16", scales=[0.5])], "type of input 0", **CONV)

DEPTHWISE = {"table": "DepthwiseConv2DOptions", "strideW": 1, "strideH": 1, "depthMultiplier": 1, "padding": 0,
             "dilationWFactor": 1, "dilationHFactor": 1}  # fmt: skip
single = ONES((1, 3, 3, 4))
add("float", "DEPTHWISE_CONV_2D", [image, c(single), c(ZERO(4))], [image], **DEPTHWISE)
add("no bias", "DEPTHWISE_CONV_2D", [image, c(single)], [image], "number of inputs", **DEPTHWISE)
add("computed", "DEPTHWISE_CONV_2D", [image, x(1, 3, 3, 4), c(ZERO(4))], [image], "constant input 1", **DEPTHWISE)
int8 = [q(1, 5, 5, 4), c(single, I8, [0.5] * 4, axis=3), c(ZERO(4), "INT32", [0.25] * 4)], [q(1, 5, 5, 4)]
add("int8", "DEPTHWISE_CONV_2D", *int8, **DEPTHWISE)
dynamic = [image, c(single, I8, [0.5] * 4, axis=3), c(ZERO(4))], [image]
add("dynamic", "DEPTHWISE_CONV_2D", *dynamic, "same_weight_types", **DEPTHWISE)

DENSE = {"table": "FullyConnectedOptions", "keepNumDims": True}
weights, flat, wide = ONES((6, 8)), x(2, 8), x(2, 6)
add("float", "FULLY_CONNECTED", [flat, c(weights), c(ZERO(6))], [wide], **DENSE)
add("absent bias", "FULLY_CONNECTED", [flat, c(weights), absent], [wide], **DENSE)
add("computed", "FULLY_CONNECTED", [flat, x(6, 8), absent], [wide], "constant input 1", **DENSE)
add("computed bias", "FULLY_CONNECTED", [flat, c(weights), x(6)], [wide], "constant input 2", **DENSE)
add("dynamic", "FULLY_CONNECTED", [flat, c(weights, I8, rows), absent], [wide], **DENSE)
add("dynamic one scale", "FULLY_CONNECTED", [flat, c(weights, I8, [0.5]), absent], [wide], **DENSE)
add("dynamic int4", "FULLY_CONNECTED", [flat, packed(6, 8, scales=rows), absent], [wide], version=9, **DENSE)
odd = [x(2, 7), packed(6, 7, scales=rows), absent], [wide]
add("odd int4", "FULLY_CONNECTED", *odd, "packed_rows", version=9, **DENSE)
int8 = [q(2, 8, zero=3), c(weights, I8, rows), c(ZERO(6), "INT32", [0.25] * 6)], [q(2, 6)]
add("int8", "FULLY_CONNECTED", *int8, **DENSE)
skew = [q(2, 8), c(weights, I8, [0.5], zero=3), c(ZERO(6), "INT32", [0.25])], [q(2, 6)]
add("zero point", "FULLY_CONNECTED", *skew, "weights_zero_point", **DENSE)
short = [x(2, 8, dtype="INT16", scales=[0.5]), c(weights, I8, rows), c(ZERO(6), "INT64", [0.25] * 6)]
add("int16", "FULLY_CONNECTED", short, [x(2, 6, dtype="INT16", scales=[0.5])], "type of input 0", **DENSE)
