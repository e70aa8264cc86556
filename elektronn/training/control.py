"""Into a running trainer go commands, out of it come events; both are plain data."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.network.document import Document
from elektronn.sampling.shown import Shown, Summary
from elektronn.training.commands import Command as Command
from elektronn.training.commands import SetOptimiser as SetOptimiser
from elektronn.training.commands import SetValue as SetValue
from elektronn.training.commands import Stop as Stop


@dataclass(frozen=True)
class Letter:
    """A command on its way.

    Attributes:
        who: asked for it; answers go there.
        text: what was typed.
        known: the journal holds it already.
    """

    command: Command
    who: str = "program"
    text: str = ""
    known: bool = False


@dataclass
class Mailbox:
    """Commands for a trainer: anyone posts, the trainer drains once per step."""

    _letters: deque[Letter] = field(default_factory=deque)
    _planned: deque[tuple[int, Letter]] = field(default_factory=deque)

    def post(self, command: Command, who: str = "program", text: str = "") -> None:
        """Leave a command; safe from signal handlers and other threads."""
        self._letters.append(Letter(command, who, text))

    def plan(self, letters: list[tuple[int, Letter]]) -> None:
        """Hand these over before the updates of their steps, in this order."""
        self._planned = deque(sorted(letters, key=lambda pair: pair[0]))

    def drain(self, step: int) -> list[Letter]:
        """All commands so far, in order; the trainer asks again until there are none.

        Args:
            step: updates made.
        """
        taken = []
        while self._planned and self._planned[0][0] <= step:
            taken.append(self._planned.popleft()[1])
        while self._letters:
            taken.append(self._letters.popleft())
        return taken

    def alarm(self, text: str) -> bool:
        """Something needs a decision; whether a person is there who takes it at the next safe point."""
        return False


@dataclass(frozen=True)
class Fitted:
    """Data, settings and network fit each other; nothing is written yet.

    Attributes:
        document: of the network.
    """

    document: Document


@dataclass(frozen=True)
class Started:
    """The loop begins at ``step`` of ``steps``, with a history of so many ``rows``; ``resumed_from`` names the backup if there
    was one."""

    step: int
    steps: int
    resumed_from: Path | None
    device: str
    parameters: int
    rows: int = 0


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
class Planes:
    """Dense prediction of the central planes of a volume without labels.

    Attributes:
        name: of the volume.
        z: its section that the first plane is.
        image: ``(z, y, x)``, the first channel, values 0 to 1.
        probability: class → ``(z, y, x)``.
    """

    step: int
    name: str
    z: int
    image: NDArray[np.float32]
    probability: Mapping[int, NDArray[np.float32]]


@dataclass(frozen=True)
class Examples:
    """What the first step learnt from.

    Attributes:
        rows: image, labels, caption per example.
        offset, stride: of the network's outputs, patch voxels zyx.
    """

    rows: Sequence[Shown]
    offset: Size
    stride: Size


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


@dataclass(frozen=True)
class Obeyed:
    """A command was carried out before the update number ``step``; what there was to say was said."""

    step: int
    letter: Letter


@dataclass(frozen=True)
class Answered:
    """What somebody wanted to know."""

    step: int
    letter: Letter
    text: str


@dataclass(frozen=True)
class Refused:
    """A command that cannot be carried out; nothing was changed."""

    step: int
    letter: Letter
    reason: str


@dataclass(frozen=True)
class BatchPicture:
    """The first example of a batch.

    Attributes:
        image, labels: ``(y, x)``: the section of the first outputs, and their labels with ``offset`` and ``stride`` (yx).
        path: of the picture that is to be drawn.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.float32]
    offset: tuple[int, int]
    stride: tuple[int, int]
    path: Path


@dataclass(frozen=True)
class FilterPicture:
    """Filters of a layer.

    Attributes:
        weights: ``(maps, features_in, kz, ky, kx)``.
        path: of the picture that is to be drawn.
    """

    layer: str
    weights: NDArray[np.float32]
    path: Path


Event = (
    Noted
    | Fitted
    | Started
    | Stepped
    | Row
    | Preview
    | Planes
    | Examples
    | Summary
    | Saved
    | Warned
    | Obeyed
    | Answered
    | Refused
    | BatchPicture
    | FilterPicture
)
Listener = Callable[[Event], None]


def both(first: Listener, second: Listener) -> Listener:
    """A listener that tells two."""

    def tell(event: Event) -> None:
        first(event)
        second(event)

    return tell
