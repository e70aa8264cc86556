"""Pictures that a person asks for while a training runs: an example of a batch, filters of a layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.artefacts import writing


def draw_batch(
    image: NDArray[np.float32],
    labels: NDArray[np.float32],
    offset: tuple[int, int],
    stride: tuple[int, int],
    picture: Path,
) -> None:
    """Image | labels where they lie | both, as a PNG.

    Args:
        image: ``(y, x)``.
        labels: ``(y', x')`` at the outputs; −1 = ignore.
        offset, stride: of the outputs in the image, yx.
        picture: file to write.
    """
    placed = _placed(labels, offset, stride, image.shape)
    known = np.isfinite(placed)
    overlay = np.where(known, 0.75 * image + 0.25 * (1 - np.nan_to_num(placed)), image)
    figure = _figure((12, 4.3))
    panels = ((image, "data"), (np.where(known, placed, 0), "labels"), (overlay, "overlay"))
    for axes, (values, title) in zip(figure.subplots(1, 3), panels):
        axes.imshow(values, cmap="gray", interpolation="nearest")
        axes.set_title(title)
        axes.set_axis_off()
    _save(figure, picture)


def _placed(
    labels: NDArray[np.float32], offset: tuple[int, int], stride: tuple[int, int], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Labels on the grid of the image, each as large as the stride; NaN where there are none or they are ignored."""
    large = np.repeat(np.repeat(labels.astype(float), stride[0], 0), stride[1], 1)
    large[large < 0] = np.nan
    placed = np.full(shape, np.nan)
    first = [max(o - (s - 1) // 2, 0) for o, s in zip(offset, stride)]
    window = placed[first[0] : first[0] + large.shape[0], first[1] : first[1] + large.shape[1]]
    window[:] = large[: window.shape[0], : window.shape[1]]
    return placed


def draw_filters(weights: NDArray[np.float32], picture: Path) -> None:
    """Filters as a PNG: a row per map, a column per input feature and plane; grey is 0.

    Args:
        weights: ``(maps, features_in, kz, ky, kx)``.
        picture: file to write.
    """
    maps, features, planes, rows, columns = weights.shape
    tiles = weights.reshape(maps, features * planes, rows, columns)
    if rows == columns == 1:
        # a fully connected layer is one matrix
        sheet = weights.reshape(maps, -1)
    else:
        padded = np.pad(tiles, ((0, 0), (0, 0), (1, 0), (1, 0)), constant_values=np.nan)
        sheet = padded.transpose(0, 2, 1, 3).reshape(maps * (rows + 1), -1)
    limit = float(np.abs(weights).max()) or 1.0
    figure = _figure((min(max(sheet.shape[1] / 8, 3), 40), min(max(sheet.shape[0] / 8, 3), 40)))
    axes = figure.subplots()
    axes.imshow(sheet, cmap="gray", vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set_axis_off()
    _save(figure, picture)


def _figure(size: tuple[float, float]) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=size, dpi=100, layout="constrained")


def _save(figure: Any, picture: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with writing(picture) as part:
        FigureCanvasAgg(figure).print_png(part, metadata={"Software": None})  # type: ignore[no-untyped-call]
