"""What a user may choose about evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from elektronn.settings import Field, Settings, Triple


class EvaluateSettings(Settings):
    """How predictions are compared with labels."""

    bins: Literal[256, 4096, 65536] = 65536
    """Score bins for floating-point predictions; integer predictions are counted exactly and ignore this."""

    curve_points: Annotated[int, Field(ge=16, le=10000)] = 500
    """Most rows that ``roc.csv`` and ``pr.csv`` may have."""

    block: Triple = (64, 512, 512)
    """Part of a volume that is in memory at one time, zyx, voxels."""
