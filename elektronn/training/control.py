"""Into a running trainer go commands, out of it come events; both are plain data."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elektronn.network.document import Document
from elektronn.training.schedules import Value
from elektronn.training.settings import Optimiser, Schedule


@dataclass(frozen=True)
class Stop:
    """Save a backup and leave the loop before the next step."""

    reason: str


@dataclass(frozen=True)
class SetValue:
    """From the next step on a number is ``value``; its schedule goes on from there, in proportion.

    Attributes:
        name: as in ``training.schedules``, or ``rate``.
    """

    name: str
    value: Value

    def __str__(self) -> str:
        return f"{self.name} = {self.value}"


@dataclass(frozen=True)
class SetOptimiser:
    """From the next step on another optimiser, or the same with other numbers, which end what was set by hand before.

    Attributes:
        settings: kind and numbers; a kind that was in use before finds its state again.
        schedule: of the learning rate, from the start of the training; ``None``: the one in use.
    """

    settings: Optimiser
    schedule: Schedule | None = None

    def __str__(self) -> str:
        return f"optimiser {self.settings}" + (f", schedule {self.schedule}" if self.schedule else "")


Command = Stop | SetValue | SetOptimiser


@dataclass
class Mailbox:
    """Commands for a trainer: anyone posts, the trainer drains once per step."""

    _letters: deque[Command] = field(default_factory=deque)

    def post(self, command: Command) -> None:
        """Leave a command; safe from signal handlers and other threads."""
        self._letters.append(command)

    def drain(self) -> list[Command]:
        """All commands so far, in order."""
        taken = []
        while self._letters:
            taken.append(self._letters.popleft())
        return taken


@dataclass(frozen=True)
class Fitted:
    """Data, settings and network fit each other; nothing is written yet.

    Attributes:
        document: of the network.
    """

    document: Document


@dataclass(frozen=True)
class Started:
    """The loop begins at ``step`` of ``steps``; ``resumed_from`` names the backup if there was one."""

    step: int
    steps: int
    resumed_from: Path | None
    device: str
    parameters: int


@dataclass(frozen=True)
class Stepped:
    """The last update was number ``step`` and had this loss; speed and share of waiting since the last row."""

    step: int
    loss: float
    steps_per_s: float
    data_wait: float


@dataclass(frozen=True)
class Row:
    """One row of the history; see :data:`elektronn.training.history.COLUMNS`."""

    values: dict[str, float]


@dataclass(frozen=True)
class Preview:
    """Dense prediction of one section of the validation data (of the training data if there is none).

    Attributes:
        image, probability, labels: ``(y, x)``; labels −1 where there are none.
    """

    step: int
    image: NDArray[np.float32]
    probability: NDArray[np.float32]
    labels: NDArray[np.int16]


@dataclass(frozen=True)
class Saved:
    """A backup was written; ``failure`` is the reason why not."""

    step: int
    path: Path
    failure: str | None = None


@dataclass(frozen=True)
class Warned:
    """Something a user should know; ends up in the model card and the report."""

    text: str


@dataclass(frozen=True)
class Noted:
    """Something a user may want to know."""

    text: str


Event = Noted | Fitted | Started | Stepped | Row | Preview | Saved | Warned
Listener = Callable[[Event], None]
