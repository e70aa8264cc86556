"""Name → component, with a closest-match error. A registry is a visible table, nothing more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from elektronn.errors import ConfigError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """A half sentence that names the nearest known name, or all of them.

    Example:
        >>> nearest("wrap", ["warp", "flip"])
        "did you mean 'warp'?"
        >>> nearest("qqq", ["warp", "flip"])
        'known are flip, warp'
    """
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """The entry ``name`` of ``table``.

    Raises:
        ConfigError: no such entry; the message names the nearest one.

    Example:
        >>> lookup({"sgd": 1}, "sgd", "optimiser")
        1
    """
    if name not in table:
        raise ConfigError(f"unknown {kind} '{name}': {nearest(name, table)}")
    return table[name]
