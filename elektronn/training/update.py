"""The arithmetic of one step on its device: from a batch to new weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec

import torch
from torch import Tensor

from elektronn.errors import ConfigError
from elektronn.network.build import Network
from elektronn.sampling.batch import Batch
from elektronn.sampling.draws import draws
from elektronn.training.group import ALONE, Group
from elektronn.training.losses import Criterion, Extras
from elektronn.training.settings import TrainingSettings

BACKEND = "inductor"
"""What compiles."""


class Update:
    """Computes losses and gradients, alone or in a group.

    Args:
        network: on the device; changed in place.
        settings: of the training.
        group: of processes that train this network.

    Raises:
        ConfigError: the network cannot be compiled here.
    """

    def __init__(
        self, network: Network, settings: TrainingSettings, device: torch.device, group: Group = ALONE
    ) -> None:
        torch.set_num_threads(settings.threads)
        reduced = settings.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = reduced
        if settings.channels_last and device.type == "cuda":
            network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.network, self.settings, self.device, self.group = network, settings, device, group
        self._scores = compiled(network, settings.compile, device)

    def step(self, batch: Batch, step: int, criterion: Criterion, optimiser: torch.optim.Optimizer) -> Tensor:
        """The update number ``step`` (from 0); its loss: before the update, or after it where it evaluates several times."""
        image = torch.as_tensor(batch.image).to(self.device, non_blocking=True)
        labels, extras = self.labels(batch, criterion), self.extras(batch)
        if not self.network.training:
            self.network.train()

        def evaluate() -> Tensor:
            if self.network.has_dropout:
                # the masks too are a function of seed and step: a resumed run and a second evaluation draw the same
                seed = draws(self.settings.seed, step, self.group.rank, "dropout").integers(2**62)
                torch.manual_seed(int(seed))
            with self.autocast():
                scores = self._scores(image)
            loss = criterion.loss(scores, labels, extras)
            if self.group.size > 1:
                loss = loss * self._share(criterion.count(scores, labels, extras))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            loss = loss.detach()
            if self.group.size > 1:
                self.group.add_up([loss, *(p.grad for p in self.network.parameters() if p.grad is not None)])
            return loss

        loss: Tensor = optimiser.step(evaluate)  # type: ignore[assignment, arg-type]
        return loss

    def _share(self, count: Tensor) -> Tensor:
        """What part of the labelled outputs of the whole batch this process has."""
        everybodys = count.float()
        self.group.add_up([everybodys])
        return count / everybodys.clamp(min=1)

    def labels(self, batch: Batch, criterion: Criterion) -> Tensor:
        """Labels as the loss wants them: class numbers ``(b, z, y, x)``, or values with an axis of features."""
        labels = torch.as_tensor(batch.labels)
        dtype = torch.float32 if criterion.said.kind == "regression" else torch.int64
        if not criterion.of_classes and labels.ndim == 4:
            labels = labels[:, None]
        return labels.to(self.device, dtype, non_blocking=True)

    def extras(self, batch: Batch) -> Extras:
        """What the data add to the labels, on the device."""
        rows = (batch.weights, batch.labelled, batch.absent)
        return Extras(*(None if row is None else torch.as_tensor(row).to(self.device) for row in rows))

    def autocast(self) -> AbstractContextManager[object]:
        """The block in which the network computes with the precision of the settings."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.settings.precision == "bf16" else nullcontext()


def compiled(network: Network, how: str, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The network as the settings say: itself, or compiled by torch when it is first used.

    Args:
        network: with its weights; they stay its own.
        how: ``off``, ``default`` or ``reduce-overhead``.
        device: where it computes.

    Raises:
        ConfigError: CUDA graphs without CUDA, or nothing on this machine that compiles.
    """
    if how == "off":
        return network
    if how == "reduce-overhead" and device.type != "cuda":
        raise ConfigError(f"compile: reduce-overhead records CUDA graphs, and this is {device}; write default or off")
    if device.type == "cpu" and not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
        raise ConfigError("compile: needs a C++ compiler, and neither g++ nor clang++ is installed; write off")
    if device.type == "cuda" and find_spec("triton") is None:
        raise ConfigError("compile: needs triton, which this installation of torch does not have; write off")
    made: Callable[[Tensor], Tensor] = torch.compile(network, mode=how, dynamic=False, backend=BACKEND)
    return made
