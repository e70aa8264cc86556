"""The lanes engine: dense prediction on a CPU with 16 pooling phases side by side in each vector register.

A network whose poolings make a stride of 1×4×4 is, behind its last pooling, the same network run on 16 shifted images.
Their values at one place are kept as one vector, so every later layer is an ordinary, undilated convolution of vectors:
all loads are whole, no phase is ever interleaved or padded, and small square kernels go through Winograd's transform.
Where there are more or fewer than 16 phases, slabs of the block fill the lanes; see :class:`.lanes_plan.Lanes`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import llvmlite.binding  # type: ignore[import-untyped]
import numpy as np
import torch
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.errors import ConfigError
from elektronn.network.build import Network
from elektronn.network.layers import Convolution
from elektronn.network.nodes import ONE
from elektronn.prediction.dense import Kind, Outputs, as_input, outputs_of
from elektronn.prediction.lanes_kernels import Floats, Integers, gather, largest, scatter
from elektronn.prediction.lanes_layer import Laid, LaneLayer, floats, integers
from elektronn.prediction.lanes_plan import LANES, Lanes, Layout, halo_of, misfit, split

CHUNK = 4
"""Planes before the lanes are computed in chunks of that many times what their kernels see beyond one plane."""


def why_not(network: Network) -> str:
    """Why a network cannot be predicted in lanes on this machine; empty if it can."""
    if not llvmlite.binding.get_host_cpu_features().get("avx512f"):
        return "this CPU has no vectors of 16 floats (AVX-512)"
    return misfit(network.document)


class LanesEngine:
    """Predicts blocks with one network on the CPU; equal to :class:`.dense.Engine` to rounding.

    Args:
        network: trained; see :func:`why_not`.
        threads: layers are divided among that many; the result does not depend on it.
        kind: probabilities, or values as they are.

    Raises:
        ConfigError: a network that does not fit, or another CPU.
    """

    name = "lanes"

    def __init__(self, network: Network, threads: int = 1, kind: Kind = "probabilities") -> None:
        if reason := why_not(network):
            raise ConfigError(f"predict.engine: lanes does not fit: {reason}; write auto or portable")
        self.geometry, self.kind, self.threads = network.geometry, kind, threads
        self.before = [m for m in network.layers.values() if not isinstance(m, Convolution)]
        modules = [m for m in network.layers.values() if isinstance(m, Convolution)]
        stride, chain = ONE, []
        for module in modules:
            chain.append(LaneLayer(module, stride))
            stride = Size(*(s * p for s, p in zip(stride, module.layer.pool)))
        count = split([module.layer for module in modules])
        self.front, self.tail = chain[:count], chain[count:]
        self._workers = ThreadPoolExecutor(threads)
        self._buffers: dict[str, Floats] = {}
        self._lock = threading.Lock()

    def block(self, image: NDArray[np.generic]) -> Outputs:
        """Image block ``(c, z, y, x)`` → outputs ``(classes, z − field.z + 1, …)``, float32."""
        with torch.inference_mode(), self._lock:
            x = torch.from_numpy(as_input(image))[None]
            for module in self.before:
                x = module(x)
            scores = torch.from_numpy(self._scores(np.ascontiguousarray(x[0].numpy())))
            result: Outputs = outputs_of(scores[None], self.kind)[0].numpy()
            return result

    def blocks(self, images: Iterable[NDArray[np.generic]]) -> Iterator[Outputs]:
        """The same for several."""
        return map(self.block, images)

    def _scores(self, x: Floats) -> Floats:
        wanted = self.geometry.dense(x.shape[1:])
        halo = halo_of([layer.layer for layer in self.tail])
        lanes = Lanes.of(self.geometry.stride, wanted, halo)
        size = Size(*(e + h for e, h in zip(lanes.extent, halo)))
        layouts = [Layout(size, features) for features in (self.front[-1].layer.maps, *(t.written for t in self.tail))]
        one = max(layout.floats for layout in layouts[::2])
        first = self._buffer("lanes", lanes.groups * one)
        second = self._buffer("other lanes", max(layout.floats for layout in layouts[1::2]))
        self._to_lanes(x, lanes, layouts[0], first, one)
        result = np.empty((features_of(self.tail), *wanted), np.float32)
        for group in range(lanes.groups):
            found = self._through_tail(first[group * one :][:one], second, layouts)
            origins = lanes.origins[group * LANES : (group + 1) * LANES]
            pitches, strides = integers(*layouts[-1].pitches()), integers(*lanes.stride)

            def collect(_: int, part: Integers, found: Floats = found, origins: Integers = origins) -> None:
                gather(found, pitches, integers(*lanes.extent), origins, strides, result, part)  # noqa: B023

            self._run(collect, _planes(lanes.extent.z, self.threads))
        return result

    def _to_lanes(self, x: Floats, lanes: Lanes, layout: Layout, target: Floats, group: int) -> None:
        """The layers before the lanes, in chunks of planes, each scattered into its lanes."""
        window = [sum((layer.layer.window[a] - 1) * layer.dilation[a] for layer in self.front) for a in range(3)]
        deep = x.shape[1] - window[0]
        chunk = max(1, CHUNK * window[0])
        features = max(x.shape[0], *(layer.written for layer in self.front))
        plane = Layout(Size(min(chunk, deep) + window[0], *x.shape[2:]), features, in_lanes=False)
        pitches = integers(group, *layout.pitches())
        origins, strides, extent = lanes.origins, integers(*lanes.stride), integers(*layout.size)
        starts = list(range(0, deep, chunk))

        def work(worker: int, part: Integers) -> None:
            a, b = (self._buffer(f"{side} {worker}", plane.floats) for side in "ab")
            for start in starts[part[0] : part[1]]:
                count = min(chunk, deep - start)
                found, size = self._through_front(x[:, start : start + count + window[0]], a, b, plane)
                valid = integers(self.front[-1].layer.maps, *size)
                source = integers(plane.channel, plane.plane, plane.row)
                scatter(found, source, valid, start, origins, strides, target, pitches, extent)

        self._run(work, _planes(len(starts), self.threads))

    def _through_front(self, x: Floats, a: Floats, b: Floats, layout: Layout) -> tuple[Floats, Size]:
        """Planes through the layers before the lanes; ``a`` and ``b`` are buffers, one of which holds the result."""
        size = Size(*x.shape[1:])
        planes = a[: len(x) * layout.channel].reshape(len(x), layout.size.z, layout.plane)
        planes[:, : size.z, : size.y * size.x] = x.reshape(len(x), size.z, -1)
        for layer in self.front:
            size = layer.after(size, layer.dilation)
            layer.run_direct(Laid(a, layout), Laid(b, layout), layer.dilation, size, integers(0, size.z))
            a, b = b, a
            pool = layer.layer.pool
            if pool != ONE:
                size = Size(*(n - (p - 1) * d for n, p, d in zip(size, pool, layer.dilation)))
                counts = integers(layer.layer.maps, size.z, layout.span(size))
                offsets = layout.offsets(1, pool, layer.dilation)
                largest(a, b, offsets, integers(layout.channel, layout.plane), counts)
                a, b = b, a
            layer.activate(layout.valid(a, size)[: layer.layer.maps])
        return a, size

    def _through_tail(self, a: Floats, b: Floats, layouts: Sequence[Layout]) -> Floats:
        """One group of lanes through the layers behind the last pooling, to and fro between two buffers."""
        size = layouts[0].size
        need = max(layer.scratch for layer in self.tail)
        scratch = [self._buffer(f"scratch {worker}", need) for worker in range(self.threads)]
        for layer, (before, after) in zip(self.tail, pairwise(layouts)):
            size = layer.after(size, ONE)
            self._run(*_work(layer, Laid(a, before), Laid(b, after), size, scratch))
            layer.activate(after.valid(b, size))
            a, b = b, a
        return a

    def _run(self, work: Callable[[int, Integers], None], parts: Sequence[Integers]) -> None:
        if len(parts) == 1:
            work(0, parts[0])
        else:
            list(self._workers.map(work, range(len(parts)), parts))

    def _buffer(self, name: str, count: int) -> Floats:
        """A buffer that is kept from block to block; its content is whatever was left in it."""
        if name not in self._buffers or self._buffers[name].size < count:
            self._buffers[name] = floats(count)
        return self._buffers[name][:count]


def features_of(chain: Sequence[LaneLayer]) -> int:
    """Features behind a chain of layers."""
    return chain[-1].layer.maps


def _work(
    layer: LaneLayer, given: Laid, made: Laid, size: Size, scratch: Sequence[Floats]
) -> tuple[Callable[[int, Integers], None], list[Integers]]:
    """A layer in lanes, and how it is divided among workers."""
    if not layer.suits_winograd(size):
        return lambda _, part: layer.run_direct(given, made, ONE, size, part), _planes(size.z, len(scratch))
    down = layer.tiles_down(size)
    if size.z >= layer.together(size) * len(scratch):
        parts = [integers(*planes, 0, down) for planes in _groups(size.z, layer.together(size), len(scratch))]
    else:
        parts = [integers(0, size.z, *rows) for rows in _rows(down, len(scratch))]
    return lambda worker, part: layer.run_winograd(given, made, size, part, scratch[worker]), parts


def _planes(count: int, workers: int) -> list[Integers]:
    """Equal parts of ``count``."""
    cuts = np.linspace(0, count, min(workers, count) + 1).astype(np.int64)
    return [integers(*pair) for pair in pairwise(cuts)]


def _groups(count: int, together: int, workers: int) -> list[Integers]:
    """The same, each but the last a multiple of ``together``: so many planes stay together."""
    return [np.minimum(together * group, count) for group in _planes(-(-count // together), workers)]


def _rows(count: int, workers: int) -> list[Integers]:
    """The same, at least two each: the last row of tiles is shifted back over the one before, and must come after it."""
    return _planes(count, max(1, min(workers, count // 2)))
