"""The other end of the socket: a prompt in another shell, or lines from a pipe."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from elektronn.console.address import connected
from elektronn.errors import StorageError


class Line:
    """A connection to a running training.

    Args:
        state: directory of the training.
        show: prints what comes.
    """

    def __init__(self, state: Path, show: Callable[[str], None]) -> None:
        self._connection = connected(state)
        self._show = show
        self._turn = threading.Semaphore(0)
        self.is_over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        """Send a line."""
        with suppress(OSError):  # the listener notices
            self._connection.sendall((json.dumps({"say": text}) + "\n").encode())

    def wait(self) -> None:
        """Until what was said last is done, or the training is over."""
        self._turn.acquire()

    def close(self) -> None:
        """Leave; the training goes on."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=2)
        self._connection.close()

    def _listen(self) -> None:
        with suppress(OSError, ValueError), self._connection.makefile("r", encoding="utf-8") as lines:
            for line in lines:
                self._hear(json.loads(line))
        self.is_over.set()
        # nobody waits for an answer that cannot come
        self._turn.release(1_000_000)

    def _hear(self, message: dict[str, Any]) -> None:
        text = shown(message)
        if text:
            self._show(text)
        if message.get("done"):
            self._turn.release()


def shown(message: dict[str, Any]) -> str:
    """A message for people.

    Example:
        >>> shown({"row": {"step": 20, "loss": 0.5}})
        'step 20  loss 0.5'
    """
    if "hello" in message:
        hello = message["hello"]
        role = "you have the pen" if hello["writer"] else "somebody else has the pen, you read; `take` takes it over"
        return f"attached as {hello['you']}; {role}; q leaves, the training goes on"
    if "row" in message:
        return "  ".join(f"{name} {value:.4g}" for name, value in message["row"].items())
    return str(message.get("line", message.get("answer", "")))


def pipe(state: Path, lines: Iterable[str], show: Callable[[str], None]) -> None:
    """Say line after line, each when the one before is done.

    Raises:
        StorageError: the training ended before all was said.
    """
    line = Line(state, show)
    try:
        for text in lines:
            if text.strip() == "q":
                break
            if not text.strip():
                continue
            if line.is_over.is_set():
                raise StorageError(f"{state}: the training is over; '{text.strip()}' was not said")
            line.say(text.strip())
            line.wait()
    finally:
        line.close()


def converse(state: Path) -> None:
    """A prompt for a person; ends with ``q``, end of input, or the training."""
    from prompt_toolkit.patch_stdout import patch_stdout

    from elektronn.console.prompt import session

    ask = session(state)
    with patch_stdout():
        line = Line(state, print)
        line.say("status")
        threading.Thread(target=_end_with, args=(line, ask), daemon=True).start()
        try:
            while not line.is_over.is_set():
                try:
                    text = ask.prompt().strip()
                except KeyboardInterrupt:
                    print("q leaves, the training goes on")
                    continue
                except EOFError:
                    break
                if text == "q":
                    break
                if text:
                    line.say(text)
        finally:
            over = line.is_over.is_set()
            line.close()
    if over:
        print("the training is over", file=sys.stderr)


def _end_with(line: Line, ask: Any) -> None:
    """End a waiting prompt when the training ends."""
    line.is_over.wait()
    app = ask.app
    if app.is_running and app.loop is not None:
        with suppress(Exception):  # it ended by itself at this moment
            app.loop.call_soon_threadsafe(lambda: app.exit(exception=EOFError()))
