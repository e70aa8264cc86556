"""The table of volumes, ``data/volumes.tsv``: one volume per row, tab-separated, a header line first."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from elektronn.axes import check_order
from elektronn.errors import ConfigError, DataError, at
from elektronn.registry import nearest
from elektronn.settings import Field, Settings
from elektronn.volumes.address import Address, parse_address

COLUMNS = ("name", "image", "labels", "axes", "voxel_nm", "role")
ROLES = ("train", "valid", "test", "predict")
Length = Annotated[float, Field(gt=0)]
VARIABLE = "ELEKTRONN_DATA"
"""Environment variable that names the folder of the data; stands before the setting ``data_root``. In the table,
a path may start with ``$ELEKTRONN_DATA/``; other relative paths start from the directory of the command."""


class VolumeEntry(Settings):
    """One row of the table, written in the parameter file itself."""

    name: str
    """Letters, digits and underscores; names files."""
    image: str
    """``FILE:KEY`` of the image."""
    labels: str = ""
    """``FILE:KEY`` of IDs or classes; empty for role ``predict``."""
    axes: str = ""
    """Order of the axes on disk, such as ``xyz``; empty: what the file says, else zyx."""
    voxel_nm: tuple[Length, Length, Length] | None = None
    """Voxel size zyx, nanometres."""
    role: Literal["train", "valid", "test", "predict"]


@dataclass(frozen=True)
class Row:
    """One volume.

    Attributes:
        name: letters, digits and underscores; names files.
        image: ``FILE:KEY`` of the image, with the order of its axes.
        labels: ``FILE:KEY`` of IDs or classes, with theirs (the column's, without ``c``); ``None`` for role ``predict``.
        voxel_nm: voxel size zyx; ``None`` if the cell is empty.
        role: ``train``, ``valid``, ``test`` or ``predict``.
    """

    name: str
    image: Address
    labels: Address | None
    voxel_nm: tuple[float, float, float] | None
    role: str


def data_root(setting: str) -> Path:
    """The folder that ``$ELEKTRONN_DATA`` stands for in the table."""
    return Path(os.environ.get(VARIABLE) or setting).expanduser().absolute()


def rows_of(said: str | Sequence[VolumeEntry], root: Path) -> list[Row]:
    """The volumes of a parameter file: from the table that it names, or its own entries.

    Raises:
        DataError, ConfigError: as :func:`read_table`.
    """
    if isinstance(said, str):
        return read_table(Path(said), root)
    if not said:
        raise ConfigError("volumes: the list is empty; add an entry with name, image, labels and role")
    rows = []
    for i, entry in enumerate(said):
        voxel = "" if entry.voxel_nm is None else ",".join(map(str, entry.voxel_nm))
        with at(f"volumes.{i}"):
            rows.append(_row_of([entry.name, entry.image, entry.labels, entry.axes, voxel, entry.role], root))
    with at("volumes"):
        _check_names(rows)
    return rows


def read_table(path: Path, root: Path) -> list[Row]:
    """Read the table; ``$ELEKTRONN_DATA`` in it stands for ``root``.

    Raises:
        DataError: unreadable.
        ConfigError: no such file, wrong columns, no rows, a name twice, a cell that cannot be read; each with its line.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; write the table of volumes or correct `volumes` in params.yaml")
    try:
        # spreadsheets put an invisible mark before the first letter
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); write it as tab-separated text") from error
    kept = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    cells = [line.split("\t") for _, line in kept]
    with at(str(path)):
        _check_header(cells[0] if cells else [])
        if len(cells) < 2:
            raise ConfigError("the table has no volumes; add a row: " + ", ".join(COLUMNS))
        rows = [_row(number, cell, root) for (number, _), cell in zip(kept[1:], cells[1:])]
        _check_names(rows)
    return rows


def _check_header(header: list[str]) -> None:
    if len(header) == 1 and header[0] not in COLUMNS:
        raise ConfigError(
            f"the first line is no row of tab-separated columns; write {', '.join(COLUMNS)}, with tabs between"
        )
    for name in header:
        if name not in COLUMNS:
            raise ConfigError(f"unknown column '{name}': {nearest(name, COLUMNS)}")
    if missing := [name for name in COLUMNS if name not in header]:
        raise ConfigError(f"column '{missing[0]}' is missing; the columns are {', '.join(COLUMNS)}, separated by tabs")
    if header != list(COLUMNS):
        raise ConfigError(f"columns stand in the order {', '.join(header)}; write {', '.join(COLUMNS)}")


def _row(number: int, cells: list[str], root: Path) -> Row:
    with at(f"line {number}"):
        if len(cells) != len(COLUMNS):
            raise ConfigError(f"has {len(cells)} cells, expected {len(COLUMNS)}; separate them by single tabs")
        return _row_of(cells, root)


def _row_of(cells: list[str], root: Path) -> Row:
    name, image, labels, axes, voxel, role = (cell.strip() for cell in cells)
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise ConfigError(f"name '{name}': use letters, digits and underscores only")
    if role not in ROLES:
        raise ConfigError(f"role '{role}': {nearest(role, ROLES)}")
    if not image:
        raise ConfigError(f"volume '{name}' has no image; fill the cell")
    if not labels and role != "predict":
        raise ConfigError(f"volume '{name}' has role {role} but no labels; fill the cell or use role predict")
    return Row(
        name,
        _address(image, axes, root),
        _address(labels, axes.replace("c", ""), root) if labels else None,
        _voxel(voxel),
        role,
    )


def _address(text: str, axes: str, root: Path) -> Address:
    """The address; what it says itself about axes counts before the column."""
    address = parse_address(text.replace(f"${VARIABLE}", str(root), 1) if text.startswith(f"${VARIABLE}/") else text)
    return replace(address, axes=check_order(axes)) if axes and not address.axes else address


def _voxel(cell: str) -> tuple[float, float, float] | None:
    if not cell:
        return None
    try:
        z, y, x = (float(part) for part in cell.split(","))
    except ValueError:
        raise ConfigError(f"voxel_nm '{cell}': write three numbers z,y,x in nanometres, such as 20,10,10") from None
    if not all(0 < length < math.inf for length in (z, y, x)):
        raise ConfigError(f"voxel_nm '{cell}': all three must be above 0, such as 20,10,10")
    return z, y, x


def _check_names(rows: list[Row]) -> None:
    names = [row.name for row in rows]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"volume '{name}' stands in the table twice; give each its own name")
