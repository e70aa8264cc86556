"""The mailbox of a training that a person may talk to: while the console is open, the trainer waits at its safe point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from elektronn.console.words import Leave, Show, meaning_of, menu
from elektronn.errors import ConfigError
from elektronn.training.commands import Abort, Describe
from elektronn.training.control import Letter, Mailbox

HERE = "terminal"
"""Who asks at the terminal of the training."""


class Person(Protocol):
    """Somebody at a terminal."""

    def ask(self) -> str:
        """The next line.

        Raises:
            KeyboardInterrupt: the person wants another line.
            EOFError: nobody is there any more.
        """
        ...

    def say(self, text: str) -> None:
        """Show something."""
        ...

    def begin(self) -> None:
        """The console opens."""
        ...

    def end(self) -> None:
        """The console closes."""
        ...


@dataclass
class Desk(Mailbox):
    """A mailbox with a person.

    Attributes:
        person: at the terminal; None where there is no terminal, and then nobody is ever asked.
        is_open: the trainer waits for the person.
    """

    person: Person | None = None
    _wanted: bool = False
    is_open: bool = False

    def open(self) -> None:
        """Let the person talk at the next safe point; for signal handlers."""
        self._wanted = self.person is not None

    def alarm(self, text: str) -> bool:
        """Tell the person, who decides at the next safe point; whether there is one."""
        if self.person is None:
            return False
        self.person.say(text)
        self._wanted = True
        return True

    def drain(self, step: int) -> list[Letter]:
        """All commands so far; while the console is open, one line's after the other."""
        letters = super().drain(step)
        if letters or not self._wanted or self.person is None:
            return letters
        if not self.is_open:
            self.is_open = True
            self.person.begin()
            self.person.say(menu())
            return [Letter(Describe("status"), HERE, "status")]
        letters = self._talk(self.person, step)
        if not letters or isinstance(letters[-1].command, Abort):
            self._close(self.person)
        return letters

    def _close(self, person: Person) -> None:
        self._wanted = self.is_open = False
        person.end()

    def _talk(self, person: Person, step: int) -> list[Letter]:
        """Ask for lines until one is for the trainer; nothing when the person leaves."""
        while True:
            try:
                text = person.ask().strip()
                meaning = meaning_of(text) if text else Show("")
            except KeyboardInterrupt:
                person.say("q goes on with the training, abort ends it, help lists the words")
            except (EOFError, OSError):
                # also how a signal ends a question: then its command waits
                return super().drain(step) or [Letter(Abort(), HERE, "end of input")]
            except ConfigError as error:
                person.say(str(error))
            else:
                match meaning:
                    case Leave():
                        return []
                    case Show():
                        if meaning.text:
                            person.say(meaning.text)
                    case _:
                        return [Letter(meaning, HERE, text)]
