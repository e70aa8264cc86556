"""A training of the smallest useful size: one layer, one cube in memory, milliseconds per step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elektronn.axes import Size
from elektronn.errors import Stopped
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.sampling.augment import Flip, SamplingSettings, Warp
from elektronn.sampling.batch import Sampler
from elektronn.sampling.cubes import Cube
from elektronn.training.checkpoint import Backups
from elektronn.training.control import Command, Event, Mailbox, Row, Stop
from elektronn.training.group import ALONE, Group
from elektronn.training.settings import TrainingSettings
from elektronn.training.task import Task
from elektronn.training.trainer import Trainer

NETWORK = NetworkSettings(kernels=((1, 3, 3),), pools=((1, 1, 1),), features=(4,), dropout=0.25, patch=(1, 8, 8))
SAMPLING = SamplingSettings(batch_size=2, augment=(Flip(z=False), Warp(probability=0.5)), workers=0)
TRAINING = TrainingSettings(
    steps=7, history_every=1, monitor_examples=2, preview_every=0, threads=1, device="cpu", backup_s=1e6
)


def trainer_in(
    folder: Path,
    changes: Mapping[str, Any] | None = None,
    *,
    commands: Mapping[int, Sequence[Command]] | None = None,
    sampling: SamplingSettings = SAMPLING,
    events: list[Event] | None = None,
    group: Group = ALONE,
    **network: Any,
) -> Trainer:
    """A trainer whose backups lie in ``folder``.

    Args:
        folder: made if need be.
        changes: to the settings of the training.
        commands: posted when so many steps are made.
        sampling: settings.
        events: gets every event.
        group: of processes that train together.
        network: changes to the settings of the network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mailbox, random = Mailbox(), np.random.default_rng(0)
    image = random.integers(0, 255, (1, 2, 24, 24), dtype=np.uint8)
    cube = Cube("a", image, (image[0] < 100).astype(np.int16), Size(0, 0, 0), 1 / 255)

    def listen(event: Event) -> None:
        if events is not None:
            events.append(event)
        if isinstance(event, Row):
            for command in (commands or {}).get(int(event.values["step"]), ()):
                mailbox.post(command)

    built = build(chain(NETWORK.model_copy(update=network)), seed=1)
    settings = TRAINING.model_copy(update=dict(changes or {}))
    common = ([cube], built.geometry, Size(*NETWORK.patch), sampling, settings.seed)
    watch = {"train": Sampler(*common, purpose="watch", augmented=False)}
    task = Task(built, group.part_of(Sampler(*common), sampling.batch_size), watch, cube, "small")
    return Trainer(task, settings, sampling, Backups(folder), group.shared(mailbox), listen, group=group)


def weights(trainer: Trainer) -> torch.Tensor:
    """All parameters as one vector."""
    return torch.cat([p.detach().flatten() for p in trainer.network.parameters()])


def stopped_and_resumed(
    folder: Path, changes: Mapping[str, Any], *, stop: int, commands: Mapping[int, Sequence[Command]] | None = None
) -> Trainer:
    """Stop after ``stop`` steps, go on with a fresh trainer."""
    before = {step: said for step, said in (commands or {}).items() if step <= stop}
    first = trainer_in(folder, changes, commands={**before, stop: [*before.get(stop, ()), Stop("test")]})
    try:
        first.run()
    except Stopped:
        assert first.step == stop
    after = {step: said for step, said in (commands or {}).items() if step > stop}
    second = trainer_in(folder, changes, commands=after)
    second.run()
    return second
