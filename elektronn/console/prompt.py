"""The prompt: a line with completion and history."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from elektronn.console.words import completions

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document

HISTORY = "console_history"
"""Name of the file in the state directory."""


def is_person_here() -> bool:
    """Whether a terminal is ours: a person sees what we say, and Ctrl-C means this program and no engine around it."""
    try:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        # a shell makes each command the leader of a process group; what an engine starts is in the engine's group
        return os.getpgrp() == os.getpid() == os.tcgetpgrp(sys.stdin.fileno())
    except (OSError, ValueError, AttributeError):  # closed, or no terminal of this session
        return False


def user() -> str:
    """Name of the user, for the prompt."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


class Terminal:
    """A person at the terminal of this process; see :class:`elektronn.console.desk.Person`.

    Args:
        show: prints a text.
        folder: where the history of the lines is kept.
        pause, resume: stop and go on drawing whatever else draws on the terminal.
    """

    def __init__(
        self, show: Callable[[str], None], folder: Path, pause: Callable[[], None], resume: Callable[[], None]
    ) -> None:
        self.say, self.begin, self.end = show, pause, resume
        self._folder = folder
        self._session: PromptSession[str] | None = None

    def ask(self) -> str:
        """The next line; see :class:`elektronn.console.desk.Person`."""
        if self._session is None:
            self._session = session(self._folder)
        return self._session.prompt(handle_sigint=False)

    def interrupt(self) -> None:
        """End a question that is being asked; for signal handlers."""
        app = None if self._session is None else self._session.app
        if app is not None and app.is_running and app.loop is not None:
            app.loop.call_soon_threadsafe(lambda: app.exit(exception=EOFError()))


def session(folder: Path) -> PromptSession[str]:
    """A prompt that completes words and names; its history is kept in ``folder`` if that can be written."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
    from prompt_toolkit.history import FileHistory, InMemoryHistory
    from prompt_toolkit.output import create_output

    class Lines(FileHistory):
        def store_string(self, string: str) -> None:
            # a full disk must not end a conversation, and with it the training
            with suppress(OSError):
                super().store_string(string)

    writable = os.access(folder, os.W_OK)
    return PromptSession(
        f"{user()}@ELEKTRONN: ",
        history=Lines(folder / HISTORY) if writable else InMemoryHistory(),
        auto_suggest=AutoSuggestFromHistory(),
        completer=completer(folder),
        complete_while_typing=False,
        output=create_output(always_prefer_tty=True),
    )


def completer(folder: Path) -> Completer:
    """Completes words and names, and after ``load`` and ``save`` files, relative to ``folder``."""
    from prompt_toolkit.completion import Completer, Completion, PathCompleter
    from prompt_toolkit.document import Document

    files = PathCompleter(get_paths=lambda: [str(folder)], expanduser=True)

    class Words(Completer):
        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
            text = document.text_before_cursor
            word, space, rest = text.partition(" ")
            if space and word in ("load", "save"):
                yield from files.get_completions(Document(rest), complete_event)
                return
            last = text.rpartition(" ")[2]
            for name in completions(text):
                yield Completion(name, start_position=-len(last))

    return Words()
