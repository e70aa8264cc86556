"""How a volume is named: ``FILE``, ``FILE:KEY``, ``FILE:KEY[z0:z1,y0:y1,x0:x1]``, each with ``@axes`` if needed."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from elektronn.artefacts import digest
from elektronn.axes import Box, Size, check_order
from elektronn.errors import ConfigError, DataError

FORMATS = {
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".hdf": "hdf5",
    ".zarr": "zarr",
    ".npy": "npy",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".tif*": "tiff",
}
"""Ending → format; the last one is that of a folder of sections."""
LAYOUTS = ("ngff0.4", "ngff0.5")
"""Layouts of a zarr store that an output may ask for."""

_SHAPE = re.compile(
    r"^(?P<file>.*?(?:\.(?:h5|hdf5|hdf|zarr|npy|tif|tiff|tif\*)/?|/))(?::(?P<key>[^\[\]@]+))?"
    r"(?:\[(?P<crop>[^\]]*)\])?(?:@(?P<mark>[\w.]+))?$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Address:
    """A file, an array in it, and the part of it that is meant (spatial axes zyx, voxels).

    Attributes:
        path: the file, the directory of a zarr store, or a pattern (``*``, ``?``) of single-section TIFF files.
        key: the array's name inside the file; empty for ``.npy`` and for a zarr that is itself an array.
        axes: order of the axes on disk, such as ``xyz``; empty: what the file says, else zyx or czyx.
        crop: up to three ``start:stop`` pairs along z, y, x; ``None`` stands for an open end.
        layout: ``ngff0.4`` or ``ngff0.5`` for a zarr store to be made; empty: 0.5.
    """

    path: Path
    key: str = ""
    crop: tuple[tuple[int | None, int | None], ...] = ()
    axes: str = ""
    layout: str = ""

    @property
    def format(self) -> str:
        """``hdf5``, ``zarr``, ``npy`` or ``tiff``."""
        return FORMATS[self.path.suffix.lower()]

    @property
    def is_stack(self) -> bool:
        """Whether the name stands for several files, one section each."""
        return any(sign in self.path.name for sign in "*?")

    @property
    def files(self) -> list[Path]:
        """The files that hold the volume and are there; of a stack its sections, in the order of their numbers."""
        if not self.is_stack:
            return [self.path] if self.path.exists() else []
        if not self.path.parent.is_dir():
            return []
        pattern = self.path.name.lower()
        inside = [p for p in self.path.parent.iterdir() if p.name[0] != "." and fnmatch(p.name.lower(), pattern)]
        return sorted(inside, key=_natural)

    @property
    def digest(self) -> str:
        """sha256 of the file's bytes; of a stack, of the names and bytes of its sections."""
        if not self.is_stack:
            return digest(self.path)
        listed = "".join(f"{file.name}\0{digest(file)}\n" for file in self.files)
        return hashlib.sha256(listed.encode()).hexdigest()

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
        key, part, mark = (
            sign + text if text else ""
            for sign, text in ((":", self.key), ("[", self._part), ("@", self.axes or self.layout))
        )
        return f"{self.path}{key}{part + ']' if part else ''}{mark}"


def _natural(path: Path) -> list[str | tuple[int, str]]:
    """Sorts ``s9`` before ``s10``; even entries are text, odd ones numbers."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), part) if i % 2 else part for i, part in enumerate(parts)]


def parse_address(text: str) -> Address:
    """Read an address.

    Behind ``@`` stands the order of the axes on disk, or, for a zarr store to be made, ``ngff0.4``. A folder
    ``FOLDER/`` means the TIFF files in it.

    Raises:
        ConfigError: unknown ending or unreadable crop.

    Example:
        >>> parse_address("a.h5:raw[0:128]")
        Address(path=PosixPath('a.h5'), key='raw', crop=((0, 128),), axes='', layout='')
        >>> str(parse_address("a.zarr:0[:,5:]@xyz"))
        'a.zarr:0[:,5:]@xyz'
        >>> str(parse_address("sections/"))
        'sections/*.tif*'
    """
    found = _SHAPE.match(text)
    if not found:
        raise ConfigError(
            f"volume '{text}': write FILE, FILE:KEY or FILE:KEY[z0:z1,y0:y1,x0:x1] with a file ending "
            f".h5, .hdf5, .hdf, .zarr, .npy, .tif or .tiff, or FOLDER/ with TIFF files in it"
        )
    path = Path(found["file"]).expanduser()
    if path.suffix.lower() not in FORMATS:
        path /= "*.tif*"
    mark = found["mark"] or ""
    if any(sign in path.name for sign in "*?") and FORMATS[path.suffix.lower()] != "tiff":
        raise ConfigError(f"volume '{text}': only TIFF files can be the sections of one volume; name one file")
    address = Address(path, (found["key"] or "").strip("/"), _crop(text, found["crop"]))
    return _marked(text, address, mark) if mark else address


def _marked(text: str, address: Address, mark: str) -> Address:
    """The address with what stands behind its ``@``."""
    if "." not in mark:
        return replace(address, axes=check_order(mark))
    if mark not in LAYOUTS or address.format != "zarr":
        raise ConfigError(
            f"volume '{text}': unknown layout '{mark}'; write an order of axes, or {' or '.join(LAYOUTS)} "
            "behind a .zarr to be made"
        )
    return replace(address, layout=mark)


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
