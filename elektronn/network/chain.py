"""The network written layer by layer: its settings, and the chain of nodes that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from elektronn.errors import ConfigError
from elektronn.network.document import Document, Node, conv_node, geometry, layers
from elektronn.network.nodes import Pooling, maxout_of
from elektronn.settings import Field, Positive, Settings, Triple, checked

T = TypeVar("T")
Rate = Annotated[float, Field(ge=0, lt=1)]


class Recurrence(Settings):
    """A simple recurrent layer, for series of feature vectors."""

    units: Positive
    """Numbers in its state."""
    activation: str = "tanh"
    """As for the other layers, without maxout."""

    @checked
    def _known(self) -> Recurrence:
        if _maxout(self.activation) > 1:
            raise ValueError(f"activation '{self.activation}' does not fit a recurrent layer; write tanh or relu")
        return self


class NetworkSettings(Settings):
    """A chain of layers: valid convolutions, each followed by max pooling, then perceptrons if there are any."""

    kernels: tuple[Triple, ...] = ((1, 4, 4), (1, 3, 3), (3, 3, 3), (3, 3, 3), (1, 2, 2))
    """Kernel per layer, zyx, voxels."""
    pools: tuple[Triple, ...] = ((1, 2, 2), (1, 2, 2), (1, 1, 1), (1, 1, 1), (1, 1, 1))
    """Pooling factor per layer, zyx."""
    features: tuple[Positive, ...] = (10, 20, 40, 40, 40)
    """Feature maps per layer; the output layer is added."""
    perceptrons: tuple[Positive, ...] = ()
    """Units of fully connected layers after the convolutions: the network then has one output per patch."""
    recurrent: Recurrence | None = None
    """A recurrent layer before the perceptrons, for series of feature vectors; not with convolutions."""
    activation: str | tuple[str, ...] = "relu"
    """Activation of all layers but the output (relu, tanh, sigmoid, abs, linear, maxout K), or one per layer,
    convolutions first."""
    pooling: Pooling | tuple[Pooling, ...] = "max"
    """``max``, or ``maxabs``: the value of largest magnitude with its sign; or one per layer."""
    dropout: Rate | tuple[Rate, ...] = 0.0
    """Share of activations set to 0 in training, or one per layer; never in the output layer."""
    initialisation: Literal["he", "elektronn1"] = "he"
    """How weights are drawn: He et al. 2015, or as ELEKTRONN 1 did."""
    classes: Positive = 2
    """Number of classes, class 1 is the boundary; for a regression the number of values."""
    patch: Triple = (7, 127, 127)
    """Wanted input size in training, zyx, voxels; the largest valid size not above it is taken."""

    @checked
    def _same_length(self) -> NetworkSettings:
        lengths = {"kernels": len(self.kernels), "pools": len(self.pools), "features": len(self.features)}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name} has {n}" for name, n in lengths.items())
            raise ValueError(f"write one entry per layer in each list: {said}")
        if self.recurrent is not None and self.features:
            raise ValueError("a recurrent layer does not go with convolutions; write kernels, pools and features as []")
        units = self.features + self.perceptrons
        for name, given, count in (
            ("activation", self.activation, len(units)),
            ("pooling", self.pooling, len(self.features)),
            ("dropout", self.dropout, len(units)),
        ):
            if isinstance(given, tuple) and len(given) != count:
                raise ValueError(f"{name} has {len(given)} entries for {count} layers; write one per layer")
        for i, (activation, features) in enumerate(zip(repeated(self.activation, len(units)), units), 1):
            if features % _maxout(activation):
                raise ValueError(f"layer {i}: {activation} needs a multiple of that many features, not {features}")
        return self

    @property
    def is_dense(self) -> bool:
        """Whether every output sees a field of view of its own, so that labels are volumes."""
        return bool(self.features) and not self.perceptrons


def repeated(given: T | tuple[T, ...], count: int) -> tuple[T, ...]:
    """One entry per layer, the only one repeated."""
    return given if isinstance(given, tuple) else (given,) * count


def _maxout(activation: str) -> int:
    try:
        return maxout_of(activation)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def chain(
    settings: NetworkSettings, channels: int = 1, standard: tuple[Sequence[float], Sequence[float]] | None = None
) -> Document:
    """The document of a chain network with its output layer (one unit per class, linear).

    Args:
        settings: layers; where perceptrons follow convolutions, ``patch`` decides the number of their inputs.
        channels: of the image, or features of a vector.
        standard: mean and deviation per channel that images are standardised by, as the network's first node.

    Raises:
        GeometryError: perceptrons, and a patch that is smaller than the field of view.

    Example:
        >>> [node.name for node in chain(NetworkSettings()).nodes]
        ['input', 'conv1', 'conv2', 'conv3', 'conv4', 'conv5', 'output']
        >>> [node.name for node in chain(NetworkSettings(perceptrons=(100,))).nodes][-3:]
        ['conv5', 'perceptron6', 'output']
    """
    nodes = [Node(kind="input", name="input", arguments={"channels": channels})]
    if standard is not None:
        numbers = {"mean": list(standard[0]), "deviation": list(standard[1])}
        nodes.append(Node(kind="standardise", name="standardise", parents=("input",), arguments=numbers))
    units = settings.features + settings.perceptrons
    styles = [*zip(repeated(settings.activation, len(units)), repeated(settings.dropout, len(units)))]
    poolings = repeated(settings.pooling, len(settings.features))
    rows = zip(settings.kernels, settings.pools, settings.features, styles, poolings)
    for i, (kernel, pool, features, (activation, dropout), pooling) in enumerate(rows, 1):
        node = conv_node(f"conv{i}", nodes[-1].name, kernel, pool, features, activation, pooling)
        nodes.append(node.model_copy(update={"arguments": node.arguments | {"dropout": dropout}}))
    if settings.is_dense:
        nodes.append(conv_node("output", nodes[-1].name, (1, 1, 1), (1, 1, 1), settings.classes, "linear"))
        return Document(nodes=tuple(nodes))
    if settings.recurrent is not None:
        said = {"units": settings.recurrent.units, "activation": settings.recurrent.activation}
        nodes.append(Node(kind="recurrent", name="recurrent", parents=(nodes[-1].name,), arguments=said))
    inputs = _flat(Document(nodes=tuple(nodes)), settings)
    first = len(settings.features) + 1
    tail = [*zip(settings.perceptrons, styles[len(settings.features) :]), (settings.classes, ("linear", 0.0))]
    for i, (count, (activation, dropout)) in enumerate(tail, first):
        name = f"perceptron{i}" if i < first + len(settings.perceptrons) else "output"
        arguments = {"inputs": inputs, "units": count, "activation": activation, "dropout": dropout}
        nodes.append(Node(kind="perceptron", name=name, parents=(nodes[-1].name,), arguments=arguments))
        inputs = count // maxout_of(activation)
    return Document(nodes=tuple(nodes))


def _flat(document: Document, settings: NetworkSettings) -> int:
    """Numbers per example that the first perceptron takes."""
    done = layers(document)
    features = done[-1].features if done else document.channels
    if not settings.features:
        return features
    reach = geometry(document)
    return features * reach.outputs(reach.input_at_most(settings.patch)).voxels
