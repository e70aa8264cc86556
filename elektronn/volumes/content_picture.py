"""The picture of a check by content: correlation over shifts, and a section with the boundary as given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.artefacts import writing
from elektronn.axes import Size
from elektronn.volumes.content import Verdict
from elektronn.volumes.registration import centre

EDGE = 256
"""Edge of the part of the section that is shown, voxels."""


def draw(verdict: Verdict, image: NDArray[Any], boundary: NDArray[Any], path: Path) -> None:
    """Write a PNG: correlation over (y, x) at the best z, over z at the best (y, x), and an overlay.

    Args:
        verdict: what :func:`elektronn.volumes.content.content_check` found for these two.
        image: zyx.
        boundary: zyx, 1 boundary; concentric with the image.
        path: the PNG; appears whole.

    Raises:
        StorageError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    title = figure.suptitle(f"{verdict.state.upper()}: {verdict.sentence}", fontsize=10, wrap=True)
    title.set_color("black" if verdict.state == "aligned" else "firebrick")
    over_section, over_z, overlay = figure.subplots(1, 3, width_ratios=(1.1, 0.8, 1.2))
    _over_section(verdict, figure, over_section)
    _over_z(verdict, over_z)
    _overlay(image, boundary, overlay)
    with writing(path) as part:
        figure.savefig(part, format="png", dpi=110)


def _reach(verdict: Verdict) -> Size:
    return Size(*(n // 2 for n in verdict.surface.shape))


def _nearest(verdict: Verdict) -> tuple[int, ...]:
    """Index of the best whole shift in the surface."""
    return tuple(min(max(round(s) + r, 0), 2 * r) for s, r in zip(verdict.shift, _reach(verdict)))


def _over_section(verdict: Verdict, figure: Any, axes: Any) -> None:
    reach, best = _reach(verdict), _nearest(verdict)
    limit = float(np.abs(verdict.surface).max()) or 1.0
    extent = (-reach.x - 0.5, reach.x + 0.5, reach.y + 0.5, -reach.y - 0.5)
    shown = axes.imshow(verdict.surface[best[0]], cmap="RdBu_r", vmin=-limit, vmax=limit, extent=extent)
    axes.plot(0, 0, "o", mfc="none", mec="black", ms=11, label="no shift")
    axes.plot(verdict.shift[2], verdict.shift[1], "x", color="gold", mew=2.5, ms=9, label="best match")
    turn = "as given" if verdict.turn.is_identity else f"after: {verdict.turn}"
    axes.set(title=f"labels {turn}; z shift {round(verdict.shift[0])}", xlabel="shift along x, voxels")
    axes.set_ylabel("shift along y, voxels")
    axes.locator_params(integer=True)
    axes.legend(loc="upper right", fontsize=8)
    figure.colorbar(shown, ax=axes, label="correlation", shrink=0.8)


def _over_z(verdict: Verdict, axes: Any) -> None:
    reach, best = _reach(verdict), _nearest(verdict)
    axes.plot(range(-reach.z, reach.z + 1), verdict.surface[:, best[1], best[2]], "o-", color="black")
    axes.axvline(0, color="grey", lw=1, label="no shift")
    axes.axvline(verdict.shift[0], color="goldenrod", lw=1.5, ls="--", label="best match")
    axes.axhline(0, color="lightgrey", lw=1)
    axes.set(
        title=f"at y, x shift {round(verdict.shift[1])}, {round(verdict.shift[2])}", xlabel="shift along z, sections"
    )
    axes.set_ylabel("correlation")
    axes.locator_params(axis="x", integer=True)
    axes.legend(fontsize=8)


def _overlay(image: NDArray[Any], boundary: NDArray[Any], axes: Any) -> None:
    found = centre(Size(*image.shape), Size(*boundary.shape))
    origin, boundary = found.origin, boundary[found.label_box.slices]
    section = len(boundary) // 2
    part = tuple(slice((n - min(n, EDGE)) // 2, (n + min(n, EDGE)) // 2) for n in boundary.shape[1:])
    y, x = (slice(p.start + max(o, 0), p.stop + max(o, 0)) for p, o in zip(part, origin[1:]))
    axes.imshow(image[section + max(origin.z, 0), y, x], cmap="gray")
    wall = boundary[section][part] == 1
    if 0 < wall.sum() < wall.size:
        axes.contour(wall, levels=[0.5], colors="orangered", linewidths=0.9)
    axes.set(title=f"section {section} with the boundary as given", xlabel="x, voxels", ylabel="y, voxels")
