"""Everything that passes from one stage to the next, as frozen dataclasses with the unit in the name."""

from __future__ import annotations

from edgeflex_tflite.artifacts.confusion import ClassHits, Confused, Confusion, Flip
from edgeflex_tflite.artifacts.file import UNMERGED, WHOLE, Chunks, InputSpec, MemoryCost, Merging
from edgeflex_tflite.artifacts.npu import Figure, NpuReport, OnCpu
from edgeflex_tflite.artifacts.precision import (
    AwqGroup,
    Dtype,
    Grid,
    PrecisionPlan,
    RoundedSite,
    SitePrecision,
    grid_of,
    share_taken_off,
)
from edgeflex_tflite.artifacts.profile import ActivationProfile, SiteProfile
from edgeflex_tflite.artifacts.pruning import BlockCut, BlockShape, PrunePlan, Sensitivity
from edgeflex_tflite.artifacts.results import (
    Accuracy,
    Bundle,
    Metrics,
    NotMeasured,
    Parity,
    Proportion,
    Signature,
    StageRecord,
    Tried,
)

__all__ = [
    "UNMERGED",
    "WHOLE",
    "Accuracy",
    "ActivationProfile",
    "AwqGroup",
    "BlockCut",
    "BlockShape",
    "Bundle",
    "Chunks",
    "ClassHits",
    "Confused",
    "Confusion",
    "Dtype",
    "Figure",
    "Flip",
    "Grid",
    "InputSpec",
    "MemoryCost",
    "Merging",
    "Metrics",
    "NotMeasured",
    "NpuReport",
    "OnCpu",
    "Parity",
    "PrecisionPlan",
    "Proportion",
    "PrunePlan",
    "RoundedSite",
    "Sensitivity",
    "Signature",
    "SitePrecision",
    "SiteProfile",
    "StageRecord",
    "Tried",
    "grid_of",
    "share_taken_off",
]
