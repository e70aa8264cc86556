"""Old pickle files read as data: plain containers and arrays, or an error; never code.

The file's words are obeyed by :mod:`elektronn.legacy.pickle_machine`; here are the file itself and the last step,
which turns what the machine leaves into plain values and refuses cycles and endless repetition.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from elektronn.errors import DataError, at
from elektronn.legacy.pickle_machine import Machine
from elektronn.legacy.pickle_parts import DAMAGED, Array, Kind, Name, Object, refuse

FILE_BYTES = 2**30
"""Largest file, after gunzip, in bytes; the originals' networks need a hundredth of it."""
DEPTH = 64
"""Deepest nesting of lists, dicts and the like."""
ITEMS = 100_000
"""Most items when everything that is mentioned twice is counted twice."""


@dataclass(frozen=True)
class Instance:
    """Stands for an object of a class that the caller declared inert: what the file holds of it, and no behaviour."""

    name: Name
    arguments: tuple[object, ...] = ()
    state: object = None


def unpickle(path: Path | str, inert: str = "") -> list[Any]:
    """The values of all pickles in a file, one behind the other, of protocol 0 to 4, plain or gzipped.

    Values are None, bool, int, float, str, bytes, list, tuple, dict, set, frozenset and read-only numpy arrays of
    numbers (any shape, axes as stored). A Python 2 string becomes a str, one character per byte. A numpy scalar becomes
    a Python number, a numpy dtype its text. An ordered dict is a dict.

    Args:
        path: the file.
        inert: a package whose classes may be named; they become :class:`Name`, their objects :class:`Instance`.

    Raises:
        DataError: the file is missing, damaged or too large, or names or calls anything else.

    Example:
        >>> import pickle, tempfile
        >>> import numpy as np
        >>> file = Path(tempfile.mkdtemp()) / "old.param"
        >>> _ = file.write_bytes(pickle.dumps([(3, 1)], 2) + pickle.dumps(np.float32([1, 2]), 2))
        >>> unpickle(file)
        [[(3, 1)], array([1., 2.], dtype=float32)]
    """
    with at(str(path)):
        values = Machine(_content(Path(path)), inert).run()
        plain = _Plain()
        return [plain.of(value) for value in values]


def _content(path: Path) -> bytes:
    """Bytes of the file, gunzipped if it is gzipped, whatever its name."""
    try:
        with path.open("rb") as file:
            gzipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            return _at_most(FILE_BYTES, gzip.GzipFile(fileobj=file) if gzipped else file)
    except FileNotFoundError as error:
        raise DataError("not there; check the path") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot be read ({error}); {DAMAGED}") from error


def _at_most(limit: int, stream: BinaryIO | gzip.GzipFile) -> bytes:
    """Everything in the stream, piece by piece, so that a small file cannot fill the memory."""
    data = bytearray()
    while piece := stream.read(2**20):
        data += piece
        if len(data) > limit:
            refuse(f"holds more than {limit} bytes, too much for an old network")
    return bytes(data)


class _Plain:
    """Turns what the machine leaves into plain values. Cycles end at DEPTH, repetitions at ITEMS."""

    def __init__(self) -> None:
        self.items = ITEMS

    def of(self, value: Any, depth: int = 0) -> Any:
        """The value without the machine's stand-ins."""
        self.items -= 1
        if depth > DEPTH or self.items < 0:
            refuse("nested or repeated without end")
        match value:
            case Name():
                return value
            case Array(value=array):
                return refuse("an array without content") if array is None else array
            case Kind(dtype=dtype):
                return dtype.name
            case Object(name=name, arguments=arguments, state=state):
                return Instance(name, self.of(arguments, depth + 1), self.of(state, depth + 1))
            case list() | tuple():
                return type(value)([self.of(item, depth + 1) for item in value])
            case dict():
                return {key: self.of(item, depth + 1) for key, item in value.items()}
        return value
