"""What grey values are standardised by."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from elektronn.errors import DataError
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import open_volume
from elektronn.volumes.moments import moments


def standard_of(images: Sequence[Address]) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation per channel over all training images.

    Raises:
        DataError: a channel of one single value.
    """
    with ExitStack() as stack:
        found = moments([stack.enter_context(open_volume(address)) for address in images])
    if min(found.deviation) == 0:
        raise DataError(f"{images[0]}: a channel has one single value, and cannot be standardised; check the images")
    return found.mean, found.deviation
