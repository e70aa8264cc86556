"""The step compiled by torch, and settings that this machine cannot follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from elektronn.errors import ConfigError
from elektronn.training.resuming import state_of
from tests.unit.small_training import trainer_in, weights


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_compiled_steps_equal_eager_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # everything that torch's compiler does but the machine code, which takes it minutes
    monkeypatch.setattr("elektronn.training.update.BACKEND", "aot_eager")
    network: dict[str, Any] = {"kernels": ((1, 3, 3), (1, 2, 2)), "pools": ((1, 2, 2), (1, 1, 1)), "features": (4, 3)}
    network |= {"dropout": (0.0, 0.25)}
    eager, compiled = (trainer_in(tmp_path / how, {"compile": how}, **network) for how in ("off", "default"))
    for trainer in (eager, compiled):
        trainer.run()
    torch.testing.assert_close(weights(compiled), weights(eager), rtol=1e-5, atol=1e-6)
    assert compiled.history[-1]["train_loss"] == pytest.approx(eager.history[-1]["train_loss"], rel=1e-5)
    assert set(state_of(compiled).tensors) == set(state_of(eager).tensors)


def test_cuda_graphs_without_cuda_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training: compile: reduce-overhead records CUDA graphs, and this is cpu"):
        trainer_in(tmp_path, {"compile": "reduce-overhead"})


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elektronn.training.update.shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match=r"compile: needs a C\+\+ compiler"):
        trainer_in(tmp_path, {"compile": "default"})
