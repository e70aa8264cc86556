"""Model files: one safetensors file that holds the weights and, as JSON in its header, the document and its origin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from elektronn.artefacts import writing
from elektronn.errors import DataError
from elektronn.network.build import Network, build
from elektronn.network.document import Document
from elektronn.settings import parse, plain

HEADER = "elektronn"
"""The one key of the header: with a single key the file's bytes do not depend on any hash order."""


@dataclass(frozen=True)
class Model:
    """A network with its weights and what made it (``card``: fingerprint, settings, versions …)."""

    network: Network
    card: Mapping[str, Any]

    @property
    def output(self) -> Literal["probabilities", "values"]:
        """What is made of the network's scores: their softmax, or nothing (regression; a softmax of its own)."""
        return "values" if self.card.get("output") == "values" else "probabilities"

    @property
    def takes_any_floats(self) -> bool:
        """Whether a float image may leave [0, 1]: it may where an old program trained on whatever there was."""
        return self.card.get("floats") == "any"

    @property
    def has_fragments(self) -> bool:
        """Whether the original pooled max-fragments, so that its plain output is the dense one."""
        return self.card.get("fragments") is True


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header into one file, whole."""
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with writing(path) as part:
        part.write_bytes(save(kept, metadata={HEADER: json.dumps(header, sort_keys=True)}))


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what :func:`save_tensors` wrote.

    Raises:
        DataError: no such file, cut off, or not one of ours.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name the model file in it, such as {path / 'model.safetensors'}")
    if not path.is_file():
        raise DataError(f"{path}: no such file; train first or correct the path")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER])
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a model of ours or damaged ({error}); copy or train it again") from error


def save_model(path: Path, network: Network, card: Mapping[str, Any]) -> None:
    """Write a network as document + weights + card."""
    save_tensors(path, network.state_dict(), {"document": plain(network.document), "card": dict(card)})


def load_model(path: Path) -> Model:
    """Read a model file.

    Raises:
        DataError: unreadable, or weights that do not fit the document.
    """
    tensors, header = load_tensors(path)
    if "document" not in header:
        raise DataError(f"{path}: holds no network document; give the model file of a finished training")
    network = build(parse(Document, header["document"], f"{path}: document"))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise DataError(f"{path}: weights do not fit the document ({reason}); copy or train it again") from error
    return Model(network, header["card"])
