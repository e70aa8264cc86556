"""How labels lie on their image: the centre rule, the margin that a field of view needs, swaps and flips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product

from elektronn.axes import SPATIAL, Box, Size
from elektronn.errors import DataError

NOWHERE = Size(0, 0, 0)


@dataclass(frozen=True)
class Registration:
    """Image and labels as concentric cuboids, cut to one common frame. All in voxels, zyx.

    The frame is as large as the image after cropping; position ``i`` of the frame is image voxel
    ``i + image_crop`` and label voxel ``i - offset + label_loss``.

    Attributes:
        image: size of the image.
        label: size of the labels.
        offset: margin on each side that has image but can have no label (what the network's field of view costs).
        image_crop: voxels to cut from the image on each side.
        label_loss: voxels that the labels lose on each side, because the image's margin is smaller than ``offset``.
    """

    image: Size
    label: Size
    offset: Size
    image_crop: Size
    label_loss: Size

    @property
    def size(self) -> Size:
        """Size of the common frame."""
        return Size(*(n - 2 * c for n, c in zip(self.image, self.image_crop)))

    @property
    def image_box(self) -> Box:
        """The part of the image that is the frame."""
        return Box(self.image_crop, Size(*(n - c for n, c in zip(self.image, self.image_crop))))

    @property
    def label_box(self) -> Box:
        """The part of the labels that can be used."""
        return Box(self.label_loss, Size(*(n - c for n, c in zip(self.label, self.label_loss))))

    @property
    def labelled(self) -> Box:
        """Where the used labels lie in the frame."""
        return Box(self.offset, Size(*(n - o for n, o in zip(self.size, self.offset))))

    @property
    def origin(self) -> Size:
        """Position of the labels' voxel 0 in the uncut image: half the surplus (negative if the labels are larger)."""
        return Size(*((a - b) // 2 for a, b in zip(self.image, self.label)))

    @property
    def warning(self) -> str:
        """What is lost, or an empty text."""
        if not any(self.label_loss):
            return ""
        return (
            f"label zyx {tuple(self.label)} is too large for image zyx {tuple(self.image)} with offset "
            f"{tuple(self.offset)}: labels lose {_per_axis(self.label_loss)} voxels on each side"
            f"{_reversed_fits(self.image, self.label, self.offset)}"
        )


def centre(image: Size, label: Size, offset: Size = NOWHERE) -> Registration:
    """Lay labels and image on one another by the centre rule: the cuboids are concentric.

    Per axis ``e = (image - label - 2 * offset) / 2``: for ``e >= 0`` the image is cropped by ``e`` on both sides,
    for ``e < 0`` the labels lose ``|e|`` on both sides.

    Args:
        image: size zyx, voxels.
        label: size zyx, voxels.
        offset: half the field of view less one, zyx, voxels.

    Raises:
        DataError: the surplus along an axis is odd (no common centre), or no label would be left.

    Source:
        ELEKTRONN 1, registration of training cubes (image 7, label 5, offset 1: image[i + 1] belongs to label[i]).

    Example:
        >>> found = centre(Size(12, 30, 32), Size(8, 20, 22), Size(1, 2, 2))
        >>> found.size, found.image_crop, found.labelled.start
        (Size(z=10, y=24, x=26), Size(z=1, y=3, x=3), Size(z=1, y=2, x=2))
    """
    said = f"label zyx {tuple(label)} cannot be centred in image zyx {tuple(image)}"
    odd = [letter for letter, a, b in zip(SPATIAL, image, label) if (a - b) % 2]
    if odd:
        raise DataError(
            f"{said}: surplus along {' and '.join(odd)} is odd; crop one voxel{_reversed_fits(image, label, offset)}"
        )
    excess = [(a - b) // 2 - o for a, b, o in zip(image, label, offset)]
    loss = Size(*(max(-e, 0) for e in excess))
    gone = [letter for letter, n, lost in zip(SPATIAL, label, loss) if n <= 2 * lost]
    if gone:
        raise DataError(
            f"{said} with offset {tuple(offset)}: no label is left along {' and '.join(gone)}; "
            f"use a smaller field of view or an image with a wider margin{_reversed_fits(image, label, offset)}"
        )
    return Registration(image, label, offset, Size(*(max(e, 0) for e in excess)), loss)


def _reversed_fits(image: Size, label: Size, offset: Size) -> str:
    """What to try where labels stick out of their image, and would not if one of them were stored as xyz."""

    def fits(label: Sequence[int]) -> bool:
        return all(a >= b + 2 * o and (a - b) % 2 == 0 for a, b, o in zip(image, label, offset))

    sticks_out = any(b > a for a, b in zip(image, label))
    return "; if one of them is stored as xyz, write @xyz behind it" if sticks_out and fits(label[::-1]) else ""


@dataclass(frozen=True)
class Margin:
    """The field of view against the image around the labels. All in voxels, zyx.

    Attributes:
        field: field of view.
        width: image beyond the labels on each side.
        needed: image that the field of view needs beyond the outermost usable label.
        usable: the labels that can be a target, in the labels' own coordinates.
    """

    field: Size
    width: Size
    needed: Size
    usable: Box

    @property
    def warning(self) -> str:
        """Which labels cannot be used, or an empty text."""
        lost = self.usable.start
        if not any(lost):
            return ""
        return (
            f"field of view zyx {tuple(self.field)} needs a margin of {tuple(self.needed)}, the image has "
            f"{tuple(self.width)}: the outermost {_per_axis(lost)} label voxels on each side cannot be used"
        )


def margin_report(image: Size, label: Size, field: Size) -> Margin:
    """Which labels a network with ``field`` can reach, image and labels being concentric.

    Raises:
        DataError: odd surplus, or no label can be reached.

    Example:
        >>> margin_report(Size(40, 40, 40), Size(36, 20, 20), Size(9, 21, 21)).usable
        Box(start=Size(z=2, y=0, x=0), stop=Size(z=34, y=20, x=20))
    """
    needed = Size(*(n // 2 for n in field))
    found = centre(image, label, needed)
    width = Size(*(max(o, 0) for o in found.origin))
    return Margin(field, width, needed, found.label_box)


def _per_axis(counts: Sequence[int]) -> str:
    return ", ".join(f"{n} ({letter})" for letter, n in zip(SPATIAL, counts))


@dataclass(frozen=True)
class Turn:
    """A way to lay a volume on its image: swap equally long axes, then flip some.

    Attributes:
        order: axis ``i`` of the result is axis ``order[i]`` of the volume.
        flips: which axes of the result run backwards, zyx.
    """

    order: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    @property
    def is_identity(self) -> bool:
        """The volume is used as given."""
        return self == Turn()

    def __str__(self) -> str:
        """What to do to the labels, in words.

        Example:
            >>> str(Turn((0, 2, 1), (False, True, False)))
            'swap axes y and x, then flip y'
        """
        moved = [SPATIAL[axis] for axis in range(3) if self.order[axis] != axis]
        order = "".join(SPATIAL[axis] for axis in self.order)
        swap = f"swap axes {' and '.join(moved)}" if len(moved) == 2 else f"reorder axes zyx to {order}"
        flip = f"flip {' and '.join(SPATIAL[axis] for axis in range(3) if self.flips[axis])}"
        return ", then ".join([*([swap] if moved else []), *([flip] if any(self.flips) else [])]) or "nothing"


def turns(size: Size) -> Iterator[Turn]:
    """All ways to lay a volume of ``size`` on itself, the identity first.

    Example:
        >>> [len(list(turns(Size(*n)))) for n in ((3, 4, 5), (3, 4, 4), (4, 4, 4), (1, 4, 5))]
        [8, 16, 48, 4]
    """
    orders = [order for order in permutations(range(3)) if all(size[order[axis]] == size[axis] for axis in range(3))]
    for (a, b, c), (z, y, x) in product(orders, product((False, True), repeat=3)):
        if all(n > 1 or not flip for n, flip in zip(size, (z, y, x))):
            yield Turn((a, b, c), (z, y, x))


def middle(size: Sequence[int], most: Sequence[int]) -> Box:
    """The central box of at most ``most`` voxels, exactly concentric with the volume: flips map it on itself.

    Example:
        >>> middle((10, 11, 3), (4, 4, 4))
        Box(start=Size(z=3, y=4, x=0), stop=Size(z=7, y=7, x=3))
    """
    edges = [n if n <= m else m - (n - m) % 2 for n, m in zip(size, most)]
    start = Size(*((n - edge) // 2 for n, edge in zip(size, edges)))
    return Box(start, Size(*(low + edge for low, edge in zip(start, edges))))
