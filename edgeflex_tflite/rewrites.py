"""The exact rewrites that can be left out one by one, to see what each of them brings."""

from __future__ import annotations

SHIFT, CENTRE, LAST_BLOCK = "shift", "centre", "last_block"
SCALE, KEEP_DIMS, SQUARES, FLAT = "scale", "keep_dims", "squares", "flat"

REWRITES = {
    SHIFT: "a norm's shift is inside the linears behind it",
    CENTRE: "the residual stream has zero mean, so no norm subtracts it",
    LAST_BLOCK: "the last block computes what the head reads alone",
    SCALE: "a norm's scale is inside the linears behind it",
    KEEP_DIMS: "a norm's mean keeps its dimension, instead of a reshape that brings it back",
    SQUARES: "a norm's epsilon is inside its squares",
    FLAT: "proj joins the heads by itself, instead of a reshape before it",
}
"""By name, what each one does: the first three to the model that is compressed, the others to what is written."""
OF_FLOAT_WEIGHTS = (SCALE,)
"""Those for linears that stay float: elsewhere a norm's scale keeps weights and activations easy to round (AWQ)."""
IN_FLOAT = (SQUARES, FLAT)
"""Those for graphs that compute in float between the linears: on integers they are not exact, or not what compilers of
NPUs know."""
ALL = frozenset(REWRITES)
FOR_ANY_WEIGHTS = ALL.difference(OF_FLOAT_WEIGHTS)
