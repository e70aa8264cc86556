"""zarr stores, version 2 and 3: plain arrays, groups of arrays, OME-NGFF images."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise, product
from typing import Any

from elektronn.errors import DataError, at
from elektronn.volumes.address import Address
from elektronn.volumes.ngff import level_facts, levels, multiscale, ngff
from elektronn.volumes.stored import Array, Facts, Plan, Stored, key_of, reading
from elektronn.volumes.zarr_direct import Direct

DAMAGE = (ArithmeticError, AttributeError, IndexError, MemoryError, TypeError)
"""What damaged metadata also leads to."""


@contextmanager
def open_zarr(address: Address) -> Iterator[tuple[Stored, Facts]]:
    """An array of a store and what the store says about it; without a key the finest level of the image.

    Raises:
        DataError: no zarr store, no such key, metadata that cannot be understood.
    """
    import zarr

    with reading(address, *DAMAGE):
        node: Any = zarr.open(address.path, mode="r")
        facts: dict[str, Any] = {**node.attrs, **node.attrs.get("elektronn", {})}
        if isinstance(node, zarr.Group):
            node, more = _array(address, node)
            facts |= more
        elif address.key:
            raise DataError(f"{address.path}: is an array itself and has no key '{address.key}'; leave the key out")
        stored = Direct(node)
    yield stored, facts


def _array(address: Address, group: Any) -> tuple[Any, Facts]:
    """The array that is meant, and what it, and the multiscale image that it is a level of, say."""
    import zarr

    if not address.key and (image := multiscale(group.attrs)):
        return _level(address, group, image, levels(image)[0])
    found = group.get(address.key or "0")
    if isinstance(found, zarr.Array):
        return _named(address, group, found)
    if isinstance(found, zarr.Group) and (image := multiscale(found.attrs)):
        return _level(address, found, image, levels(image)[0])
    # groups are only listed when the array is not where it should be: that is slow, and warns about other files
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        names = sorted(name for name, item in group.members(max_depth=None) if isinstance(item, zarr.Array))
    return _named(address, group, group[key_of(address, names)])


def _named(address: Address, group: Any, array: Any) -> tuple[Any, Facts]:
    """An array, with what is known of it where it is a level of the image of a group above it."""
    names = array.path.split("/")
    for depth in range(len(names)):
        above = group.get("/".join(names[:depth])) if depth else group
        image, path = multiscale(above.attrs if above is not None else {}), "/".join(names[depth:])
        if image and path in levels(image):
            return _level(address, above, image, path)
    return array, dict(array.attrs)


def _level(address: Address, group: Any, image: Mapping[str, Any], path: str) -> tuple[Any, Facts]:
    array = group[path]
    with at(str(address)):
        return array, {**group.attrs, **array.attrs, **level_facts(image, path)}


@contextmanager
def make_zarr(plan: Plan) -> Iterator[Shardwise]:
    """A new OME-NGFF store with one level (key ``0`` if none is given): 0.5 is zarr version 3, 0.4 version 2."""
    import zarr

    key, version = plan.key or "0", plan.layout.removeprefix("ngff") or "0.5"
    group = zarr.open_group(plan.part, mode="w", zarr_format=2 if version == "0.4" else 3)
    group.attrs.update({**ngff(plan.facts, key, len(plan.shape), version), "elektronn": dict(plan.facts)})
    yield Shardwise(new_array(group, key, plan))


def new_array(group: Any, key: str, plan: Plan) -> Any:
    """An empty array in a group, in the version of the group; ``part``, ``key``, ``facts`` and ``layout`` do not matter."""
    lead = (1,) * (len(plan.shape) - 3)
    # NGFF 0.4 wants a folder for each axis; there are no shards
    old: dict[str, Any] = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    options = old if group.metadata.zarr_format == 2 else _sharded(plan, lead)
    return group.create_array(key, shape=plan.shape, dtype=plan.dtype, chunks=lead + plan.chunks, **options)


def _sharded(plan: Plan, lead: tuple[int, ...]) -> dict[str, Any]:
    """Up to 4 chunks along each axis in one file."""
    from zarr.codecs import ZstdCodec

    shards = tuple(c * max(1, min(4, -(-n // c))) for c, n in zip(plan.chunks, plan.shape[-3:]))
    packed = ZstdCodec(level=1, checksum=True)  # a bit that has changed is told when the chunk is read
    return {"compressors": packed, "shards": lead + shards, "dimension_names": list(plan.axes)}


class Shardwise:
    """A zarr array that is written one file after the other.

    The library writes several at once and does not wait for the others when one fails: on a full disk they would
    make files in a store that has just been removed.
    """

    def __init__(self, array: Any) -> None:
        self.array = array

    def __setitem__(self, index: tuple[slice, ...], values: Array) -> None:
        spans = [part.indices(n)[:2] for part, n in zip(index, self.array.shape)]
        extent = self.array.shards or self.array.chunks
        edges = [[a, *range((a // s + 1) * s, b, s), b] for (a, b), s in zip(spans, extent)]
        for box in product(*(pairwise(stops) for stops in edges)):
            part = tuple(slice(a - first, b - first) for (a, b), (first, _) in zip(box, spans))
            self.array[tuple(slice(a, b) for a, b in box)] = values[part]
