"""Dense prediction on a GPU: max-fragment pooling with all fragments in the batch.

Dilated convolutions are slow on GPUs; behind a pooling of 1×2×2 the four shifted images are four members of the batch
instead, and every convolution is an ordinary one (Giusti et al. 2013, arXiv:1302.1700). The same code runs on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise, product

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from elektronn.axes import Size
from elektronn.network.build import Network
from elektronn.network.document import Document
from elektronn.network.layers import Convolution
from elektronn.network.nodes import ONE
from elektronn.prediction.dense import Kind, Outputs, as_input, outputs_of
from elektronn.prediction.precision import arithmetic
from elektronn.prediction.settings import Precision
from elektronn.prediction.transfers import overlapped


def fits(document: Document) -> bool:
    """Whether a network is one chain of convolutions and nodes that look at single voxels before them.

    Example:
        >>> from elektronn.network.chain import NetworkSettings, chain
        >>> fits(chain(NetworkSettings()))
        True
    """
    is_chain = all(node.parents == (before.name,) for before, node in pairwise(document.nodes))
    kinds = [node.kind for node in document.nodes[1:]]
    return is_chain and all(kind == "conv" or (kind == "standardise" and i == 0) for i, kind in enumerate(kinds))


class FragmentsEngine:
    """Predicts blocks with one network; equal to :class:`.dense.Engine` to rounding.

    On a GPU the arithmetic of each size of block is recorded once as a CUDA graph and replayed, so that no time goes by
    between its many small steps.

    Args:
        network: trained; see :func:`fits`.
        device: where to compute.
        kind: probabilities, or values as they are.
        precision: of the convolutions; with less than float32 probabilities are off by more than its 1e-5, and the
            certificate of an output says by how much.
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
        self._graphs: dict[torch.Size, tuple[Tensor, torch.cuda.CUDAGraph, Tensor]] = {}

    def block(self, image: NDArray[np.generic]) -> Outputs:
        """Image block ``(c, z, y, x)`` → outputs ``(classes, z − field.z + 1, …)``, float32."""
        return next(self.blocks([image]))

    def blocks(self, images: Iterable[NDArray[np.generic]]) -> Iterator[Outputs]:
        """The same for several; on a GPU the next is sent and the last one fetched while one is computed."""
        compute = self._replayed if self.device.type == "cuda" else self._outputs
        values = (torch.from_numpy(as_input(image))[None] for image in images)
        for found in overlapped(torch.inference_mode()(compute), values, self.device):
            result: Outputs = found.numpy()
            yield result

    def _outputs(self, x: Tensor) -> Tensor:
        """Outputs of a block on the device; what its size lacks of whole fragments is added and cut off."""
        geometry = self.network.geometry
        wanted, stride = geometry.dense(x.shape[2:]), geometry.stride
        margins = [margin for n, s in reversed(list(zip(wanted, stride))) for margin in (0, -n % s)]
        with arithmetic(self.precision, self.device):
            parts, origins = self._fragments(F.pad(x, margins))
        found = outputs_of(parts.float(), self.kind)
        result = found.new_empty(found.shape[1], *(n + -n % s for n, s in zip(wanted, stride)))
        for origin, part in zip(origins, found):
            result[(slice(None), *(slice(o, None, s) for o, s in zip(origin, stride)))] = part
        return result[(slice(None), *(slice(n) for n in wanted))].contiguous()

    def _fragments(self, x: Tensor) -> tuple[Tensor, list[Size]]:
        """Scores of all fragments, and the voxel at which each begins."""
        origins, stride = [Size(0, 0, 0)], ONE
        x = x.contiguous(memory_format=torch.channels_last_3d)
        for module in self.network.layers.values():
            if not isinstance(module, Convolution):
                x = module(x)
                continue
            x, pool = module.fragments(x), module.layer.pool
            shifts = list(product(*(range(p) for p in pool)))
            origins = [Size(*(o + s * d for o, s, d in zip(old, shift, stride))) for shift in shifts for old in origins]
            stride = Size(*(s * p for s, p in zip(stride, pool)))
        return x, origins

    def _replayed(self, x: Tensor) -> Tensor:
        """The same from a recording for blocks of this size."""
        if x.shape not in self._graphs:
            self._graphs.clear()  # a recording keeps its memory, and blocks are of one size but for the last
            self._graphs[x.shape] = self._recorded(x)
        place, graph, found = self._graphs[x.shape]
        place.copy_(x)
        graph.replay()
        return found.clone()  # the next replay writes there again

    def _recorded(self, x: Tensor) -> tuple[Tensor, torch.cuda.CUDAGraph, Tensor]:
        place, aside = x.clone(), torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(aside):  # libraries choose their kernels before the recording
            self._outputs(place)
        torch.cuda.current_stream(self.device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = self._outputs(place)
        return place, graph, found
