"""What XNNPACK asks of an op beyond its tensors one by one.

Each function is a condition that `cpu_kernels.json` names: it gives why an op does not meet it, or "".
Convolutions and pooling are in `xnnpack_windows.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgeflex_tflite.analysis.xnnpack_site import Site
from edgeflex_tflite.analysis.xnnpack_tensors import first_zero_point, is_normal, legacy_parameters, single_scale

Condition = Callable[..., str]

_FUSED = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6"}
_MAX_DIMENSIONS = 6
_ATTENTION = "odml.scaled_dot_product_attention"


def activation(site: Site) -> str:
    """Only clamps can be fused."""
    fused = site.op.options.get("fusedActivationFunction", 0)
    return "" if fused in _FUSED else f"fuses an activation (number {fused}) that is no clamp"


def option_is(site: Site, option: str, value: Any) -> str:
    """An option has the one value that is supported."""
    found = site.op.options.get(option, value)
    return "" if found == value else f"{option} is {found}, not {value}"


def options_above(site: Site, *arguments: Any) -> str:
    """Options, all but the last argument, are larger than it."""
    *options, bound = arguments
    small = [name for name in options if site.op.options.get(name, bound + 1) <= bound]
    return f"{small[0]} is not above {bound}" if small else ""


def same_types(site: Site) -> str:
    """All tensors are of one type."""
    dtypes = sorted({t.dtype for t in [*site.inputs, *site.outputs]})
    return "" if len(dtypes) == 1 else f"mixes {' and '.join(dtypes)}"


def input_scales_over_output(site: Site, low: float, high: float) -> str:
    """Integer kernels can only shift so far."""
    (output,) = site.outputs
    for position, tensor in enumerate(site.inputs):
        ratio = _ratio(single_scale(tensor), single_scale(output))
        if ratio is not None and not low <= ratio < high:
            return f"the scale of input {position} is {ratio:.3g} times the output's"
    return ""


def product_scale_over_output(site: Site, low: float, high: float) -> str:
    """As for sums, with the product of the inputs' scales."""
    scales = [single_scale(tensor) for tensor in site.inputs]
    product = None if None in scales or len(scales) < 2 else float(scales[0] or 0) * float(scales[1] or 0)
    ratio = _ratio(product, single_scale(site.outputs[0]))
    fits = ratio is None or low <= ratio < high
    return "" if fits else f"the product of the inputs' scales is {ratio:.3g} times the output's"


def leaky_relu_slope(site: Site) -> str:
    """The slope is a normal number, and both slopes suit an integer kernel."""
    slope = float(site.op.options.get("alpha", 0.0))
    if not is_normal(slope):
        return f"the slope {slope:g} is zero or not a normal number"
    ratio = _ratio(single_scale(site.inputs[0]), single_scale(site.outputs[0]))
    if ratio is None:
        return ""
    falling = ratio * slope
    fits = 1 / 256 <= ratio <= 128 and -127.99609375 <= falling <= 128 and abs(falling) >= 1 / 256
    return "" if fits else "the scales of input and output differ too much for its slope"


def requantizes_within_one_type(site: Site) -> str:
    """QUANTIZE from float to anything, or between scales of one type."""
    source, target = site.inputs[0], site.outputs[0]
    if source.dtype.startswith("FLOAT"):
        return ""
    if source.dtype != target.dtype:
        return f"requantizes {source.dtype} to {target.dtype}"
    ratio = _ratio(single_scale(source), single_scale(target))
    fits = ratio is not None and 1 / 256 <= ratio <= 128
    return "" if fits else "the scales of input and output differ too much"


def variable_value(site: Site) -> str:
    """A resource's VAR_HANDLE comes first, and all of its values have one type and shape."""
    resource, *_ = site.op.inputs
    variable = site.variables.get(resource)
    if variable is None or variable.handle is None:
        return "its resource has no VAR_HANDLE in this graph"
    if variable.value is None:
        return ""
    known, new = site.graph.tensors[variable.value], (site.outputs or site.inputs)[-1]
    same = (known.dtype, known.shape) == (new.dtype, new.shape)
    return "" if same else "its resource holds values of other shapes or types, too"


def ranked_output(site: Site) -> str:
    """A value without dimensions may be one whose shape is unknown."""
    return "" if site.outputs[0].shape else "output 0 has no dimensions"


def unpackable(site: Site) -> str:
    """Only what the delegate unpacks itself, while it is created, is taken."""
    return "" if site.outputs[0].index in site.unpacked else "its input is no sparse constant of a type it unpacks"


def axis_exists(site: Site) -> str:
    """Joining along a new dimension is not supported."""
    axis = site.op.options.get("axis", 0)
    return "" if all(axis < len(t.shape) for t in site.inputs) else f"joins along dimension {axis}, which is new"


def uint8_parameters_agree(site: Site) -> str:
    """UINT8 is copied as it is; INT8 is not even checked."""
    if site.outputs[0].dtype != "UINT8":
        return ""
    kinds = {legacy_parameters(t) for t in [*site.inputs, site.outputs[0]]}
    return "" if len(kinds) == 1 else "UINT8 inputs and output differ in scale or zero point"


def keeps_quantization(site: Site) -> str:
    """Integers are copied as they are."""
    source, target = site.inputs[0], site.outputs[0]
    same = target.dtype not in ("INT8", "UINT8") or legacy_parameters(source) == legacy_parameters(target)
    return "" if same else "input and output differ in scale or zero point"


def second_zero_point_is_zero(site: Site) -> str:
    """An INT8 second factor is symmetric, unless it multiplies floats."""
    left, right = site.inputs[0], site.inputs[1]
    if right.dtype != "INT8" or left.dtype == "FLOAT32" or first_zero_point(right) == 0:
        return ""
    return f"the second factor has the zero point {first_zero_point(right)}"


def same_matmul_types(site: Site) -> str:
    """Factors of one type with one scale each, or floats with an INT8 second factor."""
    left, right = site.inputs[0], site.inputs[1]
    if left.dtype == "FLOAT32" and right.dtype == "INT8":
        return ""
    if left.dtype != right.dtype:
        return f"mixes {left.dtype} and {right.dtype}"
    several = right.quantization is not None and len(right.quantization.scales) > 1
    return "the second factor has several scales" if several else ""


def reduces_something(site: Site) -> str:
    """One to six axes, and not a number along its dimension 0."""
    axes = site.integers(1)
    if not 0 < len(axes) <= _MAX_DIMENSIONS:
        return f"reduces {len(axes)} dimensions"
    return "reduces a single number" if list(axes) == [0] and not site.inputs[0].shape else ""


def paddings_fit(site: Site) -> str:
    """A pair for every dimension, none negative."""
    if site.inputs[1].shape != (len(site.inputs[0].shape), 2):
        return "its paddings are not a pair for every dimension"
    return "has a negative padding" if any(site.integers(1) < 0) else ""


def one_row_of_sizes(site: Site) -> str:
    """The new shape is a list, perhaps inside dimensions of 1."""
    sizes = site.input(1)
    return "" if sizes is None or set(sizes.shape[:-1]) <= {1} else "its new shape is no list"


def no_legacy_scalar(site: Site) -> str:
    """A new shape of one size that is -1 or 0 is read as an old way to say "no dimensions"."""
    sizes = new_shape(site)
    return f"its new shape is [{sizes[0]}], which is not told from a number" if sizes in ([-1], [0]) else ""


def new_shape(site: Site) -> list[int]:
    """Sizes that a RESHAPE asks for."""
    if len(site.op.inputs) > 1:
        return [int(size) for size in site.integers(1)]
    given: Sequence[int] | None = site.op.options.get("newShape")
    return [] if given is None else [int(size) for size in given]


def sizes_are_given(site: Site) -> str:
    """No "-1: all that is left" among the sizes."""
    if site.inputs[1].shape != site.inputs[2].shape:
        return "begins and sizes are not as many"
    return "" if all(site.integers(2) > 0) else "a size is not given as a positive number"


def unit_strides(site: Site) -> str:
    """No element is left out, no direction is turned."""
    return "" if all(site.integers(3) == 1) else "a stride is not 1"


def slices_every_dimension(site: Site) -> str:
    """Begin, end and stride for every dimension."""
    rank = len(site.inputs[0].shape)
    listed = all(site.inputs[p].shape == (rank,) for p in (1, 2, 3))
    return "" if listed else "begins, ends and strides do not name every dimension"


def is_attention(site: Site) -> str:
    """Of the composites only one is known."""
    name = site.op.options.get("name", site.op.name)
    name = name.decode() if isinstance(name, bytes) else name
    return "" if name == _ATTENTION else f"the composite {name} is not {_ATTENTION}"


def attention_shapes(site: Site) -> str:
    """Head sizes agree; the mask is as long as the keys."""
    query, key, value = (site.inputs[p].shape for p in range(3))
    if not query[-1:] == key[-1:] == value[-1:]:
        return "the heads of query, key and value differ in size"
    mask = site.input(3)
    fits = mask is None or mask.shape[-1:] == key[1:2] == value[1:2]
    return "" if fits else "the mask is not as long as the keys"


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    return None if not numerator or not denominator else numerator / denominator
