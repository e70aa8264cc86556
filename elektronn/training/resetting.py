"""A resume that leaves parts of the state behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from elektronn.errors import ConfigError
from elektronn.training.checkpoint import NAMES, Backups
from elektronn.training.commands import Command, Reset, TakeOver
from elektronn.training.journal import FILE
from elektronn.training.keeping import BEST

COUNTED = (*NAMES, FILE, BEST, "snapshots", "previews")
"""What the state directory holds of one count of the steps."""


def reset_commands(parts: Sequence[str], backups: Backups, fingerprint: str, model: Path) -> list[Command]:
    """What a training has to be told so that parts of its state are not restored. Like all commands these are kept in the
    journal: a later resume or a replay does the same at the same step.

    Where the steps shall be counted anew, the state so far moves into a folder of its own.

    Args:
        parts: of :data:`~.commands.PARTS`; without ``step`` the training goes on where it was.
        backups: of the state directory, whose lock the caller holds.
        fingerprint: of the run.
        model: file of the finished training.

    Raises:
        ConfigError: there is no state, or the training has ended.
    """
    if not parts:
        return []
    found = backups.load(fingerprint)
    if found is None:
        raise ConfigError(
            f"--reset: no backup of this run in {backups.folder}, so there is nothing to leave behind; leave it out"
        )
    if model.exists():
        raise ConfigError(
            f"--reset: {model} is finished and would be overwritten; move it away, or train under another name"
        )
    others = tuple(part for part in parts if part != "step")
    commands: list[Command] = [Reset(others)] if others else []
    if "step" not in parts:
        return commands
    place = _aside(backups.folder, found[0].facts["step"])
    return [TakeOver(place / found[1].name), *commands]


def _aside(folder: Path, step: int) -> Path:
    """Move the state of this count away; the folder that holds it now."""
    number, place = 1, folder / f"until_step_{step}"
    while place.exists():
        number += 1
        place = folder / f"until_step_{step}_{number}"
    place.mkdir()
    for name in COUNTED:
        if (folder / name).exists():
            (folder / name).rename(place / name)
    return place
