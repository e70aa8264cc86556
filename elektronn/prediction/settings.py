"""Settings of the prediction room."""

from __future__ import annotations

from typing import Annotated, Literal

from elektronn.settings import Field, NotNegative, Positive, Settings


class PredictSettings(Settings):
    """How volumes are predicted."""

    output: Literal["uint8", "float32"] = "uint8"
    """Type of the stored probabilities; uint8 holds round(p·255)."""
    memory_gb: Annotated[float, Field(gt=0)] = 2.0
    """Memory that one tile may take, GB; larger tiles compute less twice."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    threads: Positive = 2
    """CPU threads of the arithmetic."""
    certificate: NotNegative = 16
    """Random voxels that are computed again by brute force in float64; 0 for none."""
