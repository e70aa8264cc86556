"""Training examples as a person looks at them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.sampling.batch import Batch, Supply

Shown = tuple[NDArray[np.float32], NDArray[Any], str]
"""Image ``czyx``, labels as the batch holds them, caption."""

OUTCOMES = {
    "": "not warped",
    "warped": "warped",
    "shrunk": "warped less, to fit the volume",
    "plain": "not warped: its warp fits nowhere",
}


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
    return batch.image, batch.labels, batch.labelled, batch.absent


def shown(supply: Supply, batch: Batch, step: int, most: int) -> list[Shown]:
    """The first examples of the batch of a step, at most so many, with captions that say what was drawn for them."""
    count = min(most, len(batch.image))
    return [(batch.image[i], batch.labels[i], _caption(supply, batch, step, i)) for i in range(count)]


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
