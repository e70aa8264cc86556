"""Histories of trainings of ELEKTRONN2 (``<name>.history.pkl``), read as tables; nothing in the file is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.errors import DataError, at
from elektronn.legacy.unpickle import Instance, unpickle

Rows = NDArray[Any]

_CURE = "the file is damaged or no history of ELEKTRONN2; name another file"


@dataclass(frozen=True)
class HistoryTracker:
    """What the trainer of ELEKTRONN2 noted, row by row.

    Attributes:
        timeline: every step: fields ``time`` (s), ``loss``, ``batch_char``.
        history: now and then: fields ``steps``, ``time``, ``train_loss``, ``valid_loss``, ``loss_gain``, ``train_err``,
            ``valid_err``, ``lr``, ``mom``, ``gradnetrate``.
        debug_outputs: rows ``(step, loss, …)``; ``None`` where nothing was tracked.
        debug_output_names: of the columns of ``debug_outputs``.
        regression_track: predictions and targets; ``None`` where nothing was tracked.
    """

    timeline: Rows
    history: Rows
    debug_outputs: Rows | None
    debug_output_names: tuple[str, ...]
    regression_track: tuple[Rows, Rows] | None


def loadhistorytracker(file_name: Path | str) -> HistoryTracker:
    """Read a history that ELEKTRONN2 saved.

    Raises:
        DataError: the file is missing, damaged, asks for more than data, or is no history.

    Source:
        ELEKTRONN2, ``loadhistorytracker``, which ran whatever the file said.
    """
    values = unpickle(file_name, inert="elektronn2")
    with at(str(file_name)):
        parts = values[0] if len(values) == 1 else values
        if not isinstance(parts, list | tuple) or len(parts) != 5:
            raise DataError(f"holds no five parts of a history; {_CURE}")
        timeline, history, debug, names, regression = parts
        rows = [_rows(part, name) for part, name in ((timeline, "timeline"), (history, "history"))]
        tracked = None
        if regression is not None:
            if not isinstance(regression, list | tuple) or len(regression) != 2:
                raise DataError(f"regression_track is no pair; {_CURE}")
            tracked = _rows(regression[0], "regression_track"), _rows(regression[1], "regression_track")
        return HistoryTracker(
            timeline=rows[0],
            history=rows[1],
            debug_outputs=None if debug is None else _rows(debug, "debug_outputs"),
            debug_output_names=tuple(map(str, names or ())),
            regression_track=tracked,
        )


def _rows(part: Any, name: str) -> Rows:
    """The used rows of a growing array: an object with a buffer and the number of rows in it."""
    match part:
        case np.ndarray():
            return part
        case Instance(state=dict(state)):
            arrays = [value for value in state.values() if isinstance(value, np.ndarray) and value.ndim]
            lengths = [n for key, n in state.items() if str(key).endswith("length") and type(n) is int]
            if arrays and lengths:
                # beside the buffer there may be sums and extremes, which are smaller
                buffer: Rows = max(arrays, key=lambda array: array.nbytes)
                if 0 <= lengths[0] <= len(buffer):
                    return buffer[: lengths[0]]
    raise DataError(f"{name} is no table; {_CURE}")
