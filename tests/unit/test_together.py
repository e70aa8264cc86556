"""Two processes that train one network equal one process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from elektronn.errors import ConfigError
from elektronn.training.group import Group, Part
from elektronn.training.losses import Criterion, Extras
from elektronn.training.settings import Loss
from tests.unit.small_training import SAMPLING, trainer_in, weights
from tests.unit.together import CHANGES, STOP


def run_two(*command: str) -> None:
    """Two processes with the environment that ``torchrun`` gives them; it would itself need seconds to start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    own = [{**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1)]
    running = [subprocess.Popen([sys.executable, *command], env=env, stderr=subprocess.PIPE) for env in own]
    try:
        told = [process.communicate(timeout=100)[1].decode() for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], told


def test_two_processes_stopped_and_resumed_equal_one(tmp_path: Path) -> None:
    run_two("-m", "tests.unit.together", str(tmp_path))
    alone = trainer_in(tmp_path / "alone", CHANGES, dropout=0.0)
    alone.run()
    # the second process was told to stop, and both did so after the same step
    assert [(tmp_path / f"stopped_{rank}").read_text() for rank in (0, 1)] == [str(STOP)] * 2
    both = [(tmp_path / f"weights_{rank}.csv").read_text() for rank in (0, 1)]
    assert both[0] == both[1]
    found = torch.tensor([float(line) for line in both[0].splitlines()])
    torch.testing.assert_close(found, weights(alone), rtol=1e-5, atol=1e-6)
    assert float((tmp_path / "loss_0").read_text()) == pytest.approx(alone.history[-1]["loss"], rel=1e-5)


def test_parts_of_a_batch_are_the_examples_of_the_whole(tmp_path: Path) -> None:
    supply = trainer_in(tmp_path).task.supply
    whole = supply.batch(3)
    for rank in (0, 1):
        for part in (Group(rank, 2).part_of(supply, 2), Part(supply, range(rank, rank + 1))):
            found = part.batch(3)
            assert (found.image == whole.image[rank : rank + 1]).all()
            assert (found.labels == whole.labels[rank : rank + 1]).all()


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path: Path) -> None:
    supply = trainer_in(tmp_path).task.supply
    with pytest.raises(ConfigError, match="multiple of 3"):
        Group(0, 3).part_of(supply, SAMPLING.batch_size)


@pytest.mark.parametrize("kind", ["nll", "weak", "binary", "regression"])
def test_losses_of_parts_weighted_by_their_counts_are_the_loss_of_the_whole(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    criterion = Criterion(Loss(kind=kind, propagate=0.6 if kind == "nll" else None))  # type: ignore[arg-type]
    scores = torch.randn((2, 3, 1, 4, 5), generator=generator)
    labels = torch.randint(-1, 3, (2, 1, 4, 5), generator=generator)
    if kind in ("binary", "regression"):
        labels = torch.randint(-1, 2, scores.shape, generator=generator)
    labels[0].flatten()[:12] = -1
    told, gone = torch.tensor([[1, 1, 0], [1, 1, 1]]), torch.tensor([[0, 0, 1], [0, 0, 0]])
    parts = [(scores[i : i + 1], labels[i : i + 1], Extras(None, told[i : i + 1], gone[i : i + 1])) for i in (0, 1)]
    counts = [criterion.count(*part) for part in parts]
    assert sum(counts) == criterion.count(scores, labels, Extras(None, told, gone))
    total = torch.stack([criterion.loss(*part) * n for part, n in zip(parts, counts)]).sum() / sum(counts)
    torch.testing.assert_close(total, criterion.loss(scores, labels, Extras(None, told, gone)))
