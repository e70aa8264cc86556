"""Run in two processes: a small training in a group, stopped by a process that does not lead, and gone on with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from elektronn.errors import Stopped
from elektronn.sampling.batch import Batch
from elektronn.training.control import Stop
from elektronn.training.group import Group, ReadOnly, joined
from elektronn.training.trainer import Trainer
from tests.unit.small_training import trainer_in, weights

CHANGES: dict[str, Any] = {"steps": 5}
STOP = 3


def member(folder: Path, group: Group) -> Trainer:
    """One process's trainer."""
    made = trainer_in(folder, CHANGES, dropout=0.0, group=group)
    if not group.leads:
        made.backups = ReadOnly(folder)
    group.wait()
    return made


def main(folder: Path) -> None:
    """Train to the stop, then to the end; the first process keeps the weights of both."""
    with joined() as group:
        first = member(folder / "run", group)
        take = first._update

        def update(batch: Batch) -> Any:
            assert len(batch.image) == 1
            if group.rank == 1 and first.step == STOP - 1:
                first.mailbox.post(Stop("SIGTERM"), "signal")
            return take(batch)

        first._update = update  # type: ignore[method-assign]
        try:
            first.run()
        except Stopped:
            (folder / f"stopped_{group.rank}").write_text(str(first.step))
        second = member(folder / "run", group)
        second.run()
        (folder / f"weights_{group.rank}.csv").write_text("\n".join(map(repr, weights(second).tolist())))
        (folder / f"loss_{group.rank}").write_text(repr(second.history[-1]["loss"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
