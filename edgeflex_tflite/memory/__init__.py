"""Memory of a .tflite model: the runtime's arena plan from the file alone, and the real one measured."""

from edgeflex_tflite.memory.plan import Allocation, ArenaPlan
from edgeflex_tflite.memory.planner import plan_arena
from edgeflex_tflite.memory.runtime import ArenaMeasurement, allocated_bytes, measure_arena
from edgeflex_tflite.memory.weights import weight_bytes_by_dtype, weights_bytes

__all__ = [
    "Allocation",
    "ArenaMeasurement",
    "ArenaPlan",
    "allocated_bytes",
    "measure_arena",
    "plan_arena",
    "weight_bytes_by_dtype",
    "weights_bytes",
]
