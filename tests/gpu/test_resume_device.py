"""A training that goes on on another device, in both directions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from elektronn.training.settings import AdaDelta, Adam, Sgd
from tests.unit.small_training import trainer_in, weights

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.mark.parametrize("optimiser", [Adam(), Sgd(), AdaDelta(rule="elektronn2")])
@pytest.mark.parametrize(("first", "then"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_weights_and_optimiser_go_on_where_they_were(tmp_path: Path, optimiser: Adam, first: str, then: str) -> None:
    changes = {"optimiser": optimiser, "steps": 8}
    whole = trainer_in(tmp_path / "whole", {**changes, "device": "cpu"}, dropout=0.0)
    whole.run()
    half = trainer_in(tmp_path / "moved", {**changes, "device": first, "steps": 4}, dropout=0.0)
    # the same plan of the rate, stopped half-way
    half.steering.plan = whole.steering.plan
    half.run()
    moved = trainer_in(tmp_path / "moved", {**changes, "device": then}, dropout=0.0)
    moved.run()
    assert moved.step == 8
    assert {p.device.type for p in moved.network.parameters()} == {then}
    tensors = [t for state in moved.steering.optimisers.current.state.values() for t in state.values() if t.ndim]
    assert {tensor.device.type for tensor in tensors} == {then}
    torch.testing.assert_close(weights(moved).cpu(), weights(whole), rtol=1e-3, atol=1e-5)
