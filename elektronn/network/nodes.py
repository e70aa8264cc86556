"""What the nodes of a network do to sizes, whatever library computes them: windows, steps, features, costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from elektronn.axes import Size
from elektronn.errors import ConfigError, GeometryError
from elektronn.registry import nearest
from elektronn.settings import Settings

ACTIVATIONS = (
    "relu",
    "tanh",
    "sigmoid",
    "abs",
    "linear",
    "elu",
    "selu",
    "softplus",
    "concentration",
    "radius",
)
"""Names of activations; besides them ``maxout K``, the largest of every K neighbouring features."""

Pooling = Literal["max", "maxabs"]

ONE = Size(1, 1, 1)

SMALL = 20480
"""Up to so many numbers in batch, features, z and y, torch does not give a single image to its fast convolution."""


class Node(Settings):
    """One node of a network: what it does, to which parents, with which arguments."""

    kind: str
    name: str
    parents: tuple[str, ...] = ()
    arguments: dict[str, Any] = {}


def maxout_of(activation: str) -> int:
    """K of ``maxout K``; 1 for every other activation.

    Raises:
        ConfigError: neither a known name nor ``maxout`` with a whole number of 1 or more.

    Example:
        >>> maxout_of("maxout 2"), maxout_of("tanh")
        (2, 1)
    """
    if activation in ACTIVATIONS:
        return 1
    word, _, number = activation.partition(" ")
    if word == "maxout" and number.isdecimal() and int(number) >= 1:
        return int(number)
    raise ConfigError(f"activation '{activation}': {nearest(activation, (*ACTIVATIONS, 'maxout 2'))}")


@dataclass(frozen=True)
class Layer:
    """What all nodes have in common; this one leaves sizes as they are.

    A local node computes each output from a ``window`` of its input, and its outputs lie a ``step`` apart. All of
    geometry and dense prediction follows from these two.

    Attributes:
        name: the node's name.
    """

    name: str

    @property
    def features(self) -> int:
        """Feature maps after."""
        raise NotImplementedError

    @property
    def weights(self) -> int:
        """Number of trained numbers, biases included."""
        return 0

    @property
    def window(self) -> Size:
        """Voxels of its input that one output is made of, zyx."""
        return ONE

    @property
    def step(self) -> Size:
        """Voxels of its input between neighbouring outputs, zyx."""
        return ONE

    @property
    def whole(self) -> str:
        """Why an output has no window of its own, for messages; empty for a local node."""
        return ""

    @property
    def has_reach(self) -> bool:
        """Whether field of view and stride can be told behind it."""
        return True

    @property
    def style(self) -> dict[str, str]:
        """What a table for people says of it: ``kernel``, ``pool``, ``activation``."""
        return {}

    def size(self, *sizes: Size) -> Size:
        """Output size (zyx) for inputs of these sizes.

        Raises:
            GeometryError: several inputs of different sizes.
        """
        if len(set(sizes)) > 1:
            given = ", ".join(map(str, sizes))
            raise GeometryError(
                f"layer '{self.name}': its inputs have different sizes ({given}, zyx); give a size that fits all poolings"
            )
        return Size(*((n - w) // s + 1 for n, w, s in zip(sizes[0], self.window, self.step)))

    def operations(self, before: Size, after: Size) -> int:
        """Multiply-adds for an input of size ``before`` and an output of size ``after``, zyx."""
        return self.features * after.voxels


@dataclass(frozen=True)
class ConvLayer(Layer):
    """A valid convolution, pooling, bias and activation, in this order.

    Attributes:
        kernel, pool: zyx.
        features_in: feature maps before.
        maps: kernels; ``maxout K`` makes one feature of every K of them.
        activation, pooling: by name.
        dropout: share of activations set to 0 in training.
    """

    kernel: Size
    pool: Size
    features_in: int
    maps: int
    activation: str
    pooling: Pooling = "max"
    dropout: float = 0.0

    @property
    def features(self) -> int:
        """Feature maps after."""
        return self.maps // maxout_of(self.activation)

    @property
    def weights(self) -> int:
        """Number of trained numbers, biases included."""
        return self.maps * (self.features_in * self.kernel.voxels + 1)

    @property
    def window(self) -> Size:
        """Kernel and pooling together."""
        return Size(*(k + p - 1 for k, p in zip(self.kernel, self.pool)))

    @property
    def step(self) -> Size:
        """The pooling."""
        return self.pool

    @property
    def style(self) -> dict[str, str]:
        """Kernel, pooling and activation."""
        return {"kernel": str(self.kernel), "pool": str(self.pool), "activation": self.activation}

    def operations(self, before: Size, after: Size) -> int:
        """Those of the convolution, before pooling."""
        places = Size(*(n - k + 1 for n, k in zip(before, self.kernel)))
        return places.voxels * self.maps * self.features_in * self.kernel.voxels


@dataclass(frozen=True)
class WholeLayer(Layer):
    """A layer that makes one voxel of all that an example has."""

    inputs: int
    units: int
    activation: str

    @property
    def features(self) -> int:
        """Features after; one voxel is left of the image."""
        return self.units

    @property
    def whole(self) -> str:
        """Why there is no window."""
        return "is fully connected to the whole input"

    @property
    def style(self) -> dict[str, str]:
        """The activation."""
        return {"activation": self.activation}

    def size(self, *sizes: Size) -> Size:
        """One voxel."""
        return ONE

    def operations(self, before: Size, after: Size) -> int:
        """One multiply-add per weight."""
        return self.weights


@dataclass(frozen=True)
class PerceptronLayer(WholeLayer):
    """A fully connected layer on everything that one example has: features × z × y × x, in this order.

    Attributes:
        inputs: numbers per example before; ``units``: after.
        activation: by name.
        dropout: share of activations set to 0 in training.
    """

    dropout: float = 0.0

    @property
    def features(self) -> int:
        """Features after; one voxel is left of the image."""
        return self.units // maxout_of(self.activation)

    @property
    def weights(self) -> int:
        """Number of trained numbers, biases included."""
        return self.units * (self.inputs + 1)


@dataclass(frozen=True)
class RecurrentLayer(WholeLayer):
    """``h_t = act(x_t W + h_(t−1) V + b)`` along the first spatial axis, which is time; the last h goes on.

    Attributes:
        inputs: features per time step; ``units``: of the state h.
        activation: by name.
    """

    @property
    def weights(self) -> int:
        """Number of trained numbers, with bias and first state."""
        return self.units * (self.inputs + self.units + 2)

    def operations(self, before: Size, after: Size) -> int:
        """One multiply-add per weight and time step."""
        return before.z * self.weights


@dataclass(frozen=True)
class TiedLayer(WholeLayer):
    """The way back of a fully connected layer: its weights transposed and shared, a bias of its own.

    Attributes:
        inputs: numbers per example before; ``units``: after.
        activation: by name.
        of: name of the perceptron node whose weights it shares.
        noise: standard deviation of normal noise on the input, in training only.
    """

    of: str
    noise: float

    @property
    def weights(self) -> int:
        """Number of trained numbers of its own: the bias."""
        return self.units
