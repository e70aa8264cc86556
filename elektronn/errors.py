"""The exception tree, one class per kind of failure, each with its exit code.

::

    ElektronnError          1   only through its children; 1 itself is a defect of ours
    ├── ConfigError         2   params.yaml, --set, command line
    │   ├── GeometryError   2   sizes that no network of this shape can take
    │   └── BusyError       2   another process holds what is needed
    ├── CheckFailed         3   registration, baseline, certificate, diverged training
    ├── DataError           4   a file that cannot be read or does not hold what was promised
    ├── StorageError        5   the result could not be written (disk full, no permission)
    └── Stopped           130   stopped on request, state saved

Inner code raises the fact; the door that knows the place (file, key) adds it with :func:`at`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class ElektronnError(Exception):
    """Base of all failures that a user can understand and mend."""

    exit_code: ClassVar[int] = 1


class ConfigError(ElektronnError):
    """A setting or an argument is unknown, of the wrong type or out of range."""

    exit_code = 2


class GeometryError(ConfigError):
    """Sizes that do not fit: patch, field of view, image."""


class BusyError(ConfigError):
    """Another process holds the run directory, the output or the device."""


class CheckFailed(ElektronnError):
    """Something was measured and found wrong: registration, certificate, divergence."""

    exit_code = 3


class DataError(ElektronnError):
    """A file is missing, unreadable, or does not hold what its user promised."""

    exit_code = 4


class StorageError(ElektronnError):
    """A result could not be written: disk full, no permission."""

    exit_code = 5


class Stopped(ElektronnError):
    """Stopped on request; the state needed to go on is saved."""

    exit_code = 130


@contextmanager
def at(place: str, only: type[ElektronnError] = ElektronnError) -> Iterator[None]:
    """Put ``place: `` in front of each line of the message of whatever failure of ours (``only`` this kind) leaves the block.

    Example:
        >>> try:
        ...     with at("params.yaml"):
        ...         raise ConfigError("training.rate: missing")
        ... except ConfigError as error:
        ...     print(error)
        params.yaml: training.rate: missing
    """
    try:
        yield
    except only as error:
        error.args = ("\n".join(f"{place}: {line}" for line in str(error).splitlines()),)
        raise
