"""Randomness is a function: every draw comes from a counter-based generator keyed by what it is for."""

from __future__ import annotations

import hashlib
import threading
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def draws(seed: int, step: int, example: int, purpose: str) -> np.random.Generator:
    """The generator of one purpose of one example of one step; never shared, never advanced by others.

    Philox (Salmon et al. 2011): the key holds seed and purpose, the counter step and example, so that any
    two different arguments give independent streams whatever was drawn before.

    Example:
        >>> draws(1, 7, 0, "place").integers(100) == draws(1, 7, 0, "place").integers(100)
        np.True_
    """
    # the lower counter words count blocks of numbers inside a stream; ours go into the upper two
    counter = np.array([0, 0, example, step], np.uint64)
    return np.random.Generator(np.random.Philox(key=key_of(seed, purpose), counter=counter))


def key_of(seed: int, purpose: str) -> NDArray[np.uint64]:
    """The key of all streams of one purpose."""
    return np.array([seed, _number(purpose)], np.uint64)


class Restarted(threading.local):
    """A generator per thread that starts anew as :func:`draws` would: making one takes longer than what it draws."""

    def __init__(self) -> None:
        self._source = np.random.Philox(0)
        self._generator = np.random.Generator(self._source)
        self._empty = np.zeros(4, np.uint64)

    def draws(self, seed: int, step: int, example: int, purpose: str) -> np.random.Generator:
        """As :func:`draws`; good until the next call in this thread."""
        key, counter = key_of(seed, purpose), np.array([0, 0, example, step], np.uint64)
        self._source.state = {
            "bit_generator": "Philox",
            "state": {"counter": counter, "key": key},
            "buffer": self._empty,
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }
        return self._generator


@lru_cache(maxsize=64)
def _number(purpose: str) -> int:
    number = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")
    # as many digits as a float has, which is how the upper half was read once: the streams stay what they were
    return number if number < 2**63 else int(float(number))
