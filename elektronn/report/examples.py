"""Pictures of what a training learns from: some examples, and what the augmentations drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.artefacts import writing
from elektronn.axes import Size

COLOURS = ("#2b2b2b", "#ff7f0e", "#17becf", "#e377c2", "#bcbd22", "#2ca02c", "#9467bd", "#d62728", "#8c564b")
"""Of the classes, again from the second on where there are more."""
IGNORED = "#b9c9e4"
FRAME = "#ffd54a"
"""Of the box of the outputs, and of the lines that say where a panel cuts."""
INCHES = 3.4
"""Height of a row's panels."""
COLUMNS = 5
"""Panels in a row of histograms."""


def draw_examples(
    rows: Sequence[tuple[NDArray[np.float32], NDArray[Any], str]], offset: Size, stride: Size, picture: Path
) -> None:
    """Training examples as a PNG, one row each: image, its cut along z, labels, overlay.

    Every output of the network is drawn as a block of the size of the stride around the voxel that it describes.

    Args:
        rows: image ``(c, z, y, x)``, of which channel 0 is shown; labels ``(z', y', x')`` (whole numbers are classes,
            −1 = ignored; others are values, NaN = ignored) or ``(k, z', y', x')``, of which the first answer is shown,
            or one label for the whole image, written as text; caption. At least one row.
        offset: patch voxel zyx of the first output.
        stride: patch voxels zyx between outputs.
        picture: file to write.

    Raises:
        StorageError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    widths = _widths(rows[0][0].shape)
    size = (INCHES * sum(widths) + 0.4, (INCHES + 0.8) * len(rows))
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for part, (image, labels, caption) in zip(figure.subfigures(len(rows), 1, squeeze=False).ravel(), rows):
        part.suptitle(caption, fontsize=10, x=0.01, ha="left")
        _row(part.subplots(1, len(widths), width_ratios=widths), image, _Outputs(labels, offset, stride))
    with writing(picture) as file:
        figure.savefig(file, format="png", metadata={"Software": None})


def _widths(shape: tuple[int, ...]) -> list[float]:
    """Relative to the height of a row: image, cut where there are sections, labels, overlay."""
    _, z, y, x = shape
    wide = min(max(x / y, 0.5), 2.0) if y > 1 else 1.0
    return [wide, 0.4, wide, wide] if z > 1 and y > 1 else [wide, wide, wide]


class _Outputs:
    """Labels at their places in the patch; ``section`` and ``column``: patch voxels through which panels cut."""

    def __init__(self, labels: NDArray[Any], offset: Size, stride: Size) -> None:
        self.offset, self.stride = offset, stride
        self.is_single = labels.ndim not in (3, 4) or labels.shape[-3:] == (1, 1, 1)
        self.labels = labels.ravel() if self.is_single else labels.reshape(-1, *labels.shape[-3:])[0]
        self.answers = 1 if self.is_single or labels.ndim == 3 else len(labels)
        self.is_class = labels.dtype.kind in "biu"

    def cuts(self, patch: tuple[int, ...]) -> tuple[int, int]:
        """Section and column through the middle output, or through the middle of the patch."""
        if self.is_single:
            return patch[0] // 2, patch[2] // 2
        z, x = (self.offset[a] + self.labels.shape[a] // 2 * self.stride[a] for a in (0, 2))
        return z, x

    def frame(self, axis: int) -> tuple[float, float]:
        """Where the blocks of the outputs begin and end along an axis, patch voxels."""
        begin = self.offset[axis] - self.stride[axis] / 2
        return begin, begin + self.labels.shape[axis] * self.stride[axis]

    @property
    def middle(self) -> NDArray[Any]:
        """The section that is shown, ``(y', x')``."""
        section: NDArray[Any] = self.labels[len(self.labels) // 2]
        return section

    @property
    def text(self) -> str:
        """What is said of an image as a whole."""
        said = ", ".join(str(int(v)) if self.is_class else f"{v:.4g}" for v in self.labels)
        return f"{'label' if self.is_class else 'value'}{'s' if len(self.labels) > 1 else ''} {said}"


def _row(panels: Sequence[Any], image: NDArray[np.float32], outputs: _Outputs) -> None:
    first, *cut, labels, overlay = panels
    if image.shape[2:] == (1, 1):
        _series(first, image[:, :, 0, 0])
        _text(labels, outputs.text)
        overlay.set_axis_off()
        return
    section, column = outputs.cuts(image.shape[1:])
    grey = {"cmap": "gray", "interpolation": "nearest", **_range(image[0])}
    first.imshow(image[0, section], **grey)
    first.set_title(f"image, z = {section} of 0…{image.shape[1] - 1}" if cut else "image", fontsize=9)
    if cut:
        _cut(cut[0], image[0, :, :, column].T, section, outputs, grey)
        first.axvline(column, color=FRAME, lw=0.8, ls=":")
    overlay.imshow(image[0, section], **grey)
    overlay.set_title("overlay", fontsize=9)
    if outputs.is_single:
        _text(labels, outputs.text)
        box = {"facecolor": "black", "alpha": 0.7, "pad": 3, "edgecolor": "none"}
        overlay.text(0.03, 0.96, outputs.text, color=FRAME, va="top", bbox=box, transform=overlay.transAxes)
    else:
        _frame(first, outputs, (1, 2))
        _labels(labels, overlay, outputs)
    for axes in (first, labels, overlay):
        axes.set(xlim=(-0.5, image.shape[3] - 0.5), ylim=(image.shape[2] - 0.5, -0.5))
        axes.tick_params(labelsize=7)


def _range(image: NDArray[np.float32]) -> dict[str, float]:
    """Black and white: 0 and 1, unless the values lie elsewhere."""
    low, high = float(image.min()), float(image.max())
    return {"vmin": 0.0, "vmax": 1.0} if low >= 0 and high <= 1 else {"vmin": low, "vmax": high}


def _series(axes: Any, values: NDArray[np.float32]) -> None:
    """Feature vectors ``(features, time)``."""
    if 1 in values.shape:
        axes.plot(values.ravel(), color="#2166ac", lw=0.8)
        axes.set_title("features" if values.shape[1] == 1 else "feature over time", fontsize=9)
        return
    axes.imshow(values, cmap="gray", aspect="auto", interpolation="nearest")
    axes.set_title("features over time", fontsize=9)


def _text(axes: Any, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=16, wrap=True, transform=axes.transAxes)
    axes.set_axis_off()


def _cut(axes: Any, values: NDArray[np.float32], section: int, outputs: _Outputs, grey: dict[str, Any]) -> None:
    """y downwards as in the image, z to the right, drawn wider than it is."""
    axes.imshow(values, aspect="auto", **grey)
    axes.axvline(section, color=FRAME, lw=0.8, ls=":")
    axes.set_title("cut: z to the right", fontsize=9)
    axes.tick_params(labelsize=7)
    axes.locator_params(axis="x", integer=True)
    if not outputs.is_single:
        _frame(axes, outputs, (1, 0))


def _frame(axes: Any, outputs: _Outputs, plane: tuple[int, int]) -> None:
    (top, bottom), (left, right) = (outputs.frame(axis) for axis in plane)
    axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=FRAME, lw=1.0)


def _labels(alone: Any, overlay: Any, outputs: _Outputs) -> None:
    """The labels at their places in an empty patch, and over the image."""
    (top, bottom), (left, right) = outputs.frame(1), outputs.frame(2)
    place = {"extent": (left, right, bottom, top), "interpolation": "nearest"}
    title = "labels" if outputs.answers == 1 else f"labels, first of {outputs.answers} answers"
    alone.set_title(title, fontsize=9)
    alone.set_facecolor("white")
    if not outputs.is_class:
        shown = alone.imshow(outputs.middle, cmap="viridis", **place)
        alone.figure.colorbar(shown, ax=alone, shrink=0.8).ax.tick_params(labelsize=7)
        overlay.imshow(outputs.middle, cmap="viridis", alpha=0.45, **place)
        return
    alone.imshow(_coloured(outputs.middle, 1.0, 1.0), **place)
    overlay.imshow(_coloured(outputs.middle, 0.0, 0.4), **place)
    _legend(alone, outputs.middle)


def _colour(label: int) -> str:
    return IGNORED if label < 0 else COLOURS[label] if label < len(COLOURS) else COLOURS[1 + label % (len(COLOURS) - 1)]


def _coloured(labels: NDArray[Any], first: float, others: float) -> NDArray[np.float64]:
    """``(y, x, 4)``; opacity of class 0 and of the others."""
    from matplotlib.colors import to_rgba

    painted = np.zeros((*labels.shape, 4))
    for label in np.unique(labels).tolist():
        painted[labels == label] = to_rgba(_colour(label), first if label == 0 else others)
    return painted


def _legend(axes: Any, labels: NDArray[Any]) -> None:
    from matplotlib.patches import Patch

    present = np.unique(labels).tolist()[:10]
    parts = [Patch(color=_colour(label), label="ignored" if label < 0 else f"class {label}") for label in present]
    axes.legend(
        handles=parts,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.06),
        ncols=min(len(parts), 5),
        fontsize=7,
        frameon=False,
    )


def draw_augmentations(
    count: int, shares: Mapping[str, float], numbers: Mapping[str, Sequence[float]], picture: Path
) -> None:
    """What augmentations drew, as a PNG: a bar per thing done or not, a histogram per number.

    Args:
        count: of the examples.
        shares: of the examples, by what was done to them.
        numbers: that were drawn, by name; none empty.
        picture: file to write.

    Raises:
        StorageError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-(len(numbers) + 2) // COLUMNS)
    figure = Figure(figsize=(3.6 * COLUMNS, 2.6 * rows), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows, COLUMNS)
    figure.suptitle(f"what was drawn for the first {count} training examples", fontsize=11)
    _bars(figure.add_subplot(grid[0, :2]), shares)
    for i, (name, values) in enumerate(numbers.items(), 2):
        _histogram(figure.add_subplot(grid[i // COLUMNS, i % COLUMNS]), name, np.asarray(values, float))
    with writing(picture) as file:
        figure.savefig(file, format="png", metadata={"Software": None})


def _bars(axes: Any, shares: Mapping[str, float]) -> None:
    names = list(shares)
    bars = axes.barh(names, list(shares.values()), color="#2166ac")
    axes.bar_label(bars, [f"{share:.1%}" for share in shares.values()], padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.15), xticks=np.linspace(0, 1, 6))
    axes.tick_params(labelsize=8)
    axes.set_title("share of the examples", fontsize=9)


def _histogram(axes: Any, name: str, values: NDArray[np.float64]) -> None:
    low, high = float(values.min()), float(values.max())
    is_count = name.endswith("sections")
    bins = np.arange(low, high + 2) - 0.5 if is_count else 30 if high > low else 1
    axes.hist(values, bins=bins, color="#2166ac", rwidth=0.8 if is_count else None)
    if is_count:
        axes.set_xlim(low - 1, high + 1)
    axes.set_title(f"{name}\n{low:.4g} … {high:.4g}, mean {values.mean():.4g}, n {len(values)}", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.locator_params(axis="x", integer=is_count, nbins=6)
