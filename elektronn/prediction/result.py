"""What of a network's outputs is stored, and how exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.errors import ConfigError, DataError
from elektronn.network.weights import Model
from elektronn.prediction.dense import Kind, Outputs
from elektronn.prediction.settings import Precision, PredictSettings

TOLERANCE = {"uint8": 0.5 / 255 + 1e-4, "float16": 2**-12 + 1e-4, "float32": 1e-4}
"""Largest allowed difference of a stored value from brute force in float64: half a step of storage, and rounding; of values
above 1, relative to them."""

ROUNDING = {"float32": 0.0, "tf32": 0.02, "fp16": 0.02, "bf16": 0.1}
"""What an arithmetic adds to it: several times what it does to a network that was trained, and far less than a defect."""

BOUNDARY = 1


@dataclass(frozen=True)
class Result:
    """The stored form of a prediction.

    Attributes:
        kind: probabilities, or values as they are.
        classes: outputs of the network that are stored, by number.
        is_single: there is one, and no axis of classes.
        dtype: ``uint8`` (p · 255), ``float16`` or ``float32``.
        precision: of the arithmetic.
    """

    kind: Kind
    classes: tuple[int, ...]
    is_single: bool
    dtype: str
    precision: Precision = "float32"

    @classmethod
    def of(cls, model: Model, settings: PredictSettings) -> Result:
        """What a model's prediction with these settings is stored as.

        Raises:
            ConfigError: classes that the model does not have.
        """
        kind, count, precision = model.output, model.network.document.classes, settings.precision
        dtype = settings.output if kind == "probabilities" else "float32"
        if not isinstance(settings.classes, str):
            return cls(kind, _known(settings.classes, count), len(settings.classes) == 1, dtype, precision)
        if kind == "probabilities" and count == 2 and settings.classes == "boundary":
            return cls(kind, (BOUNDARY,), True, dtype, precision)
        return cls(kind, tuple(range(count)), False, dtype, precision)

    @classmethod
    def read(cls, said: Mapping[str, Any], dtype: str) -> Result:
        """The stored form of a prediction that is there, read as ``czyx``, from what it says about itself.

        Raises:
            DataError: it is none of ours.
        """
        classes = tuple(BOUNDARY if c == "boundary" else int(c) for c in said.get("classes", ()))
        if said.get("kind") not in ("probabilities", "values") or not classes or dtype not in TOLERANCE:
            raise DataError("does not say what it holds; give a prediction of `elektronn predict`")
        precision = said.get("precision", "float32")
        if precision not in ROUNDING:
            raise DataError(f"was computed in '{precision}', which is not known; predict again")
        return cls(said["kind"], classes, False, dtype, precision)

    def shape(self, size: Size) -> tuple[int, ...]:
        """Of the stored array for outputs of ``size`` (zyx): zyx or czyx."""
        return tuple(size) if self.is_single else (len(self.classes), *size)

    def stored(self, outputs: Outputs) -> NDArray[Any]:
        """Outputs ``(classes, z, y, x)`` in the stored form."""
        kept = outputs[self.classes[0]] if self.is_single else outputs[list(self.classes)]
        return np.rint(kept * 255).astype(np.uint8) if self.dtype == "uint8" else kept.astype(self.dtype, copy=False)

    def difference(self, stored: NDArray[Any], truth: NDArray[np.float64]) -> float:
        """Largest difference of one voxel's stored numbers from its outputs; of values above 1, relative to them."""
        value = np.asarray(stored, np.float64) / (255 if self.dtype == "uint8" else 1)
        wanted = truth[self.classes[0]] if self.is_single else truth[list(self.classes)]
        return float((np.abs(value - wanted) / np.maximum(1, np.abs(wanted))).max())

    @property
    def tolerance(self) -> float:
        """Largest allowed difference."""
        return TOLERANCE[self.dtype] + ROUNDING[self.precision]

    @property
    def said(self) -> dict[str, Any]:
        """What the stored array says about itself."""
        value = "value" if self.kind == "values" else ("p * 255" if self.dtype == "uint8" else "p")
        classes = ["boundary"] if self.is_single and self.classes == (BOUNDARY,) else list(self.classes)
        reduced = {} if self.precision == "float32" else {"precision": self.precision}
        return {"kind": self.kind, "classes": classes, "value": value, **reduced}


def _known(classes: tuple[int, ...], count: int) -> tuple[int, ...]:
    if not classes or len(set(classes)) < len(classes) or max(classes) >= count:
        raise ConfigError(
            f"predict.classes: {list(classes)}: the model has the classes 0 to {count - 1}; name some of them, each once"
        )
    return classes
