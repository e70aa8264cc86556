"""Configs of ELEKTRONN 1: defaults, the user's file and the config itself, read, checked and put into one form."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from elektronn.errors import ConfigError, DataError, at
from elektronn.legacy.checks import Fault, contradictions, fields_of_view, wrong_kinds
from elektronn.legacy.expressions import Assignments, evaluate
from elektronn.legacy.functions import Function, Module, Work
from elektronn.legacy.options import OPTIONS, PATHS, asked_for, distance
from elektronn.legacy.trusted import run_config

USER = Path("~/.elektronn.config")
"""The user's own defaults; need not exist."""


FAULTS = 10
"""Most faults that one message lists."""


@dataclass(frozen=True)
class OldConfig:
    """A config of ELEKTRONN 1.

    Attributes:
        options: all options, in one form: lists per layer written out, 3-D sizes as z, x, y, ``~`` replaced.
        given: names that the config or the user's file gives; all others have their defaults.
        warnings: what was read otherwise than one may think, or left out, one sentence each.
        source: the config file.
    """

    options: Mapping[str, Any]
    given: frozenset[str]
    warnings: tuple[str, ...]
    source: Path


def read_config(path: Path, user: Path | None = USER, *, trust: bool = False) -> OldConfig:
    """Read a config without running it.

    Args:
        path: the config; ``~`` is the home directory.
        user: the user's own defaults, read first; the usual place may be empty. None: do not look.
        trust: run the config as a program instead of reading it; the user's file is always read.

    Raises:
        DataError: no such file, or it cannot be opened.
        ConfigError: one line per fault, each with file, line and cure.
    """
    levels = _levels(Path(path), user, trust)
    source = levels[-1][0]
    options = {name: copy.deepcopy(option.default) for name, option in OPTIONS.items()}
    # the user's file may bring names that we do not know, the config may not
    for _, level in levels:
        options.update(level.values)
    warnings = [f"{file}: {text}" for file, level in levels for text in level.warnings]
    warnings += [
        f"{file}: line {level.lines[name]}: '{name}' is no option of ELEKTRONN 1 and has no effect"
        for file, level in levels[:-1]
        for name in level.values
        if name not in OPTIONS
    ]
    _refuse(levels, wrong_kinds(options))
    _expand(options)
    _refuse(levels, contradictions(options))
    given = frozenset(name for _, level in levels for name in level.values)
    said = [*_missing(options, given), *_unusual(options), *_normalise(options)]
    return OldConfig(MappingProxyType(options), given, (*warnings, *(f"{source}: {text}" for text in said)), source)


def _levels(path: Path, user: Path | None, trust: bool) -> list[tuple[Path, Assignments]]:
    """The files and what they assign, the stronger one last."""
    levels = []
    if user is not None and (user != USER or user.expanduser().is_file()):
        levels.append((user, _read(user)))
    levels.append((path, _read(path, trust)))
    known = set(OPTIONS).union(*(level.values for _, level in levels[:-1]))
    strange = [name for name in levels[-1][1].values if name not in known][:FAULTS]
    _refuse(levels, [(name, _unknown(name, known, levels[-1][1])) for name in strange])
    return levels


def _read(path: Path, trust: bool = False) -> Assignments:
    file = path.expanduser()
    if not file.is_file():
        raise DataError(f"{path}: no such file; give a config")
    try:
        source = file.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a readable file") from error
    with at(str(path)):
        found = run_config(source, file) if trust else evaluate(source)
        values = {}
        for name, value in found.values.items():
            with at(f"line {found.lines[name]}: {name}"):
                values[name] = plain(value)
    return Assignments(values, found.lines, found.loops, found.warnings)


def plain(value: Any) -> Any:
    """A copy without arrays, sets and shared parts.

    Raises:
        ConfigError: a function or a module, or far too much.
    """
    Work().weigh(value)
    try:
        return _plain(value)
    except RecursionError:
        raise ConfigError("lists within lists without end; write a flat one") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Function | Module):
        raise ConfigError(f"'{value.name}' is a function or module; write a value, or text in quotes")
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, list | set):
        return [_plain(entry) for entry in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def _unknown(name: str, known: set[str], level: Assignments) -> str:
    near = min(sorted(known), key=lambda option: distance(name[:100], option))
    if name in level.loops:
        cure = f"the name is left from a loop: write 'del {name}' behind it"
    else:
        cure = f"if it is a helper: write 'del {name}' at the end"
    return f"unknown option '{name[:100]}': did you mean '{near}'? {cure}"


def _refuse(levels: list[tuple[Path, Assignments]], faults: list[Fault]) -> None:
    """Raise all faults at once, each with the file and line that assigned the option last."""
    lines = []
    for name, text in faults[:FAULTS]:
        places = [f"{file}: line {level.lines[name]}" for file, level in levels if name in level.values]
        lines.append(f"{places[-1] if places else levels[-1][0]}: {text}")
    if lines:
        raise ConfigError("\n".join(lines))


def _expand(options: dict[str, Any]) -> None:
    """Replace ``~`` in paths, and None where a list is meant."""
    for name in PATHS:
        value = options[name]
        if isinstance(value, str):
            options[name] = os.path.expanduser(value)  # noqa: PTH111 - a Path would lose the slash at the end
        elif value is not None:
            options[name] = (os.path.expanduser(value[0]), value[1])  # noqa: PTH111
    for name, option in OPTIONS.items():
        if options[name] is None and isinstance(option.default, list | dict) and name not in ("dropout_rates", "MFP"):
            options[name] = type(option.default)()


def _missing(options: dict[str, Any], given: frozenset[str]) -> list[str]:
    missing = [name for name in asked_for(options) if name not in given]
    return [f"not given, so the defaults hold: {', '.join(missing)}"] if missing else []


def _unusual(options: dict[str, Any]) -> list[str]:
    """What is read as it stands, but may surprise."""
    said = []
    fields = fields_of_view(options) if options["filters"] else []
    if options["mode"] == "img-scalar" and any(field % 2 == 0 for field in fields):
        said.append(f"filters: field of view {' × '.join(map(str, fields))} is even; outputs lie between voxels")
    if options["class_weights"] is not None:
        said.append("class_weights: used as written, not divided by their mean")
    return said


def _normalise(options: dict[str, Any]) -> list[str]:
    """Bring all spellings of an option into one form, in the order of the original; returns warnings."""
    batch, monitor = options["batch_size"], options["monitor_batch_size"]
    options["monitor_batch_size"] = max(batch, monitor - monitor % batch)
    if options["n_dim"] == 3 and options["mode"] != "vect-scalar":
        for name in ("filters", "pool"):
            options[name] = [_z_first(size) for size in options[name]]
        options["desired_input"] = _z_first(options["desired_input"])
    _per_layer(options)
    if options["example_ignore_threshold"] is None:
        options["example_ignore_threshold"] = 0.0
    if _is_single(options["history_freq"]):
        options["history_freq"] = [options["history_freq"]]
    schedule = options["LR_schedule"] or []
    ordered = sorted(schedule, key=lambda row: row[0])
    if ordered == list(schedule):
        return []
    options["LR_schedule"] = ordered
    return ["LR_schedule: sorted by step; in its written order ELEKTRONN 1 stuck at the first late step"]


def _per_layer(options: dict[str, Any]) -> None:
    """One entry per layer where one value stands for all."""
    convolutions = len(options["filters"])
    layers = convolutions + len(options["MLP_layers"])
    flags = options["MFP"]
    if _is_single(flags) or not flags:
        flags = [flags] * convolutions
    options["MFP"] = [int(bool(flag)) for flag in flags]
    for name, count in (("pooling_mode", convolutions), ("activation_func", layers)):
        if _is_single(options[name]):
            options[name] = [options[name]] * count
    if _is_single(options["dropout_rates"]):
        options["dropout_rates"] = (options["dropout_rates"],) * layers


def _is_single(value: Any) -> bool:
    return not isinstance(value, list | tuple)


def _z_first(size: Any) -> Any:
    """x, y, z → z, x, y; a single number stays."""
    return size if _is_single(size) else type(size)((size[2], size[0], size[1]))
