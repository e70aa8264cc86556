"""Line charts as SVG in the page's own colours, equal byte for byte when the numbers are equal."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from elektronn.report.content import Intervention, Picture, Row
from elektronn.report.inline import LINES, MARK, inlined

SVG = "image/svg+xml"
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
    marks: Sequence[tuple[float, str]] = (),
    legend: bool = False,
    caption: str = "",
) -> Picture:
    """A line chart.

    Args:
        title: above the chart; makes its ids unique in the page.
        lines: one or more.
        labels: of the x and the y axis.
        unit_square: both axes run from 0 to 1.
        rising: the y axis is logarithmic.
        point: the operating point, drawn as a dot.
        marks: places on the x axis with what happened there, numbered from 1.
        legend: whether a single line is named too.
        caption: below the chart.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context({**_STYLE, **_LOOK}):
        figure = Figure(figsize=(4.6, 3.3), layout="constrained")
        figure.patch.set_visible(False)
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        for colour, style, line in zip(LINES * len(lines), STYLES * len(lines), lines):
            axes.plot(line.x, line.y, linestyle=style, color=colour, label=line.name, linewidth=1.6)
        if point is not None:
            axes.plot(*([n] for n in point), "o", color=LINES[1], label="operating point", clip_on=False)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        if unit_square:
            axes.set(xlim=(0, 1), ylim=(0, 1.02))
        if rising:
            axes.set_yscale("log")
        _mark(axes, [x for x, _ in marks])
        if legend or len(lines) > 1 or point is not None:
            axes.legend(frameon=False, loc="best" if not unit_square else "lower center")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    titles = {f"mark-{number}": f"{number}: {said}" for number, (_, said) in enumerate(marks, 1)}
    names = ", ".join(line.name for line in lines)
    drawn = inlined(buffer.getvalue(), re.sub(r"\W+", "-", title.lower()), titles)
    return Picture(drawn, SVG, f"{title}: {names} against {labels[0]}", caption, title)


STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
"""Lines differ in more than their colours."""


def _mark(axes: Any, places: Sequence[float]) -> None:
    """Numbered lines across a chart; numbers of places that nearly coincide stand above one another."""
    if not places:
        return
    near = (max(places) - min(places) or 1) / 15
    level, last = 0, float("-inf")
    for number, x in enumerate(places, 1):
        level = level + 1 if x - last < near else 0
        last = x
        axes.axvline(x, color=MARK, linestyle=(0, (3, 3)), linewidth=1.1, gid=f"mark-{number}")
        at = (x, 1 + 0.07 * level)
        axes.text(*at, str(number), transform=axes.get_xaxis_transform(), color=MARK, ha="center", va="bottom")


HISTORY = {
    "Loss": ("loss", "train_loss", "valid_loss"),
    "Error": ("train_error", "valid_error"),
    "Learning rate": ("rate",),
}
"""Chart → columns of the history."""
TIMING = {"Speed, steps per second": ("steps_per_s",), "Waiting for data": ("data_wait",)}
"""The same, of columns that no two runs have equal."""


def learning_curves(
    history: Sequence[Row],
    interventions: Sequence[Intervention] = (),
    charts: Mapping[str, Sequence[str]] = HISTORY,
) -> tuple[Picture, ...]:
    """One chart for each group of columns that the history has; needs a column ``step``."""
    marks = [(one.step, f"step {one.step}: {one.text}") for one in interventions]
    found = []
    for title, columns in charts.items():
        lines = [line for line in (history_line(history, column) for column in columns) if line.x]
        if lines:
            found.append(chart(title, lines, ("step", ""), rising=_spreads(lines), marks=marks))
    return tuple(found)


def _spreads(lines: Sequence[Line]) -> bool:
    """Whether values span so much that only a logarithmic axis shows them."""
    values = [value for line in lines for value in line.y]
    return min(values) > 0 and max(values) > 20 * min(values)


def history_line(history: Sequence[Row], column: str, name: str = "") -> Line:
    """A column of a history against its steps, named as the column by default; of a long one, means of neighbours."""
    pairs = numbers(history, "step", column)
    if len(pairs) > POINTS:  # a sparse choice of rows would show noise as trend
        size = -(-len(pairs) // POINTS)
        groups = [pairs[start : start + size] for start in range(0, len(pairs), size)]
        pairs = [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
    return Line(name or column.replace("_", " "), [x for x, _ in pairs], [y for _, y in pairs])


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
