"""The catalogue of node kinds: from a node of a document and the features before it to what it does to sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from elektronn.axes import Size
from elektronn.errors import ConfigError
from elektronn.network.kinds import (
    ActivationLayer,
    BatchNormLayer,
    ConcatLayer,
    CropLayer,
    InputLayer,
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
from elektronn.network.memory import ConstantLayer, GatedLayer, StateLayer
from elektronn.network.nodes import ONE, ConvLayer, Layer, Node, PerceptronLayer, RecurrentLayer, TiedLayer
from elektronn.registry import lookup

Features = Sequence[int]
Said = Mapping[str, Any]


def layer_of(node: Node, features: Features) -> Layer:
    """What a node does to sizes.

    Args:
        node: of a document.
        features: of its parents, in their order.

    Raises:
        ConfigError: unknown kind, a missing argument, or features that do not fit.
    """
    kind = lookup(KINDS, node.kind, "node kind")
    try:
        return kind(node.name, node.arguments, features)
    except KeyError as error:
        raise ConfigError(f"network node '{node.name}': a {node.kind} node needs the argument {error}") from None
    except IndexError:
        raise ConfigError(
            f"network node '{node.name}': a {node.kind} node needs more parents than {list(node.parents)}"
        ) from None


def _convolution(name: str, said: Said, features: Features) -> ConvLayer:
    kernel, pool = Size(*said["kernel"]), Size(*said["pool"])
    style = said["activation"], said.get("pooling", "max"), said.get("dropout", 0.0)
    return ConvLayer(name, kernel, pool, features[0], said["features"], *style)


def _perceptron(name: str, said: Said, features: Features) -> PerceptronLayer:
    return PerceptronLayer(name, said["inputs"], said["units"], said["activation"], said.get("dropout", 0.0))


def _recurrent(name: str, said: Said, features: Features) -> RecurrentLayer:
    return RecurrentLayer(name, features[0], said["units"], said["activation"])


def _tied(name: str, said: Said, features: Features) -> TiedLayer:
    return TiedLayer(name, features[0], said["units"], said["activation"], said["of"], said.get("noise", 0.0))


def _pool(name: str, said: Said, features: Features) -> PoolLayer:
    shape = Size(*said["shape"])
    return PoolLayer(name, features[0], shape, Size(*said.get("stride", shape)), said.get("pooling", "max"))


def _upconv(name: str, said: Said, features: Features) -> UpConvLayer:
    return UpConvLayer(name, Size(*said["factor"]), features[0], said["features"], said["activation"])


def _concat(name: str, said: Said, features: Features) -> ConcatLayer:
    axis = said.get("axis", "c")
    if axis != "c" and len(set(features)) > 1:
        raise ConfigError(f"layer '{name}': its inputs have {list(features)} features; they must be the same")
    return ConcatLayer(name, tuple(features), axis)


def _sum(name: str, said: Said, features: Features) -> MergeLayer:
    return _merged(MergeLayer(name, features[0], "sum"), features)


def _product(name: str, said: Said, features: Features) -> MergeLayer:
    return _merged(MergeLayer(name, features[0], "product"), features)


def _merged(layer: MergeLayer, features: Features) -> MergeLayer:
    if len(set(features)) > 1:
        raise ConfigError(f"layer '{layer.name}': its inputs have {list(features)} features; they must be the same")
    return layer


def _softmax(name: str, said: Said, features: Features) -> SoftmaxLayer:
    classes = said.get("classes", features[0])
    if features[0] % classes:
        raise ConfigError(f"layer '{name}': {features[0]} features are no multiple of {classes} classes")
    return SoftmaxLayer(name, features[0], classes)


def _standard(name: str, said: Said, features: Features) -> StandardLayer:
    mean, deviation = (tuple(map(float, said[key])) for key in ("mean", "deviation"))
    if not len(mean) == len(deviation) == features[0]:
        raise ConfigError(
            f"layer '{name}': {len(mean)} means and {len(deviation)} deviations for {features[0]} features"
        )
    return StandardLayer(name, features[0], mean, deviation)


def _response(name: str, said: Said, features: Features) -> ResponseLayer:
    around = Size(*said.get("around", ONE))
    return ResponseLayer(name, features[0], around, said.get("neighbours", 0), said["alpha"], said["beta"], said["k"])


def _reshape(name: str, said: Said, features: Features) -> ReshapeLayer:
    return ReshapeLayer(name, said["source"], tuple(said["shape"]), said["target"])


def _constant(name: str, said: Said, features: Features) -> ConstantLayer:
    b, c, z, y, x = said["shape"]
    return ConstantLayer(name, (b, c, z, y, x))


def _gru(name: str, said: Said, features: Features) -> GatedLayer:
    return _gated(GatedLayer(name, features[0], said["units"], said["activation"], "gru"), features)


def _lstm(name: str, said: Said, features: Features) -> GatedLayer:
    return _gated(GatedLayer(name, features[0], said["units"], said["activation"], "lstm"), features)


def _gated(layer: GatedLayer, features: Features) -> GatedLayer:
    if features[1] != layer.features:
        raise ConfigError(f"layer '{layer.name}': its memory has {features[1]} features; it needs {layer.features}")
    return layer


KINDS: Mapping[str, Callable[[str, Said, Features], Layer]] = {
    "conv": _convolution,
    "perceptron": _perceptron,
    "recurrent": _recurrent,
    "tied": _tied,
    "input": lambda name, said, features: InputLayer(name, said["channels"]),
    "pool": _pool,
    "crop": lambda name, said, features: CropLayer(name, features[0], Size(*said["margin"])),
    "pad": lambda name, said, features: PadLayer(name, features[0], Size(*said["margin"]), said.get("value", 0.0)),
    "upconv": _upconv,
    "concat": _concat,
    "add": _sum,
    "multiply": _product,
    "slice": lambda name, said, features: SliceLayer(name, said["start"], said["stop"]),
    "activation": lambda name, said, features: ActivationLayer(name, features[0], said["activation"]),
    "prelu": lambda name, said, features: SlopeLayer(name, features[0]),
    "softmax": _softmax,
    "batch_norm": lambda name, said, features: BatchNormLayer(name, features[0], said["statistics"]),
    "standardise": _standard,
    "response_norm": _response,
    "reshape": _reshape,
    "constant": _constant,
    "state": lambda name, said, features: StateLayer(name, said["units"]),
    "gru": _gru,
    "lstm": _lstm,
}
"""Node kind → what it does to sizes (the torch side stands in ``network.layers`` and ``network.blocks``)."""
