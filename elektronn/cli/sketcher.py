"""Curves of a training while it runs, drawn now and then by a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elektronn.training.control import Event

FIRST_S, EVERY_S = 120.0, 600.0
"""Seconds until the first drawing, and from one to the next: the processors belong to the training."""


class Sketcher:
    """Draws what the journal of a state directory holds, at the lowest priority.

    Args:
        state: directory of the training.
        first_s, every_s: seconds until the first drawing, and between the later ones.
    """

    def __init__(self, state: Path, first_s: float = FIRST_S, every_s: float = EVERY_S) -> None:
        self._state, self._every_s = state, every_s
        self._due = time.monotonic() + first_s
        self._process: subprocess.Popen[bytes] | None = None

    def hear(self, event: Event) -> None:
        """Of a new row: draw it, if it is time and the last drawing is done."""
        from elektronn.training.control import Row

        if not isinstance(event, Row):
            return
        if time.monotonic() < self._due or (self._process is not None and self._process.poll() is None):
            return
        self._due = time.monotonic() + self._every_s
        gently = ["nice", "-n", "19"] if shutil.which("nice") else []
        command = [*gently, sys.executable, "-m", "elektronn", "curves", str(self._state)]
        null = subprocess.DEVNULL
        # out of the way of Ctrl-C
        self._process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True)

    def close(self) -> None:
        """Leave no process behind."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
