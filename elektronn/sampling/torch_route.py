"""The same examples on a device of torch: volumes lie there once, every patch is cut and changed there.

What is drawn comes from the :class:`~.batch.Sampler`, so an example is the same on both routes: grey values to rounding
and interpolation, class labels but for places half-way between two voxels. Two things are made on the CPU and carried
over: noise, so that it is the same noise, and the coordinates of the warp of ELEKTRONN 1, which no matrix says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elektronn.errors import ConfigError
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.batch import Batch, Drawn, Place, Sampler
from elektronn.sampling.cubes import Cube
from elektronn.sampling.defects import Blank, Fading
from elektronn.sampling.grey import Change, Curve, Grain, Softening
from elektronn.sampling.lazy import LazyVolume
from elektronn.sampling.maps import Map

WEIGHTLESS = 1e-6
"""A neighbour with less weight than this does not count, even if it is NaN."""


@dataclass(frozen=True)
class Uploaded:
    """A cube on the device.

    Attributes:
        image: ``(c, z, y, x)`` as in the cube: uint8 or float32.
        labels: ``(z, y, x)``, or ``(z, k)`` where each section is an image of its own.
        weights: as large as the labels, or None.
    """

    image: Tensor
    labels: Tensor
    weights: Tensor | None

    @classmethod
    def of(cls, cube: Cube, device: torch.device) -> Uploaded:
        """A copy of a cube.

        Raises:
            ConfigError: it lies on disk.
        """
        image, labels = cube.image, cube.labels
        if isinstance(image, LazyVolume) or isinstance(labels, LazyVolume):
            raise ConfigError(
                f"sampling.device: volume {cube.name} stays on disk, and only volumes in memory can be copied to a "
                "device; raise sampling.memory_gb, or set device: cpu"
            )
        weights = None if cube.weights is None else torch.as_tensor(cube.weights).to(device)
        return cls(torch.as_tensor(image).to(device), torch.as_tensor(labels).to(device), weights)


@dataclass(frozen=True)
class TorchSampler:
    """The counterpart of :class:`~.batch.Sampler` whose batches are tensors on a device.

    Args:
        sampler: draws.
        device: of torch.

    Raises:
        ConfigError: a cube lies on disk.
    """

    sampler: Sampler
    device: torch.device
    uploaded: Sequence[Uploaded] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        # a frozen value may compute a field once, at birth
        if not self.uploaded:
            object.__setattr__(self, "uploaded", [Uploaded.of(cube, self.device) for cube in self.sampler.cubes])

    @property
    def is_pure(self) -> bool:
        """A batch depends on its step alone."""
        return True

    def changed(self, settings: SamplingSettings) -> TorchSampler:
        """The same with other numbers in the augmentations; the volumes stay where they are."""
        return replace(self, sampler=self.sampler.changed(settings))

    def drawn(self, step: int, example: int) -> Drawn:
        """See :meth:`elektronn.sampling.batch.Sampler.drawn`."""
        return self.sampler.drawn(step, example)

    def batch(self, step: int) -> Batch:
        """The batch of a step; image, labels and weights are tensors on the device."""
        count, sampler = self.sampler.settings.batch_size, self.sampler
        image = torch.empty((count, len(self.uploaded[0].image), *sampler.patch), device=self.device)
        kind = torch.float32 if sampler.label_type.kind == "f" else torch.int16
        labels = torch.empty((count, *sampler.label_shape), dtype=kind, device=self.device)
        weights = (
            torch.ones_like(labels, dtype=torch.float32) if any(u.weights is not None for u in self.uploaded) else None
        )
        origins = []
        for i in range(count):
            cube, place, changes = sampler.draw(step, i)
            source = next(there for here, there in zip(sampler.cubes, self.uploaded) if here is cube)
            self._cut(cube, source, place, changes, image[i])
            self._label(cube, source, place, labels[i], None if weights is None else weights[i])
            origins.append((cube, place.outcome))
        return Batch.of(image, labels, weights, origins)

    def _cut(self, cube: Cube, source: Uploaded, place: Place, changes: Sequence[list[Change]], out: Tensor) -> None:
        sampler = self.sampler
        axes = [np.arange(n) for n in sampler.patch]
        at = coordinates(place.map, axes, place.map.image_shifts, (0, 0, 0), self.device)
        found = (linear if sampler.settings.interpolation == "linear" else nearest)(source.image, at)
        torch.mul(found, cube.scale, out=out)
        for channel, todo in enumerate(changes):
            for change in todo:
                APPLIED[type(change)](change, out[channel])

    def _label(self, cube: Cube, source: Uploaded, place: Place, labels: Tensor, weights: Tensor | None) -> None:
        if cube.of_sections:
            labels.copy_(source.labels[place.box.start.z].reshape(labels.shape))
            return
        reach, shape = self.sampler.geometry, labels.shape
        axes = [o + s * np.arange(n) for o, s, n in zip(reach.offset, reach.stride, shape)]
        at = coordinates(place.map, axes, place.map.label_shifts, cube.origin, self.device)
        labels.copy_((linear if labels.is_floating_point() else nearest)(source.labels[None], at)[0])
        if weights is not None and source.weights is not None:
            weights.copy_(linear(source.weights[None], at)[0])


def coordinates(
    map: Map,
    axes: Sequence[NDArray[np.int64]],
    shifts: NDArray[np.float64] | None,
    start: Sequence[int],
    device: torch.device,
) -> Tensor:
    """As :meth:`elektronn.sampling.maps.Map.coordinates`, less ``start``: ``(3, z, y, x)`` float64 on the device."""
    if map.bend is not None:
        return _tensor(map.coordinates(axes, shifts) - np.reshape(start, (3, 1, 1, 1)), device)
    z, y, x = (_tensor(a.astype(np.float64), device) for a in axes)
    m = map.within(start).tolist()
    h = [row[0] * z[:, None, None] + row[1] * y[:, None] + (row[2] * x + row[3]) for row in m]
    at: Tensor = torch.stack(h[:3]) / h[3]
    if map.ripple is not None:
        weights = (_tensor(w, device) for w in map.ripple.weights(axes))
        at += torch.einsum("cijk,zi,yj,xk->czyx", _tensor(map.ripple.controls, device), *weights)
    if shifts is not None:
        at[1:] += _tensor(shifts[axes[0]].T, device)[:, :, None, None]
    return at


def nearest(volume: Tensor, at: Tensor) -> Tensor:
    """Values ``(c, z, y, x)`` of the voxels of ``volume`` (``c, z, y, x``) nearest to places ``(3, z, y, x)``; halves go up."""
    spots = [(a + 0.5).floor().long().clamp(0, n - 1) for a, n in zip(at, volume.shape[1:])]
    found: Tensor = volume[:, spots[0], spots[1], spots[2]]
    return found


def linear(volume: Tensor, at: Tensor) -> Tensor:
    """Trilinear means ``(c, z, y, x)`` float32 of ``volume`` (``c, z, y, x``) at places ``(3, z, y, x)``."""
    last = [n - 1 for n in volume.shape[1:]]
    inside = [a.clamp(0, n) for a, n in zip(at, last)]
    low = [a.floor() for a in inside]
    part = [(a - b).float() for a, b in zip(inside, low)]
    near = [a.long() for a in low]
    total = torch.zeros((len(volume), *at.shape[1:]), device=volume.device)
    for corner in range(8):
        far = [corner >> 2, (corner >> 1) & 1, corner & 1]
        z, y, x = ((a + step).clamp(max=n) for a, step, n in zip(near, far, last))
        weight = torch.ones_like(part[0])
        for p, step in zip(part, far):
            weight = weight * (p if step else 1 - p)
        total += torch.where(weight > WEIGHTLESS, weight * volume[:, z, y, x], 0.0)
    return total


def _bend(change: Curve, image: Tensor) -> None:
    image.mul_(change.a).add_(change.b).clamp_(0, 1).pow_(change.g)


def _grain(change: Grain, image: Tensor) -> None:
    noise = torch.from_numpy(change.noise(tuple(image.shape))).to(image.device, non_blocking=True)
    image.add_(noise).clamp_(0, 1)


def _soften(change: Softening, image: Tensor) -> None:
    """As matrices of weights along y and x; in double precision, which no setting for matrices makes coarser."""
    part = image if change.sections is None else image[change.sections]
    down, across = (_tensor(blur_matrix(n, change.sigma_vox), image.device) for n in image.shape[1:])
    part.copy_(torch.einsum("ij,zjk,lk->zil", down, part.double(), across))


def _blank(change: Blank, image: Tensor) -> None:
    image[change.sections] = change.value


def _fade(change: Fading, image: Tensor) -> None:
    part = image[change.sections]
    middle = part.mean((1, 2), keepdim=True, dtype=torch.float64).float()
    part.sub_(middle).mul_(change.contrast).add_(middle)


APPLIED: Mapping[type, Callable[[Any, Tensor], None]] = {
    Curve: _bend,
    Grain: _grain,
    Softening: _soften,
    Blank: _blank,
    Fading: _fade,
}
"""What each change does to one channel ``(z, y, x)``, in place."""


def blur_matrix(size: int, sigma_vox: float) -> NDArray[np.float64]:
    """A Gaussian blur along an axis as a matrix ``(size, size)``; cut at three deviations, mirrored at the ends.

    Example:
        >>> blur_matrix(4, 0.5).round(3)[0].tolist()
        [0.893, 0.107, 0.0, 0.0]
    """
    radius = int(3 * sigma_vox + 0.5)
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (steps / sigma_vox) ** 2) if radius else np.ones(1)
    matrix = np.zeros((size, size))
    for step, weight in zip(steps, weights / weights.sum()):
        place = (np.arange(size) + step) % (2 * size)
        np.add.at(matrix, (np.arange(size), np.minimum(place, 2 * size - 1 - place)), weight)
    return matrix


def _tensor(values: NDArray[np.float64], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)
