"""What the lanes engine computes where: which networks fit, and how the voxels of a block become lanes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from math import prod

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.geometry import Geometry
from elektronn.network.document import ConvLayer, Document, layers
from elektronn.network.kinds import StandardLayer
from elektronn.network.nodes import ONE, maxout_of

LANES = 16

OUTSIDE = 2**40
"""Where lanes begin that are left over."""


def misfit(document: Document) -> str:
    """Why a network does not fit into lanes; empty if it does.

    Lanes take a chain of convolutions of any kernels and features, with max pooling of any size behind any of them but
    the last and any activation but maxout; standardising nodes may stand before it.

    Example:
        >>> from elektronn.network.chain import NetworkSettings, chain
        >>> misfit(chain(NetworkSettings()))
        ''
        >>> misfit(chain(NetworkSettings(activation="maxout 2")))
        "layer 'conv1' has activation maxout 2"
    """
    nodes = document.nodes
    for before, node in pairwise(nodes):
        if node.parents != (before.name,):
            return f"node '{node.name}' makes it more than a chain"
    chain = convolutions(document)
    if len(chain) + _standards(document) < len(nodes) - 1:
        other = next(n for n in nodes[_standards(document) + 1 :] if n.kind != "conv")
        return f"node '{other.name}' ({other.kind}) is no convolution"
    for layer in chain:
        if layer.pooling != "max" and layer.pool != ONE:
            return f"layer '{layer.name}' pools by {layer.pooling}"
        if maxout_of(layer.activation) > 1:
            return f"layer '{layer.name}' has activation {layer.activation}"
    if len(chain) < 2:
        return "it has fewer than two layers"
    return f"layer '{chain[-1].name}' pools behind the last convolution" if chain[-1].pool != ONE else ""


def convolutions(document: Document) -> list[ConvLayer]:
    """The convolutions of a document."""
    return [layer for layer in layers(document) if isinstance(layer, ConvLayer)]


def _standards(document: Document) -> int:
    """Standardising nodes at the beginning."""
    count = 0
    for layer in layers(document):
        if not isinstance(layer, StandardLayer):
            break
        count += 1
    return count


def split(chain: list[ConvLayer]) -> int:
    """How many layers come before the lanes: all up to the last pooling, at least one."""
    return max([1, *(i + 1 for i, layer in enumerate(chain) if layer.pool != ONE)])


def halo_of(tail: Sequence[ConvLayer]) -> Size:
    """What the convolutions in lanes see beyond one value, zyx, in steps of the stride."""
    return Size(*(sum(layer.kernel[axis] - 1 for layer in tail) for axis in range(3)))


def lanes_bytes(document: Document, geometry: Geometry, tile: Size) -> int:
    """Memory of the lanes engine for one output tile (zyx), bytes: its two buffers, one plane before them, the scores."""
    chain = convolutions(document)
    tail = chain[split(chain) :]
    halo = halo_of(tail)
    lanes = Lanes.of(geometry.stride, tile, halo)
    size = Size(*(e + h for e, h in zip(lanes.extent, halo)))
    features = [layer.maps for layer in chain[split(chain) - 1 :]]
    buffers = lanes.groups * Layout(size, max(features[::2])).floats + Layout(size, max(features[1::2])).floats
    patch = Size(*(n + f - 1 for n, f in zip(tile, geometry.field)))
    plane = 2 * max(layer.maps for layer in chain[: split(chain)]) * patch.y * patch.x
    return 4 * (buffers + plane + document.channels * patch.voxels + 2 * document.classes * tile.voxels)


@dataclass(frozen=True)
class Layout:
    """How values lie in a flat buffer, floats.

    Voxels lie as in an image, features × planes × rows. Lanes lie planes × rows × features × 16: all that a window of
    them holds is then a few long runs, which the processor foresees.

    Attributes:
        size: voxels, or values per lane, zyx.
        features: that there is room for.
        in_lanes: whether there are 16 values at each place.
    """

    size: Size
    features: int
    in_lanes: bool = True

    @cached_property
    def unit(self) -> int:
        """Between neighbours in a row."""
        return LANES * self.features if self.in_lanes else 1

    @cached_property
    def vector(self) -> int:
        """Between neighbouring vectors of 16 values of one feature."""
        return self.unit if self.in_lanes else LANES

    @cached_property
    def row(self) -> int:
        """Between rows."""
        return self.size.x * self.unit

    @cached_property
    def plane(self) -> int:
        """Between planes: whole pairs of vectors, so that overwriting the rest of a pair does no harm."""
        return -(-self.size.y * self.row // (2 * self.vector)) * 2 * self.vector

    @cached_property
    def channel(self) -> int:
        """Between features."""
        return LANES if self.in_lanes else self.size.z * self.plane

    @cached_property
    def floats(self) -> int:
        """Length of a buffer; the last tap of the last pair may read beyond."""
        return self.size.z * self.plane * (1 if self.in_lanes else self.features) + 4 * self.vector

    def pitches(self) -> tuple[int, int, int, int]:
        """Of feature, plane, row and neighbour."""
        return self.channel, self.plane, self.row, self.unit

    def offsets(self, features: int, window: Size, dilation: Size) -> NDArray[np.int64]:
        """Of all taps, in the order of the weights: features, z, y, x."""
        z, y, x = (np.arange(k) * d * p for k, d, p in zip(window, dilation, (self.plane, self.row, self.unit)))
        features_first = np.arange(features)[:, None, None, None] * self.channel
        return (features_first + z[:, None, None] + y[:, None] + x).ravel()

    def span(self, size: Size) -> int:
        """Floats of a plane from the first to the last value of a region of ``size`` at its beginning."""
        return (size.y - 1) * self.row + size.x * self.unit

    def valid(self, buffer: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
        """The part of a buffer that holds a region of ``size``, with some values between them that do not count."""
        features = 1 if self.in_lanes else self.features
        planes = buffer[: features * self.size.z * self.plane].reshape(features, self.size.z, self.plane)
        return planes[:, : size.z, : self.span(size)]


@dataclass(frozen=True)
class Lanes:
    """How a block is divided among lanes: its pooling phases, and slabs of them where those do not fill the vectors.

    Attributes:
        origins: ``(lanes, 3)``, voxel zyx where each lane begins; a multiple of 16 of them.
        stride: voxels between neighbouring values of a lane, zyx.
        extent: outputs per lane, zyx; some of them may lie behind the block.
    """

    origins: NDArray[np.int64]
    stride: Size
    extent: Size

    @property
    def groups(self) -> int:
        """Vectors of lanes."""
        return len(self.origins) // LANES

    @classmethod
    def of(cls, stride: Size, wanted: Size, halo: Size) -> Lanes:
        """The cheapest division.

        Args:
            stride: of the network, zyx.
            wanted: outputs of the block, zyx.
            halo: what the convolutions in lanes see beyond one value, zyx, in steps of the stride.

        Example:
            >>> Lanes.of(Size(1, 4, 4), Size(3, 10, 10), Size(4, 5, 5)).extent
            Size(z=3, y=3, x=3)
            >>> Lanes.of(Size(1, 2, 2), Size(8, 10, 10), Size(0, 2, 2)).extent
            Size(z=2, y=5, x=5)
        """
        per = Size(*(-(-n // s) for n, s in zip(wanted, stride)))

        def divided(axis: int, slabs: int) -> Size:
            return Size(*(-(-n // slabs) if i == axis else n for i, n in enumerate(per)))

        def cost(choice: tuple[int, int]) -> int:
            vectors = -(-stride.voxels * choice[1] // LANES)
            return vectors * prod(n + h for n, h in zip(divided(*choice), halo))

        axis, slabs = min(product((0, 1), range(1, LANES + 1)), key=cost)
        extent = divided(axis, slabs)
        lanes = [
            [p + s * e * (i if a == axis else 0) for a, (p, s, e) in enumerate(zip(phase, stride, extent))]
            for i in range(slabs)
            for phase in product(*(range(s) for s in stride))
        ]
        lanes += [[OUTSIDE] * 3] * (-len(lanes) % LANES)
        return cls(np.array(lanes, np.int64), stride, extent)
