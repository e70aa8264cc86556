"""The history: one row of numbers every so many steps, kept in memory and written as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from elektronn.training.journal import read_rows

COLUMNS = (
    "step",  # updates made so far
    "seconds",  # of training, without the time between a stop and its resume
    "loss",  # mean training loss since the last row, on augmented batches
    "train_loss",  # on the monitor examples of the training cubes
    "train_error",  # share of wrong outputs, ditto
    "valid_loss",  # on the monitor examples of the validation cubes; empty without any
    "valid_error",
    "diff",  # change of train_loss since the last row
    "label_mean",  # mean label of the last batch, unlabelled outputs left out; of two classes, the share of class 1
    "rate",  # learning rate
    "momentum",  # where the optimiser has one
    "steps_per_s",  # since the last row
    "data_wait",  # share of the time spent waiting for batches
    "warped",  # share of examples that were warped as drawn
    "warp_misfits",  # share of examples whose warp did not fit the cube and that were cut plain
    "warp_shrunk",  # share of examples whose warp was reduced until it fitted
)


def as_csv(rows: Sequence[dict[str, float]]) -> str:
    """The history as CSV text; numbers as short as they can be read back exactly."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def rows_in(journal: Path) -> list[dict[str, float]]:
    """The rows that a journal tells; where a part of the training was lost and made again, those of the last time.

    Raises:
        DataError: no such file.
    """
    rows: list[dict[str, float]] = []
    for line in read_rows(journal):
        if line["event"] == "started":
            # what came after the backup that it goes on from will be made again, a row of the same step too
            rows = [row for row in rows if row["step"] <= line["step"]][: line.get("rows")]
        elif line["event"] == "row":
            numbers = {name: line[name] for name in COLUMNS if line.get(name) is not None}
            rows.append(numbers)
    return rows
