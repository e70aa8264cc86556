"""Several processes that train one network: each takes its examples of the same batch, gradients are added up.

``torchrun --nproc-per-node N -m elektronn train …`` starts them. The first one leads: it alone hears commands, tells what
happens and writes files. As a batch is a function of the step, and all start with the same weights and add up the same
numbers, nothing else needs to be exchanged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from elektronn.errors import ConfigError
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.batch import Batch, Sampler, Supply
from elektronn.training.checkpoint import Backups, State
from elektronn.training.commands import Stop
from elektronn.training.control import Letter, Mailbox


@dataclass(frozen=True)
class Group:
    """One process among ``size`` that train together; a process by itself is a group of one.

    Attributes:
        rank: from 0; 0 leads.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process hears, tells and writes."""
        return self.rank == 0

    def device(self, wanted: str) -> str:
        """The device of this process: on a machine of several GPUs each takes its own."""
        if self.size == 1 or wanted not in ("auto", "cuda") or not torch.cuda.is_available():
            return wanted
        return f"cuda:{os.environ.get('LOCAL_RANK', self.rank)}"

    def add_up(self, values: Sequence[Tensor]) -> None:
        """Replace every tensor by its sum over the processes, all in one exchange."""
        if self.size == 1:
            return
        flat = torch.cat([value.flatten() for value in values])
        dist.all_reduce(flat)
        for value, part in zip(values, torch.split(flat, [value.numel() for value in values])):
            value.copy_(part.view_as(value))

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()

    def seconds(self, own: float) -> float:
        """What the clock of the first process says."""
        if self.size == 1:
            return own
        said = torch.tensor([own if self.leads else 0.0], dtype=torch.float64)
        dist.all_reduce(said)
        return float(said)

    def shared(self, mailbox: Mailbox) -> Mailbox:
        """What all processes take their letters from."""
        return mailbox if self.size == 1 else SharedMailbox(own=mailbox, group=self)

    def part_of(self, supply: Supply, batch_size: int) -> Supply:
        """The examples of every batch that are this process's.

        Raises:
            ConfigError: they cannot be shared out equally.
        """
        if self.size == 1:
            return supply
        if batch_size % self.size:
            raise ConfigError(
                f"sampling.batch_size: {batch_size} examples for {self.size} processes; write a multiple of {self.size}"
            )
        count = batch_size // self.size
        mine = range(self.rank * count, (self.rank + 1) * count)
        return replace(supply, examples=mine) if isinstance(supply, Sampler) else Part(supply, mine)


ALONE = Group()


@contextmanager
def joined() -> Iterator[Group]:
    """The group that ``torchrun`` put this process into; without it, a group of one."""
    if not is_grouped():
        yield ALONE
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def is_grouped() -> bool:
    """Whether ``torchrun`` started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


@dataclass(frozen=True)
class Part:
    """Some examples of the batches of a supply that makes whole batches."""

    supply: Supply
    examples: range

    @property
    def is_pure(self) -> bool:
        """As the supply's."""
        return self.supply.is_pure

    def batch(self, step: int) -> Batch:
        """Those examples of the batch of a step."""
        whole, mine = self.supply.batch(step), slice(self.examples.start, self.examples.stop)
        rows: dict[str, Any] = {
            name: None if value is None else value[mine]
            for name in ("image", "labels", "weights", "labelled", "absent")
            for value in [getattr(whole, name)]
        }
        return replace(whole, **rows)

    def drawn(self, step: int, example: int) -> Any:
        """Of one of them."""
        return self.supply.drawn(step, self.examples[example])

    def changed(self, settings: SamplingSettings) -> Part:
        """The same with other numbers in the augmentations."""
        return replace(self, supply=self.supply.changed(settings))


@dataclass
class SharedMailbox(Mailbox):
    """Hands the same letters to all processes at the same step: those of the first, and from the others the word to stop."""

    own: Mailbox = field(default_factory=Mailbox)
    group: Group = ALONE

    def post(self, command: Any, who: str = "program", text: str = "") -> None:
        """Leave a command."""
        self.own.post(command, who, text)

    def plan(self, letters: list[tuple[int, Letter]]) -> None:
        """Hand these over before the updates of their steps."""
        self.own.plan(letters)

    def drain(self, step: int) -> list[Letter]:
        """All commands so far; all processes get the same."""
        mine = self.own.drain(step)
        if not self.group.leads:
            mine = [letter for letter in mine if isinstance(letter.command, Stop)]
        count = torch.tensor([len(mine)])
        dist.all_reduce(count)
        if not int(count):
            return []
        everybodys: list[Any] = [None] * self.group.size
        dist.all_gather_object(everybodys, mine)
        return [letter for letters in everybodys for letter in letters]


class ReadOnly(Backups):
    """The backups as the processes that do not lead see them."""

    def save(self, state: State) -> Path:
        """Leave that to the first."""
        return self.folder
