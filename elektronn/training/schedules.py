"""Schedules: numbers as pure functions of the step, so that resume needs no state and a plan can be drawn before it runs."""

from __future__ import annotations

import math

from elektronn.training.settings import Constant, Cosine, Exponential, Linear, OneCycle, Schedule, Steps

Value = float | tuple[float, ...]

DECAY_EVERY = 1000
"""Steps between the decays of :class:`elektronn.training.settings.Steps`, as in both ancestors."""


def value_at(schedule: Schedule, start: Value, step: int, steps: int, hand: tuple[int, Value] | None = None) -> Value:
    """The value that the update number ``step`` (from 0) of ``steps`` uses.

    Args:
        schedule: how it changes.
        start: value at the start; for :class:`elektronn.training.settings.OneCycle` the peak. A list changes in all entries.
        step: updates made before.
        steps: updates of the whole training.
        hand: a step and the value that a person set there; the schedule goes on from it in proportion.

    Example:
        >>> round(value_at(Exponential(decay=0.5), 0.1, 2000, 9999), 6)
        0.025
        >>> value_at(Cosine(floor=0.0), 0.1, 50, 100)
        0.05
        >>> value_at(Steps(values=((8, 0.2), (3, 0.1))), 0.5, 4, 100)
        0.1
        >>> value_at(Exponential(decay=0.5), 0.1, 3000, 9999, hand=(2000, 0.8))
        0.4
    """
    given = [hand] if hand is not None else []
    if isinstance(schedule, Steps):
        given += [pair for pair in schedule.values if pair[0] <= step]
    now = factor(schedule, step, steps)
    if not given:
        return _scaled(start, now, start)
    since, value = max(given, key=lambda pair: pair[0])
    then = factor(schedule, since, steps)
    return _scaled(value, now / then if then else 1.0, start)


def factor(schedule: Schedule, step: int, steps: int) -> float:
    """What the start is multiplied by before the update number ``step`` (from 0) of ``steps``; given values left out."""
    match schedule:
        case Exponential():
            return float(schedule.decay ** _decays(schedule, step))
        case Cosine():
            return schedule.floor + (1 - schedule.floor) * _half_cosine(step / steps)
        case Linear():
            until = schedule.until or steps
            return 0.0 if step >= until else 1 - step // schedule.every * schedule.every / until
        case OneCycle():
            share = min(step / steps, 1.0)
            if share < schedule.rise:
                return 1 - (1 - schedule.first) * _half_cosine(share / schedule.rise)
            return schedule.last + (1 - schedule.last) * _half_cosine((share - schedule.rise) / (1 - schedule.rise))
        case Steps():
            return float(schedule.decay ** (step // DECAY_EVERY))
        case Constant():
            return 1.0


def _decays(schedule: Exponential, step: int) -> float:
    """How often the value was multiplied before the update number ``step``."""
    match schedule.jumps:
        case "none":
            return step / schedule.every
        case "after":
            return step // schedule.every
        case "before":
            return -(-step // schedule.every)


def _half_cosine(share: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * share))


def _scaled(value: Value, by: float, like: Value) -> Value:
    """``value`` × ``by``, repeated if the start is a list and ``value`` is one number."""
    if isinstance(like, tuple):
        entries = value if isinstance(value, tuple) else (value,) * len(like)
        return tuple(entry * by for entry in entries)
    assert not isinstance(value, tuple)
    return value * by
