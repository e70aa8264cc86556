"""A disk that is full while a training runs: it says so, the earlier backups stay, and it goes on or stops by a setting."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from elektronn import artefacts
from elektronn.cli.train import _Listener
from elektronn.errors import StorageError
from elektronn.report import examples, learning
from elektronn.training.checkpoint import Backups
from elektronn.training.control import Event, Preview, Saved, Warned, both
from elektronn.training.journal import Journal
from elektronn.training.stage import _loss_of_events
from elektronn.training.trainer import Trainer
from tests.unit.small_training import trainer_in, weights

CHANGES = {"backup_s": 1e-9, "preview_every": 2, "snapshot_h": 1e-9, "history_every": 1, "keep_best": True}

FILLS: dict[str, Callable[[str], bool]] = {
    "backup": lambda path: "backup_" in path,
    "snapshot": lambda path: "snapshots" in path,
    "best": lambda path: "best." in path,
    "preview": lambda path: "previews" in path,
    "pictures of the first batch": lambda path: ".batch.png" in path or "augmentations.png" in path,
}
"""What there is no room for."""

ONCE = ("best", "pictures of the first batch")
"""What is written only once in so short a training."""


def blank(*given: Any) -> None:
    """A picture that takes no time, in the place of the last argument."""
    artefacts.write_text(given[-1], "blank")


@pytest.fixture(scope="module", autouse=True)
def quick_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "draw_preview", blank)
        patch.setattr(examples, "draw_examples", blank)
        patch.setattr(examples, "draw_augmentations", blank)
        yield


class Quiet:
    """A display that nobody sees."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given: None


def training(folder: Path, events: list[Event], on_full_disk: str) -> Trainer:
    """A small training with the listener of the command line, a journal, and a validation error."""
    changes = {**CHANGES, "on_full_disk": on_full_disk}
    made = trainer_in(folder, changes, events=events)
    draw = _Listener(Quiet(), folder, 7, True, lambda document: None)  # type: ignore[arg-type]
    journal = Journal(folder / "events.jsonl", "small", _loss_of_events(made.settings, events.append))
    made.listen = made.keeper.listen = both(both(journal.hear, draw), events.append)
    made.task.watch["valid"] = made.task.watch["train"]  # type: ignore[index]
    return made


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    made = training(tmp_path_factory.mktemp("whole"), [], "continue")
    made.run()
    return weights(made)


def fill(patch: pytest.MonkeyPatch, is_full: Callable[[str], bool], after: int) -> None:
    """No room for certain files when they have been written so many times."""
    flush, seen = artefacts._flush, []

    def full(part: Path) -> None:
        if is_full(str(part)):
            seen.append(part)
            if len(seen) > after:
                raise OSError(errno.ENOSPC, "No space left on device")
        flush(part)

    patch.setattr(artefacts, "_flush", full)


@pytest.mark.parametrize("what", FILLS)
def test_what_does_not_fit_is_told_and_the_training_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, undisturbed: torch.Tensor
) -> None:
    events: list[Event] = []
    fill(monkeypatch, FILLS[what], after=int(what not in ONCE))
    made = training(tmp_path, events, "continue")
    if what == "backup":
        # at the very end there is nothing left to go on with; the earlier backup stays
        with pytest.raises(StorageError, match="the disk is full; free some space and run the same command again"):
            made.run()
        found = Backups(tmp_path).load("small")
        assert found is not None
        assert found[0].facts["step"] == 1
    else:
        made.run()
        found = Backups(tmp_path).load("small")
        assert found is not None
        assert found[0].facts["step"] == 7
    told = [e.failure for e in events if isinstance(e, Saved) and e.failure]
    told += [e.text for e in events if isinstance(e, Warned)]
    assert [text for text in told if "the disk is full" in text]
    assert torch.equal(weights(made), undisturbed)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("what", FILLS)
def test_or_the_training_stops_there_if_the_settings_say_so(
    tmp_path: Path, what: str, undisturbed: torch.Tensor
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fill(patch, FILLS[what], after=int(what not in ONCE))
        made = training(tmp_path, [], "stop")
        with pytest.raises(StorageError, match="the disk is full"):
            made.run()
    assert made.step < 7
    # there is room again: it goes on from the backup that stayed
    again = training(tmp_path, [], "stop")
    again.run()
    assert torch.equal(weights(again), undisturbed)


@pytest.mark.parametrize("on_full_disk", ["continue", "stop"])
def test_a_journal_without_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_full_disk: str, undisturbed: torch.Tensor
) -> None:
    append, rows = Journal._append, []

    def full(self: Journal, row: Any, wait: bool = False) -> None:
        rows.append(row)
        if len(rows) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, row, wait)

    monkeypatch.setattr(Journal, "_append", full)
    events: list[Event] = []
    made = training(tmp_path, events, on_full_disk)
    if on_full_disk == "stop":
        with pytest.raises(StorageError, match=r"events\.jsonl: the disk is full"):
            made.run()
        return
    made.run()
    assert torch.equal(weights(made), undisturbed)
    (told,) = [e.text for e in events if isinstance(e, Warned)]
    assert told.startswith("events are lost: ")


def test_a_preview_that_fails_for_another_reason_ends_nothing(tmp_path: Path, undisturbed: torch.Tensor) -> None:
    events: list[Event] = []
    made = training(tmp_path, events, "stop")

    def fails(event: Event) -> None:
        if isinstance(event, Preview):
            raise MemoryError("too large")

    made.listen = both(made.listen, fails)
    made.run()
    told = [e.text for e in events if isinstance(e, Warned)]
    assert told == [f"no preview at step {step}: MemoryError: too large" for step in (2, 4, 6)]
    assert torch.equal(weights(made), undisturbed)
