"""Layers as torch modules. Activations are ``(batch, channel, z, y, x)``, stored channels last unless our own convolution runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elektronn.axes import Size
from elektronn.errors import GeometryError
from elektronn.network.flat_conv import convolve_flat, is_flat
from elektronn.network.nodes import ONE, SMALL, ConvLayer, Layer, PerceptronLayer, RecurrentLayer, TiedLayer, maxout_of
from elektronn.network.winograd import convolve_by_fours, suits

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "abs": torch.abs,
    "linear": lambda x: x,
    "elu": F.elu,
    "selu": F.selu,
    "softplus": lambda x: F.softplus(x, threshold=80),
    "concentration": lambda x: 7 * F.softplus(x, threshold=80) + 2,
    "radius": lambda x: 3 + 15 * torch.exp(0.15 * x),
}


def activation_of(name: str) -> Callable[[Tensor], Tensor]:
    """The function of an activation's name; ``maxout K`` makes one feature (axis 1) of every K."""
    k = maxout_of(name)
    if name.startswith("maxout"):
        return lambda x: x.reshape(x.shape[0], x.shape[1] // k, k, *x.shape[2:]).amax(2)
    return ACTIVATIONS[name]


def folded(x: Tensor) -> Tensor:
    """``(b, c, z, y, x)`` stored channels last → ``(b·z, c, y, x)``, a view in the 2-D channels-last format."""
    b, c, z, y, w = x.shape
    return x.permute(0, 2, 3, 4, 1).reshape(b * z, y, w, c).permute(0, 3, 1, 2)


def unfolded(x: Tensor, batch: int) -> Tensor:
    """The way back from :func:`folded`."""
    n, c, y, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(batch, n // batch, y, w, c).permute(0, 4, 1, 2, 3)


def convolve_plainly(x: Tensor, weight: Tensor, bias: Tensor, dilation: Size = ONE) -> Tensor:
    """Valid 3-D convolution as torch writes it: the reference for :func:`convolve`."""
    return F.conv3d(x, weight, bias, dilation=tuple(dilation))


def convolve(x: Tensor, weight: Tensor, bias: Tensor, dilation: Size = ONE) -> Tensor:
    """Valid 3-D convolution as a 2-D one over planes, equal to :func:`convolve_plainly` to rounding.

    The planes of the batch become the batch of a 2-D convolution and the z-taps of the kernel are stacked
    into its channels. On a CPU, torch takes a slow path for small 3-D batches of one; this form avoids it and
    uses the better tuned 2-D kernels (figures in benchmarks/README.md). Gradients come from autograd.

    Args:
        x: ``(b, ci, z, y, x)``.
        weight: ``(co, ci, kz, ky, kx)``.
        bias: ``(co,)``.
        dilation: zyx.

    Returns:
        ``(b, co, z − (kz−1)·dz, …)``.
    """
    batch, taps = x.shape[0], weight.shape[2]
    depth = x.shape[2] - (taps - 1) * dilation.z
    if taps > 1:
        x = torch.cat([x.narrow(2, k * dilation.z, depth) for k in range(taps)], dim=1)
    planes = folded(x.contiguous(memory_format=torch.channels_last_3d))
    # a copy, because its strides decide the layout of the result: those of one feature alone say nothing to torch
    flat = weight.permute(0, 2, 1, 3, 4).flatten(1, 2).clone(memory_format=torch.channels_last)
    return unfolded(F.conv2d(planes, flat, bias, dilation=(dilation.y, dilation.x)), batch)


def convolve_dense(x: Tensor, weight: Tensor, bias: Tensor, dilation: Size = ONE) -> Tensor:
    """The same for large images, without gradients: channels last, planes as a 2-D batch where the kernel is flat.

    There torch's 3-D convolution is as fast as a 2-D one, and stacking z-taps would only copy. For inputs of at most
    :data:`SMALL` voxels without axis x it would take a slow path that copies every window; those are stacked. Kernels of
    three planes go through :mod:`.winograd`.
    """
    if suits(x, weight, dilation):
        return convolve_by_fours(x, weight, bias, dilation)
    if x.shape[:4].numel() <= SMALL:
        return convolve(x, weight, bias, dilation)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    if weight.shape[2] == 1:
        flat = weight[:, :, 0].contiguous(memory_format=torch.channels_last)
        return unfolded(F.conv2d(folded(x), flat, bias, dilation=(dilation.y, dilation.x)), x.shape[0])
    return convolve_plainly(x, weight.contiguous(memory_format=torch.channels_last_3d), bias, dilation)


def pool_strided(x: Tensor, pool: Size) -> Tensor:
    """Max pooling with stride = window; a remainder at the end is cut off."""
    if pool.voxels == 1:
        return x
    if pool.z == 1:
        return unfolded(F.max_pool2d(folded(x), pool[1:]), x.shape[0])
    return F.max_pool3d(x, tuple(pool))


def pool_phases(x: Tensor, pool: Size) -> Tensor:
    """:func:`pool_strided` at every shift by less than a window; the results one behind the other in the batch.

    Shifts come in the order z, y, x, the last one fastest. All results are as large as that of the largest shift.
    """
    if pool.voxels == 1:
        return x
    extent = [(n - p + 1) // p * p for n, p in zip(x.shape[2:], pool)]
    parts = []
    for z, y, w in product(*(range(p) for p in pool)):
        part = x[:, :, z : z + extent[0], y : y + extent[1], w : w + extent[2]]
        parts.append(F.max_pool3d(part, tuple(pool)))
    return torch.cat(parts)


def pool_dense(x: Tensor, pool: Size, dilation: Size) -> Tensor:
    """Max pooling with stride 1 and taps ``dilation`` apart: running maxima, one axis after the other.

    Equal to ``max_pool3d(x, pool, stride=1, dilation=dilation)``, several times faster in channels-last layout.
    """
    for axis, (window, step) in enumerate(zip(pool, dilation), 2):
        done = 1
        while done < window:
            more = min(done, window - done)
            extent = x.shape[axis] - more * step
            x = torch.maximum(x.narrow(axis, 0, extent), x.narrow(axis, more * step, extent))
            done += more
    return x


def largest_magnitude(pool: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Pooling by largest magnitude, sign kept; of equal magnitudes the positive value. ``pool`` takes maxima."""
    high, low = pool(x), -pool(-x)
    return torch.where(high >= -low, high, low)


class Block(nn.Module):
    """The arithmetic of one node, of one or more inputs ``(b, c, z, y, x)``.

    Attributes:
        layer: what the node does to sizes.
    """

    layer: Layer

    def initialise(self, generator: torch.Generator, scheme: str) -> None:
        """Draw the weights; most nodes have none."""


class Windowed(Block):
    """A node that looks at windows, so that dense prediction needs another arithmetic."""

    def dense(self, x: Tensor, dilation: Size) -> Tensor:
        """Outputs at every position, from windows whose taps are ``dilation`` (zyx) apart."""
        raise NotImplementedError


class Convolution(Windowed):
    """Valid convolution, pooling, bias, activation, in this order.

    For maxima the order of pooling and bias does not matter, so the bias is added by the convolution; for the
    largest magnitude it does.

    Attributes:
        weight: ``(maps, features_in, kz, ky, kx)``.
        bias: ``(maps,)``.
    """

    layer: ConvLayer

    def __init__(self, layer: ConvLayer) -> None:
        super().__init__()
        self.layer = layer
        self.weight = nn.Parameter(torch.empty(layer.maps, layer.features_in, *layer.kernel))
        self.bias = nn.Parameter(torch.zeros(layer.maps))
        self.activation = activation_of(layer.activation)

    def initialise(self, generator: torch.Generator, scheme: str) -> None:
        """Draw weight and bias; see :func:`draw`."""
        kernel = self.layer.kernel.voxels
        outputs = self.layer.maps * kernel // self.layer.pool.voxels
        draw(
            self.weight, self.bias, (self.layer.features_in * kernel, outputs), self.layer.activation, generator, scheme
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(b, features_in, z, y, x)`` → ``(b, features, z', y', x')``, strided."""
        said = self.layer
        if said.pooling == "max" and not (self.training and said.dropout > 0) and is_flat(x, self.weight, said.pool):
            is_relu = said.activation == "relu"
            maps = convolve_flat(x, self.weight, self.bias, said.pool, is_relu)
            return maps if is_relu else self.activation(maps)
        return self._run(x, convolve, ONE, lambda maps: pool_strided(maps, said.pool))

    def dense(self, x: Tensor, dilation: Size) -> Tensor:
        """The same for every position: taps ``dilation`` apart, pooling with stride 1."""
        return self._run(x, convolve_dense, dilation, lambda maps: pool_dense(maps, self.layer.pool, dilation))

    def fragments(self, x: Tensor) -> Tensor:
        """The same, strided, at every shift of the pooling: one fragment per shift, behind one another in the batch."""
        return self._run(x, convolve, ONE, lambda maps: pool_phases(maps, self.layer.pool))

    def _run(
        self, x: Tensor, convolution: Callable[..., Tensor], dilation: Size, pool: Callable[[Tensor], Tensor]
    ) -> Tensor:
        if x.device.type != "cpu" or x.dtype == torch.float64:
            convolution = convolve_plainly
        drops = self.training and self.layer.dropout > 0
        if self.layer.pooling == "max" and not drops:
            return self._active(pool(convolution(x, self.weight, self.bias, dilation)))
        maps = convolution(x, self.weight, torch.zeros_like(self.bias), dilation)
        pooled = pool(maps) if self.layer.pooling == "max" else largest_magnitude(pool, maps)
        pooled = F.dropout(pooled, self.layer.dropout, drops)
        return self._active(pooled + self.bias[:, None, None, None])

    def _active(self, own: Tensor) -> Tensor:
        """The activation of numbers that nobody else has: in place where no gradients are wanted."""
        in_place = self.layer.activation == "relu" and not torch.is_grad_enabled()
        return own.relu_() if in_place else self.activation(own)


class Perceptron(Block):
    """A fully connected layer; one voxel is left of the image.

    Attributes:
        weight: ``(units, inputs)``, inputs in the order features, z, y, x.
        bias: ``(units,)``.
    """

    layer: PerceptronLayer

    def __init__(self, layer: PerceptronLayer) -> None:
        super().__init__()
        self.layer = layer
        self.weight = nn.Parameter(torch.empty(layer.units, layer.inputs))
        self.bias = nn.Parameter(torch.zeros(layer.units))
        self.activation = activation_of(layer.activation)

    def initialise(self, generator: torch.Generator, scheme: str) -> None:
        """Draw weight and bias; see :func:`draw`."""
        sizes = (self.layer.inputs, self.layer.units)
        draw(self.weight, self.bias, sizes, self.layer.activation, generator, scheme)

    def forward(self, x: Tensor) -> Tensor:
        """``(b, c, z, y, x)`` → ``(b, features, 1, 1, 1)``.

        Raises:
            GeometryError: the input has another size than the one that the layer was made for.
        """
        flat = x.flatten(1)
        if flat.shape[1] != self.layer.inputs:
            raise GeometryError(
                f"layer '{self.layer.name}' takes {self.layer.inputs} numbers, an input of this size gives "
                f"{flat.shape[1]}; give inputs of the size that the network was made for"
            )
        if self.training and self.layer.dropout > 0:
            # before the bias, as in a convolution
            dropped = F.dropout(F.linear(flat, self.weight), self.layer.dropout)
            return self.activation(dropped + self.bias)[..., None, None, None]
        return self.activation(F.linear(flat, self.weight, self.bias))[..., None, None, None]


class Recurrent(Block):
    """A simple recurrent layer along axis z, which is time.

    Attributes:
        weight: ``(units, inputs)``; ``recurrence``: ``(units, units)``; ``bias``, ``first``: ``(units,)``.
    """

    layer: RecurrentLayer

    def __init__(self, layer: RecurrentLayer) -> None:
        super().__init__()
        self.layer = layer
        self.weight = nn.Parameter(torch.empty(layer.units, layer.inputs))
        self.recurrence = nn.Parameter(torch.empty(layer.units, layer.units))
        self.bias = nn.Parameter(torch.zeros(layer.units))
        self.first = nn.Parameter(torch.zeros(layer.units))
        self.activation = activation_of(layer.activation)

    def initialise(self, generator: torch.Generator, scheme: str) -> None:
        """Input weights as a perceptron's; the recurrence is scaled to a largest singular value of 1."""
        sizes = (self.layer.inputs, self.layer.units)
        draw(self.weight, self.bias, sizes, self.layer.activation, generator, scheme)
        with torch.no_grad():
            drawn = torch.rand(self.recurrence.shape, generator=generator) * 2 - 1
            self.recurrence.copy_(drawn / torch.linalg.matrix_norm(drawn, 2))

    def forward(self, x: Tensor) -> Tensor:
        """``(b, inputs, time, 1, 1)`` → ``(b, units, 1, 1, 1)``, the last state."""
        state = self.first.expand(x.shape[0], -1)
        for step in x[:, :, :, 0, 0].unbind(2):
            state = self.activation(F.linear(step, self.weight, self.bias) + F.linear(state, self.recurrence))
        return state[..., None, None, None]


class Tied(Block):
    """A perceptron backwards: the other layer's weights transposed, a bias of its own.

    Attributes:
        bias: ``(units,)``; the weights belong to the other layer.
    """

    layer: TiedLayer

    def __init__(self, layer: TiedLayer, other: Perceptron) -> None:
        super().__init__()
        self.layer = layer
        self.bias = nn.Parameter(torch.zeros(layer.units))
        self.activation = activation_of(layer.activation)
        # in a list, so that the other layer's parameters are not counted and saved twice
        self._others = [other]

    def initialise(self, generator: torch.Generator, scheme: str) -> None:
        """Zero bias; the weights are the other layer's."""
        with torch.no_grad():
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """``(b, inputs, 1, 1, 1)`` → ``(b, units, 1, 1, 1)``."""
        flat = x.flatten(1)
        if self.training and self.layer.noise > 0:
            flat = flat + self.layer.noise * torch.randn_like(flat)
        return self.activation(F.linear(flat, self._others[0].weight.t(), self.bias))[..., None, None, None]


def draw(
    weight: Tensor,
    bias: Tensor,
    sizes: tuple[int, int],
    activation: str,
    generator: torch.Generator,
    scheme: str,
) -> None:
    """Fill weight and bias in place.

    ``he`` (He et al. 2015): normal weights of standard deviation sqrt(2 / inputs) for relu, sqrt(1 / inputs) else; zero
    bias. ``elektronn1``: with s = sqrt(2 / (inputs + outputs)), normal of deviation s for convolutions, uniform in ± s
    for perceptrons; bias 1 / kernel voxels (convolution) or 1 (perceptron) for relu, 0.5 for sigmoid, else ± 1e-6.

    Args:
        weight, bias: of one layer.
        sizes: inputs and outputs of one unit; a pooling divides the outputs.
        activation: by name.
        generator: of all draws, on the CPU.
        scheme: ``he`` or ``elektronn1``.
    """
    inputs, outputs = sizes
    with torch.no_grad():
        if scheme == "he":
            weight.normal_(0.0, math.sqrt((2.0 if activation == "relu" else 1.0) / inputs), generator=generator)
            bias.zero_()
            return
        bound, is_conv = math.sqrt(2 / (inputs + outputs)), weight.ndim > 2
        if is_conv:
            weight.normal_(0.0, bound, generator=generator)
        else:
            weight.uniform_(-bound, bound, generator=generator)
        if activation in ("relu", "sigmoid"):
            bias.fill_(0.5 if activation == "sigmoid" else 1 / math.prod(weight.shape[2:]))
        else:
            bias.uniform_(-1e-6, 1e-6, generator=generator)
