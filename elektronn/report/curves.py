"""Learning curves in detail: three pictures of the history of a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.artefacts import writing

Columns = Mapping[str, NDArray[np.float64]]
"""Name → values of a history; NaN where there is none."""

MOST = 2000
"""Points of a curve that are drawn, about."""

SMOOTH = 8
"""Rows of a moving average."""

BLUE, RED, GREY = "#2166ac", "#b2182b", "#777777"


def draw_curves(columns: Columns, folder: Path) -> list[Path]:
    """Draw ``loss.png``, ``errors.png`` and ``rates.png``.

    Args:
        columns: of the history; what it does not have is left out.
        folder: for the pictures.

    Returns:
        The pictures.
    """
    thin = max(1, -(-len(columns["step"]) // MOST))
    kept = {name: values[::thin] for name, values in columns.items()}
    drawn = []
    for name, draw in (("loss", _loss), ("errors", _errors), ("rates", _rates)):
        drawn.append(folder / f"{name}.png")
        _save(draw, kept, drawn[-1])
    return drawn


def moving_average(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of each value and up to ``width`` − 1 before it, those that are no numbers left out.

    Example:
        >>> moving_average(np.array([1.0, 3.0, np.nan, 5.0]), 2).tolist()
        [1.0, 2.0, 3.0, 5.0]
    """
    known = np.isfinite(values)
    sums, counts = np.cumsum(np.where(known, values, 0)), np.cumsum(known)
    sums[width:], counts[width:] = sums[width:] - sums[:-width], counts[width:] - counts[:-width]
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = sums / counts
    return mean


def _loss(figure: Any, columns: Columns) -> None:
    axes = figure.subplots()
    _line(axes, columns, "loss", GREY, "training, augmented batches")
    _line(axes, columns, "train_loss", BLUE, "training, monitor examples")
    _line(axes, columns, "valid_loss", RED, "validation, monitor examples")
    _finish(axes, "loss")
    _minutes(axes, columns)


def _errors(figure: Any, columns: Columns) -> None:
    axes = figure.subplots()
    for source, colour, text in (("train", BLUE, "training"), ("valid", RED, "validation")):
        values = columns.get(f"{source}_error")
        if values is None or not np.isfinite(values).any():
            continue
        axes.plot(columns["step"], values, color=colour, linestyle="--", linewidth=0.8, alpha=0.6)
        axes.plot(columns["step"], moving_average(values, SMOOTH), color=colour, label=f"{text}, mean of {SMOOTH} rows")
    _finish(axes, "error on monitor examples")
    _minutes(axes, columns)


def _rates(figure: Any, columns: Columns) -> None:
    panels = (
        ("rate", "learning rate", "log"),
        ("diff", "change of the training loss between rows", "linear"),
        ("label_mean", "mean label of a batch", "linear"),
        ("steps_per_s", "steps per second", "linear"),
    )
    for axes, (name, title, scale) in zip(figure.subplots(2, 2, sharex=True).flat, panels):
        _line(axes, columns, name, BLUE, "")
        axes.set(title=title, yscale=scale)
        axes.grid(alpha=0.3)


def _line(axes: Any, columns: Columns, name: str, colour: str, label: str) -> None:
    if name in columns and np.isfinite(columns[name]).any():
        axes.plot(columns["step"], columns[name], color=colour, label=label or None)


def _finish(axes: Any, title: str) -> None:
    axes.set(xlabel="step", title=title)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[1]:
        axes.legend()


def _minutes(axes: Any, columns: Columns) -> None:
    """A second axis: minutes of training."""
    steps, minutes = columns["step"], columns["seconds"] / 60
    if len(steps) < 2 or not (np.diff(steps) > 0).any() or minutes[-1] <= minutes[0]:
        return
    ticks = np.linspace(steps[0], steps[-1], 6)
    above = axes.twiny()
    above.set(xlim=axes.get_xlim(), xlabel="minutes")
    above.set_xticks(ticks, [f"{np.interp(tick, steps, minutes):.3g}" for tick in ticks])


def _save(draw: Callable[[Any, Columns], None], columns: Columns, picture: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), dpi=100, layout="constrained")
    draw(figure, columns)
    with writing(picture) as part:
        FigureCanvasAgg(figure).print_png(part, metadata={"Software": None})  # type: ignore[no-untyped-call]
