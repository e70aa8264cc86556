"""What a user may choose about evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from elektronn.settings import Field, NotNegative, Settings, Triple

Background = Literal["segment", "singletons", "ignore"]
"""What voxels of predicted id 0 are: one more segment, each a segment of its own, or left out."""


class SegmentMeasureSettings(Settings):
    """How a segmentation is compared with the true IDs."""

    background: Background | None = None
    """What voxels of predicted id 0 count as; left out: there are none, or the comparison is refused."""

    border_nm: Annotated[float, Field(gt=0)] | None = None
    """Voxels this close to a border of the truth do not count, nanometres; left out: all count."""


class EvaluateSettings(Settings):
    """How predictions are compared with labels."""

    bins: Literal[256, 4096, 65536] = 65536
    """Score bins for floating-point predictions; integer predictions are counted exactly and ignore this."""

    curve_points: Annotated[int, Field(ge=16, le=10000)] = 500
    """Most rows that ``roc.csv`` and ``pr.csv`` may have."""

    block: Triple = (64, 512, 512)
    """Part of a volume that each worker has in memory at one time, zyx, voxels; there are as many as cores, at most 4."""

    bootstrap: NotNegative = 0
    """Resamples for the 95 % interval of the ROC area, such as 1000; 0: no interval."""

    bootstrap_block: Triple = (16, 64, 64)
    """Block that is drawn as a whole, zyx, voxels; larger than what is alike, small enough for many of them."""

    segments: SegmentMeasureSettings = SegmentMeasureSettings()
    """Of segments instead of boundaries."""
