"""Line charts as SVG, equal byte for byte when the numbers are equal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from elektronn.report.content import Picture, Row

COLOURS = ("#1f4e79", "#b3541e", "#4d7c4d", "#6b5b95")
POINTS = 500
_STYLE: Any = {"svg.hashsalt": "elektronn", "svg.fonttype": "none", "font.size": 10, "axes.grid": True}
_LOOK: Any = {"grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False}


class Line(NamedTuple):
    """One line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def chart(
    title: str,
    lines: Sequence[Line],
    labels: tuple[str, str],
    *,
    unit_square: bool = False,
    rising: bool = False,
    point: tuple[float, float] | None = None,
    caption: str = "",
) -> Picture:
    """A line chart.

    Args:
        title: above the chart.
        lines: one or more.
        labels: of the x and the y axis.
        unit_square: both axes run from 0 to 1.
        rising: the y axis is logarithmic.
        point: the operating point, drawn as a dot.
        caption: below the chart.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context({**_STYLE, **_LOOK}):
        figure = Figure(figsize=(4.6, 3.3), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        for colour, line in zip(COLOURS * len(lines), lines):
            axes.plot(line.x, line.y, color=colour, label=line.name, linewidth=1.4)
        if point is not None:
            axes.plot(*([n] for n in point), "o", color=COLOURS[1], label="operating point", clip_on=False)
        axes.set(xlabel=labels[0], ylabel=labels[1], title=title)
        if unit_square:
            axes.set(xlim=(0, 1), ylim=(0, 1.02))
        if rising:
            axes.set_yscale("log")
        if len(lines) > 1 or point is not None:
            axes.legend(frameon=False, loc="best" if not unit_square else "lower center")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    names = ", ".join(line.name for line in lines)
    return Picture(buffer.getvalue(), "image/svg+xml", f"{title}: {names} against {labels[0]}", caption)


HISTORY = {
    "Loss": ("loss", "train_loss", "valid_loss"),
    "Error": ("train_error", "valid_error"),
    "Learning rate": ("rate",),
    "Speed, steps per second": ("steps_per_s",),
    "Waiting for data": ("data_wait",),
}


def learning_curves(history: Sequence[Row]) -> tuple[Picture, ...]:
    """One chart for each group of columns that the history has; needs a column ``step``."""
    found = []
    for title, columns in HISTORY.items():
        lines = [line for line in (_history_line(history, column) for column in columns) if line.x]
        if lines:
            positive = all(value > 0 for line in lines for value in line.y)
            spread = positive and max(max(line.y) for line in lines) > 20 * min(min(line.y) for line in lines)
            found.append(chart(title, lines, ("step", ""), rising=spread))
    return tuple(found)


def _history_line(history: Sequence[Row], column: str) -> Line:
    pairs = numbers(history, "step", column)
    if len(pairs) > POINTS:  # the mean of neighbours: a sparse choice of rows would show noise as trend
        size = -(-len(pairs) // POINTS)
        groups = [pairs[start : start + size] for start in range(0, len(pairs), size)]
        pairs = [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
    return Line(column.replace("_", " "), [x for x, _ in pairs], [y for _, y in pairs])


def numbers(rows: Iterable[Row], x: str, y: str) -> list[tuple[float, float]]:
    """The rows in which both columns hold a finite number.

    Example:
        >>> numbers([{"step": "1", "loss": "0.5"}, {"step": "2", "loss": ""}], "step", "loss")
        [(1.0, 0.5)]
    """
    pairs = ((_number(row.get(x)), _number(row.get(y))) for row in rows)
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _number(cell: str | None) -> float | None:
    try:
        value = float(cell or "")
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def rate_curves(roc: Sequence[Row], pr: Sequence[Row], judged: Mapping[str, Any]) -> tuple[Picture, ...]:
    """ROC and PR charts with the operating point; only those whose table has rows."""
    recall, precision = judged.get("recall"), judged.get("precision")
    negatives = (judged.get("false_positive") or 0) + (judged.get("true_negative") or 0)
    false_rate = judged["false_positive"] / negatives if negatives else None
    at = judged.get("threshold")
    caption = f"The dot is the operating point: threshold {at:.4f}." if at is not None else ""
    found = []
    for title, rows, x, y, point in (
        ("ROC", roc, ("fpr", "false-positive rate"), ("tpr", "true-positive rate"), (false_rate, recall)),
        ("Precision and recall", pr, ("recall", "recall"), ("precision", "precision"), (recall, precision)),
    ):
        pairs = numbers(rows, x[0], y[0])
        if pairs:
            line = Line(y[1], [a for a, _ in pairs], [b for _, b in pairs])
            dot = None if point[0] is None or point[1] is None else (float(point[0]), float(point[1]))
            found.append(chart(title, [line], (x[1], y[1]), unit_square=True, point=dot, caption=caption))
    return tuple(found)
