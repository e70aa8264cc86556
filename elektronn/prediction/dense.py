"""Dense prediction of blocks in memory: the outputs at every voxel where the field of view fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elektronn.axes import Size
from elektronn.geometry import Geometry
from elektronn.network.build import Network
from elektronn.network.document import layers
from elektronn.prediction.precision import arithmetic
from elektronn.prediction.settings import Precision

Outputs = NDArray[np.float32]
Kind = Literal["probabilities", "values"]
T = TypeVar("T", bound=np.generic)


def as_input(block: NDArray[np.generic], dtype: type = np.float32) -> NDArray[np.floating]:
    """Image values as the network saw them in training: integers by their dtype's range to [0, 1], floats as they are."""
    if np.issubdtype(block.dtype, np.integer):
        scaled: NDArray[np.floating] = np.asarray(block, dtype=dtype) / dtype(np.iinfo(block.dtype.str).max)
        return scaled
    # torch wants to be able to write; a part of a memory-mapped file cannot be written
    return np.require(block, dtype, "W")


def mirrored(image: NDArray[T], geometry: Geometry) -> NDArray[T]:
    """An image block ``(c, z, y, x)`` continued by its mirror image on all sides, so that outputs cover all of it.

    Edges are repeated. The outputs of the result lie where the image's voxels lie; those at least a field of view away
    from its edges are the same as without mirroring.

    Example:
        >>> from elektronn.geometry import Reach
        >>> mirrored(np.array([[[[1, 2, 3]]]]), Geometry(Reach(1, 1), Reach(1, 1), Reach(5, 1)))[0, 0, 0]
        array([2, 1, 1, 2, 3, 3, 2])
    """
    margins = [(o, f - 1 - o) for o, f in zip(geometry.offset, geometry.field)]
    return np.pad(image, [(0, 0), *margins], mode="symmetric")


def outputs_of(scores: Tensor, kind: Kind) -> Tensor:
    """Outputs of a network from its scores ``(b, classes, …)``: their softmax over the classes, or themselves."""
    return torch.softmax(scores, 1) if kind == "probabilities" else scores


class Engine:
    """Predicts blocks with one network on one device.

    Args:
        network: trained.
        device: where to compute.
        kind: probabilities, or values as they are.
        precision: of the convolutions.
    """

    name = "portable"

    def __init__(
        self,
        network: Network,
        device: torch.device,
        kind: Kind = "probabilities",
        precision: Precision = "float32",
    ) -> None:
        self.network = network.eval().to(device)
        self.device, self.kind, self.precision = device, kind, precision

    def block(self, image: NDArray[np.generic]) -> Outputs:
        """Image block ``(c, z, y, x)`` → outputs ``(classes, z − field.z + 1, …)``, float32.

        Exact: no padding, and each value is the same whatever block it is computed in, to float rounding.
        """
        with torch.inference_mode():
            x = torch.from_numpy(as_input(image))[None].to(self.device)
            with arithmetic(self.precision, self.device):
                scores = self.network.dense(x)
            result: Outputs = outputs_of(scores.float(), self.kind)[0].cpu().numpy()
            return result

    def blocks(self, images: Iterable[NDArray[np.generic]]) -> Iterator[Outputs]:
        """The same for several."""
        return map(self.block, images)


def by_shifting(network: Network, image: NDArray[np.generic], kind: Kind = "probabilities") -> Outputs:
    """The slow, obvious twin of :meth:`Engine.block`: run the strided network at every shift and interleave."""
    geometry = network.geometry
    wanted, stride = geometry.dense(image.shape[1:]), geometry.stride
    result = np.empty((network.document.classes, *wanted), np.float32)
    x = torch.from_numpy(as_input(image))
    for shift in product(*(range(s) for s in stride)):
        if any(s >= n for s, n in zip(shift, wanted)):
            continue
        extent = [r.input_at_most(n - s) for r, n, s in zip(geometry.axes, image.shape[1:], shift)]
        part = x[(slice(None), *(slice(s, s + e) for s, e in zip(shift, extent)))]
        with torch.inference_mode():
            p = outputs_of(network(part[None]), kind)[0].numpy()
        result[(slice(None), *(slice(s, None, t) for s, t in zip(shift, stride)))] = p
    return result


def by_fragments(network: Network, image: NDArray[np.generic], kind: Kind = "probabilities") -> Outputs:
    """Another twin, for chains: every pooling divides each image into one fragment per phase of its window.

    The fragments need not be of one size, so poolings and images may have any. Max-fragment pooling of Giusti et al.
    2013 (arXiv:1302.1700), except that each fragment convolves for itself.
    """
    wanted = network.geometry.dense(image.shape[1:])
    fragments, stride = [(Size(0, 0, 0), torch.from_numpy(as_input(image))[None])], Size(1, 1, 1)
    with torch.inference_mode():
        for layer, module in zip(layers(network.document), network.layers.values()):
            window, step = layer.window, layer.step
            fragments = [
                (Size(*(o + s * d for o, s, d in zip(origin, shift, stride))), module(_from(x, shift)))
                for origin, x in fragments
                for shift in product(*(range(p) for p in step))
                if all(n - s >= w for n, s, w in zip(x.shape[2:], shift, window))
            ]
            stride = Size(*(d * p for d, p in zip(stride, step)))
        result = np.empty((network.document.classes, *wanted), np.float32)
        for origin, x in fragments:
            place = (slice(None), *(slice(o, None, s) for o, s in zip(origin, stride)))
            result[place] = outputs_of(x, kind)[0].numpy()
    return result


def _from(x: Tensor, shift: tuple[int, ...]) -> Tensor:
    return x[(slice(None), slice(None), *(slice(s, None) for s in shift))]


def at_voxel(network: Network, patch: NDArray[np.generic], kind: Kind = "probabilities") -> NDArray[np.float64]:
    """Outputs at one voxel from one field of view ``(c, *field)``, strided, in float64: brute force.

    ``network`` must be in float64 on the CPU.
    """
    assert Size(*patch.shape[1:]) == network.geometry.field
    with torch.inference_mode():
        scores = network(torch.from_numpy(as_input(patch, np.float64))[None])
    result: NDArray[np.float64] = outputs_of(scores, kind)[0, :, 0, 0, 0].numpy()
    return result
