"""Backups: everything an exact resume needs, in one file; two of them in turn, so that one is always whole."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from elektronn.artefacts import storage
from elektronn.errors import BusyError, DataError, StorageError
from elektronn.network.weights import load_tensors, save_tensors
from elektronn.sampling.batch import Batch

NAMES = ("backup_a.safetensors", "backup_b.safetensors")


@dataclass(frozen=True)
class State:
    """A trainer's state after ``step`` updates.

    Attributes:
        tensors: weights (``weights.…``) and state of the optimisers (``optimiser.…``).
        facts: plain data: step, fingerprint, history rows, seconds, sums since the last row, warnings.
    """

    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]


def weights_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights in a backup, by their names in the network; empty if there are none."""
    return {name.removeprefix("weights."): t for name, t in tensors.items() if name.startswith("weights.")}


class Backups:
    """The two backup files of a state directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, state: State) -> Path:
        """Overwrite the older of the two."""
        path = self.folder / NAMES[0 if self._newest() == NAMES[1] else 1]
        save_tensors(path, state.tensors, state.facts)
        return path

    def load(self, fingerprint: str) -> tuple[State, Path] | None:
        """The newest readable backup of this run; ``None`` if there is none.

        A backup with another fingerprint belongs to a run with other settings, data or code.
        """
        found = [
            (State(tensors, facts), path)
            for path, tensors, facts in self._readable()
            if facts.get("fingerprint") == fingerprint
        ]
        return max(found, key=lambda pair: pair[0].facts["step"], default=None)

    def strangers(self, fingerprint: str) -> list[Path]:
        """Readable backups of other runs."""
        return [path for path, _, facts in self._readable() if facts.get("fingerprint") != fingerprint]

    def _readable(self) -> Iterator[tuple[Path, dict[str, torch.Tensor], dict[str, Any]]]:
        for path in (self.folder / name for name in NAMES):
            try:
                yield path, *load_tensors(path)
            except DataError:  # missing, or cut off by a crash: the other one is whole
                continue

    def _newest(self) -> str | None:
        present = [path for path in (self.folder / name for name in NAMES) if path.exists()]
        return max(present, key=lambda path: path.stat().st_mtime_ns).name if present else None


def keep_diverged(folder: Path, state: State, batch: Batch | None) -> Path:
    """Write what a person needs to see why a training diverged; it is never resumed."""
    path = folder / "diverged.safetensors"
    tensors = dict(state.tensors)
    if batch is not None:
        tensors |= {"batch.image": torch.as_tensor(batch.image), "batch.labels": torch.as_tensor(batch.labels)}
    with suppress(StorageError):  # the divergence is the news
        save_tensors(path, tensors, state.facts)
    return path


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the state directory's lock; the system releases it whatever way the process ends.

    Raises:
        BusyError: another trainer holds it, for instance one left over after its workflow was killed.
    """
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BusyError(
                f"{folder}: another trainer is at work here; wait for it, stop it, or choose another --state"
            ) from None
        yield


def flatten(optimiser: torch.optim.Optimizer, label: str) -> dict[str, torch.Tensor]:
    """Optimiser state as tensors named ``optimiser.<label>.<parameter>.<entry>``; numbers become tensors of no axes."""
    state = optimiser.state_dict()["state"]
    return {
        f"optimiser.{label}.{index}.{name}": torch.as_tensor(value).clone()
        for index, entries in state.items()
        for name, value in entries.items()
        if value is not None
    }


def restore(optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], label: str) -> None:
    """Put the state of :func:`flatten` back."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for full, tensor in tensors.items():
        if full.startswith(f"optimiser.{label}."):
            _, _, index, name = full.split(".", 3)
            # what was read may still lie in the file
            state.setdefault(int(index), {})[name] = tensor.clone()
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
