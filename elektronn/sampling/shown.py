"""Training examples as a person looks at them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.sampling.batch import Batch, Supply

Shown = tuple[NDArray[np.float32], NDArray[Any], str]
"""Image ``czyx``, labels as the batch holds them, caption."""

MOST, PATIENCE_S = 1000, 5.0
"""Examples that a summary looks at, or fewer when these seconds are over."""

OUTCOMES = {
    "": "not warped",
    "warped": "warped",
    "shrunk": "warped less, to fit the volume",
    "plain": "not warped: its warp fits nowhere",
}


@dataclass(frozen=True)
class Summary:
    """What the augmentations drew.

    Attributes:
        count: of the examples, the first of the training.
        shares: of the examples, by what was done to them.
        numbers: that were drawn, by name.
    """

    count: int
    shares: Mapping[str, float]
    numbers: Mapping[str, Sequence[float]]


def debug_batch(
    supply: Supply, step: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
    """One training batch to look at, the same that the step learns from.

    Args:
        supply: of the batches.
        step: of the training.

    Returns:
        image ``(b, c, z, y, x)``, labels ``(b, z', y', x')``, and for lazy labels ``(b, classes)`` which classes the
        labels tell and which the volume does not hold; else None.
    """
    batch = supply.batch(step)
    return _array(batch.image), _array(batch.labels), batch.labelled, batch.absent


def shown(supply: Supply, batch: Batch, step: int, most: int) -> list[Shown]:
    """The first examples of the batch of a step, at most so many, with captions that say what was drawn for them."""
    count = min(most, len(batch.image))
    return [(_array(batch.image[i]), _array(batch.labels[i]), _caption(supply, batch, step, i)) for i in range(count)]


def _array(values: Any) -> NDArray[Any]:
    """Of an array, or of a tensor wherever it lies."""
    return values if isinstance(values, np.ndarray) else np.asarray(values.cpu())


def _caption(supply: Supply, batch: Batch, step: int, example: int) -> str:
    drawn = supply.drawn(step, example)
    said = [f"step {step}, example {example}"]
    if drawn is not None:
        z, y, x = drawn.centre
        said = [f"{drawn.volume}, centre at z {z}, y {y}, x {x}", OUTCOMES[drawn.outcome]]
    for what, rows in (("labels tell", batch.labelled), ("the volume does not hold", batch.absent)):
        if rows is not None and rows[example].any():
            said.append(f"{what} {', '.join(map(str, np.flatnonzero(rows[example])))}")
    return "; ".join(said)


def summary(supplies: Callable[[int], Supply], batch_size: int) -> Summary | None:
    """What the augmentations drew for the first examples of a training; ``None`` where they are not ours.

    Args:
        supplies: step → supply of its batch.
        batch_size: examples per step.
    """
    began, count = time.monotonic(), 0
    done: Counter[str] = Counter()
    numbers: dict[str, list[float]] = {}
    while count < MOST and (not count or time.monotonic() - began < PATIENCE_S):
        drawn = supplies(count // batch_size).drawn(count // batch_size, count % batch_size)
        if drawn is None:
            return None
        count += 1
        # a name is "component: number / unit", or what is done or not
        done.update({f"all in all {OUTCOMES[drawn.outcome]}", *(name.partition(":")[0] for name in drawn.numbers)})
        for name, values in drawn.numbers.items():
            numbers.setdefault(name, []).extend(values)
    shares = {name: times / count for name, times in sorted(done.items())}
    return Summary(count, shares, {name: values for name, values in sorted(numbers.items()) if values})
