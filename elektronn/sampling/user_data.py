"""Batches from a class that a user wrote, instead of from volumes.

The class is called with the settings ``load``; its object gives batches by
``getbatch(batch_size, source="train", **batch) -> (data, labels)``, the contract of ELEKTRONN 1. Data are
``(b, features)``, ``(b, time, features)``, ``(b, c, x, y)`` or ``(b, z, c, x, y)``; an attribute ``axes`` names another
order, such as ``bcyx``. Labels are ``(b,)``, ``(b, k)``, ``(b, x, y)`` or ``(b, z, x, y)`` in the same order of axes:
whole numbers for classes, −1 = ignore; anything else are values for a regression.

A ``getbatch`` that takes ``step`` and ``seed`` is a pure function of them: such batches are prepared by several
threads, and a resumed run gets the same. Any other one is called in the order of the steps by one thread, with numpy's
global generator set from seed and step before each call, which makes it as good as pure if it keeps nothing else.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from traceback import extract_tb
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from elektronn.errors import ConfigError, DataError
from elektronn.registry import load_object
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.batch import Batch
from elektronn.sampling.data import DataSettings
from elektronn.sampling.draws import draws

DATA_AXES = {2: "bc", 3: "bzc", 4: "bcxy", 5: "bzcxy"}
"""Number of axes of data → their order in the old contract."""

_GLOBAL = threading.Lock()


def open_user_data(said: DataSettings) -> Any:
    """The object of a user's class.

    Raises:
        ConfigError: it cannot be found, imported or made, or has no ``getbatch``.
    """
    made = load_object(said.name, "data class")
    with _told(f"data class '{said.name}'", ConfigError):
        data = made(**said.load)
    if not callable(getattr(data, "getbatch", None)):
        raise ConfigError(f"data class '{said.name}': has no method getbatch(batch_size, source='train'); write one")
    return data


@dataclass(frozen=True)
class UserBatches:
    """Batches of one source of a user's data; the counterpart of :class:`~elektronn.sampling.batch.Sampler`.

    Attributes:
        data: the user's object.
        name: of its class, for messages.
        source: ``train``, ``valid`` or ``test``.
        batch_size: examples per batch.
        seed: of all draws.
        more: further arguments of ``getbatch``.
    """

    data: Any
    name: str
    source: str
    batch_size: int
    seed: int
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_pure(self) -> bool:
        """Whether ``getbatch`` takes step and seed."""
        return {"step", "seed"} <= set(inspect.signature(self.data.getbatch).parameters)

    def drawn(self, step: int, example: int) -> None:
        """Nothing: the user's code draws."""

    def changed(self, settings: SamplingSettings) -> UserBatches:
        """Itself: there are no augmentations of ours."""
        return self

    def batch(self, step: int) -> Batch:
        """The batch of one step.

        Raises:
            DataError: the user's code fails, or gives something that is no batch.
        """
        with _told(f"data class '{self.name}': getbatch of step {step}", DataError):
            data, labels = self._called(step)
        image = self._image(np.asarray(data))
        return Batch(image, self._labels(np.asarray(labels), image))

    def _called(self, step: int) -> tuple[Any, Any]:
        if self.is_pure:
            found = self.data.getbatch(self.batch_size, source=self.source, step=step, seed=self.seed, **self.more)
        else:
            with _GLOBAL:
                np.random.seed(int(draws(self.seed, step, 0, f"user {self.source}").integers(2**32)))
                found = self.data.getbatch(self.batch_size, source=self.source, **self.more)
        data, labels, *_ = found
        return data, labels

    def _image(self, data: NDArray[Any]) -> NDArray[np.float32]:
        """``(b, c, z, y, x)`` float32."""
        order = getattr(self.data, "axes", DATA_AXES.get(data.ndim, ""))
        if data.ndim != len(order):
            raise DataError(
                f"data class '{self.name}': data of shape {data.shape} do not have the axes {order or 'of any batch'}; "
                "give (b, features), (b, time, features), (b, c, x, y) or (b, z, c, x, y)"
            )
        if not np.isfinite(data).all():
            raise DataError(f"data class '{self.name}': data hold NaN or infinite values; repair them")
        return cast("NDArray[np.float32]", _turned(data, order, "bczyx").astype(np.float32))

    def _labels(self, labels: NDArray[Any], image: NDArray[np.float32]) -> NDArray[Any]:
        """``(b, z, y, x)`` int16 for classes, ``(b, k, z, y, x)`` for several answers or values."""
        if labels.shape[:1] != image.shape[:1]:
            raise DataError(
                f"data class '{self.name}': {labels.shape[0] if labels.ndim else 0} labels for {image.shape[0]} examples; "
                "give one per example"
            )
        is_class = labels.dtype.kind in "biu"
        values = labels.astype(np.int16 if is_class else np.float32)
        spatial = getattr(self.data, "axes", DATA_AXES[4 if labels.ndim == 3 else 5]).replace("c", "")
        if labels.ndim >= 3:
            values = _turned(values, spatial, "bzyx")
            return values if is_class else values[:, None]
        if labels.ndim == 2 and (labels.shape[1] > 1 or not is_class):
            return values[:, :, None, None, None]
        single = values.reshape(-1, 1, 1, 1)
        return single if is_class else single[:, None]


def _turned(values: NDArray[Any], order: str, wanted: str) -> NDArray[Any]:
    """Transposed to ``wanted``, with axes of length 1 where ``order`` has none."""
    for axis in wanted:
        if axis not in order:
            values, order = values[..., None], order + axis
    return np.ascontiguousarray(values.transpose([order.index(axis) for axis in wanted]))


class _told:  # noqa: N801 - reads as a block
    """Turns whatever a user's code raises into a sentence with the place in that code; our own failures pass."""

    def __init__(self, place: str, kind: type[ConfigError] | type[DataError]) -> None:
        self.place, self.kind = place, kind

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, ConfigError | DataError):
            frame = extract_tb(trace)[-1]
            raise self.kind(
                f"{self.place}: {type(error).__name__}: {error} ({frame.filename}, line {frame.lineno}); correct that code"
            ) from error
