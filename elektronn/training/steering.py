"""What schedules and people change while a training runs: the optimiser, and numbers of optimiser, loss, network, samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from elektronn.network.build import Network
from elektronn.sampling.augment import SamplingSettings
from elektronn.settings import parse, plain
from elektronn.training.control import SetOptimiser, SetValue
from elektronn.training.optimisers import Optimisers, set_number
from elektronn.training.plan import dropout_of, plan_of, with_values
from elektronn.training.schedules import Value
from elektronn.training.settings import Optimiser, Schedule, TrainingSettings


class Steering:
    """Keeps everything that may change at what the plan says for the step.

    Args:
        training, sampling: settings at the start.
        network: on its device.

    Attributes:
        plan: what every number is at every step.
        optimisers: the one in use and those used before.
        loss: section of the loss with the numbers of this step.
        changes: what people changed, one line each.

    Raises:
        ConfigError: a schedule of an unknown number, or with a value that is not allowed there.
    """

    def __init__(self, training: TrainingSettings, sampling: SamplingSettings, network: Network) -> None:
        self.plan = plan_of(training, sampling, network.document)
        self.optimisers = Optimisers(training.optimiser, dict(network.named_parameters()))
        self.loss = training.loss
        self.changes: list[str] = []
        self._sampling, self._network = sampling, network
        self._values = dict(self.plan.starts)

    def prepare(self, step: int) -> None:
        """Put every number at what the update number ``step`` (from 0) uses."""
        for name, value in self.plan.values_at(step).items():
            if self._values.get(name) != value:
                self._put(name, value)
                self._values[name] = value

    def obey(self, command: SetValue | SetOptimiser, step: int) -> None:
        """Change the plan from ``step`` on.

        Raises:
            ConfigError: an unknown number, a value that is not allowed, or an optimiser that does not go with the schedule;
                nothing is changed.
        """
        match command:
            case SetValue():
                self.plan = self.plan.with_hand(command.name, command.value, step)
            case SetOptimiser():
                self._use(*_checked(command.settings, command.schedule or self.plan.schedules["rate"]))
        self.changes.append(f"step {step}: {command}")

    def sampling_at(self, step: int) -> SamplingSettings:
        """The section of the samples with the numbers of the batch number ``step``."""
        return with_values(self._sampling, self.plan.values_at(step))

    @property
    def moves_samples(self) -> bool:
        """Whether any number of the samples changes."""
        places = self.plan.places.items()
        return any(self.plan.moves(name) for name, place in places if place.section in self._sampling.augment)

    def facts(self) -> dict[str, Any]:
        """Plain data that a resume needs, beside :meth:`Optimisers.tensors`."""
        return {
            "optimisers": [plain(settings) for settings in self.optimisers.used],
            "schedule": plain(self.plan.schedules["rate"]),
            "hands": self.plan.hands,
            "changes": self.changes,
        }

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`facts` and :meth:`Optimisers.tensors` gave."""
        sections = [{"optimiser": said, "schedule": {"kind": "constant"}} for said in facts["optimisers"]]
        used = [parse(TrainingSettings, section, "").optimiser for section in sections]
        schedule = parse(TrainingSettings, {"schedule": facts["schedule"]}, "").schedule
        self.optimisers.restore(used, tensors)
        hands = {name: (step, _value(value)) for name, (step, value) in facts["hands"].items()}
        self.plan = replace(self.plan.with_optimiser(used[-1], schedule), hands=hands)
        self.changes = list(facts["changes"])
        self._values.clear()

    def _use(self, optimiser: Optimiser, schedule: Schedule) -> None:
        self.plan = self.plan.with_optimiser(optimiser, schedule)
        self.optimisers.use(optimiser)
        self._values.clear()

    def _put(self, name: str, value: Value) -> None:
        """Change one number where it lies; those of the samples are asked for batch by batch."""
        place = self.plan.places[name]
        if place.section is self.plan.optimiser:
            set_number(self.optimisers.current, name, value)
        elif name == "dropout":
            self._drop(value)
        elif name.startswith("loss."):
            self.loss = self.loss.model_copy(update={place.field: value})

    def _drop(self, rates: Value) -> None:
        assert isinstance(rates, tuple)
        for layer, rate in zip(dropout_of(self._network.document), rates):
            module: Any = self._network.layers[layer]
            module.layer = replace(module.layer, dropout=rate)


def _checked(optimiser: Optimiser, schedule: Schedule) -> tuple[Optimiser, Schedule]:
    """Both, if a section of settings could say them together."""
    said = parse(TrainingSettings, {"optimiser": plain(optimiser), "schedule": plain(schedule)}, "")
    return said.optimiser, said.schedule


def _value(said: Any) -> Value:
    """A value from JSON, which knows no tuples."""
    return tuple(said) if isinstance(said, list) else float(said)
