"""What an old config may call. Every call pays for its work first, so that no file can hang or fill the memory."""

from __future__ import annotations

import math
import os.path
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elektronn.errors import ConfigError

LIMIT = 300_000
"""Units of work for one file; a config of 1000 cubes needs about 90 000, a hostile one stops within seconds."""
BITS = 4096
"""Largest whole number, in bits."""


class Work:
    """What is left of the work that one file may cause."""

    def __init__(self) -> None:
        self.left: float = LIMIT

    def spend(self, amount: float) -> None:
        """Pay ``amount`` units: about one per number, list entry or eight letters.

        Raises:
            ConfigError: nothing is left.
        """
        self.left -= amount
        if self.left < 0:
            raise ConfigError(f"needs more than {LIMIT} steps of work or as many values; write the values themselves")

    def weigh(self, *values: Any) -> None:
        """Pay for all that hangs below ``values``, shared parts each time they are reached.

        Raises:
            ConfigError: too much, a number of more than ``BITS`` bits, or a value of a kind that configs do not have.
        """
        stack: list[Any] = list(values)
        while stack:
            value = stack.pop()
            self.spend(1)
            if isinstance(value, int):
                if value.bit_length() > BITS:
                    raise ConfigError(f"a whole number of more than {BITS} bits; write a smaller one")
                self.spend(value.bit_length() / 64)
            elif isinstance(value, str):
                self.spend(len(value) / 8)
            elif isinstance(value, list | tuple | set | dict):
                self.spend(len(value))
                stack.extend(value)
                stack.extend(value.values() if isinstance(value, dict) else ())
            elif isinstance(value, np.ndarray) and value.dtype.kind in "bif":
                self.spend(value.size)
            elif not isinstance(value, float | None | Function | Module):
                raise ConfigError(f"gives a value of the kind '{type(value).__name__}', which no option takes")


@dataclass(frozen=True)
class Function:
    """A function that configs may call; ``call`` gets the work account first."""

    name: str
    call: Callable[..., Any]


@dataclass(frozen=True)
class Module:
    """A module that configs may import: nothing but a table of names."""

    name: str
    members: Mapping[str, Any]


def native(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def entries(value: Any) -> list[Any]:
    """The entries of a list, tuple, dict, set, text or array, as a new list."""
    if not isinstance(value, list | tuple | dict | set | str | np.ndarray):
        raise ConfigError(f"{value!r:.40} has no entries to go through; write a list")
    return [native(entry) for entry in value]


def text_of(work: Work, value: Any = "") -> str:
    """``str`` as Python 2 had it: floats with 12 digits."""
    if not isinstance(value, float):
        return str(value)
    short = f"{value:.12g}"
    return short if set(short) & set(".en") else f"{short}.0"


def rounded(work: Work, value: Any, digits: int = 0) -> Any:
    """``round`` as Python 2 had it: a float, halves away from zero."""
    if isinstance(value, np.ndarray):
        return np.round(value, digits)
    if abs(digits) > 20:
        raise ConfigError(f"round to {digits} digits; write 20 or fewer")
    scale = 10.0**digits
    return math.copysign(math.floor(abs(value) * scale + 0.5) / scale, value)


def _round_array(work: Work, values: Any, decimals: int = 0) -> Any:
    return np.round(array(work, values), decimals)


def numbers_to(work: Work, *limits: int) -> list[int]:
    """``range`` as Python 2 had it: a list."""
    found = range(*limits)
    work.spend(len(found) if abs(found.stop - found.start) < 2**63 else LIMIT + 1)
    return list(found)


def power(work: Work, base: Any, exponent: Any) -> Any:
    """``base ** exponent``, with a look at the size first."""
    if isinstance(base, int) and isinstance(exponent, int):
        if exponent < 0:
            return float(base) ** exponent
        if max(abs(base).bit_length() - 1, 0) * exponent > BITS:
            raise ConfigError(f"a power of more than {BITS} bits; write a smaller one")
    return base**exponent


def shifted(value: Any, places: Any) -> Any:
    """``value << places``, with a look at the size first."""
    if isinstance(places, int) and places > BITS:
        raise ConfigError(f"a number of more than {BITS} bits; write a smaller one")
    return value << places


def multiplied(work: Work, left: Any, right: Any) -> Any:
    """``left * right``; repeated lists and texts are paid before they are made."""
    for thing, count in ((left, right), (right, left)):
        if isinstance(thing, list | tuple | str) and isinstance(count, int):
            total = len(thing) * max(count, 0)
            work.spend(min(total // 8 if isinstance(thing, str) else total, LIMIT + 1))
    return left * right


_FIELD = re.compile(r"%(\([^()%]*\))?[-#0 +]*(\*|\d+)?(?:\.(\*|\d*))?[hlL]?(.?)", re.DOTALL)


def formatted(work: Work, pattern: str, values: Any) -> str:
    """``pattern % values``; field widths are limited."""
    fields = _FIELD.findall(pattern)
    if any(end == "(" for *_, end in fields):
        raise ConfigError("a format with brackets inside a key; write plain keys")
    sizes = [size for _, *both, _ in fields for size in both if size]
    if any(len(size) > 3 or size == "*" for size in sizes):
        raise ConfigError("a format wider than 999 letters; write a number of up to three digits")
    before = work.left
    work.weigh(values)
    work.spend(len(fields) * (before - work.left) + sum(map(int, sizes)) / 8)
    return str(pattern % values)


class _Fields(string.Formatter):
    """``str.format`` without attributes and with limited widths."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if "." in field_name:
            raise ConfigError(f"'{{{field_name}}}' takes a part of a value; --trust would run the file as a program")
        return super().get_field(field_name, args, kwargs)

    def format_field(self, value: Any, format_spec: str) -> Any:
        if re.search(r"\d{4}", format_spec):
            raise ConfigError("a format wider than 999 letters; write a number of up to three digits")
        return super().format_field(value, format_spec)


def _format(work: Work, pattern: str, *values: Any, **named: Any) -> str:
    before = work.left
    work.weigh(values, named)
    # besides what each field shows, it may be up to 999 letters wide
    work.spend(pattern.count("{") * (before - work.left + 125))
    return str(_Fields().format(pattern, *values, **named))


def _join(work: Work, glue: str, parts: Any) -> str:
    parts = entries(parts)
    work.spend(len(glue) * len(parts) / 8)
    return glue.join(parts)


def _replace(work: Work, text: str, old: str, new: str) -> str:
    work.spend((text.count(old) + 1) * len(new) / 8)
    return text.replace(old, new)


def _zfill(work: Work, text: str, width: int) -> str:
    work.spend(width / 8)
    return text.zfill(width)


def _sum(work: Work, values: Any, start: Any = 0) -> Any:
    for value in entries(values):
        work.weigh(start)
        start = start + value
    return start


def _map(work: Work, function: Any, *lists: Any) -> list[Any]:
    if not isinstance(function, Function):
        raise ConfigError("map takes a function that configs may call")
    return [native(function.call(work, *row)) for row in zip(*map(entries, lists))]


def _extend(work: Work, target: list[Any], more: Any) -> None:
    target.extend(entries(more))


def array(work: Work, values: Any, dtype: Any = None) -> Any:
    """``numpy.array`` of numbers alone."""
    stack = [values]
    while stack:
        value = stack.pop()
        if isinstance(value, list | tuple):
            stack.extend(value)
        elif not isinstance(value, int | float | np.ndarray):
            raise ConfigError(f"an array of {value!r:.40}; arrays hold numbers")
    made = np.array(values)
    return made if dtype is None else _astype(work, made, dtype)


def _along(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda work, values, axis=None: function(array(work, values), axis=axis)


def _each(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda work, values: function(array(work, values))


def _filled(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(work: Work, shape: Any, dtype: Any = None) -> Any:
        shape = tuple(entries(shape)) if isinstance(shape, list | tuple) else (shape,)
        work.spend(min(abs(math.prod(shape)), LIMIT + 1) + len(shape))
        return function(shape) if dtype is None else _astype(work, function(shape), dtype)

    return call


def _arange(work: Work, *limits: float) -> Any:
    first, last, step = {1: (0, *limits, 1), 2: (*limits, 1)}.get(len(limits), limits)
    work.spend(max((last - first) / step, 0) + 1)
    return np.arange(*limits)


def _linspace(work: Work, first: float, last: float, num: int = 50) -> Any:
    work.spend(abs(num))
    return np.linspace(float(first), float(last), num)


def _astype(work: Work, array: Any, kind: Any) -> Any:
    kinds: dict[Any, Any] = {"bool": np.bool_, "int": np.int64, "int64": np.int64, "int32": np.int32}
    kinds |= {"float": np.float64, "float64": np.float64, "float32": np.float32}
    name = kind.name if isinstance(kind, Function) else kind
    if name not in kinds:
        raise ConfigError(f"array type {name!r:.20}: write one of {', '.join(kinds)}")
    return array.astype(kinds[name])


def _free(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose work is no more than the size of its arguments, which the caller has paid."""
    return lambda work, *values, **named: function(*values, **named)


def _through(function: Callable[..., Any]) -> Callable[..., Any]:
    """As :func:`_free`, for functions of lists: arrays, dicts and the like become lists first."""
    return lambda work, *lists, **named: function(*map(entries, lists), **named)


def _table(calls: Mapping[str, Callable[..., Any]]) -> dict[str, Function]:
    return {name: Function(name, call) for name, call in calls.items()}


_PLAIN: dict[str, Callable[..., Any]] = {
    "abs": abs, "bool": bool, "dict": dict, "divmod": divmod, "float": float, "int": int, "len": len, "long": int,
    "max": max, "min": min, "repr": repr,
}  # fmt: skip
_LISTS: dict[str, Callable[..., Any]] = {
    "all": all, "any": any, "enumerate": lambda values: list(enumerate(values)), "list": lambda *v: list(*v),
    "reversed": lambda values: values[::-1], "set": lambda *v: set(*v), "sorted": sorted,
    "tuple": lambda *v: tuple(*v), "zip": lambda *lists: list(zip(*lists)),
}  # fmt: skip

BUILTINS: dict[str, Any] = {
    "True": True,
    "False": False,
    "None": None,
    **_table({name: _free(function) for name, function in _PLAIN.items()}),
    **_table({name: _through(function) for name, function in _LISTS.items()}),
    **_table({
        "map": _map, "pow": power, "print": lambda work, *values: None, "range": numbers_to, "round": rounded,
        "str": text_of, "sum": _sum, "unicode": text_of, "xrange": numbers_to,
    }),
}  # fmt: skip
"""What a config knows without an import, as in Python 2: range, map and zip give lists."""

_PATH = Module("os.path", {"sep": "/", **_table({name: _free(getattr(os.path, name)) for name in (
    "abspath", "basename", "dirname", "expanduser", "join", "normpath",
)})})  # fmt: skip
_MATH = ("ceil", "exp", "floor", "log", "log10", "sqrt")
_EACH = ("ceil", "exp", "floor", "log", "log2", "sqrt")
_ALONG = ("cumprod", "cumsum", "max", "mean", "min", "prod", "sum")

MODULES: dict[str, Module] = {
    "__future__": Module("__future__", {}),
    "math": Module("math", {"pi": math.pi, "e": math.e, **_table({n: _free(getattr(math, n)) for n in _MATH})}),
    "numpy": Module("numpy", {"pi": math.pi, **_table({
        **{name: _each(getattr(np, name)) for name in _EACH},
        **{name: _along(getattr(np, name)) for name in _ALONG},
        "array": array, "asarray": array, "arange": _arange, "linspace": _linspace,
        "round": _round_array, "around": _round_array, "ones": _filled(np.ones), "zeros": _filled(np.zeros),
    })}),
    "os": Module("os", {"path": _PATH, "sep": "/"}),
    "os.path": _PATH,
    "sys": Module("sys", {"maxint": 2**63 - 1, "maxsize": 2**63 - 1}),
}  # fmt: skip
"""Modules that a config may import; only these names of them exist."""

_TEXT = ("capitalize", "endswith", "lower", "lstrip", "rstrip", "split", "startswith", "strip", "title", "upper")
_LIST = ("append", "count", "index", "insert", "pop", "remove", "reverse")

METHODS: dict[type, dict[str, Callable[..., Any]]] = {
    str: {**{name: _free(getattr(str, name)) for name in _TEXT},
          "format": _format, "join": _join, "replace": _replace, "zfill": _zfill},
    list: {**{name: _free(getattr(list, name)) for name in _LIST},
           "extend": _extend, "sort": lambda work, values: values.sort()},
    tuple: {name: _free(getattr(tuple, name)) for name in ("count", "index")},
    dict: {**{name: _free(getattr(dict, name)) for name in ("copy", "get", "pop", "setdefault", "update")},
           "keys": _free(list), "values": lambda work, table: list(table.values()),
           "items": lambda work, table: list(table.items()), "iteritems": lambda work, table: list(table.items())},
    np.ndarray: {**{name: _along(getattr(np, name)) for name in _ALONG},
                 "astype": _astype, "tolist": lambda work, values: values.tolist()},
}  # fmt: skip
"""Type → its methods that a config may call."""

GROWING = frozenset({"append", "extend", "insert", "pop", "get", "setdefault", "update"})
"""Methods whose work does not depend on what their object holds already."""
