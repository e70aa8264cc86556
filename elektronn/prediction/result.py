"""What of a network's outputs is stored, and how exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.network.weights import Model
from elektronn.prediction.dense import Kind, Outputs
from elektronn.prediction.settings import PredictSettings

TOLERANCE = {"uint8": 0.5 / 255 + 1e-4, "float32": 1e-4}
"""Largest allowed difference of a stored value from brute force in float64; of values above 1, relative to them."""

BOUNDARY = 1


@dataclass(frozen=True)
class Result:
    """The stored form of a prediction.

    Attributes:
        kind: probabilities, or values as they are.
        classes: outputs of the network.
        is_single: only the boundary is stored, without an axis of classes.
        dtype: ``uint8`` (p · 255) or ``float32``.
    """

    kind: Kind
    classes: int
    is_single: bool
    dtype: str

    @classmethod
    def of(cls, model: Model, settings: PredictSettings) -> Result:
        """What a model's prediction with these settings is stored as."""
        kind, classes = model.output, model.network.document.classes
        is_single = kind == "probabilities" and classes == 2 and settings.classes == "boundary"
        return cls(kind, classes, is_single, settings.output if kind == "probabilities" else "float32")

    def shape(self, size: Size) -> tuple[int, ...]:
        """Of the stored array for outputs of ``size`` (zyx): zyx or czyx."""
        return tuple(size) if self.is_single else (self.classes, *size)

    def stored(self, outputs: Outputs) -> NDArray[Any]:
        """Outputs ``(classes, z, y, x)`` in the stored form."""
        kept = outputs[BOUNDARY] if self.is_single else outputs
        return np.rint(kept * 255).astype(np.uint8) if self.dtype == "uint8" else kept

    def difference(self, stored: NDArray[Any], truth: NDArray[np.float64]) -> float:
        """Largest difference of one voxel's stored numbers from its outputs; of values above 1, relative to them."""
        value = np.asarray(stored, np.float64) / (255 if self.dtype == "uint8" else 1)
        wanted = truth[BOUNDARY] if self.is_single else truth
        return float((np.abs(value - wanted) / np.maximum(1, np.abs(wanted))).max())

    @property
    def tolerance(self) -> float:
        """Largest allowed difference."""
        return TOLERANCE[self.dtype]

    @property
    def said(self) -> dict[str, Any]:
        """What the stored array says about itself."""
        value = "value" if self.kind == "values" else ("p * 255" if self.dtype == "uint8" else "p")
        classes = ["boundary"] if self.is_single else list(range(self.classes))
        return {"kind": self.kind, "classes": classes, "value": value}
