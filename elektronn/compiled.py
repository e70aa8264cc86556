"""Loops compiled by numba, with a cache that knows all the files that they are made of."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from numba import njit


def compiled(*reads: ModuleType, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator as ``numba.njit``: cached on disk, without the interpreter's lock.

    What numba has cached it takes for old only when the file of the function itself has changed. A function made of code
    of other files would go on with what that was before: after an update of the package, say.

    Args:
        reads: modules whose functions or instructions become part of the compiled one.
        options: of ``numba.njit``.
    """
    stamp = 0
    for module in reads:
        stamp = zlib.crc32(Path(str(module.__file__)).read_bytes(), stamp)

    def decorate(function: Callable[..., Any]) -> Any:
        if reads:
            # numba names its files after this
            function.__qualname__ += f"_{stamp:08x}"
        return njit(nogil=True, cache=True, **options)(function)

    return decorate
