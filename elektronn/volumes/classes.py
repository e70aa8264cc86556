"""Which channel of a prediction is which class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elektronn.errors import DataError
from elektronn.volumes.arrays import Volume

BOUNDARY = 1
"""Number of the class of boundaries, and of their labels."""


def boundary_channel(prediction: Volume) -> int:
    """The channel of a prediction that holds the boundary, by what the prediction says of its classes.

    Predictions of this program name the class of each channel in their attribute ``classes``, by its number or as
    ``boundary``. Where nothing is said, as in an ``.npy`` file, it is channel 1, or the only one; so it is where
    channels are no classes but values.

    Raises:
        DataError: the boundary is not among the classes, or another number of classes is named than there are channels.
    """
    said = prediction.attributes.get("classes")
    if said is None or _text(prediction.attributes.get("kind")) == "values":
        return min(BOUNDARY, prediction.channels - 1)
    classes = [BOUNDARY if _text(name) == "boundary" else name for name in _listed(said)]
    if len(classes) != prediction.channels:
        raise DataError(
            f"{prediction.address}: names {len(classes)} classes and has {prediction.channels} channels; predict again"
        )
    if BOUNDARY not in classes:
        raise DataError(
            f"{prediction.address}: holds the classes {', '.join(map(str, classes))} and not the boundary ({BOUNDARY}); "
            "predict with it among predict.classes"
        )
    return classes.index(BOUNDARY)


def _listed(said: Any) -> Sequence[Any]:
    """Plain numbers and texts, also where the file gives an array."""
    found: Any = said.tolist() if hasattr(said, "tolist") else said
    return found if isinstance(found, list) else [found]


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
