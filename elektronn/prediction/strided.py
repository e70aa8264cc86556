"""The plain output of a network for a batch in an ``.npy`` file: to check a network from outside, and for vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from elektronn.artefacts import writing
from elektronn.errors import DataError
from elektronn.network.build import Network
from elektronn.network.document import RecurrentLayer, layers
from elektronn.network.weights import load_model
from elektronn.prediction.dense import as_input

AXES = {2: "b features", 3: "b time features", 4: "b c y x", 5: "b c z y x"}


def predict_strided(model: Path, batch: Path, out: Path, device: torch.device) -> tuple[int, ...]:
    """Run a network on a batch and write its output.

    Args:
        model: model file.
        batch: ``.npy`` of axes ``(b, features)``, ``(b, time, features)``, ``(b, c, y, x)`` or ``(b, c, z, y, x)``;
            integers are scaled by their type, floats taken as they are.
        out: ``.npy`` to write: probabilities (values for regression), float32, with the batch's image axes, without
            any where one voxel is left.
        device: where to compute.

    Returns:
        Shape of the output.

    Raises:
        DataError: unreadable, or another number of axes or channels than the network takes.
        GeometryError: another size than a fully connected layer takes.
    """
    trained = load_model(model)
    network = trained.network.eval().to(device)
    try:
        values = np.load(batch, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{batch}: cannot be read ({error}); give an .npy file of numbers") from error
    x = torch.from_numpy(as_input(_turned(batch, values, network))).to(device)
    with torch.inference_mode():
        scores = network(x)
        found = scores if trained.card.get("output") == "values" else torch.softmax(scores, 1)
    result = found.cpu().numpy()
    if values.ndim < 4 or result.shape[2:] == (1, 1, 1):
        result = result[:, :, 0, 0, 0]
    elif values.ndim == 4:
        result = result[:, :, 0]
    with writing(out) as part, part.open("wb") as file:
        np.save(file, result)
    return result.shape


def _turned(batch: Path, values: NDArray[np.generic], network: Network) -> NDArray[np.generic]:
    """Any of the accepted orders as ``(b, c, z, y, x)``."""
    recurrent = isinstance(layers(network.document)[0], RecurrentLayer)
    if values.ndim not in AXES or (values.ndim == 3) != recurrent:
        wanted = AXES[3] if recurrent else ", ".join(text for n, text in AXES.items() if n != 3)
        raise DataError(f"{batch}: has {values.ndim} axes {values.shape}; the network takes a batch of axes {wanted}")
    if values.ndim == 2:
        values = values[:, :, None, None, None]
    elif values.ndim == 3:
        values = values.transpose(0, 2, 1)[..., None, None]
    elif values.ndim == 4:
        values = values[:, :, None]
    if values.shape[1] != network.document.channels:
        raise DataError(
            f"{batch}: has {values.shape[1]} channels or features, the network takes {network.document.channels}"
        )
    return np.ascontiguousarray(values)
