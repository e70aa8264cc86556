"""Old Python configs through their syntax tree: the allowed part of Python 2 is worked out here, nothing is run."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from elektronn.errors import ConfigError
from elektronn.legacy.functions import (
    BUILTINS,
    GROWING,
    METHODS,
    MODULES,
    Function,
    Module,
    Work,
    entries,
    formatted,
    multiplied,
    native,
    power,
    shifted,
)
from elektronn.legacy.syntax import COMPARISONS, OPERATORS, SIGNS, TRUST, WORDS, parsed
from elektronn.registry import nearest

T = TypeVar("T")

DEPTH = 100
"""Deepest nesting of expressions and blocks."""


@dataclass(frozen=True)
class Assignments:
    """What a config leaves behind.

    Attributes:
        values: name → value, in the order of their first assignment; modules and ``__names__`` are left out.
        lines: name → line of its last assignment.
        loops: names that stand there only because a loop left them, as Python 2 does.
        warnings: what Python 2 reads otherwise than one may think, one sentence each.
    """

    values: dict[str, Any]
    lines: dict[str, int]
    loops: frozenset[str]
    warnings: tuple[str, ...]


def evaluate(source: bytes) -> Assignments:
    """Work out a config without running it.

    Raises:
        ConfigError: not Python, or something beyond the allowed part of it; the message starts with ``line N:``.

    Example:
        >>> evaluate(b"maps = [10 * i for i in range(3)]\\ndel i\\nhours = 7 / 2").values
        {'maps': [0, 10, 20], 'hours': 3}
    """
    tree = parsed(source)
    work = _Evaluator()
    try:
        work.block(tree.body)
    except ConfigError as error:
        raise ConfigError(f"line {work.line}: {error}") from None
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError, MemoryError) as error:
        said = " ".join(str(error).split())[:200]
        raise ConfigError(f"line {work.line}: cannot be worked out ({type(error).__name__}: {said}); mend it") from None
    values = {name: v for name, v in work.names.items() if name not in work.imported and not name.startswith("__")}
    return Assignments(values, work.lines, frozenset(work.loops), tuple(work.warnings))


def _refused(what: str) -> ConfigError:
    return ConfigError(f"{what} is not read{TRUST}")


class _Evaluator:
    """One namespace for everything, as a module has; ``_Kind`` below works out the syntax node ``ast.Kind``."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.lines: dict[str, int] = {}
        self.loops: set[str] = set()
        self.seen_loops: set[str] = set()
        self.imported: set[str] = set()
        self.warnings: list[str] = []
        self.work = Work()
        self.line, self.depth, self.true_division = 1, 0, False

    def block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self.visit(statement)

    def visit(self, node: ast.AST) -> Any:
        """Work out one node; whatever has no method here is refused."""
        self.line = getattr(node, "lineno", self.line)
        method = getattr(self, f"_{type(node).__name__}", None)
        if method is None:
            raise _refused(f"Python's {WORDS.get(type(node), type(node).__name__)}")
        self.work.spend(1)
        if self.depth >= DEPTH:
            raise _refused(f"nesting deeper than {DEPTH}")
        self.depth += 1
        try:
            return method(node)
        finally:
            self.depth -= 1

    # statements

    def _Expr(self, node: ast.Expr) -> None:  # noqa: N802
        self.visit(node.value)

    def _Pass(self, node: ast.Pass) -> None:  # noqa: N802
        pass

    def _Import(self, node: ast.Import) -> None:  # noqa: N802
        for alias in node.names:
            module = self._module(alias.name)
            name = alias.asname or alias.name.split(".")[0]
            self._bring(name, module if alias.asname else MODULES[name])

    def _ImportFrom(self, node: ast.ImportFrom) -> None:  # noqa: N802
        module = self._module(node.module or ".")
        for alias in node.names:
            if module.name == "__future__":
                self.true_division |= alias.name == "division"
            else:
                self._bring(alias.asname or alias.name, self._member(module, alias.name))

    def _module(self, name: str) -> Module:
        if name not in MODULES:
            raise _refused(f"import {name}")
        return MODULES[name]

    def _bring(self, name: str, value: Any) -> None:
        self._put(name, value)
        self.imported.add(name)

    def _Assign(self, node: ast.Assign) -> None:  # noqa: N802
        value = self.visit(node.value)
        for target in node.targets:
            self._store(target, value)

    def _AugAssign(self, node: ast.AugAssign) -> None:  # noqa: N802
        if not isinstance(node.target, ast.Name | ast.Subscript):
            raise _refused("assignment to an attribute")
        old, value = self.visit(node.target), self.visit(node.value)
        if isinstance(old, list) and isinstance(node.op, ast.Add):
            self.work.weigh(value)
            old.extend(entries(value))
            self._store(node.target, old)
        else:
            self._store(node.target, self._operate(node.op, old, value))

    def _For(self, node: ast.For) -> None:  # noqa: N802
        for entry in self._entries(node.iter):
            self._store(node.target, entry, loop=True)
            self.block(node.body)
        self._note_loop(node.target)
        self.block(node.orelse)

    def _If(self, node: ast.If) -> None:  # noqa: N802
        self.block(node.body if self.visit(node.test) else node.orelse)

    def _Delete(self, node: ast.Delete) -> None:  # noqa: N802
        for target in node.targets:
            self._remove(target)

    def _remove(self, target: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for entry in target.elts:
                self._remove(entry)
        elif isinstance(target, ast.Subscript):
            del self.visit(target.value)[self._index(target.slice)]
        elif not isinstance(target, ast.Name):
            raise _refused("del of an attribute")
        elif target.id in self.names:
            del self.names[target.id]
            self.loops.discard(target.id)
        elif target.id not in self.seen_loops:
            raise self._unknown(target.id)

    def _store(self, target: ast.expr, value: Any, loop: bool = False) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            parts = entries(value)
            if len(parts) != len(target.elts):
                raise ConfigError(f"{len(parts)} values for {len(target.elts)} names; write one for each")
            for part, entry in zip(target.elts, parts):
                self._store(part, entry, loop)
        elif isinstance(target, ast.Subscript):
            self.visit(target.value)[self._index(target.slice)] = value
        elif isinstance(target, ast.Name):
            self.line = target.lineno
            self._put(target.id, value)
            if loop:
                self.loops.add(target.id)
        else:
            raise _refused(f"assignment to {WORDS.get(type(target), 'such a place')}")

    def _put(self, name: str, value: Any) -> None:
        self.names[name], self.lines[name] = value, self.line
        self.loops.discard(name)
        self.imported.discard(name)

    def _note_loop(self, target: ast.expr) -> None:
        """A name that ran through a loop may be deleted later, even where it is gone by then."""
        self.seen_loops |= {part.id for part in ast.walk(target) if isinstance(part, ast.Name)}

    # values

    def _Constant(self, node: ast.Constant) -> Any:  # noqa: N802
        value = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
        self.work.weigh(value)
        return value

    def _Name(self, node: ast.Name) -> Any:  # noqa: N802
        if node.id in self.names:
            return self.names[node.id]
        if node.id in BUILTINS:
            return BUILTINS[node.id]
        raise self._unknown(node.id)

    def _unknown(self, name: str) -> ConfigError:
        if hasattr(builtins, name) or name.startswith("__"):
            return _refused(f"'{name}'")
        near = nearest(name, self.names)
        hint = f": {near}" if near.startswith("did you") else "; assign it first"
        return ConfigError(f"name '{name}' is not defined{hint}")

    def _Attribute(self, node: ast.Attribute) -> Any:  # noqa: N802
        value = self.visit(node.value)
        if isinstance(value, Module):
            return self._member(value, node.attr)
        method = METHODS.get(type(value), {}).get(node.attr)
        if method is None:
            raise _refused(f"'.{node.attr}' of a {type(value).__name__}")
        weighed = () if node.attr in GROWING else (value,)

        def call(work: Work, *values: Any, **named: Any) -> Any:
            work.weigh(*weighed)
            return method(work, value, *values, **named)

        return Function(node.attr, call)

    def _member(self, module: Module, name: str) -> Any:
        if name not in module.members:
            raise _refused(f"'{module.name}.{name}'")
        return module.members[name]

    def _Call(self, node: ast.Call) -> Any:  # noqa: N802
        function = self.visit(node.func)
        if not isinstance(function, Function):
            raise _refused("a call of something that is no known function")
        values = [value for argument in node.args for value in self._argument(argument)]
        named: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.visit(keyword.value)
            named.update({keyword.arg: value} if keyword.arg else value)
        self.work.weigh(values, named)
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            result = native(function.call(self.work, *values, **named))
        self.work.weigh(result)
        return result

    def _argument(self, node: ast.expr) -> list[Any]:
        return self._entries(node.value) if isinstance(node, ast.Starred) else [self.visit(node)]

    def _entries(self, node: ast.expr) -> list[Any]:
        value = self.visit(node)
        self.work.spend(len(value) if isinstance(value, list | tuple | dict | set | str) else 1)
        return entries(value)

    def _List(self, node: ast.List) -> list[Any]:  # noqa: N802
        return self._made([self.visit(entry) for entry in node.elts])

    def _Tuple(self, node: ast.Tuple) -> tuple[Any, ...]:  # noqa: N802
        return self._made(tuple(self.visit(entry) for entry in node.elts))

    def _Set(self, node: ast.Set) -> set[Any]:  # noqa: N802
        return self._made({self.visit(entry) for entry in node.elts})

    def _Dict(self, node: ast.Dict) -> dict[Any, Any]:  # noqa: N802
        if None in node.keys:
            raise _refused("'**' in a dict")
        return self._made({self.visit(key): self.visit(value) for key, value in zip(node.keys, node.values) if key})

    def _made(self, value: T) -> T:
        self.work.weigh(value)
        return value

    def _ListComp(self, node: ast.ListComp) -> list[Any]:  # noqa: N802
        # Python 2 leaves the variables of a list comprehension behind, those of the other kinds not
        return self._made([self.visit(node.elt) for _ in self._rounds(node.generators)])

    def _GeneratorExp(self, node: ast.GeneratorExp) -> list[Any]:  # noqa: N802
        return self._made([self.visit(node.elt) for _ in self._apart(node.generators)])

    def _SetComp(self, node: ast.SetComp) -> set[Any]:  # noqa: N802
        return self._made({self.visit(node.elt) for _ in self._apart(node.generators)})

    def _DictComp(self, node: ast.DictComp) -> dict[Any, Any]:  # noqa: N802
        return self._made({self.visit(node.key): self.visit(node.value) for _ in self._apart(node.generators)})

    def _rounds(self, generators: list[ast.comprehension]) -> Iterator[None]:
        if not generators:
            yield
            return
        first, *others = generators
        self._note_loop(first.target)
        for entry in self._entries(first.iter):
            self.work.spend(1)
            self._store(first.target, entry, loop=True)
            if all(self.visit(test) for test in first.ifs):
                yield from self._rounds(others)

    def _apart(self, generators: list[ast.comprehension]) -> Iterator[None]:
        """As :meth:`_rounds`; afterwards the variables are again what they were before."""
        before = (dict(self.names), dict(self.lines), set(self.loops), set(self.imported))
        self.work.spend(len(self.names))
        yield from self._rounds(generators)
        self.names, self.lines, self.loops, self.imported = before

    def _Subscript(self, node: ast.Subscript) -> Any:  # noqa: N802
        return self._made(native(self.visit(node.value)[self._index(node.slice)]))

    def _index(self, node: ast.expr) -> Any:
        if not isinstance(node, ast.Slice):
            return self.visit(node)
        return slice(*(None if part is None else self.visit(part) for part in (node.lower, node.upper, node.step)))

    def _UnaryOp(self, node: ast.UnaryOp) -> Any:  # noqa: N802
        return self._made(native(SIGNS[type(node.op)](self.visit(node.operand))))

    def _BoolOp(self, node: ast.BoolOp) -> Any:  # noqa: N802
        for value in node.values:
            result = self.visit(value)
            if bool(result) is isinstance(node.op, ast.Or):
                break
        return result

    def _IfExp(self, node: ast.IfExp) -> Any:  # noqa: N802
        return self.visit(node.body if self.visit(node.test) else node.orelse)

    def _Compare(self, node: ast.Compare) -> Any:  # noqa: N802
        left = self.visit(node.left)
        for operation, part in zip(node.ops, node.comparators):
            right = self.visit(part)
            self.work.weigh(left, right)
            result = COMPARISONS[type(operation)](left, right)
            if not result:
                return result
            left = right
        return result

    def _BinOp(self, node: ast.BinOp) -> Any:  # noqa: N802
        return self._operate(node.op, self.visit(node.left), self.visit(node.right))

    def _operate(self, operation: ast.operator, left: Any, right: Any) -> Any:
        self.work.weigh(left, right)
        if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
            self.work.spend(np.broadcast(left, right).size)
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            return self._made(native(self._result(operation, left, right)))

    def _result(self, operation: ast.operator, left: Any, right: Any) -> Any:
        match operation:
            case ast.Mod() if isinstance(left, str):
                return formatted(self.work, left, right)
            case ast.Div():
                return self._divided(left, right)
            case ast.Pow():
                return power(self.work, left, right)
            case ast.LShift():
                return shifted(left, right)
            case ast.Mult():
                return multiplied(self.work, left, right)
            case _ if type(operation) in OPERATORS:
                return OPERATORS[type(operation)](left, right)
        raise _refused("this operator")

    def _divided(self, left: Any, right: Any) -> Any:
        """Python 2 divides whole numbers without a remainder, unless the file asks for the division of Python 3."""
        if self.true_division or not (_whole(left) and _whole(right)):
            return left / right
        if isinstance(left, int) and isinstance(right, int) and right and left % right:
            self.warnings.append(
                f"line {self.line}: {left} / {right} is {left // right} in Python 2; for a fraction write {left} / {right}.0"
            )
        return left // right


def _whole(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, np.ndarray) and value.dtype.kind in "bi")
