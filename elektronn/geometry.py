"""Field of view, stride, offset, valid sizes and tiles: closed forms on whole numbers.

Along one axis a chain of valid convolutions (kernel ``k``) each followed by a pooling (factor ``p``) has

- stride ``S``: product of all ``p``;
- field of view ``F``: going back from one output voxel, ``F = F·p + k − 1``, starting at 1;
- valid input sizes ``F + n·S``, n = 0, 1, 2, …, with ``n + 1`` outputs.

Output ``i`` is centred on input position ``F/2 − 1/2 + i·S``, a voxel when ``F`` is odd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elektronn.axes import Size
from elektronn.errors import GeometryError


@dataclass(frozen=True)
class Reach:
    """What one output voxel sees along one axis.

    Attributes:
        field: field of view, voxels.
        stride: distance between neighbouring outputs, voxels of the input.
    """

    field: int
    stride: int

    @classmethod
    def of(cls, kernels: Sequence[int], pools: Sequence[int]) -> Reach:
        """Reach of a chain of convolutions and poolings along one axis.

        Example:
            >>> Reach.of([4, 3, 3, 3, 2], [2, 2, 1, 1, 1])
            Reach(field=31, stride=4)
        """
        field, stride = 1, 1
        for kernel, pool in zip(reversed(kernels), reversed(pools)):
            field = field * pool + kernel - 1
            stride *= pool
        return cls(field, stride)

    @property
    def offset(self) -> int:
        """Input voxels before the first output's centre; exact for an odd field."""
        return self.field // 2

    def input_at_most(self, wanted: int) -> int:
        """Largest input size that is valid and not above ``wanted``, voxels.

        Raises:
            GeometryError: ``wanted`` is below the field of view.

        Example:
            >>> Reach(31, 4).input_at_most(130)
            127
        """
        if wanted < self.field:
            sizes = ", ".join(str(self.field + n * self.stride) for n in range(3))
            raise GeometryError(
                f"input of {wanted} voxels is smaller than the field of view ({self.field}); "
                f"the smallest valid sizes are {sizes}"
            )
        return wanted - (wanted - self.field) % self.stride

    def outputs(self, size: int) -> int:
        """Number of outputs of a valid input of ``size`` voxels."""
        return (size - self.field) // self.stride + 1

    def dense(self, size: int) -> int:
        """Number of output voxels of dense prediction: one for every place where the field fits."""
        return size - self.field + 1


@dataclass(frozen=True)
class Geometry:
    """The three reaches of a network, along z, y, x."""

    z: Reach
    y: Reach
    x: Reach

    @classmethod
    def of(cls, kernels: Sequence[Size], pools: Sequence[Size]) -> Geometry:
        """Geometry of a chain; kernels and pools are zyx per layer."""
        return cls(*(Reach.of([k[a] for k in kernels], [p[a] for p in pools]) for a in range(3)))

    @property
    def axes(self) -> tuple[Reach, Reach, Reach]:
        """The reaches in the order z, y, x."""
        return self.z, self.y, self.x

    @property
    def field(self) -> Size:
        """Field of view, voxels."""
        return Size(*(a.field for a in self.axes))

    @property
    def stride(self) -> Size:
        """Stride of the outputs, voxels."""
        return Size(*(a.stride for a in self.axes))

    @property
    def offset(self) -> Size:
        """Position of the first output in the input, voxels."""
        return Size(*(a.offset for a in self.axes))

    def input_at_most(self, wanted: Sequence[int]) -> Size:
        """Largest valid input not above ``wanted`` (zyx).

        Raises:
            GeometryError: ``wanted`` is below the field of view along some axis, which is named.
        """
        return Size(*(_named("zyx"[i], a, n) for i, (a, n) in enumerate(zip(self.axes, wanted))))

    def outputs(self, size: Sequence[int]) -> Size:
        """Output size (zyx) of a valid input."""
        return Size(*(a.outputs(n) for a, n in zip(self.axes, size)))

    def dense(self, size: Sequence[int]) -> Size:
        """Output size (zyx) of dense prediction on an image of ``size``.

        Raises:
            GeometryError: the image is smaller than the field of view.
        """
        if any(n < a.field for a, n in zip(self.axes, size)):
            raise GeometryError(
                f"image of {Size(*size)} voxels (zyx) is smaller than the field of view {self.field}; "
                "take a larger image or a network that sees less"
            )
        return Size(*(a.dense(n) for a, n in zip(self.axes, size)))

    def centred(self) -> Geometry:
        """This geometry if all fields are odd, so that outputs lie on voxels.

        Raises:
            GeometryError: some field of view is even; names the axis and the cure.
        """
        even = [letter for letter, a in zip("zyx", self.axes) if a.field % 2 == 0]
        if even:
            raise GeometryError(
                f"field of view {self.field} (zyx) is even along {', '.join(even)}: outputs would lie between "
                "voxels; make one kernel there larger or smaller by one"
            )
        return self


def _named(letter: str, reach: Reach, wanted: int) -> int:
    try:
        return reach.input_at_most(wanted)
    except GeometryError as error:
        raise GeometryError(f"along {letter}: {error}") from None


LARGEST = 4999
"""Upper limit of a chosen input size along one axis, voxels; taken when none is wanted."""


@dataclass(frozen=True)
class Stack:
    """Convolutions and poolings along one axis, with what each layer makes of a size.

    With max-fragment pooling (``fragments``) a layer pools at every phase, which needs a convolution output of
    ``p − 1`` more than a multiple of ``p`` (any ``p``), and costs no resolution. Going back from ``m ≥ 1`` outputs of
    the last layer, its convolution had ``m·p`` (``m·p + p − 1`` with fragments), so valid inputs are
    ``smallest + n·S``.

    Attributes:
        kernels, pools: per layer.
        fragments: per layer, whether it pools fragments; empty for none.
    """

    kernels: tuple[int, ...]
    pools: tuple[int, ...]
    fragments: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(self.kernels), len(self.pools), len(self._fragments)}
        if len(lengths) > 1 or not self.kernels:
            raise GeometryError(
                f"{len(self.kernels)} kernels, {len(self.pools)} pools and {len(self._fragments)} fragment flags; "
                "write one of each per layer, at least one layer"
            )

    @property
    def reach(self) -> Reach:
        """Field of view and stride of the last layer."""
        return Reach.of(self.kernels, self.pools)

    @property
    def smallest(self) -> int:
        """Smallest valid input, voxels.

        Example:
            >>> Stack((4, 3), (2, 3), (True, True)).smallest
            18
        """
        size = 1
        for kernel, pool, fragment in reversed([*zip(self.kernels, self.pools, self._fragments)]):
            size = size * pool + (pool - 1 if fragment else 0) + kernel - 1
        return size

    @property
    def _fragments(self) -> tuple[bool, ...]:
        return self.fragments or (False,) * len(self.kernels)

    def is_valid(self, size: int) -> bool:
        """Whether the layers can take an input of ``size`` without remainder."""
        return size >= self.smallest and (size - self.smallest) % self.reach.stride == 0

    def valid_inputs(self, up_to: int = LARGEST) -> range:
        """All valid input sizes not above ``up_to``."""
        return range(self.smallest, up_to + 1, self.reach.stride)

    def choose(self, wanted: int | None) -> tuple[int, str]:
        """Valid input for a wanted size and why it is another one (empty if it is not).

        Example:
            >>> Stack((4, 3), (2, 1)).choose(22)
            (21, 'size not possible')
        """
        if wanted is not None and wanted < self.smallest:
            return self.smallest, "size too small"
        size = self.valid_inputs(LARGEST if wanted is None else min(wanted, LARGEST))[-1]
        return size, "" if size == wanted or wanted is None else "size not possible"

    def for_output(self, wanted: int) -> int:
        """Valid input whose last convolution has ``wanted`` outputs, before pooling.

        Raises:
            GeometryError: no input has; names the two nearest output sizes.
        """
        pool, fragment = self.pools[-1], self._fragments[-1]
        remainder = pool - 1 if fragment else 0
        outputs, rest = divmod(wanted - remainder, pool)
        if rest or outputs < 1:
            near = sorted({max(outputs, 1) * pool + remainder, (outputs + 1) * pool + remainder})
            raise GeometryError(
                f"no input gives {wanted} outputs of the last layer; possible are {near[0]}, {near[-1]}"
            )
        return self.smallest + (outputs - 1) * self.reach.stride

    def sizes(self, size: int) -> list[tuple[int, int]]:
        """Per layer, the size after the convolution and after the pooling (of one fragment).

        Raises:
            GeometryError: ``size`` is not valid.
        """
        if not self.is_valid(size):
            near = self.choose(size)[0]
            raise GeometryError(
                f"input of {size} voxels does not fit the layers; valid near it are {near}, {near + self.reach.stride}"
            )
        rows = []
        for kernel, pool in zip(self.kernels, self.pools):
            convolved = size - kernel + 1
            size = convolved // pool
            rows.append((convolved, size))
        return rows

    def reaches(self) -> list[Reach]:
        """Reach of a unit after each layer, its pooling included."""
        return [Reach.of(self.kernels[: i + 1], self.pools[: i + 1]) for i in range(len(self.kernels))]

    @property
    def fragment_stride(self) -> int:
        """Product of the poolings done with fragments: that many times finer is the assembled output."""
        stride = 1
        for pool, fragment in zip(self.pools, self._fragments):
            stride *= pool if fragment else 1
        return stride
