"""What a person sees while a command works: a bar on a terminal, plain lines elsewhere, and the log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from elektronn.artefacts import prepare, storage
from elektronn.errors import StorageError

WIDE = 130
"""Columns of a terminal that has room for a bar beside the numbers."""

QUIET_S = 20.0
"""Without a terminal, seconds between two lines of progress."""


class Display:
    """Prints lines to stderr and to the log, and draws one progress bar where there is a terminal.

    Args:
        what: title of the bar.
        log: file that gets every line as well.
    """

    def __init__(self, what: str, log: str | None = None) -> None:
        self.what, self.log = what, Path(log) if log else None
        self.console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task: Any = None
        self._spoken = 0.0
        if self.log:
            prepare(self.log)

    def line(self, text: str, style: str = "") -> None:
        """One line for people and for the log."""
        self.console.print(text, style=style, markup=False, soft_wrap=True)
        if self.log:
            try:
                with storage(self.log), self.log.open("a", encoding="utf-8") as file:
                    file.write(text + "\n")
            except StorageError as error:
                # the work is worth more than what is said of it
                self.log = None
                self.warn(f"nothing more is written to the log: {error}")

    def warn(self, text: str) -> None:
        """A line that must not be overlooked."""
        self.line(f"warning: {text}", "bold yellow")

    @contextmanager
    def bar(self) -> Iterator[None]:
        """Show the bar while the block runs (terminal only)."""
        if not self.console.is_terminal:
            yield
            return
        # a row that is too long loses numbers, so a narrow terminal gets no bar: done / total says the same
        is_wide = self.console.width >= WIDE
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            *([BarColumn()] if is_wide else []),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            *([TimeElapsedColumn()] if is_wide else []),
            TextColumn("left"),
            TimeRemainingColumn(compact=not is_wide),
        )
        with Progress(*columns, console=self.console) as self._bar:
            self._task = self._bar.add_task(self.what, total=None, note="")
            yield
        self._bar = None

    def pause(self) -> None:
        """Take the bar off the terminal, which somebody else needs."""
        if self._bar is not None:
            self._bar.stop()

    def resume(self) -> None:
        """Draw it again."""
        if self._bar is not None:
            self._bar.start()

    def advance(self, done: int, total: int, note: str = "") -> None:
        """Say how far the work is."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, note=note)
        elif time.monotonic() - self._spoken >= QUIET_S or done == total:
            self._spoken = time.monotonic()
            print(f"{self.what}: {done}/{total} {note}".rstrip(), file=sys.stderr, flush=True)
