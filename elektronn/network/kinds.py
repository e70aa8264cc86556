"""What the nodes of branched networks do to sizes: pooling, up-sampling, merging, normalising, gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from elektronn.axes import Size
from elektronn.network.nodes import ONE, Layer, maxout_of


@dataclass(frozen=True)
class InputLayer(Layer):
    """A further input beside the document's first one; ``channels``: of it."""

    channels: int

    @property
    def features(self) -> int:
        """Feature maps after."""
        return self.channels


@dataclass(frozen=True)
class SameLayer(Layer):
    """A node with as many features after as before, voxel by voxel; ``width``: how many."""

    width: int

    @property
    def features(self) -> int:
        """Feature maps after."""
        return self.width


@dataclass(frozen=True)
class PoolLayer(SameLayer):
    """Pooling by itself.

    Attributes:
        shape, stride: window and distance of windows, zyx.
        pooling: ``max``, ``maxabs``, ``mean`` or ``sum``.
    """

    shape: Size
    stride: Size
    pooling: Literal["max", "maxabs", "mean", "sum"]

    @property
    def window(self) -> Size:
        """The pooled window."""
        return self.shape

    @property
    def step(self) -> Size:
        """The stride."""
        return self.stride

    @property
    def style(self) -> dict[str, str]:
        """The window."""
        return {"pool": str(self.shape)}


@dataclass(frozen=True)
class CropLayer(SameLayer):
    """Cuts ``margin`` voxels (zyx) away on both sides."""

    margin: Size

    @property
    def window(self) -> Size:
        """Outputs stay in the middle, so the margins count as seen."""
        return Size(*(2 * n + 1 for n in self.margin))

    def operations(self, before: Size, after: Size) -> int:
        """None."""
        return 0


@dataclass(frozen=True)
class PadLayer(SameLayer):
    """Adds ``margin`` voxels (zyx) of ``value`` on both sides."""

    margin: Size
    value: float

    @property
    def whole(self) -> str:
        """Why there is no window."""
        return "pads its input, so that an output depends on where the image ends" if self.margin != (0, 0, 0) else ""

    @property
    def has_reach(self) -> bool:
        """Not with a margin."""
        return not self.whole

    def size(self, *sizes: Size) -> Size:
        """Larger by both margins."""
        return Size(*(n + 2 * m for n, m in zip(sizes[0], self.margin)))


@dataclass(frozen=True)
class UpConvLayer(Layer):
    """Transposed convolution whose kernel is as large as its stride, bias and activation.

    Attributes:
        factor: every voxel becomes that many, zyx.
        features_in, maps: feature maps before, kernels.
        activation: by name.
    """

    factor: Size
    features_in: int
    maps: int
    activation: str

    @property
    def features(self) -> int:
        """Feature maps after."""
        return self.maps // maxout_of(self.activation)

    @property
    def weights(self) -> int:
        """Number of trained numbers, biases included."""
        return self.maps * (self.features_in * self.factor.voxels + 1)

    @property
    def whole(self) -> str:
        """Why there is no window."""
        return "enlarges its input, so that neighbouring outputs see different windows" if self.factor != ONE else ""

    @property
    def has_reach(self) -> bool:
        """Not where it enlarges."""
        return not self.whole

    @property
    def style(self) -> dict[str, str]:
        """Factor and activation."""
        return {"kernel": str(self.factor), "activation": self.activation}

    def size(self, *sizes: Size) -> Size:
        """Larger by the factor."""
        return Size(*(n * p for n, p in zip(sizes[0], self.factor)))

    def operations(self, before: Size, after: Size) -> int:
        """One multiply-add per output, map and feature before."""
        return after.voxels * self.maps * self.features_in


@dataclass(frozen=True)
class ConcatLayer(Layer):
    """Its inputs one after the other along ``axis`` (c, z, y or x).

    Attributes:
        widths: features of each input.
    """

    widths: tuple[int, ...]
    axis: Literal["c", "z", "y", "x"]

    @property
    def features(self) -> int:
        """Feature maps after."""
        return sum(self.widths) if self.axis == "c" else self.widths[0]

    @property
    def whole(self) -> str:
        """Why there is no window."""
        return "" if self.axis == "c" else f"puts images beside each other along {self.axis}"

    @property
    def has_reach(self) -> bool:
        """Only along the features."""
        return self.axis == "c"

    def size(self, *sizes: Size) -> Size:
        """The sum along the axis."""
        if self.axis == "c":
            return super().size(*sizes)
        total = {"z": 0, "y": 0, "x": 0} | {self.axis: sum(getattr(size, self.axis) for size in sizes)}
        return Size(*(total[a] or n for a, n in zip("zyx", sizes[0])))

    def operations(self, before: Size, after: Size) -> int:
        """None."""
        return 0


@dataclass(frozen=True)
class MergeLayer(SameLayer):
    """Its inputs added or multiplied (``how``: ``sum``, ``product``), element by element."""

    how: Literal["sum", "product"]


@dataclass(frozen=True)
class SliceLayer(Layer):
    """The features from ``start`` to before ``stop``."""

    start: int
    stop: int

    @property
    def features(self) -> int:
        """Feature maps after."""
        return self.stop - self.start


@dataclass(frozen=True)
class ActivationLayer(Layer):
    """An activation by itself; ``before``: features, ``activation``: by name."""

    before: int
    activation: str

    @property
    def features(self) -> int:
        """Feature maps after."""
        return self.before // maxout_of(self.activation)

    @property
    def style(self) -> dict[str, str]:
        """The activation."""
        return {"activation": self.activation}


@dataclass(frozen=True)
class SlopeLayer(SameLayer):
    """Values below 0 are multiplied by a trained slope of their feature (parametric relu)."""

    @property
    def weights(self) -> int:
        """One slope per feature."""
        return self.width

    @property
    def style(self) -> dict[str, str]:
        """The activation."""
        return {"activation": "prelu"}


@dataclass(frozen=True)
class SoftmaxLayer(SameLayer):
    """Softmax over the features, in blocks of ``classes``."""

    classes: int

    @property
    def style(self) -> dict[str, str]:
        """The activation."""
        return {"activation": "softmax"}


@dataclass(frozen=True)
class BatchNormLayer(SameLayer):
    """``gamma · (u − mean) / deviation + bias``.

    Attributes:
        statistics: ``batch``: mean and deviation of the batch at hand; ``stored``: those of training.
    """

    statistics: Literal["batch", "stored"]

    @property
    def weights(self) -> int:
        """Gamma and bias."""
        return 2 * self.width

    @property
    def whole(self) -> str:
        """Why there is no window."""
        return "normalises by the statistics of the whole batch" if self.statistics == "batch" else ""


@dataclass(frozen=True)
class StandardLayer(SameLayer):
    """``(x − mean) / deviation`` per feature, with numbers that are not trained; ``mean`` and ``deviation``: of the data."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True)
class ResponseLayer(SameLayer):
    """Local response normalisation ``x / (k + alpha · m)^beta``, m the mean of x² around.

    Attributes:
        around: window of the mean, voxels zyx (zeros outside the image); or
        neighbours: number of neighbouring features, odd; 0 for a spatial window.
        alpha, beta, k: of the formula.
    """

    around: Size
    neighbours: int
    alpha: float
    beta: float
    k: float

    @property
    def whole(self) -> str:
        """Why there is no window."""
        padded = not self.neighbours and self.around != ONE
        return "takes zeros outside the image, so that an output depends on where the image ends" if padded else ""

    @property
    def has_reach(self) -> bool:
        """Not with a spatial window."""
        return not self.whole


@dataclass(frozen=True)
class ReshapeLayer(Layer):
    """The same numbers in other axes.

    Attributes:
        source: order in which the numbers are read, letters of b, c, z, y, x; missing axes are 1 long.
        shape: lengths in the order ``target``; −1 for the batch.
        target: order in which they are laid down.
    """

    source: str
    shape: tuple[int, ...]
    target: str

    @property
    def features(self) -> int:
        """Feature maps after."""
        return self.lengths["c"]

    @property
    def lengths(self) -> dict[str, int]:
        """Length of each axis after."""
        return dict.fromkeys("bczyx", 1) | dict(zip(self.target, self.shape))

    @property
    def whole(self) -> str:
        """Why there is no window."""
        return "lays its input out anew"

    @property
    def has_reach(self) -> bool:
        """Never."""
        return False

    def size(self, *sizes: Size) -> Size:
        """The given one."""
        return Size(*(self.lengths[axis] for axis in "zyx"))

    def operations(self, before: Size, after: Size) -> int:
        """None."""
        return 0
