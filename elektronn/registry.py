"""Name → component, with a closest-match error. A registry is a visible table, nothing more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from typing import Any, TypeVar

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


def load_object(name: str, kind: str) -> Any:
    """What ``package.module:Name`` or ``folder/file.py:Name`` stands for: code that a user names and so wants to run.

    Args:
        name: of the module or file, a colon, and the name in it.
        kind: for messages, such as ``data class``.

    Raises:
        ConfigError: no such module, file or name in it, or it fails when imported; says where.

    Example:
        >>> load_object("json:dumps", "function")([1])
        '[1]'
    """
    place, colon, attribute = name.rpartition(":")
    if not colon or not place or not attribute:
        raise ConfigError(f"{kind} '{name}': write package.module:Name or file.py:Name")
    try:
        module = _from_file(Path(place).expanduser()) if place.endswith(".py") else import_module(place)
    except FileNotFoundError:
        raise ConfigError(f"{kind} '{name}': {place}: no such file; correct the path") from None
    except Exception as error:  # whatever strange code may raise
        frame = extract_tb(error.__traceback__)[-1]
        where = f" ({frame.filename}, line {frame.lineno})" if not isinstance(error, ModuleNotFoundError) else ""
        raise ConfigError(f"{kind} '{name}': cannot be imported: {type(error).__name__}: {error}{where}") from error
    if not hasattr(module, attribute):
        known = [word for word in vars(module) if not word.startswith("_")]
        raise ConfigError(f"{kind} '{name}': no '{attribute}' in {place}: {nearest(attribute, known)}")
    return getattr(module, attribute)


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(path)
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
