"""Hostile pickles: each ends in a DataError, none runs anything, none takes memory or time that its size does not warrant."""

from __future__ import annotations

import builtins
import copyreg
import gzip
import io
import os
import pickle
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elektronn.errors import DataError
from elektronn.legacy import pickle_machine, unpickle
from elektronn.legacy.mdl_file import read_mdl
from elektronn.legacy.param_file import read_param


class Calls:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.made_of = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.made_of


CANARY = "canary"
TOUCH = f"touch {CANARY}"
PYTHON = f"open({CANARY!r}, 'w').close()"


def text(letters: str) -> bytes:
    """BINUNICODE."""
    return b"X" + struct.pack("<I", len(letters.encode())) + letters.encode()


def array(shape: bytes, content: bytes, kind: bytes = b"f4") -> bytes:
    """A numpy array of protocol 2: shape and content as words."""
    dtype = b"cnumpy\ndtype\nU" + bytes([len(kind)]) + kind + b"K\x00K\x01\x87R"
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + shape
        + dtype
        + b"\x89"
        + content
        + b"tb"
    )


LONG = b"\x8a\x08" + struct.pack("<q", 2**62)
NOTHING = b"U\x00"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"

NAMED = {
    "os.system": (pickle.dumps(Calls(os.system, TOUCH), 2), f"{os.system.__module__}.system"),
    "eval": (pickle.dumps(Calls(eval, PYTHON), 2), "__builtin__.eval"),
    "exec": (pickle.dumps(Calls(exec, PYTHON), 4), "builtins.exec"),
    "getattr": (pickle.dumps(Calls(getattr, "a", "upper"), 2), "__builtin__.getattr"),
    "__import__": (pickle.dumps(Calls(builtins.__import__, "antigravity"), 2), "__builtin__.__import__"),
    "open": (pickle.dumps(Calls(open, CANARY, "w"), 2), "io.open"),
    "module of the file": (b"\x80\x02cevil\nrun\n)R.", "evil.run"),
    "numpy load": (pickle.dumps(Calls(np.load, CANARY), 2), "numpy.load"),
    "numpy fromfile": (b"\x80\x02cnumpy\nfromfile\nU\x06canary\x85R.", "numpy.fromfile"),
    "numpy zeros": (b"\x80\x02cnumpy\nzeros\n" + LONG + b"\x85R.", "numpy.zeros"),
    "numpy.core.multiarray array": (b"\x80\x02cnumpy.core.multiarray\narray\n)R.", "numpy.core.multiarray.array"),
    "numpy runstring": (b"\x80\x02cnumpy.testing\nrunstring\n)R.", "numpy.testing.runstring"),
    "copyreg": (b"\x80\x02ccopy_reg\n_reconstructor\n(c__builtin__\nobject\nh\x00NtR.", "copy_reg._reconstructor"),
    "copyreg extension": (pickle.dumps(Calls(copyreg.add_extension, "os", "system", 77), 2), "copy_reg.add_extension"),
    "dotted name": (b"\x80\x04" + text("os") + text("path.os.system") + b"\x93.", "os.path.os.system"),
    "dotted name in a known module": (
        b"\x80\x04" + text("numpy") + text("dtype.__init__") + b"\x93.",
        "dtype.__init__",
    ),
    "inst": (f"(S'{TOUCH}'\nios\nsystem\n.".encode(), "os.system"),
    "obj": (b"(cos\nsystem\n" + text(TOUCH) + b"o.", "os.system"),
    "newobj": (b"\x80\x02csubprocess\nPopen\n" + text(TOUCH) + b"\x85\x81.", "subprocess.Popen"),
    "functools.partial": (b"\x80\x02cfunctools\npartial\n)R.", "functools.partial"),
    "nested reduce": (pickle.dumps([{"a": (Calls(os.system, TOUCH),)}], 2), "system"),
    "in a set's items": (b"\x80\x02c__builtin__\nset\n](cos\nsystem\n" + text(TOUCH) + b"\x85Re\x85R.", "os.system"),
}
"""Pickles that name something, and the name that the message must hold."""

REFUSED = {
    "call of a result": b"\x80\x02c__builtin__\nset\n)R)R.",
    "call of a text": b"\x80\x02" + text("os.system") + text(TOUCH) + b"\x85R.",
    "call of ndarray itself": b"\x80\x02cnumpy\nndarray\n" + LONG + b"\x85\x85R.",
    "new ndarray": b"\x80\x02cnumpy\nndarray\n" + LONG + b"\x85\x85\x81.",
    "new_ex": b"\x80\x04cnumpy\nndarray\n)}\x92.",
    "setstate of a list": b"\x80\x02]}" + text("__class__") + text("x") + b"sb.",
    "setstate of a function": b"\x80\x02" + RECONSTRUCT + b"}" + text("__call__") + text("x") + b"sb.",
    "setstate of an array twice": b"\x80\x02" + array(b"K\x00\x85", NOTHING) + b"(K\x01K\x00\x85NN" + NOTHING + b"tb.",
    "setstate with a dict": b"\x80\x02" + RECONSTRUCT + b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R}b.",
    "array without content": b"\x80\x02" + RECONSTRUCT + b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R.",
    "reconstruct of another class": b"\x80\x02" + RECONSTRUCT + b"c__builtin__\nset\nK\x00\x85U\x01b\x87R.",
    "reconstruct of a size": b"\x80\x02" + RECONSTRUCT + b"cnumpy\nndarray\n" + LONG + b"\x85U\x01b\x87R.",
    "array of objects": pickle.dumps(np.array([{}, "a"], dtype=object), 2),
    "scalar of objects": b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02O8K\x00K\x01\x87R]\x86R.",
    "array of records": pickle.dumps(np.zeros(2, dtype=[("a", "O"), ("b", "f4")]), 2),
    "array of texts": pickle.dumps(np.array(["abc"]), 2),
    "array of times": pickle.dumps(np.zeros(2, dtype="M8[s]"), 2),
    "items for content": b"\x80\x02" + array(b"K\x01\x85", b"](K\x01e") + b".",
    "array larger than its content": b"\x80\x02" + array(LONG + b"\x85", NOTHING) + b".",
    "array of product zero": b"\x80\x02" + array(b"K\x00" + LONG + LONG + b"\x87", NOTHING) + b".",
    "array of negative size": b"\x80\x02" + array(b"J\xff\xff\xff\xff\x85", NOTHING) + b".",
    "array of many axes": b"\x80\x02" + array(b"(" + b"K\x01" * 70 + b"t", b"U\x04abcd") + b".",
    "array of half a number": b"\x80\x02" + array(b"K\x01\x85", b"U\x03abc") + b".",
    "number of 2 million bits": b"\x80\x02\x8b" + struct.pack("<i", 250_000) + b"\x7f" * 250_000 + b".",
    "number of 5000 digits": b"L" + b"9" * 5000 + b"L\n.",
    "encode as something else": b"\x80\x02c_codecs\nencode\n" + text("x") + text("zlib") + b"\x86R.",
    "extension 1": b"\x80\x02\x82\x4d.",
    "extension 2": b"\x80\x02\x83\x4d\x01.",
    "extension 4": b"\x80\x02\x84\x4d\x01\x01\x00.",
    "persistent id": b"Pos.system\n.",
    "binary persistent id": b"\x80\x02" + text("os.system") + b"Q.",
    "buffer from outside": b"\x80\x04\x97.",
    "byte array of a terabyte": b"\x80\x04\x96" + struct.pack("<Q", 2**40) + b".",
    "bytes of a terabyte": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".",
    "text of 4 gigabytes": b"\x80\x02X\xff\xff\xff\xff.",
    "text of a negative length": b"\x80\x02T\xff\xff\xff\xff.",
    "protocol 5": pickle.dumps([1], 5),
    "protocol 255": b"\x80\xffN.",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "a dict in itself": b"\x80\x02}q\x00" + text("a") + b"h\x00s.",
    "a tuple in itself through a list": b"\x80\x02]q\x00h\x00\x85a.",
    "a list as a key": b"\x80\x02}]K\x01s.",
    "a tuple as a key": b"\x80\x02})K\x01s.",
    "fill a list like a dict": b"\x80\x02]K\x01K\x02s.",
    "fill a class": b"\x80\x02cnumpy\nndarray\nK\x01a.",
    "memo of nothing": b"\x80\x02h\x07.",
    "two values": b"\x80\x02K\x01K\x02.",
    "no value": b"\x80\x02.",
    "open mark": b"\x80\x02K\x01(.",
    "end without a mark": b"\x80\x02e.",
    "no end": b"\x80\x02]",
    "empty": b"",
    "no pickle": b"<html>not found</html>",
    "rubbish behind": pickle.dumps([1], 2) + b"rubbish",
    "cut gzip": gzip.compress(pickle.dumps([1], 2))[:-12],
    "escape sequence in a name": b"cos\x1b[2J\nsystem\n.",
}
"""Pickles that break a rule."""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], str]:
    """Reads bytes as each kind of old file; all must refuse, and nothing else may happen. The last message."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "hostile.mdl"

    def refused(content: bytes) -> str:
        file.write_bytes(content)
        modules = set(sys.modules)
        for read in (unpickle.unpickle, read_param, read_mdl):
            with pytest.raises(DataError) as failure:
                read(file)
        assert os.listdir(tmp_path) == [file.name]  # noqa: PTH208
        assert set(sys.modules) == modules
        return str(failure.value)

    return refused


@pytest.mark.parametrize("payload", NAMED)
def test_a_name_that_is_no_data_is_refused_by_name(payload: str, hostile: Callable[[bytes], str]) -> None:
    content, name = NAMED[payload]
    message = hostile(content)
    assert "hostile.mdl: refused: " in message
    assert name in message
    assert message.endswith("get this one again from somebody you trust")


@pytest.mark.parametrize("payload", REFUSED)
def test_a_pickle_that_breaks_a_rule_is_refused_in_one_line(payload: str, hostile: Callable[[bytes], str]) -> None:
    message = hostile(REFUSED[payload])
    assert "hostile.mdl: " in message
    assert message.isprintable()
    assert len(message) < 400


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("protocol", range(6))
def test_a_call_is_refused_in_every_protocol(protocol: int, zipped: bool, hostile: Callable[[bytes], str]) -> None:
    content = pickle.dumps(Calls(os.system, TOUCH), protocol)
    hostile(gzip.compress(content) if zipped else content)


def test_the_canary_sings_under_the_ordinary_unpickler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(NAMED["os.system"][0])
    assert (tmp_path / CANARY).exists()


@pytest.mark.parametrize(
    "name",
    [
        "elektronn2\nos.system",
        "elektronn2.x\n__import__('os')",
        "elektronn2evil\nrun",
        "elektronn2..x\nrun",
        "os\nsystem",
    ],
)
def test_only_plain_names_of_the_inert_package_are_kept(name: str, hostile: Callable[[bytes], str]) -> None:
    assert "refused: names" in hostile(b"\x80\x02c" + name.encode() + b"\n.")


def test_a_class_of_the_inert_package_is_never_called(hostile: Callable[[bytes], str]) -> None:
    assert "refused: calls elektronn2.x.Y" in hostile(b"\x80\x02celektronn2.x\nY\n)R.")


def test_an_inert_object_with_a_hostile_state_is_refused(hostile: Callable[[bytes], str]) -> None:
    content = b"\x80\x02celektronn2.x\nY\n)\x81cos\nsystem\n" + text(TOUCH) + b"\x85Rb."
    assert "refused: names os.system" in hostile(content.replace(b"celektronn2.x\nY\n)\x81", b""))
    assert "refused: names os.system" in hostile(content)


def doubled(times: int) -> bytes:
    """Words that make a list of two references to a list of two references to …"""
    words = io.BytesIO()
    words.write(b"\x80\x02]q\x00")
    for level in range(times):
        words.write(b"](h" + bytes([level]) + b"h" + bytes([level]) + b"eq" + bytes([level + 1]))
    return words.getvalue()


LEVELS = 55
BOMBS = {
    "doubled lists": b"(" + doubled(LEVELS)[2:] + b"l.",
    "doubled lists in a message": b"\x80\x02cnumpy\ndtype\n(" + doubled(LEVELS)[2:] + b"l\x85R.",
    "memo at the far end": b"\x80\x02Nr\xff\xff\xff\xffh\x07.",
    "deep lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "deep tuples": b"\x80\x02)" + b"\x85" * 100_000 + b".",
    "text encoded again and again": (
        b"\x80\x02c_codecs\nencode\nq\x00"
        + text("x" * 100_000)
        + text("latin1")
        + b"\x86q\x01]("
        + b"h\x00h\x01R" * 50_000
        + b"e."
    ),
    "sets of one list": (
        b"\x80\x02c__builtin__\nset\nq\x00](" + b"K\x01" * 100_000 + b"e\x85q\x01](" + b"h\x00h\x01R" * 50_000 + b"e."
    ),
    "arrays of one text": b"\x80\x02U\xff"
    + b"x" * 255
    + b"q\x01]("
    + array(b"K\xff\x85", b"h\x01", b"u1") * 2000
    + b"e.",
    "shape of large numbers": b"\x80\x02" + array(b"(" + (b"\x8a\xff" + b"\x7f" * 255) * 20 + b"t", NOTHING) + b".",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_takes_little_time_and_memory(bomb: str, hostile: Callable[[bytes], str]) -> None:
    tracemalloc.start()
    start = time.perf_counter()
    hostile(BOMBS[bomb])
    duration, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert duration < 20
    assert peak < 200_000_000


def test_more_words_than_any_old_file_has_are_refused(
    monkeypatch: pytest.MonkeyPatch, hostile: Callable[[bytes], str]
) -> None:
    monkeypatch.setattr(pickle_machine, "STEPS", 1000)
    assert "more than 1000 steps" in hostile(b"\x80\x02](" + b"N" * 1000 + b"e.")


def test_a_gzip_that_grows_beyond_every_network_is_refused(
    monkeypatch: pytest.MonkeyPatch, hostile: Callable[[bytes], str]
) -> None:
    monkeypatch.setattr(unpickle, "FILE_BYTES", 2**22)
    assert "more than 4194304 bytes" in hostile(gzip.compress(b"\x00" * 2**23))


def test_damage_of_any_byte_gives_data_or_a_data_error(tmp_path: Path) -> None:
    whole = pickle.dumps([{"W": np.ones((2, 3), np.float32)}, (1, "a", {2}), b"x"], 2)
    file = tmp_path / "net.mdl"
    generator = np.random.default_rng(0)
    refusals = 0
    for place in range(len(whole)):
        for value in generator.integers(0, 256, 4, dtype=np.uint8).tobytes():
            file.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                unpickle.unpickle(file, inert="elektronn2")
            except DataError:
                refusals += 1
    assert refusals > len(whole)
