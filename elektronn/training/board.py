"""The history as curves for TensorBoard, an extra: one event folder per run, in its state directory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from elektronn.errors import ConfigError
from elektronn.training.control import Event, Listener, Row, Started, Warned

FOLDER = "tensorboard"
"""Of the event files, in the state directory."""

NAMES = {
    "loss": "loss/augmented",
    "train_loss": "loss/train",
    "valid_loss": "loss/valid",
    "train_error": "error/train",
    "valid_error": "error/valid",
    "rate": "rate",
    "steps_per_s": "speed/steps_per_s",
    "data_wait": "speed/data_wait",
}
"""Column of the history → its curve."""


def require_board() -> None:
    """Make sure that curves can be written.

    Raises:
        ConfigError: TensorBoard is not installed.
    """
    if find_spec("tensorboard") is None:
        raise ConfigError(
            "training.tensorboard: TensorBoard is not installed; run `pip install 'elektronn[tensorboard]'`, or write false"
        )


@contextmanager
def board(state: Path, wanted: bool, listen: Listener) -> Iterator[Listener]:
    """A listener that writes the rows of the history as curves, if it is wanted.

    A resumed run goes on with the same curves. What a run wrote after its last backup, it takes back when it is resumed:
    TensorBoard drops those points, because they will come again.

    Args:
        state: directory of the run; the event files go into its folder ``tensorboard``.
        wanted: without it the listener does nothing.
        listen: is told when the disk is full; the training goes on without curves.
    """
    made = _Board(state / FOLDER, listen) if wanted else None
    try:
        yield made.hear if made is not None else lambda event: None
    finally:
        if made is not None:
            made.close()


class _Board:
    """Curves of one run."""

    def __init__(self, folder: Path, listen: Listener) -> None:
        self.folder, self.listen = folder, listen
        self.writer: Any = None

    def hear(self, event: Event) -> None:
        """Begin with the run, add a point to every curve with each row."""
        if not isinstance(event, Started | Row):
            return
        try:
            if isinstance(event, Started):
                self._begin(event)
            elif self.writer is not None:
                self._add(event)
        except OSError as error:
            self.writer = None
            self.listen(Warned(f"{self.folder}: no more curves for TensorBoard: {error.strerror or error}"))

    def close(self) -> None:
        """End the event file."""
        if self.writer is not None:
            self.writer.close()

    def _begin(self, event: Started) -> None:
        # the import takes a second
        from torch.utils.tensorboard import SummaryWriter

        first = event.step + 1 if event.resumed_from is not None else 0
        self.writer = SummaryWriter(str(self.folder), purge_step=first)

    def _add(self, event: Row) -> None:
        step = int(event.values["step"])
        for column, name in NAMES.items():
            if math.isfinite(value := event.values.get(column, math.nan)):
                self.writer.add_scalar(name, value, step)
        self.writer.flush()
