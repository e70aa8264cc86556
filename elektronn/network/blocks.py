"""The nodes of branched networks as torch modules. Activations are ``(batch, channel, z, y, x)``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elektronn.axes import Size
from elektronn.errors import ConfigError, GeometryError
from elektronn.network.cells import Constant, Gated, State
from elektronn.network.kinds import (
    ActivationLayer,
    BatchNormLayer,
    ConcatLayer,
    CropLayer,
    MergeLayer,
    PadLayer,
    PoolLayer,
    ReshapeLayer,
    ResponseLayer,
    SliceLayer,
    SlopeLayer,
    SoftmaxLayer,
    StandardLayer,
    UpConvLayer,
)
from elektronn.network.layers import (
    Block,
    Convolution,
    Perceptron,
    Recurrent,
    Tied,
    Windowed,
    activation_of,
    draw,
    largest_magnitude,
    pool_dense,
    pool_strided,
)
from elektronn.network.memory import ConstantLayer, GatedLayer, StateLayer
from elektronn.network.nodes import ONE, ConvLayer, Layer, PerceptronLayer, RecurrentLayer, TiedLayer
from elektronn.network.norms import BatchNorm, ResponseNorm


def sum_dense(x: Tensor, window: Size, dilation: Size) -> Tensor:
    """Sums over windows with taps ``dilation`` apart, one for every place where the window fits."""
    for axis, (taps, step) in enumerate(zip(window, dilation), 2):
        extent = x.shape[axis] - (taps - 1) * step
        x = torch.stack([x.narrow(axis, tap * step, extent) for tap in range(taps)]).sum(0) if taps > 1 else x
    return x


class Pool(Windowed):
    """Pooling by itself: maximum, largest magnitude, mean or sum."""

    layer: PoolLayer

    def __init__(self, layer: PoolLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, z, y, x)`` → every ``stride`` voxels one value; a remainder at the end is cut off."""
        window, stride = tuple(self.layer.shape), tuple(self.layer.stride)

        def largest(values: Tensor) -> Tensor:
            same = self.layer.shape == self.layer.stride
            return pool_strided(values, self.layer.shape) if same else F.max_pool3d(values, window, stride)

        return self._pooled(x, largest, lambda v: F.avg_pool3d(v, window, stride, divisor_override=1))

    def dense(self, x: Tensor, dilation: Size) -> Tensor:
        """The same for every position."""
        window = self.layer.shape
        return self._pooled(x, lambda v: pool_dense(v, window, dilation), lambda v: sum_dense(v, window, dilation))

    def _pooled(self, x: Tensor, largest: Callable[[Tensor], Tensor], total: Callable[[Tensor], Tensor]) -> Tensor:
        match self.layer.pooling:
            case "max":
                return largest(x)
            case "maxabs":
                return largest_magnitude(largest, x)
            case "mean":
                return total(x) / self.layer.shape.voxels
            case "sum":
                return total(x)


class Crop(Windowed):
    """Cuts the same margin away on both sides."""

    layer: CropLayer

    def __init__(self, layer: CropLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, z, y, x)`` → smaller by twice the margin."""
        return self.dense(x, ONE)

    def dense(self, x: Tensor, dilation: Size) -> Tensor:
        """The same where neighbouring outputs of the strided network lie ``dilation`` apart."""
        for axis, (margin, step) in enumerate(zip(self.layer.margin, dilation), 2):
            extent = x.shape[axis] - 2 * margin * step
            if extent < 1:
                raise GeometryError(
                    f"layer '{self.layer.name}': nothing is left of {x.shape[axis]} voxels along {'zyx'[axis - 2]} when "
                    f"{margin * step} are cut away on both sides; give a larger input"
                )
            x = x.narrow(axis, margin * step, extent)
        return x


class Pad(Block):
    """Adds the same margin of a constant on both sides."""

    layer: PadLayer

    def __init__(self, layer: PadLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, z, y, x)`` → larger by twice the margin."""
        z, y, w = self.layer.margin
        return F.pad(x, (w, w, y, y, z, z), value=self.layer.value)


class UpConvolution(Block):
    """Transposed convolution with kernel = stride: ``y[o, i·p + k] = Σ_c w[c, o, k] x[c, i]``, bias, activation.

    Attributes:
        weight: ``(features_in, maps, pz, py, px)``.
        bias: ``(maps,)``.
    """

    layer: UpConvLayer

    def __init__(self, layer: UpConvLayer) -> None:
        super().__init__()
        self.layer = layer
        self.weight = nn.Parameter(torch.empty(layer.features_in, layer.maps, *layer.factor))
        self.bias = nn.Parameter(torch.zeros(layer.maps))
        self.activation = activation_of(layer.activation)

    def initialise(self, generator: torch.Generator, scheme: str) -> None:
        """Voxels repeated, feature by feature, plus a tenth of the usual weights; no bias."""
        sizes = (self.layer.features_in, self.layer.maps)
        draw(self.weight, self.bias, sizes, self.layer.activation, generator, scheme)
        with torch.no_grad():
            self.weight.mul_(0.1)
            same = range(min(sizes))
            self.weight[same, same] = 1.0
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """``(b, features_in, z, y, x)`` → ``(b, features, z·pz, y·py, x·px)``."""
        return self.activation(F.conv_transpose3d(x, self.weight, self.bias, tuple(self.layer.factor)))


class Concat(Block):
    """Its inputs one after the other along one axis."""

    layer: ConcatLayer

    def __init__(self, layer: ConcatLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs ``(b, c, z, y, x)``, equal but along the axis.

        Raises:
            GeometryError: their sizes differ.
        """
        if self.layer.axis == "c":
            _require_same(self.layer, inputs)
        return torch.cat(inputs, "bczyx".index(self.layer.axis))


class Merge(Block):
    """Sum or product of its inputs."""

    layer: MergeLayer

    def __init__(self, layer: MergeLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs of one shape.

        Raises:
            GeometryError: their sizes differ.
        """
        _require_same(self.layer, inputs)
        result = inputs[0]
        for x in inputs[1:]:
            result = result + x if self.layer.how == "sum" else result * x
        return result


def _require_same(layer: Layer, inputs: Iterable[Tensor]) -> None:
    if len({x.shape[2:] for x in inputs}) > 1:
        layer.size(*(Size(*x.shape[2:]) for x in inputs))


class Slice(Block):
    """Some of the features."""

    layer: SliceLayer

    def __init__(self, layer: SliceLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, …)`` → ``(b, stop − start, …)``."""
        return x[:, self.layer.start : self.layer.stop]


class Reshape(Block):
    """The same numbers in other axes."""

    layer: ReshapeLayer

    def __init__(self, layer: ReshapeLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, z, y, x)`` → the sizes that the layer was made for.

        Raises:
            GeometryError: the input has another number of voxels.
        """
        said = self.layer
        missing = [axis for axis in "bczyx" if axis not in said.source]
        read = x.permute(["bczyx".index(axis) for axis in (*said.source, *missing)])
        if x[0].numel() != -math.prod(said.shape):
            raise GeometryError(
                f"layer '{said.name}' lays out {-math.prod(said.shape)} numbers per example, an input of this size gives "
                f"{x[0].numel()}; give inputs of the size that the network was made for"
            )
        absent = [axis for axis in "bczyx" if axis not in said.target]
        laid = read.reshape(*said.shape, *(1 for _ in absent))
        return laid.permute([(*said.target, *absent).index(axis) for axis in "bczyx"])


class Activation(Block):
    """An activation by itself."""

    def __init__(self, layer: ActivationLayer) -> None:
        super().__init__()
        self.layer = layer
        self.activation = activation_of(layer.activation)

    def forward(self, x: Tensor) -> Tensor:
        """Element by element; ``maxout K`` leaves one of K features."""
        return self.activation(x)


class Slope(Block):
    """Parametric relu; ``slope``: ``(features,)``, 1 at the start."""

    def __init__(self, layer: SlopeLayer) -> None:
        super().__init__()
        self.layer = layer
        self.slope = nn.Parameter(torch.ones(layer.width))

    def forward(self, x: Tensor) -> Tensor:
        """Element by element."""
        return F.prelu(x, self.slope)


class Softmax(Block):
    """Softmax over blocks of features."""

    layer: SoftmaxLayer

    def __init__(self, layer: SoftmaxLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, …)`` → the same, every block of ``classes`` features sums to 1."""
        blocks = x.reshape(x.shape[0], -1, self.layer.classes, *x.shape[2:])
        return torch.softmax(blocks, 2).flatten(1, 2)


class Standard(Block):
    """Standardises with fixed numbers. They belong to the document and are no weights."""

    layer: StandardLayer

    def __init__(self, layer: StandardLayer) -> None:
        super().__init__()
        self.layer = layer
        for name, values in (("mean", layer.mean), ("factor", tuple(1 / d for d in layer.deviation))):
            tensor = torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1, 1)
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, …)`` → the same."""
        mean, factor = (self.get_buffer(name).to(x.dtype) for name in ("mean", "factor"))
        return (x - mean) * factor


BLOCKS: Mapping[type[Layer], Callable[..., Block]] = {
    ConvLayer: Convolution,
    PerceptronLayer: Perceptron,
    RecurrentLayer: Recurrent,
    PoolLayer: Pool,
    CropLayer: Crop,
    PadLayer: Pad,
    UpConvLayer: UpConvolution,
    ConcatLayer: Concat,
    MergeLayer: Merge,
    SliceLayer: Slice,
    ActivationLayer: Activation,
    SlopeLayer: Slope,
    SoftmaxLayer: Softmax,
    BatchNormLayer: BatchNorm,
    StandardLayer: Standard,
    ResponseLayer: ResponseNorm,
    StateLayer: State,
    GatedLayer: Gated,
    ConstantLayer: Constant,
    ReshapeLayer: Reshape,
}
"""What a node does to sizes → its arithmetic."""


def modules_of(layers: Iterable[Layer]) -> dict[str, Block]:
    """The torch modules of layers, by name, in order.

    Raises:
        ConfigError: a tied layer whose partner is no perceptron before it.
    """
    made: dict[str, Block] = {}
    for layer in layers:
        if isinstance(layer, TiedLayer):
            other = made.get(layer.of)
            if not isinstance(other, Perceptron):
                raise ConfigError(f"layer '{layer.name}': '{layer.of}' is no perceptron that stands before it")
            made[layer.name] = Tied(layer, other)
        elif type(layer) in BLOCKS:
            made[layer.name] = BLOCKS[type(layer)](layer)
    return made
