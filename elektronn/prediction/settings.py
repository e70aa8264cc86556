"""Settings of the prediction room."""

from __future__ import annotations

from typing import Annotated, Literal

from elektronn.settings import Field, NotNegative, Positive, Settings


class PredictSettings(Settings):
    """How volumes are predicted."""

    output: Literal["uint8", "float32"] = "uint8"
    """Type of the stored probabilities; uint8 holds round(p·255). Values of a regression are always float32."""
    classes: Literal["boundary", "all"] = "boundary"
    """Of two classes: the ``boundary`` alone, or ``all``. Of other numbers of classes all are written anyway."""
    memory_gb: Annotated[float, Field(gt=0)] = 2.0
    """Memory that one tile may take, GB; larger tiles compute less twice."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    threads: Positive = 2
    """CPU threads of the arithmetic."""
    certificate: NotNegative = 16
    """Random voxels that are computed again by brute force in float64; 0 for none."""
