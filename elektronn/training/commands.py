"""What may be asked of a running training: plain data, one class per wish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from elektronn.training.schedules import Value
from elektronn.training.settings import Optimiser, Schedule


@dataclass(frozen=True)
class Command:
    """What a person or a program asks of a running training.

    Attributes:
        lasts: the training goes on differently afterwards, so a resumed or replayed run has to do it again.
    """

    lasts: ClassVar[bool] = False


@dataclass(frozen=True)
class Stop(Command):
    """Save a backup and leave the loop before the next step."""

    reason: str


@dataclass(frozen=True)
class Kill(Command):
    """Leave at once and save nothing; what is on disk stays as it is."""


@dataclass(frozen=True)
class Abort(Command):
    """The training ends here: its outputs are written as if this had been the last step."""

    lasts: ClassVar[bool] = True

    def __str__(self) -> str:
        return "ended by hand"


@dataclass(frozen=True)
class SetValue(Command):
    """From the next step on a number is ``value``; its schedule goes on from there, in proportion.

    Attributes:
        name: as in ``training.schedules``, or ``rate``.
    """

    lasts: ClassVar[bool] = True
    name: str
    value: Value

    def __str__(self) -> str:
        return f"{self.name} = {self.value}"


@dataclass(frozen=True)
class SetOptimiser(Command):
    """From the next step on another optimiser, or the same with other numbers, which end what was set by hand before.

    Attributes:
        settings: kind and numbers; a kind that was in use before finds its state again.
        schedule: of the learning rate, from the start of the training; ``None``: the one in use.
    """

    lasts: ClassVar[bool] = True
    settings: Optimiser
    schedule: Schedule | None = None

    def __str__(self) -> str:
        return f"optimiser {self.settings}" + (f", schedule {self.schedule}" if self.schedule else "")


@dataclass(frozen=True)
class UseOptimiser(Command):
    """From the next step on the optimiser of a kind, with the numbers that it had before in this training if it had any.

    Attributes:
        kind: ``sgd``, ``adam`` …
        numbers: further keys of its section.
    """

    lasts: ClassVar[bool] = True
    kind: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([f"optimiser {self.kind}", *(f"{name}={value}" for name, value in self.numbers.items())])


@dataclass(frozen=True)
class SetData(Command):
    """From the next batch on, for all workers, something about the data is different.

    Attributes:
        name: ``warp_on``, ``grey_on``, ``flip_on``: whether there is such an augmentation, or the share of the examples
            that get it. Of a data class of the user's: any public attribute that its object has.
        value: plain data.
    """

    lasts: ClassVar[bool] = True
    name: str
    value: object

    def __str__(self) -> str:
        return f"data.{self.name} = {self.value}"


@dataclass(frozen=True)
class SetHistory(Command):
    """A row of the history every so many steps."""

    lasts: ClassVar[bool] = True
    every: int

    def __str__(self) -> str:
        return f"history every {self.every} steps"


@dataclass(frozen=True)
class LoadWeights(Command):
    """Go on from the weights of a file, as ``--start`` takes them; the optimisers begin afresh.

    Attributes:
        path: model file or backup.
        digest: sha256 of the file if it must be a certain one.
    """

    lasts: ClassVar[bool] = True
    path: Path
    digest: str = ""

    def __str__(self) -> str:
        return f"weights of {self.path} (sha256 {self.digest[:8]})"


PARTS = ("optimiser", "schedule", "step")
"""What a resume may leave behind."""


@dataclass(frozen=True)
class Reset(Command):
    """From the next step on parts of the training are as at its start.

    Attributes:
        parts: ``optimiser``: the one of the settings, without memory; ``schedule``: schedules and numbers of the settings, and
            nothing set by hand.
    """

    lasts: ClassVar[bool] = True
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{' and '.join(self.parts)} as at the start"


@dataclass(frozen=True)
class TakeOver(Command):
    """Go on from the weights, optimisers and numbers of a backup, and count the steps from here.

    Attributes:
        path: of the backup.
        digest: sha256 of the file if it must be a certain one.
    """

    lasts: ClassVar[bool] = True
    path: Path
    digest: str = ""

    def __str__(self) -> str:
        return f"steps are counted from here, from the state of {self.path} (sha256 {self.digest[:8]})"


@dataclass(frozen=True)
class SaveNow(Command):
    """Write the network with its weights of now.

    Attributes:
        path: relative to the state directory, or absolute.
    """

    path: Path


@dataclass(frozen=True)
class RecordNow(Command):
    """Add a row to the history now."""

    lasts: ClassVar[bool] = True

    def __str__(self) -> str:
        return "a row of the history"


@dataclass(frozen=True)
class PreviewNow(Command):
    """Predict the preview's section now."""


@dataclass(frozen=True)
class ShowBatch(Command):
    """Draw the first example of the last batch."""


@dataclass(frozen=True)
class ShowFilters(Command):
    """Draw the filters of a layer.

    Attributes:
        layer: by name; empty: the first that has any.
    """

    layer: str = ""


@dataclass(frozen=True)
class Measure(Command):
    """Answer loss and error on the monitor examples of ``train``, ``valid`` or ``test``."""

    source: str


@dataclass(frozen=True)
class Describe(Command):
    """Answer a table: shape, mean, deviation and median magnitude of parameters, gradients or activations, or the state."""

    what: Literal["parameters", "gradients", "activations", "status"]


@dataclass(frozen=True)
class Ask(Command):
    """Answer the value of an expression on ``cnn``, ``data``, ``config`` and ``self``."""

    text: str


@dataclass(frozen=True)
class Execute(Command):
    """Run Python in the trainer, if that is allowed; what it prints, or the value of an expression, is the answer."""

    lasts: ClassVar[bool] = True
    text: str

    def __str__(self) -> str:
        return f"python: {self.text}"
