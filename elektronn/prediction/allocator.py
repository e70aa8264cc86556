"""The C library's memory allocator, told to keep what is freed."""

from __future__ import annotations

import ctypes
import platform

_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD, _ARENA_MAX = -4, -1, -2, -8
_STEP = 64 << 20


def give_back() -> None:
    """Give memory that is kept but not used back to the system."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def keep_memory() -> bool:
    """Keep freed memory for the next array instead of giving it back to the system.

    Otherwise every large activation is new memory, which the system fills with zeros page by page on first touch; that
    takes up to half the time of dense prediction (figures in benchmarks/README.md). Memory that the process once had
    stays with it, so this is for processes that do nothing else: a command, never a library.

    Returns:
        Whether the C library is one that can (glibc).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    set_option = ctypes.CDLL(None).mallopt
    options = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, _STEP), (_ARENA_MAX, 1))
    return all(set_option(option, value) == 1 for option, value in options)
