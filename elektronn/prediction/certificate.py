"""The certificate: random voxels of a prediction, computed again by brute force."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, Size
from elektronn.errors import CheckFailed
from elektronn.network.build import Network
from elektronn.prediction.dense import at_voxel
from elektronn.prediction.plan import Plan
from elektronn.prediction.result import Result

Read = Callable[[Box], NDArray[Any]]


@dataclass(frozen=True)
class Certificate:
    """What recomputing random voxels by brute force showed.

    Attributes:
        voxels: how many were recomputed.
        largest: largest difference of a stored probability; of a value above 1, relative to it.
        tolerance: what was allowed; for uint8 half a step of storage plus rounding.
        kind: ``probabilities`` or ``values``.
        is_new: whether the output was made now; else it was there, made of the same, or another process finished it.
        missing_chunks: of the image, which were taken for its fill value.
    """

    voxels: int
    largest: float
    tolerance: float
    kind: str = "probabilities"
    is_new: bool = True
    missing_chunks: int = 0

    @property
    def plain(self) -> dict[str, Any]:
        """As the manifest has it."""
        return {"voxels": self.voxels, "largest_difference": self.largest, "tolerance": self.tolerance}


class Witness:
    """Computes single voxels by brute force: strided, one field of view each, float64 on the CPU."""

    def __init__(self, network: Network, result: Result) -> None:
        self.slow, self.result = copy.deepcopy(network).cpu().double(), result

    def patch(self, place: Size) -> Box:
        """What of the image the output at ``place`` (zyx) is made from."""
        return Box(place, Size(*map(sum, zip(place, self.slow.geometry.field))))

    def difference(self, patch: NDArray[Any], stored: NDArray[Any]) -> float:
        """Of the numbers stored for one voxel from the truth; infinite where they are no numbers."""
        found = self.result.difference(stored, at_voxel(self.slow, patch, self.result.kind))
        return found if found == found else float("inf")


def places_in(box: Box, count: int) -> list[Size]:
    """``count`` random voxels of a box, always the same ones; every second lies on one of its faces.

    A halo that is too small or a block that lies one voxel off shows at the faces first.

    Example:
        >>> places_in(Box(Size(0, 0, 0), Size(1, 1, 1)), 2)
        [Size(z=0, y=0, x=0), Size(z=0, y=0, x=0)]
    """
    z, y, x = box.start
    random = np.random.Generator(np.random.Philox(key=[box.size.voxels, (((z << 21) + y << 21) + x) % 2**64]))
    found = []
    for number in range(count):
        place = [a + int(random.integers(n)) for a, n in zip(box.start, box.size)]
        axis, side = int(random.integers(3)), int(random.integers(2))
        if number % 2:
            place[axis] = (box.start[axis], box.stop[axis] - 1)[side]
        found.append(Size(*place))
    return found


def share(plan: Plan, voxels: int) -> int:
    """Voxels of each block, so that there are ``voxels`` or more in all and every block has one; 0 for none."""
    return -(-voxels // len(plan.boxes))


def chosen(plan: Plan, voxels: int) -> Iterator[tuple[int, Size]]:
    """Number of the block and place of each voxel of a certificate: in all blocks, or in ``voxels`` of many."""
    boxes = plan.boxes
    order = np.random.Generator(np.random.Philox(key=[len(boxes), plan.size.voxels])).permutation(len(boxes))
    for index in sorted(map(int, order[:voxels])):
        for place in places_in(boxes[index], share(plan, voxels)):
            yield index, place


def certify(plan: Plan, voxels: int, witness: Witness, image: Read, stored: Read) -> tuple[Certificate, list[int]]:
    """Compare what is stored with the truth.

    Args:
        plan: of the prediction.
        voxels: how many at least.
        witness: computes the truth.
        image: reads boxes of the image, ``czyx``.
        stored: reads boxes of the prediction, ``zyx`` or ``czyx``.

    Returns:
        The certificate, which may not hold, and the numbers of the blocks that are wrong.
    """
    count, largest, wrong = 0, 0.0, []
    for index, place in chosen(plan, voxels):
        one = Box(place, Size(*(n + 1 for n in place)))
        difference = witness.difference(image(witness.patch(place)), stored(one)[..., 0, 0, 0])
        count, largest = count + 1, max(largest, difference)
        if difference > witness.result.tolerance and index not in wrong:
            wrong.append(index)
    return Certificate(count, largest, witness.result.tolerance, witness.result.kind), wrong


def complaint(largest: float, allowed: float, kept: str) -> CheckFailed:
    """The failure of a certificate."""
    return CheckFailed(
        f"certificate failed: a stored number is {largest:.2e} away from brute force (allowed {allowed:.2e}); {kept}"
    )
