"""What schedules and people change while a training runs: the optimiser, and numbers of optimiser, loss, network, samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from elektronn.errors import ConfigError
from elektronn.network.build import Network
from elektronn.registry import nearest
from elektronn.sampling.augment import SamplingSettings
from elektronn.settings import parse, plain
from elektronn.training.commands import SetData, SetOptimiser, SetValue, UseOptimiser
from elektronn.training.optimisers import Optimisers, set_number
from elektronn.training.plan import dropout_of, plan_of, with_values
from elektronn.training.schedules import Value
from elektronn.training.settings import Optimiser, Schedule, TrainingSettings

RULES = {
    "sgd": ("elektronn1", "elektronn2"),
    "adam": ("elektronn1", "elektronn2"),
    "adagrad": ("elektronn2",),
    "adadelta": ("elektronn2",),
}
"""Kind of optimiser → rules that it has besides torch's."""


class Steering:
    """Keeps everything that may change at what the plan says for the step.

    Args:
        training, sampling: settings at the start.
        network: on its device.

    Attributes:
        plan: what every number is at every step.
        optimisers: the one in use and those used before.
        loss: section of the loss with the numbers of this step.
        switches: augmentations that a person turned off or on again, by kind.
        changes: what people changed, one line each.

    Raises:
        ConfigError: a schedule of an unknown number, or with a value that is not allowed there.
    """

    def __init__(self, training: TrainingSettings, sampling: SamplingSettings, network: Network) -> None:
        self.plan = plan_of(training, sampling, network.document)
        self.optimisers = Optimisers(training.optimiser, dict(network.named_parameters()))
        self.loss = training.loss
        self.switches: dict[str, bool] = {}
        self.changes: list[str] = []
        self._training, self._sampling, self._network = training, sampling, network
        self._values = dict(self.plan.starts)

    def prepare(self, step: int) -> None:
        """Put every number at what the update number ``step`` (from 0) uses."""
        for name, value in self.plan.values_at(step).items():
            if self._values.get(name) != value:
                self._put(name, value)
                self._values[name] = value

    def obey(self, command: SetValue | SetOptimiser | UseOptimiser | SetData, step: int) -> None:
        """Change the plan from ``step`` on.

        Raises:
            ConfigError: an unknown number or augmentation, a value that is not allowed, or an optimiser that does not go with
                the schedule; nothing is changed.
        """
        match command:
            case SetValue():
                self.plan = self.plan.with_hand(command.name, command.value, step)
            case SetOptimiser():
                self._use(*_checked(plain(command.settings), command.schedule or self.plan.schedules["rate"]))
            case UseOptimiser():
                self._use(*_checked(self._section(command), self.plan.schedules["rate"]))
            case SetData():
                self._switch(command, step)

    def sampling_at(self, step: int) -> SamplingSettings:
        """The section of the samples with the numbers of the batch number ``step``."""
        numbered = with_values(self._sampling, self.plan.values_at(step))
        kept = tuple(component for component in numbered.augment if self.switches.get(component.kind, True))
        return numbered.model_copy(update={"augment": kept})

    @property
    def moves_samples(self) -> bool:
        """Whether anything about the samples changes."""
        moving = (self.plan.places[name].section for name in self.plan.moving)
        return bool(self.switches) or any(section is part for section in moving for part in self._sampling.augment)

    def facts(self) -> dict[str, Any]:
        """Plain data that a resume needs, beside :meth:`Optimisers.tensors`."""
        return {
            "optimisers": [plain(settings) for settings in self.optimisers.used],
            "schedule": plain(self.plan.schedules["rate"]),
            "hands": self.plan.hands,
            "switches": self.switches,
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
        self.switches, self.changes = dict(facts["switches"]), list(facts["changes"])
        self._values.clear()

    def forget_momenta(self) -> None:
        """Let all optimisers begin afresh, with the numbers that they have."""
        self.optimisers.restore(self.optimisers.used, {})
        self._values.clear()

    def reset(self, parts: Sequence[str]) -> None:
        """Let parts of the training be as at its start; see :class:`~.commands.Reset`.

        Raises:
            ConfigError: the optimiser of the settings does not go with the schedule in use; nothing is changed.
        """
        plan = self.plan
        if "schedule" in parts:
            said = {"rate": self._training.schedule, **self._training.schedules}
            plan = replace(plan, schedules=said, hands={})
        if "optimiser" in parts:
            optimiser, schedule = _checked(plain(self._training.optimiser), plan.schedules["rate"])
            hands = plan.hands
            plan = plan.with_optimiser(optimiser, schedule)
            # what was set by hand is a matter of the schedule
            plan = replace(plan, hands={name: hand for name, hand in hands.items() if name in plan.places})
            self.optimisers.restore([optimiser], {})
        self.plan = plan
        self._values.clear()

    def count_from(self, step: int) -> None:
        """Numbers that were set by hand at steps of an earlier count were set at ``step`` of this one."""
        self.plan = replace(self.plan, hands={name: (step, value) for name, (_, value) in self.plan.hands.items()})

    def _section(self, command: UseOptimiser) -> dict[str, Any]:
        """What the settings would say: the numbers that the kind had before, in the dialect of the optimiser in use."""
        before: dict[str, Any] = next((plain(s) for s in self.optimisers.used if s.kind == command.kind), {})
        rule = getattr(self.optimisers.settings, "rule", "torch")
        dialect = {"rule": rule} if rule in RULES.get(command.kind, ()) else {}
        return {"kind": command.kind, **dialect, **before, **command.numbers}

    def _switch(self, command: SetData, step: int) -> None:
        """``warp_on = False`` and the like; a share of the examples is a number of the plan."""
        kind, value = command.name.removesuffix("_on"), command.value
        known = [f"{component.kind}_on" for component in self._sampling.augment]
        if command.name not in known:
            raise ConfigError(f"data.{command.name}: no augmentation of this training: {nearest(command.name, known)}")
        if not isinstance(value, bool | int | float):
            raise ConfigError(f"data.{command.name}: {value!r} is neither true nor false nor a share; write False")
        if not isinstance(value, bool) and value > 0:
            self.plan = self.plan.with_hand(f"{kind}.probability", float(value), step)
        self.switches = {**self.switches, kind: bool(value)}

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


def _checked(optimiser: Mapping[str, Any], schedule: Schedule) -> tuple[Optimiser, Schedule]:
    """Both, if a section of settings could say them together."""
    said = parse(TrainingSettings, {"optimiser": dict(optimiser), "schedule": plain(schedule)}, "")
    return said.optimiser, said.schedule


def _value(said: Any) -> Value:
    """A value from JSON, which knows no tuples."""
    return tuple(said) if isinstance(said, list) else float(said)
