"""ROC and PR curves side by side as an SVG that is equal byte for byte when the numbers are equal."""

from __future__ import annotations

import io
from typing import Any

from elektronn.evaluation.counters import Histogram
from elektronn.evaluation.curves import (
    Curve,
    average_precision,
    confusion,
    precision_recall,
    roc,
    roc_area,
    thinned,
)
from elektronn.evaluation.evaluate import Evaluation

COLOURS = ("#1f4e79", "#b3541e", "#4d7c4d", "#6b5b95")
_STYLE: Any = {
    "svg.hashsalt": "elektronn",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def draw(evaluation: Evaluation) -> bytes:
    """The figure as SVG; one line per role, a dot where the threshold puts it."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 3.8), layout="constrained")
        FigureCanvasSVG(figure)
        left, right = figure.subplots(1, 2)
        for colour, (role, histogram) in zip(COLOURS * 9, evaluation.roles.items()):
            _line(left, roc(histogram), colour, f"{role}, area {_number(roc_area(histogram))}", evaluation)
            name = f"{role}, average precision {_number(average_precision(histogram))}"
            _line(right, precision_recall(histogram), colour, name, evaluation)
            _dots(left, right, histogram, evaluation.threshold, colour)
        left.set(xlabel="false-positive rate", ylabel="true-positive rate", title="ROC", xlim=(0, 1), ylim=(0, 1.02))
        right.set(xlabel="recall", ylabel="precision", title="Precision and recall", xlim=(0, 1), ylim=(0, 1.02))
        for axes in (left, right):
            axes.legend(loc="lower center", frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _line(axes: Any, curve: Curve | None, colour: str, label: str, evaluation: Evaluation) -> None:
    x, y, _ = thinned(curve, evaluation.curve_points) if curve is not None else ([], [], [])
    axes.plot(x, y, color=colour, label=label, linewidth=1.4, clip_on=False)


def _dots(left: Any, right: Any, histogram: Histogram, threshold: float, colour: str) -> None:
    table = confusion(histogram, threshold)
    if table.recall is not None and table.specificity is not None:
        left.plot([1 - table.specificity], [table.recall], "o", color=colour, clip_on=False)
    if table.recall is not None and table.precision is not None:
        right.plot([table.recall], [table.precision], "o", color=colour, clip_on=False)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
