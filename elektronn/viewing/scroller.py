"""Panels of sections that scroll together: in a window, or as a picture of some sections."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.artefacts import writing
from elektronn.errors import ConfigError
from elektronn.viewing.sections import Sections

IDS = frozenset({"id", "ids", "ID", "IDs", "seg", "SEG", "Seg", "lab", "label", "Label"})
"""Names of arrays that are drawn as IDs."""
FORWARD, BACK = {"up": 1, "right": 1, "pageup": 10}, {"down": 1, "left": 1, "pagedown": 10}
"""Keys → sections."""
INCHES = 4.0
"""Longest edge of a panel."""
_WINDOW = 12.0, 6.6
"""Largest width and height of a window: that of a small screen, at 100 pixels per inch."""
_MARGIN = 0.5
"""Height of what is written below and above a panel, inches."""


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        name: below it.
        draw: section → pixels ``(y, x)`` or ``(y, x, 3)``.
        options: of matplotlib's ``imshow``.
        tell: voxel z, y, x → what is there, for who points at it; without it the values of the picture are told.
    """

    name: str
    draw: Callable[[int], NDArray[Any]]
    options: Mapping[str, Any] = field(default_factory=dict)
    tell: Callable[[int, int, int], str] | None = None


class Scroller:
    """Shows one section of all panels. Must be kept alive as long as its window is.

    The wheel, the arrow keys, page up and page down move through the sections; the ends are ends. Zoom is common.

    Args:
        figure: an empty figure; its canvas tells of wheel and keys.
        panels: what to show.
        depth: number of sections.
        start: the section at the beginning; by default the middle one.
        toggle: called with a number key; the panels are then drawn again.

    Attributes:
        index: the section that is shown.
    """

    def __init__(
        self,
        figure: Any,
        panels: Sequence[Panel],
        depth: int,
        start: int | None = None,
        toggle: Callable[[int], None] = lambda number: None,
    ) -> None:
        self.figure, self.panels, self.depth, self.toggle = figure, panels, depth, toggle
        rows, columns = _rows_and_columns(len(panels))
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        self.axes = list(grid[: len(panels)])
        for empty in grid[len(panels) :]:
            empty.set_axis_off()
        self.index = depth // 2 if start is None else min(max(start, 0), depth - 1)
        self._shown = [
            axis.imshow(panel.draw(self.index), interpolation="nearest", **panel.options)
            for axis, panel in zip(self.axes, panels)
        ]
        for axis, panel in zip(self.axes, panels):
            axis.set_xlabel(panel.name)
            if panel.tell:
                axis.format_coord = partial(self._pointed_at, panel.tell)
                axis.images[0].format_cursor_data = lambda colour: ""
        self._label()
        figure.canvas.mpl_connect("scroll_event", self.on_scroll)
        figure.canvas.mpl_connect("key_press_event", self.on_key)

    def show(self, index: int) -> None:
        """Go to a section, or to the last one before the end."""
        self.index = min(max(index, 0), self.depth - 1)
        for shown, panel in zip(self._shown, self.panels):
            shown.set_data(panel.draw(self.index))
        self._label()
        self.figure.canvas.draw_idle()

    def _label(self) -> None:
        for axis in self.axes:
            axis.set_ylabel(f"slice {self.index}")

    def _pointed_at(self, tell: Callable[[int, int, int], str], x: float, y: float) -> str:
        return tell(self.index, round(y), round(x))

    def on_scroll(self, event: Any) -> None:
        """Wheel up: the next section; else the one before."""
        self.show(self.index + (1 if event.button == "up" else -1))

    def on_key(self, event: Any) -> None:
        """Arrow and page keys go on and back, ``home`` and ``end`` to the ends, numbers show and hide layers."""
        key = str(event.key)
        if key.isdecimal() and key != "0":
            self.toggle(int(key) - 1)
            self.show(self.index)
        elif key in ("home", "end"):
            self.show(0 if key == "home" else self.depth - 1)
        elif key in FORWARD or key in BACK:
            self.show(self.index + FORWARD.get(key, 0) - BACK.get(key, 0))


def _rows_and_columns(count: int) -> tuple[int, int]:
    """How panels are arranged."""
    columns = math.ceil(math.sqrt(count)) if count > 3 else count
    return math.ceil(count / columns), columns


def _window(count: int, high: float) -> tuple[float, float]:
    """Width and height of a window for panels ``high`` times as high as wide, inches; panels shrink until it fits."""
    rows, columns = _rows_and_columns(count)
    edge = min(INCHES, INCHES / high, _WINDOW[0] / columns, (_WINDOW[1] / rows - _MARGIN) / high)
    return columns * edge, rows * (edge * high + _MARGIN)


def scroll_plot(
    images: Any, names: Sequence[str] | None = None, init_z: int | None = None, figure: Any = None
) -> tuple[Any, Scroller]:
    """Arrays side by side, scrolled together, as in ELEKTRONN2; any number of them.

    Args:
        images: an array ``(z, y, x)`` or ``(z, y, x, 3)``, or several of equal z.
        names: below the panels; those of :data:`IDS` are drawn in the colours of IDs. Default: 0, 1, ….
        init_z: the section at the beginning; by default the middle one.
        figure: to draw into; by default a new one of pyplot.

    Returns:
        The figure and the scroller; keep both.

    Raises:
        ConfigError: no arrays, other numbers of sections or names.

    Source:
        ELEKTRONN2, ``scroll_plot``, which knew 1, 2 and 4 arrays.
    """
    arrays = [images] if hasattr(images, "ndim") else list(images)
    names = [str(number) for number in range(len(arrays))] if names is None else list(names)
    depths = {array.shape[0] for array in arrays}
    if len(depths) != 1 or len(names) != len(arrays):
        raise ConfigError(
            f"{len(arrays)} arrays of {sorted(depths)} sections with {len(names)} names; all need the same number of "
            "sections and a name each"
        )
    panels = [Panel(name, array.__getitem__, _options(name, array)) for name, array in zip(names, arrays)]
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=_window(len(arrays), arrays[0].shape[1] / arrays[0].shape[2]))
    return figure, Scroller(figure, panels, depths.pop(), init_z)


def _options(name: str, array: Any) -> dict[str, Any]:
    """One scale of values for all sections; that of the middle one."""
    if array.ndim == 4:
        return {}
    middle = np.asarray(array[array.shape[0] // 2])
    top = np.asarray(array).max() if name in IDS else np.nanmax(middle)
    return {"cmap": "nipy_spectral" if name in IDS else "gray", "vmin": np.nanmin(middle), "vmax": top}


_NO_WINDOW = "there is no display to open a window on; add --save FILE.png to draw sections into a file"


class Board:
    """The panels of a scene: every layer, and the shown ones on one another; number keys show and hide.

    Args:
        sections: of the scene.
    """

    def __init__(self, sections: Sections) -> None:
        self.sections, layers = sections, sections.scene.layers
        self.shown = {number for number, layer in enumerate(layers) if layer.is_shown}
        voxel = sections.scene.voxel_nm or (1.0, 1.0, 1.0)
        step, (_, y, x) = sections.step, sections.scene.size
        options = {"aspect": voxel[1] / voxel[2], "extent": (-0.5, x - 0.5, y - 0.5, -0.5)}
        note = f", every {step}th voxel" if step > 1 else ""
        self.panels = [
            Panel(
                f"{number + 1}: {layer.name}{note}",
                partial(sections.alone, number),
                options,
                partial(self.tell, frozenset({number})),
            )
            for number, layer in enumerate(layers)
        ]
        if len(layers) > 1:
            tell = partial(self.tell, self.shown)
            self.panels.append(Panel("overlay", lambda z: sections.together(sorted(self.shown), z), options, tell))

    def tell(self, numbers: Set[int], z: int, y: int, x: int) -> str:
        """Place and values of a voxel."""
        told = [f"z {z}", f"y {y}", f"x {x}"]
        for number in sorted(numbers):
            if (value := self.sections.value(number, z, y, x)) is not None:
                shown = f"{value:.4g}" if isinstance(value, float) else str(value)
                told.append(f"{self.sections.scene.layers[number].name} {shown}")
        return ", ".join(told)

    def toggle(self, number: int) -> None:
        """Show a layer in the overlay, or hide it."""
        if number < len(self.sections.scene.layers):
            self.shown ^= {number}


def scroll(sections: Sections, start: int) -> None:
    """Open a window and scroll until it is closed.

    Raises:
        ConfigError: there is no display.
    """
    import matplotlib.pyplot as plt

    if plt.get_backend().lower() == "agg":
        raise ConfigError(_NO_WINDOW)
    board, scene = Board(sections), sections.scene
    high = board.panels[0].options["aspect"] * scene.size.y / scene.size.x
    size = _window(len(board.panels), high)
    try:
        figure = plt.figure(scene.name, figsize=size, layout="constrained")
    except Exception as error:  # each library of windows has errors of its own
        raise ConfigError(f"{_NO_WINDOW} ({str(error).splitlines()[0]})") from error
    numbers = f"1–{len(scene.layers)}" if len(scene.layers) > 1 else "1"
    figure.suptitle(f"wheel, arrow and page keys: sections; {numbers}: layers of the overlay; q: close", fontsize=9)
    kept = Scroller(figure, board.panels, scene.size.z, start, board.toggle)
    # pyplot has meanings of its own for the arrow keys
    with suppress(KeyboardInterrupt), plt.rc_context({"keymap.back": [], "keymap.forward": [], "keymap.home": []}):
        plt.show()
    del kept


def save(sections: Sections, numbers: Sequence[int], picture: Path) -> None:
    """Some sections as a PNG: a row each, every layer and the overlay side by side; no display is needed.

    Raises:
        ConfigError: there is no such section; another kind of picture is asked for.
        StorageError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scene, panels = sections.scene, Board(sections).panels
    if picture.suffix.lower() != ".png":
        raise ConfigError(f"{picture}: the picture is a PNG; name a file that ends .png")
    for z in numbers:
        if not 0 <= z < scene.size.z:
            raise ConfigError(f"section {z}: the volume has the sections 0 to {scene.size.z - 1}")
    high = INCHES * scene.size.y / scene.size.x
    figure = Figure(figsize=(INCHES * len(panels), (high + 0.35) * len(numbers) + 0.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(scene.name, fontsize=10)
    for z, row in zip(numbers, figure.subplots(len(numbers), len(panels), squeeze=False)):
        for axis, panel in zip(row, panels):
            axis.imshow(panel.draw(z), interpolation="nearest", **panel.options)
            axis.set_title(f"{panel.name}, z = {z}", fontsize=8)
            axis.tick_params(labelsize=6)
    with writing(picture) as file:
        figure.savefig(file, format="png", metadata={"Software": None})
