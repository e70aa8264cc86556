"""The plain output of a network for a batch in an ``.npy`` file: to check a network from outside, and for vectors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from elektronn.artefacts import writing
from elektronn.errors import ConfigError, DataError
from elektronn.network.document import Document, Node
from elektronn.network.weights import load_model
from elektronn.prediction.dense import as_input, outputs_of
from elektronn.registry import nearest


def predict_strided(
    model: Path, batch: Path, out: Path, device: torch.device, more: Mapping[str, Path] | None = None
) -> tuple[int, ...]:
    """Run a network on a batch and write its output.

    Args:
        model: model file.
        batch: ``.npy`` of axes ``(b, features)``, ``(b, time, features)``, ``(b, c, x)``, ``(b, c, y, x)`` or
            ``(b, c, z, y, x)``, whichever the network takes; integers are scaled by their type, floats taken as they are.
        out: ``.npy`` to write: probabilities (values where the model gives values), float32, with the batch's axes,
            without any image axis where one voxel is left.
        device: where to compute.
        more: batches for the further inputs of a network of several, by their names.

    Returns:
        Shape of the output.

    Raises:
        DataError: unreadable, or another number of axes or channels than the network takes.
        ConfigError: a further input without a batch, or a batch without an input.
        GeometryError: another size than the network takes.
    """
    trained = load_model(model)
    network = trained.network.eval().to(device)
    files = {network.document.inputs[0].name: batch, **(more or {})}
    sources = [_batch(file, node, _orders(network.document, node)) for node, file in _matched(network.document, files)]
    inputs = [torch.from_numpy(as_input(values)).to(device) for values, _ in sources]
    with torch.inference_mode():
        scores = network.dense(inputs[0]) if trained.has_fragments else network(*inputs)
        found = outputs_of(scores, trained.output).cpu().numpy()
    result = _as_given(found, sources[0][1])
    with writing(out) as part, part.open("wb") as file:
        np.save(file, result)
    return result.shape


def _matched(document: Document, files: Mapping[str, Path]) -> list[tuple[Node, Path]]:
    """Each input of the network with its file."""
    nodes = {node.name: node for node in document.inputs}
    for name in files:
        if name not in nodes:
            raise ConfigError(f"--input {name}: the network has no such input: {nearest(name, nodes)}")
    if missing := [name for name in nodes if name not in files]:
        raise ConfigError(
            f"the network takes {len(nodes)} inputs ({', '.join(nodes)}); name a file for each further one: "
            + " ".join(f"--input {name}=FILE" for name in missing)
        )
    return [(node, files[name]) for name, node in nodes.items()]


def _orders(document: Document, node: Node) -> tuple[str, ...]:
    """Orders of axes that an input takes: the one that it names, else what its readers allow."""
    said = node.arguments.get("axes")
    if said is not None:
        return (said,) if said == "bczyx" or "t" in said else (said, "bczyx")
    is_series = any(other.kind == "recurrent" and node.name in other.parents for other in document.nodes)
    return ("btc",) if is_series else ("bc", "bcyx", "bczyx")


def _batch(file: Path, node: Node, known: tuple[str, ...]) -> tuple[NDArray[np.generic], str]:
    """A batch as ``(b, c, z, y, x)`` and the axes that it had."""
    if file.suffix != ".npy":
        raise DataError(
            f"{file}: a batch is an .npy file of numbers; save it as one, or leave out --strided for a volume"
        )
    try:
        values = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file}: cannot be read ({error}); give an .npy file of numbers") from error
    fitting = [axes for axes in known if len(axes) == values.ndim]
    if not fitting:
        wanted = ", ".join(" ".join(axes) for axes in known)
        raise DataError(f"{file}: has {values.ndim} axes {values.shape}; the network takes a batch of axes {wanted}")
    channels = values.shape[fitting[0].index("c")]
    if channels != node.arguments["channels"]:
        raise DataError(f"{file}: has {channels} channels or features, the network takes {node.arguments['channels']}")
    letters = fitting[0].replace("t", "z")
    for letter in "zyx":
        if letter not in letters:
            values, letters = values[..., None], letters + letter
    return np.ascontiguousarray(values.transpose([letters.index(letter) for letter in "bczyx"])), fitting[0]


def _as_given(found: NDArray[np.float32], axes: str) -> NDArray[np.float32]:
    """An output ``(b, c, z, y, x)`` with the axes of its batch; with neither image axes nor time where one voxel is left."""
    letters = "bc" if found.shape[2:] == (1, 1, 1) else axes.replace("t", "z")
    order = [letters.index(letter) if letter in letters else None for letter in "bczyx"]
    kept = found[tuple(slice(None) if place is not None else 0 for place in order)]
    present = [letter for letter, place in zip("bczyx", order) if place is not None]
    return kept.transpose([present.index(letter) for letter in letters])
