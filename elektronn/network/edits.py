"""Edits of network documents: a document in, another one out; objects are never changed."""

from __future__ import annotations

from elektronn.errors import ConfigError
from elektronn.network.document import Document, Node, layers
from elektronn.network.nodes import PerceptronLayer


def with_tied_chain(
    document: Document, count: int | None = None, *, activation: str = "tanh", noise: float = 0.0
) -> Document:
    """An auto-encoder: behind the perceptrons of ``document`` the same ones backwards, with shared weights.

    Args:
        document: perceptrons only.
        count: how many of its layers, from the first, are mirrored; all by default.
        activation: of the layers on the way back.
        noise: standard deviation of normal noise on the input of the first of them, in training only.

    Raises:
        ConfigError: other layers than perceptrons, or more than there are.

    Example:
        >>> nodes = [Node(kind="input", name="input", arguments={"channels": 8})]
        >>> said = {"inputs": 8, "units": 3, "activation": "tanh"}
        >>> nodes.append(Node(kind="perceptron", name="code", parents=("input",), arguments=said))
        >>> [n.name for n in with_tied_chain(Document(nodes=tuple(nodes))).nodes]
        ['input', 'code', 'back_code']
    """
    rows = layers(document)
    count = len(rows) if count is None else count
    if not 1 <= count <= len(rows):
        raise ConfigError(f"{count} layers to mirror, the network has {len(rows)}; write 1 to {len(rows)}")
    nodes = list(document.nodes[: count + 1])
    for i, row in enumerate(reversed(rows[:count])):
        if not isinstance(row, PerceptronLayer):
            raise ConfigError(f"layer '{row.name}' is no perceptron; only perceptrons can be mirrored")
        said = {"of": row.name, "units": row.inputs, "activation": activation, "noise": noise if i == 0 else 0.0}
        nodes.append(Node(kind="tied", name=f"back_{row.name}", parents=(nodes[-1].name,), arguments=said))
    return Document(nodes=tuple(nodes))


def with_output_activation(document: Document, activation: str) -> Document:
    """The document with another activation of its last node, such as a sigmoid for independent yes-no questions.

    Raises:
        ConfigError: the last node has no activation.

    Example:
        >>> from elektronn.network.chain import NetworkSettings, chain
        >>> with_output_activation(chain(NetworkSettings()), "sigmoid").nodes[-1].arguments["activation"]
        'sigmoid'
    """
    last = document.nodes[-1]
    if "activation" not in last.arguments:
        raise ConfigError(f"layer '{last.name}' is a {last.kind} node, which has no activation")
    changed = last.model_copy(update={"arguments": last.arguments | {"activation": activation}})
    return Document(nodes=(*document.nodes[:-1], changed))
