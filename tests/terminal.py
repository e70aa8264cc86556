"""A pseudo-terminal with a program in it, for tests that need a person at the keys."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

MARKS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\][^\x07]*\x07|\x1b[=>]|\r")


class Terminal:
    """Runs a command of ours as the leader of a terminal's foreground, as a shell does.

    Args:
        arguments: of ``python -m elektronn``.
        folder: where it works.
        environment: beside that of the test.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.seen = ""
        self._from = 0
        # a plain terminal: nobody here answers questions about the cursor
        extra = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "COLUMNS": "200", **(environment or {})}
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(sys.executable, [sys.executable, "-m", "elektronn", *arguments], {**os.environ, **extra})

    def wait_for(self, text: str, seconds: float = 60) -> str:
        """Read until ``text`` appears after what was waited for before; what came until then."""
        end = time.monotonic() + seconds
        while text not in self.seen[self._from :]:
            if time.monotonic() > end or not self._read(end):
                raise AssertionError(f"'{text}' did not appear in:\n{self.seen[self._from :]}")
        place = self.seen.index(text, self._from)
        found, self._from = self.seen[self._from : place], place + len(text)
        return found

    def type(self, line: str) -> None:
        """A line and Enter."""
        self.write(f"{line}\r")

    def write(self, keys: str) -> None:
        """Keys as they are."""
        os.write(self._file, keys.encode())

    def press(self, key: str) -> None:
        """A key such as ``c`` for Ctrl-C."""
        os.write(self._file, bytes([ord(key.upper()) - 64]))

    def ask(self, line: str) -> str:
        """Type a line at the prompt and give what is said until the next prompt."""
        self.type(line)
        return self.wait_for("@ELEKTRONN:")

    def finish(self, seconds: float = 60) -> int:
        """Read to the end; the exit code."""
        end = time.monotonic() + seconds
        while self._read(end):
            if time.monotonic() > end:
                self.kill()
                raise AssertionError(f"still running:\n{self.seen[self._from :]}")
        _, status = os.waitpid(self.pid, 0)
        os.close(self._file)
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """End it whatever it does."""
        os.kill(self.pid, signal.SIGKILL)

    def _read(self, end: float) -> bool:
        """Take what is there within a moment; False at the end."""
        ready, _, _ = select.select([self._file], [], [], max(0.0, min(0.2, end - time.monotonic())))
        if not ready:
            return True
        try:
            data = os.read(self._file, 65536)
        except OSError:  # the program is gone
            return False
        self.seen += MARKS.sub("", data.decode(errors="replace"))
        return bool(data)
