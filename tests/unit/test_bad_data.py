"""Data that no network can learn from are refused before step 0: the stage says why and writes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from elektronn.errors import DataError
from elektronn.sampling.cubes import Labelled
from elektronn.training.control import Event
from elektronn.training.settings import Loss
from elektronn.training.stage import Outputs, train
from elektronn.volumes.address import parse_address
from tests.unit.small_training import NETWORK, SAMPLING, TRAINING

SHAPE = (2, 24, 24)
RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 255, SHAPE, dtype=np.uint8)
FLOATS = (IMAGE / 255).astype(np.float32)
LABELS = (IMAGE < 100).astype(np.int16)


def _with(values: NDArray[np.generic], value: float) -> NDArray[np.generic]:
    changed = values.copy()
    changed[1, 2, 3] = value
    return changed


CASES = {
    "NaN in the image": (_with(FLOATS, np.nan), LABELS, "", r"NaN or infinite value at czyx \(0, 1, 2, 3\)"),
    "values of no scale": (FLOATS * 200, LABELS, "", r"float image reaches from 0 to 199\.\d+; scale it to 0…1"),
    "constant image": (np.full_like(IMAGE, 7), LABELS, "", r"every voxel of the image is 7; check that"),
    "empty labels": (IMAGE, LABELS[:, :0], "", r"npy: is empty \(2, 0, 24\); write the data again"),
    "all ignored": (IMAGE, np.full_like(LABELS, -1), "", r"every label is −1 \(ignore\), so there is nothing to learn"),
    "more classes": (IMAGE, _with(LABELS, 2), "", r"labels reach from 0 to 2, expected −1 \(ignore\) to 1"),
    "64-bit numbers": (IMAGE, _with(LABELS.astype(np.int64), 2**32), "", r"labels reach from 0 to 4294967296"),
    "float labels": (IMAGE, LABELS.astype(np.float32), "", r"labels are float32, and classes are whole numbers"),
    "NaN labels": (IMAGE, _with(LABELS.astype(np.float64), np.nan), "", r"labels are float64, and classes are whole"),
    "infinite targets": (IMAGE, _with(FLOATS, np.inf), "regression", r"labels hold infinite values"),
}


@pytest.mark.parametrize("role", ["train", "valid"])
@pytest.mark.parametrize("case", CASES)
def test_bad_data_are_refused_before_the_first_step(tmp_path: Path, case: str, role: str) -> None:
    image, labels, kind, words = CASES[case]

    def row(name: str, image: NDArray[np.generic], labels: NDArray[np.generic]) -> Labelled:
        for key, values in (("raw", image), ("lab", labels)):
            np.save(tmp_path / f"{name}_{key}.npy", values)
        return name, parse_address(f"{tmp_path}/{name}_raw.npy"), parse_address(f"{tmp_path}/{name}_lab.npy")

    good = row("good", IMAGE, FLOATS if kind else LABELS)
    bad = row("bad", image, labels)
    rows = ([bad], [good]) if role == "train" else ([good], [bad])
    training = TRAINING.model_copy(update={"loss": Loss(kind=kind)} if kind else {})
    outputs = Outputs(tmp_path / "model", tmp_path / "history", tmp_path / "card", tmp_path / "state")
    events: list[Event] = []
    ready: list[str] = []
    with pytest.raises(DataError, match=rf"(volume bad |bad_lab).*{words}"):
        train(
            *rows,
            NETWORK,
            SAMPLING,
            training,
            outputs,
            ready=ready.append,
            listen=events.append,
        )
    assert not ready
    assert not events
    assert {path.suffix for path in tmp_path.iterdir()} == {".npy"}
