"""What a pickle of old weights may name and call, and what is done instead: functions of this module, nothing of the file's.

Each function takes ``pay`` first: it counts the bytes and items made, for a file that repeats its content by reference
would else grow without end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from elektronn.errors import DataError

AXES = 32
"""Most axes of an array, as in numpy of old."""

FIELDS = 64
"""Most numbers of a record."""

CURE = "only arrays and plain data are read from old files; get this one again from somebody you trust"
DAMAGED = "the file is damaged or no pickle; copy it again from its origin"

Pay = Callable[[int], None]


class Name(NamedTuple):
    """A class or function that the file names. It stays a name.

    Example:
        >>> print(Name("os", "system"))
        os.system
    """

    module: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.module}.{self.attribute}"


@dataclass
class Array:
    """An array between its creation (REDUCE) and its content (BUILD)."""

    value: NDArray[Any] | None = None


@dataclass
class Kind:
    """A numpy dtype; BUILD sets the byte order."""

    dtype: np.dtype[Any]


@dataclass
class Object:
    """An object of an inert class; BUILD sets its state."""

    name: Name
    arguments: tuple[object, ...]
    state: object = None


def refuse(what: str) -> NoReturn:
    """Raise the error of a file that asks for more than data."""
    raise DataError(f"refused: {what}; {CURE}")


def one_line(value: object) -> str:
    """Text from the file for a message: printable, short."""
    text = " ".join(str(value)[:1000].split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= 80 else text[:80] + " …"


def called(thing: object) -> str:
    """Text of a name or a text from the file; of anything else the type, for its text may be endless."""
    if type(thing) in (Name, str):
        return one_line(thing)
    return f"a value of type {type(thing).__name__.lower()}"


def keys(values: Sequence[Any]) -> Sequence[Any]:
    """Keys of a dict or items of a set; only such whose hash is cheap and ours."""
    for value in values:
        if not (value is None or type(value) in (str, bytes, int, float, bool)):
            refuse(f"a key that is {called(value)}")
    return values


def pairs(items: Sequence[Any]) -> dict[Any, Any]:
    """Dict of keys and values that alternate."""
    if len(items) % 2:
        raise ValueError("a key without a value")
    return dict(zip(keys(items[::2]), items[1::2]))


def filled(pay: Pay, state: Any) -> NDArray[Any]:
    """Array of a state (version, shape, dtype, Fortran order, bytes); a view of the bytes, read-only."""
    _, shape, kind, fortran, content = state
    if type(kind) is not Kind or type(shape) is not tuple:
        raise ValueError("an array without shape or dtype")
    if kind.dtype.kind == "V" and not kind.dtype.names:
        refuse("an array of bytes without meaning")
    if len(shape) > AXES or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise ValueError("an array of impossible shape")
    data = _bytes(pay, content)
    if math.prod(shape) * kind.dtype.itemsize != len(data):
        refuse(f"an array of shape {one_line(shape)} with {len(data)} bytes")
    return np.frombuffer(data, kind.dtype).reshape(shape, order="F" if fortran else "C")


def ordered(dtype: np.dtype[Any], state: Any) -> np.dtype[Any]:
    """The dtype in the byte order of a state (version, order, no subarray, no names, no fields, …), or a record of numbers."""
    if type(state) is tuple and dtype.kind == "V" and len(state) > 5:
        return _record(dtype.itemsize, *state[2:5])
    if type(state) is not tuple or not 5 <= len(state) <= 9 or state[2:5] != (None, None, None):
        refuse("a dtype with fields")
    if state[1] not in ("<", ">", "|", "="):
        refuse(f"a dtype in the order {called(state[1])}")
    return dtype if state[1] == "|" else dtype.newbyteorder(state[1])


def _record(size: int, part: object, names: Any, fields: Any) -> np.dtype[Any]:
    """A row of named numbers: names, and for each its dtype and offset."""
    if part is not None or type(names) is not tuple or type(fields) is not dict or not 0 < len(names) <= FIELDS:
        refuse("a dtype of parts")
    if not all(type(name) is str for name in names) or set(names) != set(fields):
        raise ValueError("a record whose names are not those of its fields")
    kinds, offsets = [], []
    for name in names:
        match fields[name]:
            case (Kind(dtype=dtype), int(offset)) if dtype.kind != "V" and 0 <= offset <= size - dtype.itemsize:
                kinds.append(dtype)
                offsets.append(offset)
            case _:
                refuse("a record of other things than numbers")
    return np.dtype({"names": list(names), "formats": kinds, "offsets": offsets, "itemsize": size})


def _bytes(pay: Pay, content: object) -> bytes:
    """Content of an array; Python 2 has it as a string."""
    if type(content) is str:
        pay(len(content))
        return content.encode("latin-1")
    if type(content) is not bytes:
        refuse("an array of objects")
    return content


def _array(_: Pay, kind: object, shape: object, code: object) -> Array:
    """The empty array that numpy creates before it fills it."""
    if kind != NDARRAY or shape != (0,) or code not in ("b", b"b"):
        refuse(f"an array made otherwise than numpy does, from {called(kind)}")
    return Array()


def _kind(_: Pay, code: object, align: object = 0, copy: object = 1) -> Kind:
    """A dtype of numbers."""
    if type(code) is not str or not re.fullmatch(r"b1|[iu][1248]|f[248]|c8|c16|V[1-9]\d{0,3}", code):
        refuse(f"an array of {called(code)}, not of numbers")
    return Kind(np.dtype(code))


def _scalar(pay: Pay, kind: object, content: object) -> object:
    """A number that numpy wrapped."""
    return filled(pay, (1, (), kind, False, content)).item()


def _encode(pay: Pay, text: object, encoding: object) -> bytes:
    """Bytes as Python 3 writes them for Python 2: as text."""
    if encoding != "latin1" or type(text) is not str:
        refuse(f"encodes {called(text)} as {called(encoding)}")
    return _bytes(pay, text)


def _listed(pay: Pay, items: Any) -> Sequence[Any]:
    """The argument of a container."""
    if type(items) not in (list, tuple):
        raise ValueError(f"a container of {called(items)}")
    pay(len(items))
    return keys(items)


def _set(pay: Pay, items: object = ()) -> set[Any]:
    return set(_listed(pay, items))


def _frozenset(pay: Pay, items: object = ()) -> frozenset[Any]:
    return frozenset(_listed(pay, items))


def _ordered_dict(pay: Pay, items: Any = ()) -> dict[Any, Any]:
    """A dict of pairs; ours keeps its order too."""
    pay(len(items))
    if not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in items):
        raise ValueError("an ordered dict without pairs")
    return pairs([part for pair in items for part in pair])


NDARRAY = Name("numpy", "ndarray")
KINDS = frozenset(Name("numpy", sign + str(bits)) for sign in ("int", "uint", "float") for bits in (8, 16, 32, 64))
"""Types of numbers that a file may name; they stay names."""
CALLS: dict[Name, Callable[..., object]] = {
    Name("numpy.core.multiarray", "_reconstruct"): _array,
    Name("numpy._core.multiarray", "_reconstruct"): _array,
    Name("numpy.core.multiarray", "scalar"): _scalar,
    Name("numpy._core.multiarray", "scalar"): _scalar,
    Name("numpy", "dtype"): _kind,
    Name("_codecs", "encode"): _encode,
    Name("collections", "OrderedDict"): _ordered_dict,
    Name("__builtin__", "set"): _set,
    Name("builtins", "set"): _set,
    Name("__builtin__", "frozenset"): _frozenset,
    Name("builtins", "frozenset"): _frozenset,
    Name("__builtin__", "bytes"): lambda _: b"",  # without arguments: how Python 3 writes b"" for Python 2
}
"""All that a file may call."""
