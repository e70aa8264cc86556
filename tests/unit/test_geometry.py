"""Closed forms of geometry against running the network."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elektronn.axes import Size
from elektronn.errors import GeometryError
from elektronn.geometry import Geometry, Reach
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.document import geometry


def test_neuro_network_has_the_field_of_view_of_the_documentation() -> None:
    reach = geometry(chain(NetworkSettings()))
    assert (reach.field, reach.stride, reach.offset) == (Size(5, 31, 31), Size(1, 4, 4), Size(2, 15, 15))
    assert reach.outputs((7, 127, 127)) == Size(3, 25, 25)


def test_input_below_the_field_names_the_smallest_valid_sizes() -> None:
    with pytest.raises(GeometryError, match="smallest valid sizes are 31, 35, 39"):
        Reach(31, 4).input_at_most(30)


def test_even_field_is_refused_with_its_axis() -> None:
    with pytest.raises(GeometryError, match=r"even along y, x"):
        Geometry.of([Size(1, 2, 2)], [Size(1, 1, 1)]).centred()


layer = st.tuples(st.integers(1, 4), st.integers(1, 3))


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(layer, min_size=1, max_size=3), more=st.integers(0, 3))
def test_closed_form_predicts_what_the_network_returns(rows: list[tuple[int, int]], more: int) -> None:
    reach = Reach.of([k for k, _ in rows], [p for _, p in rows])
    size = reach.field + more * reach.stride
    written = NetworkSettings(
        kernels=tuple((1, 1, k) for k, _ in rows),
        pools=tuple((1, 1, p) for _, p in rows),
        features=(1,) * len(rows),
    )
    network = build(chain(written), seed=0)
    assert network(torch.zeros(1, 1, 1, 1, size)).shape[-1] == reach.outputs(size) == more + 1
    assert network.dense(torch.zeros(1, 1, 1, 1, size)).shape[-1] == reach.dense(size)
