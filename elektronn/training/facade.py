"""What a person may look at in a running training: plain values under short names, and expressions on them."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Protocol

from elektronn.errors import ConfigError
from elektronn.registry import nearest
from elektronn.settings import Settings
from elektronn.training.control import Event


class Running(Protocol):
    """A training as commands and questions see it."""

    task: Any
    settings: Any
    sampling: Any
    network: Any
    steering: Any
    backups: Any
    mailbox: Any
    orders: Any
    keeper: Any
    step: int
    history: list[dict[str, float]]
    warnings: list[str]
    seconds: float
    row_seconds: float
    wait: float
    last_mean: float | None
    counts: dict[str, int]
    batch: Any
    ended: bool
    is_sound: bool
    device: Any
    loss_sum: Any

    @property
    def has_previews(self) -> bool:
        """Whether there is something to preview."""
        ...

    def measure(self, source: str) -> tuple[float, float]:
        """Loss and error on the monitor examples of a source."""
        ...

    def loss_of(self, batch: Any) -> Any:
        """Loss of a batch without dropout, with its graph."""
        ...

    def listen(self, event: Event, /) -> None:
        """Tell everybody."""
        ...

    def preview(self) -> None:
        """Tell everybody what the network predicts now."""
        ...

    def supply_of(self, step: int) -> Any:
        """The supply with the numbers of the augmentations at a step."""
        ...

    def label_mean(self) -> float | None:
        """Mean label of the last batch."""
        ...

    def record(self) -> None:
        """Add a row to the history."""
        ...

    def save(self, final: bool = False) -> None:
        """Write a backup."""
        ...


def _numbers(of: Running) -> Mapping[str, Any]:
    values: Mapping[str, Any] = of.steering.plan.values_at(of.step)
    return values


def _supply(name: str, instead: Any = None) -> Callable[[Running], Any]:
    """An attribute of the batches' source."""
    return lambda of: getattr(of.task.supply, name, instead)


def _reach(name: str) -> Callable[[Running], Any]:
    return lambda of: tuple(getattr(of.network.geometry, name))


def _patch(of: Running) -> tuple[int, ...]:
    patch = getattr(of.task.supply, "patch", None)
    if patch is None:
        return tuple(of.task.watch["train"].batch(0).image.shape[2:])
    return tuple(patch)


def _input_shape(of: Running) -> tuple[int, ...]:
    return (of.sampling.batch_size, of.network.document.channels, *_patch(of))


def _output_shape(of: Running) -> tuple[int, ...]:
    shape = (of.sampling.batch_size, of.network.document.classes)
    return (*shape, *of.network.geometry.outputs(type(of.network.geometry.field)(*_patch(of))))


def _component(kind: str) -> Callable[[Running], Any]:
    def find(of: Running) -> Any:
        now = of.steering.sampling_at(of.step).augment
        return next((component for component in now if component.kind == kind), None)

    return find


def _is_on(kind: str) -> Callable[[Running], Any]:
    return lambda of: _component(kind)(of) is not None


def _cubes(role: str) -> Callable[[Running], Any]:
    return lambda of: [tuple(cube.image.shape) for cube in getattr(of.task.watch.get(role), "cubes", ())]


NAMES: Mapping[str, Callable[[Running], Any]] = {
    "cnn.input_shape": _input_shape,
    "cnn.output_shape": _output_shape,
    "cnn.batch_size": lambda of: of.sampling.batch_size,
    "cnn.patch_size": _patch,
    "cnn.n_ch": lambda of: of.network.document.channels,
    "cnn.n_lab": lambda of: of.network.document.classes,
    "cnn.field": _reach("field"),
    "cnn.stride": _reach("stride"),
    "cnn.offset": _reach("offset"),
    "cnn.layers": lambda of: [node.name for node in of.network.document.nodes[1:]],
    "cnn.param_count": lambda of: sum(p.numel() for p in of.network.parameters()),
    "cnn.optimiser": lambda of: of.steering.optimisers.settings,
    "cnn.rate": lambda of: _numbers(of).get("rate"),
    "cnn.SGD_LR": lambda of: _numbers(of).get("rate"),
    "cnn.SGD_momentum": lambda of: _numbers(of).get("momentum"),
    "cnn.global_weightdecay": lambda of: _numbers(of).get("weight_decay"),
    "cnn.dropout_rates": lambda of: _numbers(of).get("dropout", ()),
    "data.warp_on": _is_on("warp"),
    "data.grey_on": _is_on("grey"),
    "data.flip_on": _is_on("flip"),
    "data.warp": _component("warp"),
    "data.grey": _component("grey"),
    "data.flip": _component("flip"),
    "data.patch_size": _patch,
    "data.offset": _reach("offset"),
    "data.stride": _reach("stride"),
    "data.n_ch": lambda of: of.network.document.channels,
    "data.n_lab": lambda of: of.network.document.classes,
    "data.names": lambda of: [cube.name for cube in _supply("cubes", ())(of)],
    "data.train_d": _cubes("train"),
    "data.valid_d": _cubes("valid"),
    "config.training": lambda of: of.settings,
    "config.sampling": lambda of: of.steering.sampling_at(of.step),
    "config.history_freq": lambda of: of.settings.history_every,
    "config.n_steps": lambda of: of.settings.steps,
    "config.max_runtime": lambda of: of.settings.max_seconds,
    "config.batch_size": lambda of: of.sampling.batch_size,
    "config.class_weights": lambda of: _numbers(of).get("loss.class_weights"),
    "self.step": lambda of: of.step,
    "self.seconds": lambda of: round(of.seconds, 1),
    "self.history": lambda of: of.history,
    "self.warnings": lambda of: of.warnings,
    "self.changes": lambda of: of.steering.changes,
    "self.numbers": _numbers,
    "self.device": lambda of: str(of.device),
}
"""Name → how to find its value. Sizes are zyx; shapes ``(b, c, z, y, x)``."""

ROOTS = ("cnn", "data", "config", "self")

OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def value_of(text: str, running: Running) -> Any:
    """The value of an expression: names of :data:`NAMES`, their parts, ``[…]``, numbers and ``+ - * / // %``.

    Raises:
        ConfigError: no expression, an unknown name, or something that only Python can do.
    """
    try:
        return _value(ast.parse(text.strip(), mode="eval").body, running)
    except SyntaxError:
        raise ConfigError(f"'{text}': no word of the console and no expression; `help` lists the words") from None
    except (TypeError, IndexError, KeyError, ArithmeticError, MemoryError, RecursionError) as error:
        raise ConfigError(f"'{text}': {type(error).__name__}: {error}") from None


def _value(node: ast.expr, running: Running) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            return _named(node, running)
        case ast.Subscript(value=inner, slice=ast.Slice(lower, upper, step)):
            start, stop, by = (None if part is None else _value(part, running) for part in (lower, upper, step))
            return _value(inner, running)[start:stop:by]
        case ast.Subscript(value=inner, slice=index):
            return _value(inner, running)[_value(index, running)]
        case ast.Tuple(elts=parts):
            return tuple(_value(part, running) for part in parts)
        case ast.List(elts=parts):
            return [_value(part, running) for part in parts]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner, running)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](*(_number(_value(side, running)) for side in (left, right)))
    raise ConfigError(f"'{ast.unparse(node)}': only names, parts and arithmetic; Python needs --allow-python")


def _number(value: Any) -> Any:
    """Only numbers: arithmetic on lists could fill the memory."""
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return value


def _named(node: ast.Name | ast.Attribute, running: Running) -> Any:
    said = ast.unparse(node)
    if said in NAMES:
        return NAMES[said](running)
    if said in ROOTS:
        return ", ".join(sorted(name for name in NAMES if name.startswith(f"{said}.")))
    if isinstance(node, ast.Attribute):
        root = ast.unparse(node.value)
        if root == "data" and (user := getattr(running.task.supply, "data", None)) is not None:
            return attribute_of(user, node.attr)
        if root not in ROOTS and not root.startswith("_"):
            inner = _value(node.value, running)
            if isinstance(inner, Settings) and node.attr in type(inner).model_fields:
                return getattr(inner, node.attr)
            raise ConfigError(f"'{root}' has no part '{node.attr}'")
    close = get_close_matches(said, NAMES, n=1)
    cure = f"did you mean '{close[0]}'?" if close else f"{', '.join(ROOTS)} list what there is; help lists the words"
    raise ConfigError(f"unknown name '{said}': {cure}")


def attribute_of(user: Any, name: str) -> Any:
    """A public attribute of the object of a user's data class; of arrays the shape.

    Raises:
        ConfigError: there is none of this name.
    """
    known = [key for key in vars(user) if not key.startswith("_")]
    if name not in known:
        raise ConfigError(f"unknown name 'data.{name}': {nearest(name, known)}")
    value = getattr(user, name)
    return tuple(value.shape) if hasattr(value, "shape") else value


def shown(value: Any) -> str:
    """A value as a line or more for people."""
    if isinstance(value, Settings):
        return f"{type(value).__name__}({value})"
    if isinstance(value, list) and len(value) > 40:
        return "\n".join([*map(str, value[:5]), f"… {len(value) - 10} more …", *map(str, value[-5:])])
    return str(value)
