"""M020: valid sizes, fields of view, strides and offsets of the ancestor's calculator, all golden cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from elektronn.errors import GeometryError
from elektronn.geometry import Geometry, Reach, Stack

CASES = json.loads((Path(__file__).parent.parent / "golden" / "cnncalc.json").read_text())["cases"]


def stacks(case: dict[str, Any]) -> list[Stack]:
    """One stack per axis; scalars hold for all axes."""

    def along(values: list[Any], axis: int) -> tuple[int, ...]:
        return tuple(v[axis] if isinstance(v, list) else v for v in values)

    flags = case["mfp"] or [0] * len(case["filters"])
    flags = flags if isinstance(flags, list) else [flags] * len(case["filters"])
    return [
        Stack(along(case["filters"], a), along(case["pools"], a), tuple(map(bool, along(flags, a))))
        for a in range(case["n_dim"])
    ]


def wanted(case: dict[str, Any], key: str, axis: int) -> int | None:
    value = case[key]
    return value[axis] if isinstance(value, list) else value


@pytest.mark.parametrize("case", [c for c in CASES if c["reproduce"] and "expect" in c], ids=lambda c: c["id"])
def test_M020_calculator(case: dict[str, Any]) -> None:
    expect = case["expect"]
    for axis, stack in enumerate(stacks(case)):
        target = wanted(case, "desired_output", axis)
        size = stack.for_output(target) if target is not None else stack.choose(wanted(case, "desired_input", axis))[0]
        rows, reaches = stack.sizes(size), stack.reaches()

        def of(key: str, axis: int = axis) -> Any:
            value = expect[key]
            return value[axis] if isinstance(value, list) else value

        assert size == of("input")
        assert [c for c, _ in rows] == of("conv_out")
        assert [p for _, p in rows] == of("pool_out")
        assert stack.reach.field == of("fov")
        assert [r.field for r in reaches] == of("fov_per_layer")
        assert [r.stride for r in reaches] == of("stride_per_layer")
        assert [r.field - r.stride for r in reaches] == of("overlap_per_layer")
        assert stack.reach.field / 2 == of("offset")
        assert stack.reach.offset == of("offset_floor")
        assert stack.reach.stride == of("pred_stride")
        assert rows[-1][1] * stack.fragment_stride == of(
            "mfp_assembled_out" if "mfp_assembled_out" in expect else "final_out"
        )
        # with fragments in a pooled last layer the original lists one size more, whose output is empty (defect B21)
        empty = int(bool(stack.fragments) and stack.fragments[-1] and stack.pools[-1] > 1)
        assert len(stack.valid_inputs()) == of("n_valid_inputs") - empty
        assert list(stack.valid_inputs()[: 10 - empty]) == of("valid_inputs_first10")[empty:]


def refused(case: dict[str, Any]) -> None:
    along = [stack.reach for stack in stacks(case)]
    Geometry(*along, *[Reach(1, 1)] * (3 - len(along))).centred()


@pytest.mark.parametrize("case", [c for c in CASES if c["reproduce"] and "expect_error" in c], ids=lambda c: c["id"])
def test_M020_what_the_calculator_refuses(case: dict[str, Any]) -> None:
    with pytest.raises(GeometryError):
        refused(case)


def test_M020_defects_of_the_calculator_are_not_repeated() -> None:
    assert Stack((4,), (2,), (True,)).smallest == 6, "the original accepts 4, whose output is empty"
    assert list(Stack((3,), (3,), (True,)).valid_inputs()[:3]) == [7, 10, 13], "the original takes sizes that crash"
    with pytest.raises(GeometryError, match="at least one layer"):
        Stack((), ())


def test_M020_an_unreachable_output_is_an_error_with_the_nearest_sizes() -> None:
    with pytest.raises(GeometryError, match="possible are 6, 8"):
        Stack((3, 3), (2, 2)).for_output(7)
