"""What people did to a running training, from its journal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from elektronn.report.content import Intervention

Rows = Sequence[Mapping[str, Any]]


def interventions_of(journal: Rows, changes: Iterable[str]) -> tuple[Intervention, ...]:
    """The commands that were carried out, in the order of their steps.

    Args:
        journal: rows of ``events.jsonl``.
        changes: of the model card, ``step N: COMMAND``; they count where there is no journal.

    Example:
        >>> [found.text for found in interventions_of((), ["step 9: SetValue(name='rate', value=0.1)"])]
        ["SetValue(name='rate', value=0.1)"]
    """
    if not journal:
        found = (re.fullmatch(r"step (\d+): (.*)", change, re.DOTALL) for change in changes)
        return tuple(Intervention(int(change[1]), "", change[2]) for change in found if change)
    refused = {row.get("number") for row in journal if row["event"] == "refused"}
    done = [row for row in journal if row["event"] == "command" and row.get("number") not in refused]
    return tuple(sorted((_intervention(row) for row in done), key=lambda one: one.step))


def _intervention(row: Mapping[str, Any]) -> Intervention:
    text = str(row.get("text") or "") or _spelled(row.get("command") or {})
    return Intervention(int(row.get("step") or 0), str(row.get("who") or ""), text, str(row.get("time") or ""))


def _spelled(command: Mapping[str, Any]) -> str:
    """A command that nobody typed: a signal, or a program."""
    values = ", ".join(f"{name} {value}" for name, value in command.items() if name != "do")
    return f"{command.get('do', 'unknown')} {values}".strip()


def warnings_of(journal: Rows) -> tuple[str, ...]:
    """What the training warned of, also before it was resumed."""
    return tuple(dict.fromkeys(str(row["text"]) for row in journal if row["event"] == "warning" and row.get("text")))


def stretches_of(journal: Rows) -> tuple[tuple[str, int], ...]:
    """When the training was started or resumed, and after how many updates."""
    return tuple((str(row.get("time", "")), int(row.get("step") or 0)) for row in journal if row["event"] == "started")
