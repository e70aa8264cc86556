"""What a prediction will do, part by part: decided once, written down, and the same for all who work on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from elektronn.artefacts import MARKS, code_digest, fingerprint
from elektronn.axes import Box, Size, blocks
from elektronn.geometry import Geometry
from elektronn.network.document import Document
from elektronn.prediction.pyramid import Level
from elektronn.prediction.settings import PredictSettings
from elektronn.prediction.tiles import choose_tile
from elektronn.settings import plain
from elektronn.volumes.address import Address

CODE = ("axes", "geometry", "network", "prediction")
"""Rooms whose code has a numeric effect on prediction."""

CHUNKS = Size(32, 64, 64)
SHARD = Size(*(4 * n for n in CHUNKS))
"""What a store keeps in one file. Blocks are whole files, so that no file is written by two processes."""
LARGEST = 4
"""Files along a block, at most."""

WITHOUT_EFFECT = ("device", "threads", "certificate", "missing_chunks", "memory_gb")
"""Settings that may differ between those who work on one output; its tiles are those of who came first."""


@dataclass(frozen=True)
class Plan:
    """The blocks of an output and what they are made of.

    Attributes:
        size: of the output, zyx.
        block: computed, written and marked as one; whole files of the store.
        tile: computed at once, inside a block.
        facts: model, image, its voxel size, settings and code that make it: plain data.
        levels: coarser levels to be made of it.
    """

    size: Size
    block: Size
    tile: Size
    facts: Mapping[str, Any]
    levels: tuple[Level, ...] = ()

    @classmethod
    def of(
        cls,
        document: Document,
        geometry: Geometry,
        size: Size,
        settings: PredictSettings,
        facts: Mapping[str, Any],
        room: float,
    ) -> Plan:
        """The plan for an output of ``size`` without coarser levels.

        Args:
            document, geometry: of the network.
            size: of the output, zyx.
            settings: as given.
            facts: say which model and image, and the size of its voxels.
            room: for one tile, bytes.
        """
        block = block_for(geometry, size)
        tile = choose_tile(document, geometry, Size(*map(min, size, block)), room, size.voxels)
        effective = {name: value for name, value in plain(settings).items() if name not in WITHOUT_EFFECT}
        return cls(size, block, tile, {**facts, "settings": effective, "code": code_digest(*CODE)})

    @cached_property
    def boxes(self) -> list[Box]:
        """All blocks, in the order of the volume."""
        return blocks(self.size, self.block)

    def tiles(self, box: Box) -> list[Box]:
        """The tiles of a block, in its own coordinates."""
        return blocks(box.size, self.tile)

    @cached_property
    def names(self) -> list[str]:
        """Names of the blocks, as claims have them."""
        return [f"0-{index:07d}" for index in range(len(self.boxes))]

    def parts(self, level: int) -> dict[str, Box]:
        """The blocks of a coarser level (1, 2, …) by their names."""
        boxes = blocks(self.levels[level - 1].size, self.block)
        return {f"{level}-{index:07d}": box for index, box in enumerate(boxes)}

    @cached_property
    def all_names(self) -> list[str]:
        """Names of the blocks of all levels."""
        return [*self.names, *(name for level in range(len(self.levels)) for name in self.parts(level + 1))]

    @property
    def plain(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {
            "size": list(self.size),
            "block": list(self.block),
            "tile": list(self.tile),
            "levels": [list(level.scale) for level in self.levels],
            **self.facts,
        }

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of all that decides about the bytes of the output."""
        return fingerprint(self.plain, [])

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """What another plan (plain data) has different, in words; tiles may differ."""
        ours, theirs = {**self.plain, "tile": other.get("tile")}, dict(other)
        mine, his = ours.pop("settings"), theirs.pop("settings", {})
        changed = sorted(name for name in mine.keys() | his.keys() if mine.get(name) != his.get(name))
        found = [f"predict.{name} ({his.get(name)}, now {mine.get(name)})" for name in changed]
        names = {"model": "model", "image": "image", "voxel_nm": "voxel size", "code": "version of this program"}
        found += [words for name, words in names.items() if ours.get(name) != theirs.get(name)]
        return found or ([] if ours == theirs else ["sizes"])


def block_for(geometry: Geometry, size: Size) -> Size:
    """Extent of a block, zyx, voxels: of one file of the store, or of several along axes where the field is wide.

    A block is computed from its surroundings too: the wider the field of view, the larger a block must be so that
    not most of the work is done twice.
    """
    files = [1, 1, 1]
    while True:
        block = Size(*(s * n for s, n in zip(SHARD, files)))
        shares = [(b + f - 1) / b if b < n else 1.0 for b, f, n in zip(block, geometry.field, size)]
        worst = max(range(3), key=lambda axis: shares[axis])
        if shares[worst] < 1.25 or 2 * files[0] * files[1] * files[2] > LARGEST:
            return block
        files[worst] *= 2


def stamp(address: Address) -> str:
    """Names, sizes and times of an image's files: tells whether it may have changed, without reading terabytes."""
    lines = []
    for path in address.files:
        inside = sorted(f for f in path.rglob("*") if f.is_file() and f.name not in MARKS) if path.is_dir() else [path]
        lines += [
            f"{_inner(file, path)}\0{s.st_size}\0{s.st_mtime_ns}\0{s.st_ctime_ns}\n"
            for file in inside
            for s in [file.stat()]
        ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _inner(file: Path, path: Path) -> str:
    return file.name if file == path else file.relative_to(path).as_posix()
