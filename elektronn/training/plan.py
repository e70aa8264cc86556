"""The plan of a training: every number that may change with the step, where it lies and how it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any

from elektronn.errors import ConfigError, at
from elektronn.network.document import Document, layers
from elektronn.registry import nearest
from elektronn.sampling.augment import SamplingSettings
from elektronn.settings import Field, Settings, parse, plain
from elektronn.training.schedules import Value, value_at
from elektronn.training.settings import Constant, Optimiser, Schedule, Steps, TrainingSettings


class Dropout(Settings):
    """Dropout rates of the layers that have any, in order."""

    dropout: tuple[Annotated[float, Field(ge=0, lt=1)], ...]


@dataclass(frozen=True)
class Place:
    """Where a number lies: a field of a section of settings, which also knows what is allowed there.

    Attributes:
        section: of the settings.
        name: of the number; ends with the name of the field.
    """

    section: Settings
    name: str

    @property
    def field(self) -> str:
        """Of the section."""
        return self.name.rpartition(".")[2]

    @property
    def start(self) -> Value:
        """The number, or the list of numbers, that the settings say."""
        said: Value = getattr(self.section, self.field)
        return said

    def allowed(self, value: Value) -> Value:
        """``value`` if the settings could say it.

        Raises:
            ConfigError: of another type, out of range, or a list of another length.
        """
        if isinstance(self.start, tuple):
            value = value if isinstance(value, tuple) else (value,) * len(self.start)
            if len(value) != len(self.start):
                raise ConfigError(f"{self.name}: has {len(value)} numbers, not {len(self.start)}; write as many")
        section = {**plain(self.section), self.field: value}
        return Place(parse(type(self.section), section, self.name.rpartition(".")[0]), self.name).start


@dataclass(frozen=True)
class Plan:
    """What every number is at every step.

    Attributes:
        optimiser: in use.
        others: places of the numbers that are not the optimiser's, by name.
        schedules: by name; a number without one stays as it is, a schedule without its number rests.
        steps: of the whole training.
        hands: step and value of what a person set while the training ran, by name.
    """

    optimiser: Optimiser
    others: Mapping[str, Place]
    schedules: Mapping[str, Schedule]
    steps: int
    hands: Mapping[str, tuple[int, Value]] = field(default_factory=dict)

    @cached_property
    def places(self) -> dict[str, Place]:
        """Where every number lies, by name."""
        return {**_places(self.optimiser), **self.others}

    @cached_property
    def starts(self) -> dict[str, Value]:
        """Every number as the settings say it."""
        return {name: place.start for name, place in self.places.items()}

    def values_at(self, step: int) -> dict[str, Value]:
        """Every number that the update number ``step`` (from 0) uses."""
        now = dict(self.starts)
        for name in self.moving:
            schedule = self.schedules.get(name, Constant())
            now[name] = value_at(schedule, now[name], step, self.steps, self.hands.get(name))
        return now

    @cached_property
    def moving(self) -> tuple[str, ...]:
        """Names of the numbers that change at all."""
        return tuple(name for name in self.places if name in self.schedules or name in self.hands)

    def with_hand(self, name: str, value: Value, step: int) -> Plan:
        """The plan with a number set by a person from ``step`` on.

        Raises:
            ConfigError: unknown name, or a value that is not allowed there.
        """
        with at(name):
            place = self._place(name)
        return replace(self, hands={**self.hands, name: (step, place.allowed(value))})

    def with_optimiser(self, optimiser: Optimiser, schedule: Schedule) -> Plan:
        """The plan with another optimiser and schedule of its rate; what was set by hand in an optimiser is over."""
        gone = {*_places(self.optimiser), *_places(optimiser)}
        hands = {name: hand for name, hand in self.hands.items() if name not in gone}
        return replace(self, optimiser=optimiser, schedules={**self.schedules, "rate": schedule}, hands=hands)

    def table(self, points: int = 400) -> dict[str, list[tuple[int, Value]]]:
        """Step and value of every number that changes, at about ``points`` steps from first to last."""
        steps = sorted({round(i * self.steps / points) for i in range(points + 1)})
        rows = {step: self.values_at(step) for step in steps}
        return {name: [(step, rows[step][name]) for step in steps] for name in self.moving}

    def _place(self, name: str) -> Place:
        if name not in self.places:
            raise ConfigError(f"no number of this training that may change: {nearest(name, self.places)}")
        return self.places[name]

    def _require_allowed(self, schedules: Mapping[str, Schedule]) -> None:
        """Refuse names that are no numbers of this training, and given values that the settings could not say."""
        for name in schedules:
            with at(f"schedules.{name}"):
                self._place(name)
        for name, place in self.places.items():
            schedule = self.schedules.get(name)
            for step, value in schedule.values if isinstance(schedule, Steps) else ():
                with at("schedule" if name == "rate" else f"schedules.{name}"), at(f"step {step}"):
                    place.allowed(value)


def plan_of(training: TrainingSettings, sampling: SamplingSettings, document: Document) -> Plan:
    """The plan that the settings say.

    Raises:
        ConfigError: a schedule of an unknown number, or with a value that is not allowed there.

    Example:
        >>> from elektronn.network.chain import NetworkSettings, chain
        >>> plan = plan_of(TrainingSettings(), SamplingSettings(), chain(NetworkSettings()))
        >>> plan.values_at(2500)["rate"]
        0.000505
    """
    others = _places(training.loss, "loss.")
    rates = tuple(dropout_of(document).values())
    if rates:
        others["dropout"] = Place(Dropout(dropout=rates), "dropout")
    for name, component in _components(sampling):
        others |= _places(component, f"{name}.")
    plan = Plan(training.optimiser, others, {"rate": training.schedule, **training.schedules}, training.steps)
    plan._require_allowed(training.schedules)
    return plan


def dropout_of(document: Document) -> dict[str, float]:
    """Layer → dropout rate, of the layers that have one."""
    rates = {layer.name: getattr(layer, "dropout", 0.0) for layer in layers(document)}
    return {name: rate for name, rate in rates.items() if rate > 0}


def with_values(sampling: SamplingSettings, values: Mapping[str, Value]) -> SamplingSettings:
    """The sampling section with the numbers of its augmentations (``warp.amount`` …) as in ``values``."""
    changed: list[Any] = []
    for name, component in _components(sampling):
        numbers = {place.field: values[full] for full, place in _places(component, f"{name}.").items()}
        changed.append(component.model_copy(update=numbers))
    return sampling.model_copy(update={"augment": tuple(changed)})


def _places(section: Settings, prefix: str = "") -> dict[str, Place]:
    return {f"{prefix}{name}": Place(section, f"{prefix}{name}") for name in _numbers(section)}


def _components(sampling: SamplingSettings) -> list[tuple[str, Settings]]:
    return [(component.kind, component) for component in sampling.augment]


def _numbers(section: Settings) -> list[str]:
    """Fields that hold a number with a fraction, or a list of such numbers."""
    said = {name: getattr(section, name) for name in type(section).model_fields}
    return [name for name, value in said.items() if isinstance(value, float) or _is_list_of_numbers(value)]


def _is_list_of_numbers(value: object) -> bool:
    return isinstance(value, tuple) and len(value) > 0 and all(isinstance(entry, float) for entry in value)
