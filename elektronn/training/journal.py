"""The journal of a training: what was asked for and what came of it, a line each, so that it can be done again."""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from elektronn.artefacts import storage
from elektronn.errors import DataError, StorageError
from elektronn.settings import Settings, parse, plain
from elektronn.training import commands as said
from elektronn.training.control import Answered, Event, Letter, Refused, Row, Started, Warned
from elektronn.training.settings import TrainingSettings

FILE = "events.jsonl"
"""Name of the journal in the state directory."""

KINDS = {kind.__name__: kind for kind in said.Command.__subclasses__()}
"""Name → command."""


@dataclass(frozen=True)
class Entry:
    """A command that was carried out when ``step`` updates had been made."""

    step: int
    letter: Letter


class Journal:
    """Appends lines of JSON to a file. A command is on the disk before it has any effect.

    Args:
        path: made when the first line is written.
        run: fingerprint of the run.
        lost: is told, each time, why an event could not be kept.
    """

    def __init__(
        self, path: Path, run: str, lost: Callable[[OSError | StorageError], None] = lambda error: None
    ) -> None:
        self.path, self._run, self._lost = path, run, lost
        self._numbers: int | None = None

    def command(self, step: int, letter: Letter) -> int:
        """Write a command down; its number.

        Raises:
            StorageError: that is not possible, so it must not be carried out.
        """
        if self._numbers is None:
            self._numbers = sum(row["event"] == "command" for row in read_rows(self.path)) if self.path.exists() else 0
        self._numbers += 1
        row = {"event": "command", "number": self._numbers, "step": step, "who": letter.who, "text": letter.text}
        with storage(self.path):
            self._append({**row, "command": as_data(letter.command)}, wait=True)
        return self._numbers

    def refused(self, number: int, reason: str) -> None:
        """The command with this number had no effect."""
        with storage(self.path):
            self._append({"event": "refused", "number": number, "reason": reason}, wait=True)

    def hear(self, event: Event) -> None:
        """Keep an event."""
        row = _row(event)
        if row is None:
            return
        try:
            with storage(self.path):
                self._append(row)
        except (OSError, StorageError) as error:
            self._lost(error)

    def _append(self, row: Mapping[str, Any], wait: bool = False) -> None:
        lines = [] if self.path.exists() else [{"event": "run", "fingerprint": self._run}]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (*lines, {**row, "time": _now()}))
        with self.path.open("ab+") as file:
            if file.tell() and _ends_in_half_a_line(file):
                text = "\n" + text
            file.write(text.encode())
            if wait:
                file.flush()
                os.fsync(file.fileno())


def _row(event: Event) -> dict[str, Any] | None:
    """An event as a line; None if it is not kept."""
    match event:
        case Started():
            return {"event": "started", "step": event.step, "of": event.steps, "rows": event.rows}
        case Row():
            numbers = {name: value if math.isfinite(value) else None for name, value in event.values.items()}
            return {"event": "row", **numbers}
        case Warned():
            return {"event": "warning", "text": event.text}
        case Answered(letter=Letter(command=said.Execute())):
            return {"event": "answer", "step": event.step, "text": event.text}
        case Refused():
            asked = {"step": event.step, "who": event.letter.who, "text": event.letter.text}
            return {"event": "not done", **asked, "reason": event.reason}
    return None


def _ends_in_half_a_line(file: Any) -> bool:
    """Whether the last writer was cut off by a crash."""
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) != b"\n")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a journal.

    Raises:
        DataError: no such file.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the {FILE} of a training's state directory")
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):  # cut off by a crash, before it had any effect
            row = json.loads(line)
            if isinstance(row, dict) and "event" in row:
                rows.append(row)
    return rows


def made_by(path: Path) -> str:
    """Fingerprint of the run that a journal belongs to; empty if it does not say."""
    return next((str(row["fingerprint"]) for row in read_rows(path) if row["event"] == "run"), "")


def entries(path: Path) -> list[Entry]:
    """The commands of a journal that make a difference, in order.

    Raises:
        DataError: no such file, or a command that there is not.
    """
    rows = read_rows(path)
    refused = {row["number"] for row in rows if row["event"] == "refused"}
    found = []
    for row in rows:
        if row["event"] != "command" or row.get("number") in refused:
            continue
        try:
            command = from_data(row["command"], path.parent)
            entry = Entry(int(row["step"]), Letter(command, str(row["who"]), str(row["text"])))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path}: cannot be read as a journal ({row}: {error}); take an unchanged one") from error
        if command.lasts:
            found.append(entry)
    return sorted(found, key=lambda entry: entry.step)


def outstanding(own: Sequence[Entry], given: Sequence[Entry], step: int, done: int) -> list[tuple[int, Letter]]:
    """What is still to be done by a run that goes on at ``step``.

    Args:
        own: entries of its own journal; those of later steps were done by a part of the run that is lost.
        given: entries of another journal that is to be repeated.
        step: updates made.
        done: how many of the first entries of this step are in the backup.
    """
    here = [entry for entry in own if entry.step == step]
    later = [entry for entry in own if entry.step > step]
    again = [replace(entry, letter=replace(entry.letter, known=True)) for entry in (*here[done:], *later)]
    logged, new = Counter(map(_key, own)), []
    for entry in given:
        if logged[_key(entry)]:
            logged[_key(entry)] -= 1
        else:
            new.append(entry)
    return [(entry.step, entry.letter) for entry in (*again, *new)]


def _key(entry: Entry) -> str:
    return json.dumps([entry.step, entry.letter.who, entry.letter.text, as_data(entry.letter.command, False)])


def as_data(command: said.Command, places: bool = True) -> dict[str, Any]:
    """A command as plain data; without ``places``, files count by their contents alone.

    Example:
        >>> as_data(said.SetValue("rate", 0.1))
        {'do': 'SetValue', 'name': 'rate', 'value': 0.1}
    """
    values = {name: getattr(command, name) for name in (field.name for field in fields(command))}
    if not places and values.get("digest"):
        del values["path"]
    return {"do": type(command).__name__, **{name: _plain(value) for name, value in values.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return plain(value)
    if isinstance(value, Mapping):
        return dict(value)
    return str(value) if isinstance(value, Path) else value


def from_data(data: Mapping[str, Any], folder: Path) -> said.Command:
    """The way back from :func:`as_data`; relative paths start in ``folder``."""
    values = {name: value for name, value in data.items() if name != "do"}
    match data["do"]:
        case "SetValue":
            values["value"] = tuple(values["value"]) if isinstance(values["value"], list) else float(values["value"])
        case "SetOptimiser":
            section = {"optimiser": values["settings"], "schedule": values["schedule"] or {"kind": "constant"}}
            read = parse(TrainingSettings, section, "")
            values = {"settings": read.optimiser, "schedule": read.schedule if values["schedule"] else None}
        case "Reset":
            values["parts"] = tuple(values["parts"])
        case "LoadWeights" | "SaveNow" | "TakeOver":
            values["path"] = folder / values["path"]
    return KINDS[data["do"]](**values)
