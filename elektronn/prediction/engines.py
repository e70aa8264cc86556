"""Which engine predicts: as asked for, or the faster one on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir
from typing import Protocol

import llvmlite.binding  # type: ignore[import-untyped]
import numpy as np
import torch
from numpy.typing import NDArray

from elektronn.artefacts import code_digest, writing
from elektronn.axes import Size
from elektronn.errors import ConfigError, StorageError
from elektronn.network.build import Network
from elektronn.network.document import Document, layers
from elektronn.prediction.dense import Engine, Kind, Outputs
from elektronn.prediction.fragments import FragmentsEngine, fits
from elektronn.prediction.lanes import LanesEngine, why_not
from elektronn.prediction.precision import require_precision
from elektronn.prediction.settings import EngineName, Precision
from elektronn.settings import plain

WORTH = 1e12
"""Operations below which ``auto`` takes the portable engine: the lanes' compilation would take longer than they save."""

SAMPLE = Size(8, 64, 64)
"""Largest tile that the engines are timed on."""


class Predictor(Protocol):
    """Predicts blocks."""

    @property
    def name(self) -> str:
        """As in the settings."""

    def block(self, image: NDArray[np.generic]) -> Outputs:
        """Image block ``(c, z, y, x)`` → outputs ``(classes, z − field.z + 1, …)``, float32."""

    def blocks(self, images: Iterable[NDArray[np.generic]]) -> Iterator[Outputs]:
        """The same for several, in their order; images may be asked for before earlier outputs are there."""


def engine_for(
    network: Network,
    wanted: EngineName,
    size: Size,
    *,
    device: torch.device,
    kind: Kind,
    threads: int,
    precision: Precision = "float32",
) -> Predictor:
    """The engine for a prediction; results of different engines differ by less than 1e-5.

    ``auto`` is the portable engine on a GPU, in less than float32, for networks that do not fit into lanes, and for little
    work; else the
    faster of the two on one tile. The choice is remembered per machine and network in the user's cache folder
    (``XDG_CACHE_HOME/elektronn/engines``), so that the next prediction is made by the same engine.

    Args:
        network: trained.
        wanted: ``auto``, ``portable`` or ``lanes``.
        size: of the whole output, zyx.
        device: where to compute.
        kind: probabilities, or values as they are.
        threads: of the arithmetic.
        precision: of the arithmetic.

    Raises:
        ConfigError: ``lanes`` on a GPU, on another CPU, or for a network that does not fit; a precision that is not there.
    """
    require_precision(precision, wanted, device)
    on_gpu = device.type == "cuda" and fits(network.document)
    portable: Predictor = (FragmentsEngine if on_gpu else Engine)(network, device, kind, precision)
    if wanted == "portable" or precision != "float32":
        return portable
    if wanted == "lanes":
        if device.type != "cpu":
            raise ConfigError(f"predict.engine: lanes computes on the CPU, not on {device}; write auto or portable")
        return LanesEngine(network, threads, kind)
    if device.type != "cpu" or why_not(network) or operations(network.document) * size.voxels < WORTH:
        return portable
    lanes = LanesEngine(network, threads, kind)
    return lanes if _remembered(network, portable, lanes, threads) == "lanes" else portable


def operations(document: Document) -> int:
    """Multiplications and additions per output voxel, without any done twice.

    Example:
        >>> from elektronn.network.chain import NetworkSettings, chain
        >>> operations(chain(NetworkSettings()))
        146480
    """
    each = (layer.operations(layer.window, Size(1, 1, 1)) // layer.step.voxels for layer in layers(document))
    return 2 * sum(each)


def faster(network: Network, engines: tuple[Predictor, ...]) -> str:
    """Name of the engine that predicts a sample tile in the least time, of three rounds in turn."""
    extent = [n + f - 1 for n, f in zip(SAMPLE, network.geometry.field)]
    image = np.random.default_rng(0).integers(0, 256, (network.document.channels, *extent), dtype=np.uint8)
    times = {engine.name: float("inf") for engine in engines}
    for is_counted in (False, True, True, True):  # the first round compiles
        for engine in engines:
            start = time.perf_counter()
            engine.block(image)
            if is_counted:
                times[engine.name] = min(times[engine.name], time.perf_counter() - start)
    return min(times, key=lambda name: times[name])


def _remembered(network: Network, portable: Predictor, lanes: Predictor, threads: int) -> str:
    """The faster engine, from the cache if it is there; a cache that cannot be read or written is none."""
    place = _place(network.document, threads)
    with suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(place.read_text(encoding="utf-8"))["engine"]
        if known in (portable.name, lanes.name):
            return str(known)
    chosen = faster(network, (portable, lanes))
    with suppress(StorageError), writing(place) as part:
        part.write_text(json.dumps({"engine": chosen}) + "\n", encoding="utf-8")
    return chosen


def _place(document: Document, threads: int) -> Path:
    """File of a choice: named after all that it depends on."""
    machine = [platform.node(), llvmlite.binding.get_host_cpu_name(), torch.__version__, threads]
    text = json.dumps([plain(document), machine, code_digest("network", "prediction")], sort_keys=True)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME") or gettempdir()) / ".cache")
    return base / "elektronn" / "engines" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
