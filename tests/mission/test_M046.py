"""M046: the surplus of the image over the labels must be even."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from elektronn.axes import Size
from elektronn.errors import DataError
from elektronn.volumes.address import Address
from elektronn.volumes.content import CheckSettings, check
from elektronn.volumes.registration import centre

GOLDEN = Path(__file__).parent.parent / "golden" / "registration.json"


def test_M046_odd_surplus_is_a_readable_error() -> None:
    (case,) = [case for case in json.loads(GOLDEN.read_text()) if case["result"].get("error")]
    z, x, y = case["image_zxy"]
    u, w, v = case["label_zxy"]
    with pytest.raises(DataError, match="surplus along x is odd; crop one voxel"):
        centre(Size(z, y, x), Size(u, v, w), Size(1, 2, 2))


def test_M046_the_message_names_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "raw.npy", np.arange(5 * 21 * 20, dtype=np.uint8).reshape(5, 21, 20))
    np.save(tmp_path / "labels.npy", np.zeros((5, 20, 20), np.uint8))
    with pytest.raises(DataError, match=r"labels\.npy: label zyx \(5, 20, 20\) cannot be centred") as caught:
        check(Address(tmp_path / "raw.npy"), Address(tmp_path / "labels.npy"), CheckSettings())
    assert caught.value.exit_code == 4
