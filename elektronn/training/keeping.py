"""What a training keeps besides backups: the best model on the validation data, and a model every so many hours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elektronn.errors import StorageError
from elektronn.network.build import Network
from elektronn.network.weights import save_model
from elektronn.training.control import Listener, Saved
from elektronn.training.settings import TrainingSettings

BEST = "best.safetensors"
"""The model with the lowest validation error so far, in the state directory."""


@contextmanager
def bearing(settings: TrainingSettings, tell: Callable[[str], None]) -> Iterator[None]:
    """What a training does when the block cannot write: it says why and goes on, or ends where ``on_full_disk`` says so.

    Raises:
        StorageError: it shall end.
    """
    try:
        yield
    except StorageError as error:
        if settings.on_full_disk == "stop":
            raise
        tell(str(error))


@dataclass
class Keeper:
    """Keeps models in the state directory. What a full disk means is said by ``settings.on_full_disk``.

    Attributes:
        folder: state directory.
        settings: of the training.
        card: what a model file says of its origin.
        listen: is told of every file.
    """

    folder: Path
    settings: TrainingSettings
    card: Mapping[str, Any]
    listen: Listener
    _best: tuple[float, int] | None = field(default=None, init=False)
    _snapshots: int = field(default=0, init=False)
    _previews: int = field(default=0, init=False)

    def look(self, network: Network, step: int, row: Mapping[str, float]) -> None:
        """Keep the model if it is the best so far on the validation data."""
        error = row.get("valid_error")
        if error is None or step == 0 or (self._best is not None and error >= self._best[0]):
            return
        self._best = (error, step)
        if self.settings.keep_best:
            self._save(self.folder / BEST, network, step, {"valid_error": error})

    def tick(self, network: Network, step: int, seconds: float) -> None:
        """Keep a model for good when its hour has come."""
        every = self.settings.snapshot_h
        if every is None or seconds < (self._snapshots + 1) * every * 3600:
            return
        self._snapshots += 1
        self._save(self.folder / "snapshots" / f"{self._snapshots * every:g}h.safetensors", network, step, {})

    def preview_due(self, seconds: float) -> bool:
        """Whether the hour of a preview has come; each is said once."""
        if self.settings.preview_h is None:
            return False
        first, then = self.settings.preview_h
        if seconds < (first + self._previews * then) * 3600:
            return False
        self._previews += 1
        return True

    def facts(self) -> dict[str, Any]:
        """What a resume needs."""
        return {"best": self._best, "snapshots": self._snapshots, "previews": self._previews}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Put back what :meth:`facts` gave."""
        best = facts["best"]
        self._best = None if best is None else (float(best[0]), int(best[1]))
        self._snapshots, self._previews = int(facts["snapshots"]), int(facts["previews"])

    def _save(self, path: Path, network: Network, step: int, more: Mapping[str, Any]) -> None:
        with bearing(self.settings, lambda reason: self.listen(Saved(step, path, reason))):
            save_model(path, network, {**self.card, "step": step, **more})
