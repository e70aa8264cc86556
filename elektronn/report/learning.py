"""Pictures of a running or finished training: learning curves and previews."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elektronn.artefacts import writing


def read_history(path: Path) -> dict[str, NDArray[np.float64]]:
    """Columns of a history file; NaN where a cell is empty."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = rows[0].keys() if rows else ()
    return {name: np.array([float(row[name]) if row[name] else np.nan for row in rows]) for name in names}


def draw_history(history: Path, picture: Path) -> None:
    """Learning curves (loss and error of training and validation, learning rate) as a PNG of 1200×450 pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = read_history(history)
    figure = Figure(figsize=(12, 4.5), dpi=100, layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for axes, kind in ((left, "loss"), (middle, "error")):
        for source, colour in (("train", "#2166ac"), ("valid", "#b2182b")):
            values = columns.get(f"{source}_{kind}", np.array([np.nan]))
            if np.isfinite(values).any():
                axes.plot(
                    columns["step"], values, color=colour, label={"train": "training", "valid": "validation"}[source]
                )
        axes.set(xlabel="step", title={"loss": "loss on monitor examples", "error": "share of wrong outputs"}[kind])
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    right.plot(columns["step"], columns["rate"], color="#444444")
    right.set(xlabel="step", title="learning rate", yscale="log")
    right.grid(alpha=0.3)
    _save(FigureCanvasAgg(figure), picture)


def draw_schedule(table: Mapping[str, Sequence[tuple[int, float | tuple[float, ...]]]], picture: Path) -> None:
    """Numbers over steps, one panel each, a line per entry where a number is a list, as a PNG 480 pixels high.

    Args:
        table: step and value by name, at least one name.
        picture: file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8 * len(table), 4.8), dpi=100, layout="constrained")
    for axes, (name, rows) in zip(figure.subplots(1, len(table), squeeze=False)[0], table.items()):
        axes.plot([step for step, _ in rows], [value for _, value in rows], drawstyle="steps-post")
        axes.set(xlabel="step", title=name)
        axes.grid(alpha=0.3)
    _save(FigureCanvasAgg(figure), picture)


def draw_preview(
    image: NDArray[np.float32], probability: NDArray[np.float32], labels: NDArray[np.int16], picture: Path
) -> None:
    """Image | labels | boundary probability of one section (all ``(y, x)``) side by side as a PNG.

    Unlabelled voxels (−1) are drawn in a neutral blue.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    classes = np.repeat(np.clip(labels, 0, 1).astype(float)[..., None], 3, axis=2)
    classes[labels < 0] = (0.75, 0.82, 0.92)
    figure = Figure(figsize=(12, 4.3), dpi=100, layout="constrained")
    panels = ((image, "image"), (classes, "labels"), (probability, "boundary probability"))
    for axes, (values, title) in zip(figure.subplots(1, 3), panels):
        axes.imshow(values, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title)
        axes.set_axis_off()
    _save(FigureCanvasAgg(figure), picture)


def draw_plane(values: NDArray[np.float32], picture: Path) -> None:
    """Values ``(y, x)`` as a grey PNG, a pixel per voxel: 0 is black and 1 is white, always."""
    from matplotlib.image import imsave

    with writing(picture) as part:
        imsave(part, values, cmap="gray", vmin=0, vmax=1, format="png", metadata={"Software": None})  # type: ignore[dict-item]


def _save(canvas: object, picture: Path) -> None:
    with writing(picture) as part:
        canvas.print_png(part, metadata={"Software": None})  # type: ignore[attr-defined]
