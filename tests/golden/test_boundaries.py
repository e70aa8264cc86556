"""The recorded cases of the original rule, with the pairs that it missed at the edges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elektronn.volumes.barriers import barriers, barriers_by_numpy
from elektronn.volumes.boundaries import BoundarySettings

CASES = json.loads((Path(__file__).parent / "ids2barriers.json").read_text())["cases"]
EXTRACELLULAR = {True: "boundary", "new_class": "class", False: "interior"}


def settings(kwargs: dict[str, Any]) -> BoundarySettings:
    every = [True, True, True]
    return BoundarySettings(
        connectivity=tuple(kwargs.get("connectivity", every)),
        dilate=tuple(kwargs.get("dilute", every)),
        extracellular=EXTRACELLULAR[kwargs.get("ecs_as_barr", True)],
        smooth=kwargs.get("smoothen", False),
    )


def test_all_recorded_cases_are_here() -> None:
    assert len(CASES) == 19


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.parametrize("route", [barriers, barriers_by_numpy])
def test_boundary_map_equals_the_recorded_one(case: dict[str, Any], route: Any) -> None:
    found = route(np.array(case["ids"]), settings(case["kwargs"]))
    np.testing.assert_array_equal(found, case["expect"])
