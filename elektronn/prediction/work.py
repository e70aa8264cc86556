"""The working folder of an output: what is finished of it survives any kill, and several processes fill it together.

``OUT.part/`` lies beside OUT and holds ``plan.json`` (what is made of what), ``store.zarr`` (the output as it grows) and
``blocks/`` (claims and marks). When all is done the store becomes OUT by one rename; then ``manifest.json`` is copied to
its place and the folder goes. Wherever this is interrupted, the next process that opens the folder carries on.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.artefacts import digest, digest_of, digests, remove, storage, write_json, write_text
from elektronn.axes import Box, Size
from elektronn.errors import ConfigError, DataError, StorageError
from elektronn.prediction.plan import CHUNKS, Plan
from elektronn.prediction.pyramid import Level, described
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import create_volume
from elektronn.volumes.stored import Plan as ArrayPlan
from elektronn.volumes.zarr_store import Shardwise, new_array

STORE, PLAN, MANIFEST, BLOCKS, OLD = "store.zarr", "plan.json", "manifest.json", "blocks", "replaced"


class Work:
    """The working folder of one output.

    Args:
        out: where the output will be.
    """

    def __init__(self, out: Address) -> None:
        self.out = out
        self.folder = out.path.with_name(out.path.name + ".part")
        self.store, self.blocks = self.folder / STORE, self.folder / BLOCKS
        is_zarr = out.format == "zarr"
        self.address = replace(out, path=self.store) if is_zarr else Address(self.store)
        self.key = self.address.key or "0"
        self._arrays: dict[str, Any] = {}

    def begin(self, plan: Plan, shape: tuple[int, ...], dtype: str, **said: Any) -> Plan:
        """Make the folder, or join those who work in it.

        Returns:
            The plan, with the tiles of those who came first: then every block has the same bytes whoever computes it.

        Raises:
            ConfigError: what is there is made of something else.
            StorageError: disk full or no permission.
        """
        with storage(self.out.path):
            self.folder.mkdir(parents=True, exist_ok=True)
            hidden = self.folder / f"{PLAN}.{uuid.uuid4().hex}"
            write_json(hidden, plan.plain)
            try:
                os.link(hidden, self.folder / PLAN)
            except FileExistsError:
                plan = replace(plan, tile=Size(*self._checked(plan)["tile"]))
            finally:
                hidden.unlink()
        if not self.store.exists():
            self._create(plan.levels, shape, dtype, **said)
        return plan

    def _checked(self, plan: Plan) -> dict[str, Any]:
        """The plan that is there, of the same but for its tiles."""
        try:
            found: dict[str, Any] = json.loads((self.folder / PLAN).read_text(encoding="utf-8"))
        except ValueError:
            found = {}
        if others := plan.differences(found):
            raise ConfigError(
                f"{self.out}: {self.folder} holds unfinished work on it, made with another {', another '.join(others)}; "
                "go on with what it was begun with, name another output, or remove that folder to begin anew"
            )
        return found

    def _create(self, levels: Sequence[Level], shape: tuple[int, ...], dtype: str, **said: Any) -> None:
        """An empty store; of several processes that make one, the first wins."""
        hidden = self.folder / f"{uuid.uuid4().hex}.zarr"
        try:
            with create_volume(replace(self.address, path=hidden), shape, dtype, chunks=CHUNKS, **said):
                pass
            with storage(self.out.path):
                _add(hidden, self.key, levels)
        except StorageError as error:
            error.args = (str(error).replace(str(hidden), str(self.out.path)),)
            raise
        with storage(self.out.path):
            try:
                hidden.rename(self.store)
            except OSError:
                remove(hidden)
                if not self.store.exists():
                    raise

    def array(self, key: str = "") -> Any:
        """An array of the store, to read and to write."""
        key = key or self.key
        if key not in self._arrays:
            self._arrays[key] = _opened(self.store, key)
        return self._arrays[key]

    def write(self, box: Box, values: NDArray[Any], key: str = "") -> dict[str, str | None]:
        """Store ``values`` (zyx or czyx) of whole files, durably.

        Returns:
            What the files hold now: name → sha256; ``None``: nothing but zeros, which make no file.
        """
        array = self.array(key)
        index = (*(slice(0, n) for n in array.shape[:-3]), *box.slices)
        with storage(self.out.path):
            files = [self.store / name for name in self.files(index, key)]
            for file in files:  # a damaged one could not be written over
                file.unlink(missing_ok=True)
            Shardwise(array)[index] = values
            for place in {file.parent for file in files} | set(files):
                with suppress(FileNotFoundError):
                    _flush(place)
        return {file.relative_to(self.store).as_posix(): _sum_of(file) for file in files}

    def files(self, index: tuple[slice, ...], key: str = "") -> list[str]:
        """Names of the files of a part of the array."""
        array = self.array(key)
        extent = array.shards or array.chunks
        spans = [range(part.start // e, -(-part.stop // e)) for part, e in zip(index, extent)]
        places = np.stack(np.meshgrid(*spans, indexing="ij"), -1).reshape(-1, len(spans))
        return [f"{key or self.key}/{array.metadata.encode_chunk_key(tuple(map(int, place)))}" for place in places]

    def read(self, box: Box, key: str = "") -> NDArray[Any]:
        """A box of what is stored, zyx or czyx."""
        values: NDArray[Any] = np.asarray(self.array(key)[(..., *box.slices)])
        return values

    def settle(self, manifest: Path) -> None:
        """Tidy up after one who was interrupted between moving the output to its place and the end."""
        if not self.store.exists() and (self.folder / MANIFEST).exists():
            self._end(manifest)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is finished here, and nobody is at work."""
        return not (self.blocks.is_dir() and any(self.blocks.iterdir()))

    def abandon(self) -> None:
        """Remove the folder, when nothing in it is needed any more."""
        remove(self.folder)

    def sums(self) -> dict[str, str]:
        """sha256 of all files of the store, without what killed writers left."""
        for left in self.store.rglob("*.partial"):
            left.unlink(missing_ok=True)
        return digests(self.store)

    def say(self, facts: Mapping[str, Any]) -> dict[str, str]:
        """Put facts beside the others that the store says about itself.

        Returns:
            sha256 of the files that this may have changed.
        """
        import zarr

        with storage(self.out.path):
            group: Any = zarr.open_group(self.store, mode="r+")
            group.attrs["elektronn"] = {**group.attrs["elektronn"], **facts}
        return {file.name: digest(file) for file in self.store.iterdir() if file.is_file()}

    def publish(self, manifest: Path, facts: Mapping[str, Any], sums: Mapping[str, str]) -> None:
        """Turn the store into the output, and write its manifest.

        Raises:
            StorageError: the output cannot be moved to its place.
        """
        write_json(self.folder / MANIFEST, {"store": self.out.path.name, "sha256": digest_of(sums), **facts})
        with storage(self.out.path):
            for file in (self.store, *self.store.rglob("zarr.json"), *self.store.rglob(".z*")):
                _flush(file)
            if self.out.path.exists():
                remove(self.folder / OLD)
                self.out.path.rename(self.folder / OLD)
            self.store.rename(self.out.path)
            _flush(self.out.path.parent)
        self._end(manifest)

    def _end(self, manifest: Path) -> None:
        with suppress(FileNotFoundError):  # another process does the same
            write_text(manifest, (self.folder / MANIFEST).read_text(encoding="utf-8"))
            for entry in (OLD, BLOCKS, PLAN, MANIFEST):
                remove(self.folder / entry)
            shutil.rmtree(self.folder, ignore_errors=True)


def made_before(out: Address, manifest: Path) -> dict[str, Any] | None:
    """The manifest of an output that is there already."""
    if not (out.path.exists() and manifest.is_file()):
        return None
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _add(store: Path, key: str, levels: Sequence[Level]) -> None:
    """Empty arrays for coarser levels, and their place in the metadata."""
    import zarr

    group: Any = zarr.open_group(store, mode="r+")
    full = group[key]
    for level in levels:
        shape = (*full.shape[:-3], *level.size)
        new_array(group, level.key, ArrayPlan(store, level.key, shape, full.dtype, {}, CHUNKS, ""))
    said = dict(group.attrs)
    image = said.get("ome", said)
    image["multiscales"] = [described(image["multiscales"][0], levels)]
    group.attrs.update(said)


def _opened(store: Path, key: str) -> Any:
    import zarr

    try:
        return zarr.open_group(store, mode="r+")[key]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{store}: cannot be read ({error}); remove {store.parent} to begin anew") from error


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sum_of(file: Path) -> str | None:
    return digest(file) if file.exists() else None
