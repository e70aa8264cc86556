"""Batches of a user's class from processes of their own, for classes that hold the interpreter's lock.

Each process makes its own object of the class. Step ``n`` is the business of process ``n mod N``, which is asked for it
N steps ahead, so what comes out does not depend on N where a batch is a function of step and seed alone.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import threading
import traceback
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from elektronn.errors import ConfigError, DataError
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.batch import Batch
from elektronn.sampling.data import DataSettings
from elektronn.sampling.user_data import UserBatches, open_user_data

GRACE_S = 2.0
"""For a process that does not end when told to."""

FORGOTTEN = 64
"""Steps after which a batch that was made and not fetched is dropped."""


def spread(batches: UserBatches, said: DataSettings) -> UserBatches | ProcessBatches:
    """The same batches, made by as many processes as the settings say; 0: by the caller.

    Raises:
        ConfigError: more than one for a class whose batches depend on what was asked for before.
    """
    if not said.processes:
        return batches
    if said.processes > 1 and not batches.is_pure:
        raise ConfigError(
            f"data.processes: {said.processes}: getbatch of data class '{said.name}' does not take step and seed, so its "
            "batches depend on their order; add these arguments, or write processes: 1"
        )
    return ProcessBatches(batches, said)


class ProcessBatches:
    """The batches of :class:`~.user_data.UserBatches` from processes, which start with the first batch and end with this.

    Args:
        batches: what they make.
        said: the class and how many processes.
    """

    def __init__(self, batches: UserBatches, said: DataSettings) -> None:
        self._batches, self._said = batches, said
        self._lock = threading.Lock()
        self._helpers: list[_Helper] = []
        # also when nobody needs this any more, and at the end of the program
        self._end = weakref.finalize(self, _end, self._helpers)

    def close(self) -> None:
        """End the processes at once, whatever they are at."""
        self._end()

    @property
    def is_pure(self) -> bool:
        """See :class:`~.batch.Supply`."""
        return self._batches.is_pure

    def drawn(self, step: int, example: int) -> None:
        """Nothing: the user's code draws."""

    def changed(self, settings: SamplingSettings) -> ProcessBatches:
        """Itself: there are no augmentations of ours."""
        return self

    def batch(self, step: int) -> Batch:
        """The batch of one step.

        Raises:
            DataError: the user's code fails, gives something that is no batch, or ends its process.
        """
        with self._lock:
            if not self._helpers:
                made = replace(self._batches, data=None)
                self._helpers += [_Helper(made, self._said) for _ in range(self._said.processes)]
        count = len(self._helpers)
        for ahead in range(step, step + count + 1):
            self._helpers[ahead % count].ask(ahead)
        return self._helpers[step % count].answer(step)


def _end(helpers: Sequence[_Helper]) -> None:
    for helper in helpers:
        helper.process.terminate()
    for helper in helpers:
        helper.process.join(GRACE_S)
        helper.process.kill()
        helper.process.join()
        helper.line.close()


class _There(Exception):
    """The traceback of a failure in another process; a cause, never raised alone."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Helper:
    """One process and what it was asked for."""

    def __init__(self, batches: UserBatches, said: DataSettings) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, batches, said), daemon=True, name="elektronn data")
        self.process.start()
        theirs.close()
        self._turn, self._order = threading.Lock(), threading.Lock()
        self._asked: set[int] = set()
        self._told: dict[int, Any] = {}
        self._name = said.name

    def ask(self, step: int) -> None:
        """Have a batch made, if it is not under way."""
        with self._order:
            if step not in self._asked:
                self._asked.add(step)
                with suppress(OSError):  # the process is gone, which the one who waits for the answer says
                    self.line.send(step)

    def answer(self, step: int) -> Batch:
        """The batch of a step; those of other steps are kept for whoever waits for them."""
        with self._turn:
            while step not in self._told:
                self.ask(step)
                try:
                    made, content = self.line.recv()
                except (EOFError, OSError):
                    self._gone(step)
                self._told[made] = content
            content = self._told[step]
            # what was made ahead and not wanted after a jump goes, too
            for done in [other for other in self._told if other == step or other < step - FORGOTTEN]:
                del self._told[done]
                with self._order:
                    self._asked.discard(done)
        if isinstance(content, Batch):
            return content
        error, text = content
        raise error from _There(text)

    def _gone(self, step: int) -> NoReturn:
        self.process.join(5)
        raise DataError(
            f"data class '{self._name}': its process ended with {self.process.exitcode} at step {step}; look at its last "
            'words above, lower data.processes if memory ran out, and start a script below if __name__ == "__main__":'
        ) from None


def _serve(line: Connection, batches: UserBatches, said: DataSettings) -> None:
    """The life of a process: make the batches of the steps that are asked for until nobody is there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interruption is the business of whoever asked
    data = None
    while True:
        try:
            step = line.recv()
        except EOFError:
            return
        content: Any
        try:
            data = open_user_data(said) if data is None else data
            content = replace(batches, data=data).batch(step)
        except Exception as error:
            content = _portable(error), traceback.format_exc()
        try:
            line.send((step, content))
        except OSError:
            return


def _portable(error: Exception) -> Exception:
    """The failure itself, if it survives the way."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return DataError(f"{type(error).__name__}: {error}")
