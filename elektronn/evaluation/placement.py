"""Where a prediction and its labels lie in the image, and what they have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from numpy.typing import NDArray

from elektronn.axes import Box, Size, blocks, whole
from elektronn.errors import DataError, at
from elektronn.settings import Triple
from elektronn.volumes.arrays import Volume, triple_of
from elektronn.volumes.classes import boundary_channel
from elektronn.volumes.registration import centre


class Place(NamedTuple):
    """One box seen from three volumes, zyx, voxels.

    Attributes:
        size: extent of the box.
        prediction: its first voxel in the prediction.
        labels: its first voxel in the labels.
        image: its first voxel in the image; ``None`` where the prediction does not say.
    """

    size: Size
    prediction: Size
    labels: Size
    image: Size | None

    @property
    def box(self) -> Box:
        """The box in the prediction's coordinates."""
        return Box(Size(0, 0, 0), self.size).shifted(self.prediction)

    @property
    def shift(self) -> Size:
        """What to add to the prediction's coordinates to get the labels'."""
        return Size(*(a - b for a, b in zip(self.labels, self.prediction)))


def overlap(prediction: Volume, labels: Volume) -> Place:
    """Where prediction and labels both are.

    The prediction says where it lies in the image (``offset_vox``) and how large the image is (``image_size``);
    the labels lie in the image's centre. A prediction without these words is concentric with the labels.

    Raises:
        DataError: the surplus along an axis is odd, or there is no overlap.
    """
    known = {"image_size", "offset_vox"} <= set(prediction.attributes)
    frame, offset = prediction.size, Size(0, 0, 0)
    if known:
        frame = triple_of(prediction, "image_size")
        offset = _sum(triple_of(prediction, "offset_vox"), prediction.part.start)
    doubt = "" if known else f"{prediction.address} does not say where it lies, so the labels must be concentric: "
    with at(f"{doubt}labels: {labels.address}"):
        start = centre(frame, labels.size).origin
    here = intersection(whole(prediction.size).shifted(offset), whole(labels.size).shifted(start))
    if min(here.size) < 1:
        raise DataError(
            f"prediction of {prediction.size} voxels at {tuple(offset)} and labels of {labels.size} at {tuple(start)} "
            "(zyx, in the image) do not overlap; check that they belong to the same image"
        )
    inside = [Size(*(a - b for a, b in zip(here.start, origin))) for origin in (offset, start)]
    return Place(here.size, inside[0], inside[1], here.start if known else None)


def intersection(a: Box, b: Box) -> Box:
    """The common part of two boxes; extents below 1 where there is none."""
    return Box(Size(*map(max, zip(a.start, b.start))), Size(*map(min, zip(a.stop, b.stop))))


def parts(place: Place, prediction: Volume, block: Triple) -> Iterator[Box]:
    """The blocks that cover the place, in the prediction's coordinates, z slowest.

    They are those of the prediction's own grid, so that no chunk of it is decoded twice.
    """
    covering = (intersection(box, place.box) for box in blocks(prediction.size, block))
    return (part for part in covering if min(part.size) > 0)


def score(prediction: Volume, box: Box) -> NDArray[Any]:
    """Probability of the boundary in a box of the prediction, as stored (uint8, uint16 or float), zyx."""
    values: NDArray[Any] = prediction.read(box, "czyx")
    chosen: NDArray[Any] = values[boundary_channel(prediction)]
    return chosen


def _sum(a: Size, b: Size) -> Size:
    return Size(*map(sum, zip(a, b)))
