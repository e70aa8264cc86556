"""How a volume is named: ``FILE``, ``FILE:KEY``, ``FILE:KEY[z0:z1,y0:y1,x0:x1]``, each with ``@axes`` if needed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from elektronn.axes import Box, Size, check_order
from elektronn.errors import ConfigError, DataError

FORMATS = {".h5": "hdf5", ".hdf5": "hdf5", ".hdf": "hdf5", ".zarr": "zarr", ".npy": "npy"}
_SHAPE = re.compile(
    r"^(?P<file>.*?\.(?:h5|hdf5|hdf|zarr|npy))(?::(?P<key>[^\[\]@]+))?(?:\[(?P<crop>[^\]]*)\])?(?:@(?P<axes>\w+))?$"
)


@dataclass(frozen=True)
class Address:
    """A file, an array in it, and the part of it that is meant (spatial axes zyx, voxels).

    Attributes:
        path: the file, or the directory of a zarr store.
        key: the array's name inside the file; empty for ``.npy`` and for a zarr that is itself an array.
        axes: order of the axes on disk, such as ``xyz``; empty: what the file says, else zyx or czyx.
        crop: up to three ``start:stop`` pairs along z, y, x; ``None`` stands for an open end.
    """

    path: Path
    key: str = ""
    crop: tuple[tuple[int | None, int | None], ...] = ()
    axes: str = ""

    @property
    def format(self) -> str:
        """``hdf5``, ``zarr`` or ``npy``."""
        return FORMATS[self.path.suffix]

    def box(self, size: Size) -> Box:
        """The meant part of a volume of ``size`` (zyx).

        Raises:
            DataError: the part is empty or reaches outside.
        """
        pairs = [*self.crop, *([(None, None)] * (3 - len(self.crop)))]
        box = Box(
            Size(*(0 if a is None else a for a, _ in pairs)),
            Size(*(n if b is None else b for (_, b), n in zip(pairs, size))),
        )
        if box.within(size) != box or min(box.size) < 1:
            raise DataError(
                f"{self}: the part is empty or outside the volume of {size} voxels (zyx); correct [{self._part}]"
            )
        return box

    @property
    def _part(self) -> str:
        return ",".join(f"{'' if a is None else a}:{'' if b is None else b}" for a, b in self.crop)

    def __str__(self) -> str:
        key, part, axes = (
            mark + text if text else "" for mark, text in ((":", self.key), ("[", self._part), ("@", self.axes))
        )
        return f"{self.path}{key}{part + ']' if part else ''}{axes}"


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        ConfigError: unknown ending or unreadable crop.

    Example:
        >>> parse_address("a.h5:raw[0:128]")
        Address(path=PosixPath('a.h5'), key='raw', crop=((0, 128),), axes='')
        >>> str(parse_address("a.zarr:0[:,5:]@xyz"))
        'a.zarr:0[:,5:]@xyz'
    """
    found = _SHAPE.match(text)
    if not found:
        raise ConfigError(
            f"volume '{text}': write FILE, FILE:KEY or FILE:KEY[z0:z1,y0:y1,x0:x1] with a file ending {', '.join(FORMATS)}"
        )
    path = Path(found["file"]).expanduser()
    axes = check_order(found["axes"]) if found["axes"] else ""
    return Address(path, (found["key"] or "").strip("/"), _crop(text, found["crop"]), axes)


def _crop(text: str, crop: str | None) -> tuple[tuple[int | None, int | None], ...]:
    if not crop:
        return ()
    try:
        pairs = [[int(n) if n.strip() else None for n in part.split(":")] for part in crop.split(",")]
        low_high = tuple((low, high) for low, high in pairs)
    except ValueError:
        raise ConfigError(f"volume '{text}': write the part as [z0:z1,y0:y1,x0:x1], whole numbers or nothing") from None
    if len(low_high) > 3 or any(n is not None and n < 0 for pair in low_high for n in pair):
        raise ConfigError(f"volume '{text}': at most three parts (z, y, x), none negative")
    return low_high
