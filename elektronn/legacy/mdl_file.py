"""Model files of ELEKTRONN2 (``.mdl``): the graph as a list of nodes, and the arrays of each, as they were stored.

A file is one pickle of two parts: for each node what its constructor was called with and its arrays; and which node
has which role. References to other nodes are kept by name, classes become texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.errors import DataError, at
from elektronn.legacy.pickle_parts import Name
from elektronn.legacy.unpickle import Instance, unpickle

_PACKAGE = "elektronn2"
_POINTER = Name("elektronn2.neuromancer.graphmanager", "NodePointer")
_CURE = "the file is damaged or not of ELEKTRONN2; save the model again or name another file"


@dataclass(frozen=True)
class MdlNode:
    """One node of the graph.

    Attributes:
        name: its name, unique in the file.
        kind: the original's class, such as ``Conv`` or ``Input``.
        parents: names of the nodes that its arguments refer to, in their order, each once.
        arguments: given by position: plain data (numbers, texts, lists, tuples, dicts); ``{"node": name}`` is a node.
        options: given by keyword, the same.
        parameters: arrays by name, in the order of the file, untouched and read-only. The kernels of ``w`` are those of
            a true convolution, ``w`` of a 2-D Conv is (out, in, x, y), of a 3-D one (out, in, z, x, y).
    """

    name: str
    kind: str
    parents: tuple[str, ...]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    parameters: Mapping[str, NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class MdlFile:
    """A model file.

    Attributes:
        nodes: in the order of their making, so parents come first.
        roles: name of the node (or list of names, or None) for ``input_node``, ``prediction_node``, ``loss_node`` ….
        source: the file.
    """

    nodes: tuple[MdlNode, ...]
    roles: Mapping[str, Any]
    source: Path

    @property
    def parameters(self) -> dict[str, Mapping[str, NDArray[np.floating[Any]]]]:
        """Arrays by node and name, of the nodes that have some."""
        return {node.name: node.parameters for node in self.nodes if node.parameters}


def read_mdl(path: Path | str) -> MdlFile:
    """Read a model file. Nothing in it is run, and nothing of ELEKTRONN2 or Theano is needed.

    Raises:
        DataError: the file is missing, damaged, asks for more than arrays, or is no list of nodes.
    """
    values = unpickle(path, inert=_PACKAGE)
    with at(str(path)):
        match values:
            case [[dict(nodes), dict(roles)]] if nodes:
                made = tuple(_node(name, entry) for name, entry in nodes.items())
                _check_parents(made)
                return MdlFile(made, MappingProxyType(_plain(roles)), Path(path))
        raise DataError(f"holds no pair of nodes and roles; {_CURE}")


def _node(name: str, entry: Any) -> MdlNode:
    """One node from its descriptor and its arrays."""
    with at(f"node '{name}'"):
        match entry:
            case [Instance(state={"cls": Name() as kind, "args": list(given), "kwargs": dict(options)}), dict(arrays)]:
                for key, array in arrays.items():
                    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
                        raise DataError(f"{key} is no array of numbers; {_CURE}")
                return MdlNode(
                    name=name,
                    kind=kind.attribute,
                    parents=tuple(dict.fromkeys(_pointed_at([given, options]))),
                    arguments=tuple(_plain(given)),
                    options=MappingProxyType(_plain(options)),
                    parameters=MappingProxyType(arrays),
                )
        raise DataError(f"is not described by a class, arguments and arrays; {_CURE}")


def _check_parents(nodes: tuple[MdlNode, ...]) -> None:
    known: set[str] = set()
    for node in nodes:
        for parent in node.parents:
            if parent not in known:
                raise DataError(f"node '{node.name}': refers to '{parent}', which is no node before it; {_CURE}")
        known.add(node.name)


def _target(pointer: Instance) -> str:
    match pointer.state:
        case {"target_id": str(name)}:
            return name
    raise DataError(f"refers to a node without a name; {_CURE}")


def _pointed_at(value: Any) -> Iterator[str]:
    """Names of all nodes that a value refers to, in order."""
    match value:
        case Instance(name=name) if name == _POINTER:
            yield _target(value)
        case Instance(state=state):
            yield from _pointed_at(state)
        case dict():
            yield from _pointed_at(list(value.values()))
        case list() | tuple() if not isinstance(value, Name):
            for item in value:
                yield from _pointed_at(item)


def _plain(value: Any) -> Any:
    """A value without names, instances and arrays."""
    match value:
        case Name():
            return str(value)
        case Instance(name=name) if name == _POINTER:
            return {"node": _target(value)}
        case Instance(name=name, arguments=arguments, state=state):
            return {"class": str(name), "arguments": _plain(arguments), "state": _plain(state)}
        case np.ndarray():
            return value.tolist()
        case list() | tuple():
            return type(value)([_plain(item) for item in value])
        case dict():
            return {key: _plain(item) for key, item in value.items()}
    return value
