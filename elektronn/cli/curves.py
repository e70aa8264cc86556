"""``elektronn curves``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from elektronn.cli.progress import Display
from elektronn.errors import DataError

if TYPE_CHECKING:
    from elektronn.report.curves import Columns

JOURNAL = "events.jsonl"


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="name of an experiment of the workflow here, or the history (CSV) of a finished training; or its state "
        "directory, at any time while it runs",
    )
    verb.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the pictures; default: `curves` beside RUN's files"
    )
    verb.add_argument("--log", metavar="FILE", help="also write what is printed to this file")


def run(given: argparse.Namespace) -> None:
    """Draw."""
    from elektronn.report.curves import draw_curves

    source = source_of(given.run)
    columns = columns_of(source)
    if not len(columns.get("step", ())):
        raise DataError(f"{source}: holds no rows yet; wait for the first one")
    display = Display("curves", given.log)
    for picture in draw_curves(columns, given.out or source.parent / "curves"):
        display.line(f"{picture}: drawn from {len(columns['step'])} rows of {source}")


def source_of(run: Path) -> Path:
    """The file that holds the rows: the given one, the journal of a state directory, or the history of a run's folder.

    Raises:
        DataError: there is none.
    """
    if run.is_file():
        return run
    folders = [run] if run.exists() else [run, Path("data/state") / run, Path("data/models") / run]
    for file in (folder / name for folder in folders for name in (JOURNAL, "history.csv", f"state/{JOURNAL}")):
        if file.is_file():
            return file
    raise DataError(
        f"{run}: no history.csv and no {JOURNAL} there; give an experiment, the history of a training, or its state directory"
    )


def columns_of(source: Path) -> Columns:
    """Columns of a history (CSV) or a journal.

    Raises:
        DataError: it is neither.
    """
    import numpy as np

    from elektronn.report.learning import read_history
    from elektronn.training.history import COLUMNS, rows_in

    if source.suffix == ".jsonl":
        rows = rows_in(source)
        return {name: np.array([row.get(name, np.nan) for row in rows]) for name in COLUMNS}
    try:
        columns = read_history(source)
    except (ValueError, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"{source}: not a history of `elektronn train` ({error}); give an unchanged one") from error
    if columns and not {"step", "seconds"} <= columns.keys():
        raise DataError(
            f"{source}: not a history of `elektronn train`: no columns step and seconds; give an unchanged one"
        )
    return columns
