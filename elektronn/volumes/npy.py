"""``.npy`` files: one plain array, mapped into memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tokenize import TokenError

import numpy as np

from elektronn.errors import ConfigError, DataError
from elektronn.volumes.address import Address
from elektronn.volumes.stored import Array, Facts, Plan, Stored, reading


@contextmanager
def open_npy(address: Address) -> Iterator[tuple[Stored, Facts]]:
    """The array of an ``.npy`` file, which says nothing about itself.

    Raises:
        DataError: a key was given, not such a file, cut off, holds Python objects.
    """
    if address.key:
        raise DataError(
            f"{address.path}: an .npy file holds one array and has no key '{address.key}'; leave the key out"
        )
    with reading(address, SyntaxError, TokenError, TypeError, MemoryError):
        try:
            array = np.lib.format.open_memmap(address.path, mode="r")
        except ValueError as error:
            if "Python objects" in str(error):
                raise DataError(
                    f"{address.path}: holds Python objects, not numbers; save it again as integers or floats"
                ) from None
            raise
    yield array, {}


@contextmanager
def make_npy(plan: Plan) -> Iterator[Array]:
    """A new ``.npy`` file; the facts have no place in it."""
    if plan.key:
        raise ConfigError(f"an .npy file holds one array and has no key '{plan.key}'; leave the key out")
    array = np.lib.format.open_memmap(plan.part, mode="w+", dtype=plan.dtype, shape=plan.shape)
    with plan.part.open("r+b") as file:
        # a full disk under a memory map would kill the process instead of raising an error
        os.posix_fallocate(file.fileno(), 0, plan.part.stat().st_size)
    yield array
    array.flush()
