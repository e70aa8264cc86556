"""The honest-split guard: does the network see the same voxels when it learns and when it is judged?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from elektronn.axes import Box, Size
from elektronn.errors import ConfigError
from elektronn.report.content import Claim, Neighbours, ReportVolume
from elektronn.volumes.address import Address, parse_address

NAME = "Honest split"
ROLES = ("train", "valid", "test")
LEARNT = "learnt"
"""Role of what the model card says was trained on."""
ENDLESS = 2**40
"""Extent of a volume that nobody measured."""


class Reach(NamedTuple):
    """Field of view of the network, and the place of its output in it, zyx, voxels."""

    field: Size
    offset: Size


class Region(NamedTuple):
    """Labelled voxels at which the network is used.

    Attributes:
        name, role: of the volume.
        place: identifies the array: digest (or path) of the file, and the key in it.
        file: for sentences.
        box: in the array on disk.
    """

    name: str
    role: str
    place: tuple[str, str]
    file: str
    box: Box

    def __str__(self) -> str:
        if self.role == LEARNT:
            return f"what the model learnt from ('{self.name}' in its card)"
        return f"{self.name} ({self.role})"


def judge_split(volumes: Sequence[ReportVolume], model: Mapping[str, Any]) -> tuple[Claim, tuple[Neighbours, ...]]:
    """Compare every two volumes of different roles.

    The voxels that count are the labelled ones whose whole field of view lies inside the image. Two such voxels share
    part of the image exactly if they lie less than one field of view apart along every axis. Volumes are of one file
    when the digests of their files and the keys in them are equal, whatever the files are called; the same image
    stored anew in another format is not recognised.

    Args:
        volumes: of the run.
        model: its card; ``field`` and ``offset`` say what the network sees, ``data`` what it was trained on.

    Returns:
        The claim, and all pairs that lie in one file.
    """
    known = [volume for volume in volumes if volume.role in ROLES]
    if len({volume.role for volume in known}) < 2:
        return Claim(NAME, "unchecked", ("no two volumes of different roles were given",)), ()
    reach = _reach(model)
    lines, pairs = [], []
    regions = [*_images(known, reach), *_learnt(known, model, reach)]
    for one, other in combinations(regions, 2):
        if not _is_pair(one, other):
            continue
        apart = distance(one.box, other.box)
        found = Neighbours(str(one), str(other), apart, reach.field, all(a < f for a, f in zip(apart, reach.field)))
        pairs.append(found)
        if found.is_close:
            lines.append(_sentence(one, other, found))
    lines += [] if lines else list(_shared_labels(known))
    if lines:
        return Claim(NAME, "broken", tuple(lines)), tuple(pairs)
    if not model.get("field"):
        return Claim(NAME, "unchecked", ("no model card says the field of view; no overlap was found",)), tuple(pairs)
    said = f"parts of one file lie at least the field of view apart, {reach.field} voxels"
    return Claim(NAME, "holds", (said if pairs else f"{len(known)} volumes in files of their own",)), tuple(pairs)


def distance(one: Box, other: Box) -> Size:
    """How far the nearest voxels of two boxes lie apart along each axis; 0 where they overlap, 1 where they touch.

    Example:
        >>> distance(Box(Size(0, 0, 0), Size(4, 9, 9)), Box(Size(4, 0, 20), Size(8, 9, 30)))
        Size(z=1, y=0, x=12)
    """
    gaps = zip(one.start, one.stop, other.start, other.stop)
    return Size(*(max(0, c - b + 1, a - d + 1) for a, b, c, d in gaps))


def _is_pair(one: Region, other: Region) -> bool:
    roles = {one.role, other.role}
    # what was learnt from is the train and valid volumes themselves; only test must be far from it
    return one.place == other.place and len(roles) == 2 and (LEARNT not in roles or "test" in roles)


def _sentence(one: Region, other: Region, found: Neighbours) -> str:
    if max(found.apart) == 0:
        common = Box(
            Size(*map(max, zip(one.box.start, other.box.start))), Size(*map(min, zip(one.box.stop, other.box.stop)))
        )
        return f"{one} and {other} overlap: {one.file} {span(common)} ({common.size} voxels) is in both"
    apart = ", ".join(f"{letter} {n}" for letter, n in zip("zyx", found.apart) if n)
    return (
        f"{one} and {other} lie closer than the field of view: {apart} voxels apart in {one.file}, the field is "
        f"{found.field}, so the network sees the same image voxels for both"
    )


def span(box: Box) -> str:
    """A box in words, both ends included.

    Example:
        >>> span(Box(Size(0, 2, 2), Size(1, 5, 6)))
        'z 0, y 2–4, x 2–5'
    """
    ends = zip("zyx", box.start, box.stop)
    return ", ".join(f"{letter} {a}" if b == a + 1 else f"{letter} {a}–{b - 1}" for letter, a, b in ends)


def _reach(model: Mapping[str, Any]) -> Reach:
    try:
        return Reach(Size(*map(int, model["field"])), Size(*map(int, model["offset"])))
    except (KeyError, TypeError, ValueError):
        return Reach(Size(1, 1, 1), Size(0, 0, 0))


def _images(volumes: Sequence[ReportVolume], reach: Reach) -> Iterator[Region]:
    for volume in volumes:
        if volume.image_size is not None:
            box = _used(_start(volume.image), volume.image_size, volume.ids_size, reach)
            yield Region(volume.name, volume.role, _place(volume.image, volume.sha256), volume.image.path.name, box)


def _learnt(volumes: Sequence[ReportVolume], model: Mapping[str, Any], reach: Reach) -> Iterator[Region]:
    """What the card says was trained on, except what still is a volume to train or validate with."""
    today = {(v.name, v.sha256, v.image.key, v.image.crop) for v in volumes if v.role != "test"}
    files = {v.sha256: v.image.path.name for v in volumes}
    for name, said in (model.get("data") or {}).items():
        try:
            digest, address = str(said["image"]), parse_address(str(said["parts"]).rpartition(" ")[0])
        except (ConfigError, KeyError, TypeError):
            continue  # a class of the user's own, not a volume
        if (name, digest, address.key, address.crop) not in today:
            file = files.get(digest, name)
            yield Region(name, LEARNT, (digest, address.key), file, _used(_start(address), _size(address), None, reach))


def _place(address: Address, digest: str) -> tuple[str, str]:
    return digest or str(address.path), address.key


def _start(address: Address) -> Size:
    low = [a or 0 for a, _ in address.crop]
    return Size(*low, *([0] * (3 - len(low))))


def _size(address: Address) -> Size:
    extent = [ENDLESS if b is None else b - (a or 0) for a, b in address.crop]
    return Size(*extent, *([ENDLESS] * (3 - len(extent))))


def _used(start: Size, image: Size, labels: Size | None, reach: Reach) -> Box:
    """Labelled voxels with their whole field of view inside the image; all labelled ones if there are none."""
    marked = image if labels is None else labels
    low = [s + (n - m) // 2 for s, n, m in zip(start, image, marked)]
    high = [a + m for a, m in zip(low, marked)]
    first = [max(a, s + o) for a, s, o in zip(low, start, reach.offset)]
    last = [min(b, s + n - f + 1 + o) for b, s, n, f, o in zip(high, start, image, *reach)]
    whole = all(a < b for a, b in zip(first, last))
    return Box(Size(*first), Size(*last)) if whole else Box(Size(*low), Size(*high))


def _shared_labels(volumes: Sequence[ReportVolume]) -> Iterator[str]:
    """Labels that two volumes share though their images are different files."""
    none = Reach(Size(1, 1, 1), Size(0, 0, 0))
    regions = [
        Region(
            v.name, v.role, _place(v.ids, v.ids_sha256), v.ids.path.name, _used(_start(v.ids), v.ids_size, None, none)
        )
        for v in volumes
        if v.ids is not None and v.ids_size is not None
    ]
    for one, other in combinations(regions, 2):
        if one.place == other.place and one.role != other.role and max(distance(one.box, other.box)) == 0:
            yield f"{one} and {other} have labels in common: {one.file} {span(one.box)} and {span(other.box)}"
