"""What a TIFF image says about itself: order of the axes, voxel size (ImageJ and OME metadata)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from elektronn.volumes.stored import Facts

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

NANOMETRES = {
    "pm": 1e-3,
    "Å": 0.1,
    "nm": 1.0,
    "um": 1e3,
    "µm": 1e3,
    "μm": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "micrometer": 1e3,
    "nanometer": 1.0,
    "mm": 1e6,
    "cm": 1e7,
    "m": 1e9,
    "inch": 25.4e6,
}
"""Unit as ImageJ and OME write it → nanometres."""
_LETTERS = {"X": "x", "Y": "y", "Z": "z", "C": "c", "S": "c", "T": "t"}


def facts_of(file: TiffFile, series: TiffPageSeries) -> Facts:
    """``axes`` (letters; ``t`` for time) and, where all three are known, ``voxel_nm`` (zyx) of an image of a file."""
    found = _imagej(file, series) or _ome(file, series)
    voxel = {"voxel_nm": found} if found and all(0 < n < math.inf for n in found) else {}
    return {"axes": axes_of(series.axes), **voxel}


def axes_of(axes: str) -> str:
    """The axes of a TIFF image in our letters: what is not named is a section, then a channel.

    Example:
        >>> axes_of("QYX"), axes_of("TZCYX"), axes_of("YXS"), axes_of("QQYX")
        ('zyx', 'tzcyx', 'yxc', 'czyx')
    """
    free = [letter for letter in "cz" if letter not in (_LETTERS.get(axis) for axis in axes)]
    return "".join(_LETTERS.get(axis) or (free.pop() if free else "t") for axis in reversed(axes))[::-1]


def _imagej(file: TiffFile, series: TiffPageSeries) -> tuple[float, ...] | None:
    said = file.imagej_metadata or {}
    unit = NANOMETRES.get(str(said.get("unit", "")).replace("\\u00B5", "µ"))
    if not unit or "spacing" not in said:
        return None
    # stored as pixels per unit
    x, y = (float(n) for n in series.keyframe.resolution)
    return tuple(unit * n for n in (float(said["spacing"]), 1 / y if y else 0, 1 / x if x else 0))


def _ome(file: TiffFile, series: TiffPageSeries) -> tuple[float, ...] | None:
    from tifffile import xml2dict

    if not file.ome_metadata:
        return None
    images: Any = xml2dict(file.ome_metadata)["OME"].get("Image", [])
    images = images if isinstance(images, list) else [images]
    said = images[min(file.series.index(series), len(images) - 1)].get("Pixels", {}) if images else {}
    units = [NANOMETRES.get(said.get(f"PhysicalSize{letter}Unit", "µm"), 0.0) for letter in "ZYX"]
    return tuple(float(said.get(f"PhysicalSize{letter}", 0)) * unit for letter, unit in zip("ZYX", units))
