"""The syntax tree of a Python 2 file, as far as Python 3 can be brought to read it."""

from __future__ import annotations

import ast
import operator
import re
import tokenize
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any

from elektronn.errors import ConfigError

BYTES = 1_000_000
"""Largest file."""

TRUST = "; write the values themselves, or let --trust run the file as a program"
"""What to do about a file that is beyond reading."""

_REPAIRS: tuple[tuple[str, str], ...] = (
    (r"print\b(?!\s*\().*", "pass"),
    (r"(?<![\w.])0+(?=[0-7]+[lL]?\b)", "0o"),
    (r"(?<![\w.])(0[xXoO][0-9a-fA-F]+|\d+)[lL]\b", r"\1"),
)
"""What Python 2 wrote otherwise, looked for where the parser stopped: print statements, 0777, 10L."""

_CURES: tuple[tuple[str, str], ...] = (
    (r"`", "write repr(…) instead of `…`"),
    (r"<>", "write != instead of <>"),
    (r"\bexec\b", "leave out exec"),
    (r"\bur['\"]", "write u'…' instead of ur'…'"),
    (r"\bprint\b", "leave out the print"),
)


def parsed(source: bytes) -> ast.Module:
    """The syntax tree; print statements, ``0777`` and ``10L`` of Python 2 are understood.

    Raises:
        ConfigError: not Python; starts with ``line N:`` and names the cure.
    """
    if len(source) > BYTES:
        raise ConfigError(f"line 1: the file is larger than {BYTES} bytes; give a config")
    try:
        encoding, _ = tokenize.detect_encoding(BytesIO(source).readline)
        lines = re.split("\r\n|\r|\n", source.decode(encoding))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ConfigError(f"line 1: cannot be read as text ({error}); save it as UTF-8") from None
    # each repair mends one place, so a file needs as many rounds as it has such places
    for _ in range(200):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse("\n".join(lines) + "\n")
        except SyntaxError as error:
            _repair(lines, error)
        except (ValueError, RecursionError, MemoryError, OverflowError) as error:
            raise ConfigError(f"line 1: not readable as Python ({str(error) or 'too deeply nested'}){TRUST}") from None
    raise ConfigError("line 1: too much of it is Python 2; mend print statements and numbers such as 0777 and 10L")


def _repair(lines: list[str], error: SyntaxError) -> None:
    """Rewrite the place of the error if it is a known one."""
    number, place = (error.lineno or 1) - 1, (error.offset or 1) - 1
    line = lines[number] if number < len(lines) else ""
    for pattern, new in _REPAIRS:
        for found in re.finditer(pattern, line):
            if found.start() <= place < found.end():
                lines[number] = line[: found.start()] + found.expand(new) + line[found.end() :]
                return
    cures = [cure for pattern, cure in _CURES if re.search(pattern, line)]
    raise ConfigError(f"line {number + 1}: not Python ({error.msg}); {cures[0] if cures else 'mend the line'}")


OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor, ast.RShift: operator.rshift,
}  # fmt: skip
SIGNS: dict[type, Callable[[Any], Any]] = {
    ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Not: operator.not_, ast.Invert: operator.invert,
}  # fmt: skip
COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
WORDS: dict[type, str] = {
    ast.FunctionDef: "def", ast.ClassDef: "class", ast.Lambda: "lambda", ast.While: "while", ast.Try: "try",
    ast.With: "with", ast.JoinedStr: "f-string", ast.Attribute: "an attribute", ast.Assert: "assert",
    ast.Raise: "raise", ast.Global: "global", ast.NamedExpr: "':='", ast.Starred: "a starred name",
}  # fmt: skip
"""Syntax nodes in words."""
