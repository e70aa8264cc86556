"""M166: a utility turns IDs into boundaries."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from elektronn.volumes.address import Address
from elektronn.volumes.arrays import load
from elektronn.volumes.boundaries import BoundarySettings
from elektronn.volumes.convert import convert


def test_M166_two_touching_ids_give_one_at_border(tmp_path: Path) -> None:
    ids = np.ones((3, 4, 8), np.uint32)
    ids[:, :, 4:] = 2
    np.save(tmp_path / "ids.npy", ids)
    settings = BoundarySettings(dilate=(False, False, False))

    convert(Address(tmp_path / "ids.npy"), Address(tmp_path / "barrier.h5", "lab"), settings)

    expected = np.zeros((3, 4, 8), np.uint8)
    expected[:, :, 3:5] = 1
    np.testing.assert_array_equal(load(Address(tmp_path / "barrier.h5", "lab")), expected)
