"""What numba has cached of a function is old when any file that the function is made of has changed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

INNER = "from numba import njit\n\n\n@njit(cache=True)\ndef inner(value):\n    return value + {}\n"
OUTER = (
    "import {0} as made_of\nfrom {0} import inner\nfrom elektronn.compiled import compiled\n\n\n"
    "@compiled({1})\ndef outer(value):\n    return inner(value)\n"
)


def loaded(name: str) -> ModuleType:
    """A module as a new process would see it."""
    sys.modules.pop(name, None)
    importlib.invalidate_caches()
    return importlib.import_module(name)


@pytest.mark.parametrize(("told", "then"), [("made_of", 12), ("", 11)])
def test_a_change_of_a_file_that_is_told_of_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, then: int
) -> None:
    """Without being told numba goes on with what it has; once it does not, the room of ``compiled`` can go."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    inner, outer = f"inner_{told}", f"outer_{told}"
    found = []
    for number in (1, 2):
        (tmp_path / f"{inner}.py").write_text(INNER.format(number))
        if number == 1:
            (tmp_path / f"{outer}.py").write_text(OUTER.format(inner, told))
        loaded(inner)
        found.append(loaded(outer).outer(10))
    assert found == [11, then]
