"""The stack machine of pickles without its teeth: no name is imported, nothing of the file is called.

A pickle is a program for a small stack machine whose words "import this" and "call it" are what makes it dangerous.
This machine knows the other words, and of those two only what :mod:`elektronn.legacy.pickle_parts` holds.
Every other word and name ends in a :class:`DataError`. What a file can cost is bounded too: its words are counted, and
all that they make must have its bytes in the file.

Source:
    Words and their arguments: the module ``pickletools`` of the standard library.
"""

from __future__ import annotations

import codecs
import io
import pickletools
import re
from collections.abc import Callable, Sequence
from typing import Any

from elektronn.errors import DataError
from elektronn.legacy.pickle_parts import (
    CALLS,
    DAMAGED,
    KINDS,
    NDARRAY,
    Array,
    Kind,
    Name,
    Object,
    called,
    filled,
    keys,
    one_line,
    ordered,
    pairs,
    refuse,
)

STEPS = 5_000_000
"""Most words of one file."""
NAME_LETTERS = 200
"""Longest name of a module or class."""


class Machine:
    """A stack, a memo and the words that work on them.

    Args:
        data: the pickles, one behind the other.
        inert: package whose classes may be named and made; they stay names, their objects :class:`Object`.
    """

    def __init__(self, data: bytes, inert: str) -> None:
        self.stream, self.size = io.BytesIO(data), len(data)
        self.inert = re.compile(rf"{re.escape(inert)}(\.\w+)*") if inert else None
        self.steps, self.left = STEPS, len(data)
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each open MARK
        self.memo: dict[int, Any] = {}

    def run(self) -> list[Any]:
        """Values of all pickles.

        Raises:
            DataError: a word or name that is not allowed, or a damaged stream.
        """
        values: list[Any] = []
        while self.stream.tell() < self.size or not values:
            try:
                values.append(self._value())
            except (ValueError, LookupError, TypeError, OverflowError) as error:
                place = f"byte {self.stream.tell()} of {self.size}"
                reason = one_line(error) if isinstance(error, ValueError) else "words in no possible order"
                raise DataError(f"{place}: {reason}; {DAMAGED}") from error
        return values

    def _value(self) -> Any:
        self.stack, self.below, self.memo = [], [], {}
        while self._word() != "STOP":
            pass
        if len(self.stack) != 1 or self.below:
            raise ValueError("a pickle that leaves no single value")
        return self.stack[0]

    def _word(self) -> str:
        """Read one word with its argument and obey it."""
        self.steps -= 1
        if self.steps < 0:
            refuse(f"more than {STEPS} steps")
        code = self.stream.read(1)
        if not code:
            raise ValueError("ends in the middle of a value")
        word = _OPCODES.get(code.decode("latin-1"))
        if word is None:
            raise ValueError(f"{code!r} is no word of a pickle")
        if word.name not in _WORDS:
            refuse(_forbidden(word.name, self.stream))
        _WORDS[word.name](self, self._argument(word))
        return word.name

    def _argument(self, word: pickletools.OpcodeInfo) -> Any:
        if word.name == "STRING":  # the library's reader knows ASCII only
            return _quoted(self.stream.readline())
        if word.name == "GLOBAL":  # the library's reader undoes escapes, which names do not have
            return _two_lines(self.stream)
        return word.arg.reader(self.stream) if word.arg else None

    def pay(self, count: int) -> None:
        """Count bytes and items made from others."""
        self.left -= count
        if self.left < 0:
            refuse("makes more than the file holds")

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        if type(value) is int and value.bit_length() > 64:
            refuse("a number of more than 64 bits")
        self.stack.append(value)

    def push_name(self, module: object, attribute: object) -> None:
        """Put a name on the stack, if it is allowed."""
        if not (type(module) is str and type(attribute) is str and len(module) + len(attribute) <= NAME_LETTERS):
            refuse(f"names {called(module)}.{called(attribute)}")
        name = Name(module, attribute)
        inert = self.inert and self.inert.fullmatch(module) and attribute.isidentifier()
        if not (inert or name in CALLS or name == NDARRAY or (self.inert and name in KINDS)):
            refuse(f"names {one_line(name)}")
        self.stack.append(name)

    def push_tuple(self, count: int) -> None:
        """Join the topmost values."""
        cut = len(self.stack) - count
        if cut < 0:
            raise ValueError("too few values for a tuple")
        self.stack[cut:] = [tuple(self.stack[cut:])]

    def mark(self) -> None:
        """Open a stack above this one."""
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        """Close it; what it held."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def two(self) -> tuple[Any, Any]:
        """Take the two topmost values, in the order of their coming."""
        second = self.stack.pop()
        return self.stack.pop(), second

    def top(self, kind: type) -> Any:
        """The container that is being filled."""
        if type(self.stack[-1]) is not kind:
            refuse(f"fills {called(self.stack[-1])} like a {kind.__name__}")
        return self.stack[-1]

    def extend(self, items: list[Any]) -> None:
        """Items behind those of the list on top."""
        self.top(list).extend(items)

    def update(self, items: Sequence[Any]) -> None:
        """Keys and values into the dict on top."""
        self.top(dict).update(pairs(items))

    def add(self, items: list[Any]) -> None:
        """Items into the set on top."""
        self.top(set).update(keys(items))

    def remember(self, index: int) -> None:
        """Note the topmost value in the memo."""
        self.memo[index] = self.stack[-1]

    def call(self) -> None:
        """REDUCE: what one of the known functions makes."""
        function, arguments = self.two()
        if type(function) is not Name or function not in CALLS or type(arguments) is not tuple:
            refuse(f"calls {called(function)}")
        self.stack.append(CALLS[function](self.pay, *arguments))

    def new(self) -> None:
        """NEWOBJ: an object of an inert class."""
        name, arguments = self.two()
        if type(name) is not Name or name in CALLS or name == NDARRAY or name in KINDS or type(arguments) is not tuple:
            refuse(f"makes an object of {called(name)}")
        self.stack.append(Object(name, arguments))

    def build(self) -> None:
        """BUILD: fill what was made empty, once."""
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is Array and target.value is None:
            target.value = filled(self.pay, state)
        elif type(target) is Kind:
            target.dtype = ordered(target.dtype, state)
        elif type(target) is Object and target.state is None:
            target.state = state
        else:
            refuse(f"sets the inside of {called(target)}")


def _forbidden(word: str, stream: io.BytesIO) -> str:
    """What a forbidden word wanted; INST gives its name away."""
    if word != "INST":
        return f"uses {word}"
    return f"names {one_line('.'.join(_two_lines(stream)))}"


def _two_lines(stream: io.BytesIO) -> tuple[str, str]:
    """Module and class, a line each."""
    module, attribute = stream.readline(), stream.readline()
    return module.decode("latin-1").strip(), attribute.decode("latin-1").strip()


def _quoted(line: bytes) -> str:
    """A string of protocol 0: a quoted line with escapes, one character per byte."""
    line = line.strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("a string without quotes")
    if re.search(rb"\\(?!['\"nrt]|x[0-9a-fA-F]{2})", line[1:-1].replace(rb"\\", b"")):
        raise ValueError("a string with an unknown escape")
    content: bytes = codecs.escape_decode(line[1:-1])[0]
    return content.decode("latin-1")


_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_ATOMS = """
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8
"""
_WORDS: dict[str, Callable[[Machine, Any], object]] = {
    "PROTO": lambda machine, protocol: None if protocol <= 4 else refuse(f"protocol {protocol}"),
    **dict.fromkeys(("STOP", "FRAME"), lambda machine, _: None),
    **dict.fromkeys(_ATOMS.split(), Machine.push),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), Machine.remember),
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, index: machine.push(machine.memo[index])),
    "MARK": lambda machine, _: machine.mark(),
    "EMPTY_TUPLE": lambda machine, _: machine.push_tuple(0),
    "TUPLE1": lambda machine, _: machine.push_tuple(1),
    "TUPLE2": lambda machine, _: machine.push_tuple(2),
    "TUPLE3": lambda machine, _: machine.push_tuple(3),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "LIST": lambda machine, _: machine.push(machine.since_mark()),
    "APPEND": lambda machine, _: machine.extend([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "DICT": lambda machine, _: machine.push(pairs(machine.since_mark())),
    "SETITEM": lambda machine, _: machine.update(machine.two()),
    "SETITEMS": lambda machine, _: machine.update(machine.since_mark()),
    "EMPTY_SET": lambda machine, _: machine.push(set()),
    "ADDITEMS": lambda machine, _: machine.add(machine.since_mark()),
    "FROZENSET": lambda machine, _: machine.push(frozenset(keys(machine.since_mark()))),
    "GLOBAL": lambda machine, names: machine.push_name(*names),
    "STACK_GLOBAL": lambda machine, _: machine.push_name(*machine.two()),
    "REDUCE": lambda machine, _: machine.call(),
    "NEWOBJ": lambda machine, _: machine.new(),
    "BUILD": lambda machine, _: machine.build(),
}
"""All words that the machine obeys; PERSID, EXT, INST, OBJ and buffers from outside are not among them."""
