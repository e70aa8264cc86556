"""The words of the console: one table of names, arguments, help and what they ask of the training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import elektronn.training.commands as say
from elektronn.console.spellings import spelled
from elektronn.errors import ConfigError
from elektronn.registry import nearest
from elektronn.training.facade import NAMES, ROOTS


@dataclass(frozen=True)
class Leave:
    """Leave the console; the training goes on."""


@dataclass(frozen=True)
class Show:
    """Text for the person who asked."""

    text: str


Meaning = say.Command | Leave | Show


@dataclass(frozen=True)
class Word:
    """One word.

    Attributes:
        arguments: for people; empty for none.
        help: a sentence.
        meaning: of the arguments that were typed.
    """

    arguments: str
    help: str
    meaning: Callable[[Sequence[str]], Meaning]


def _always(meaning: Meaning) -> Callable[[Sequence[str]], Meaning]:
    """A word without arguments."""

    def read(given: Sequence[str]) -> Meaning:
        if given:
            raise ConfigError(f"'{' '.join(given)}': this word takes nothing; leave it out")
        return meaning

    return read


def _one(given: Sequence[str]) -> str:
    if len(given) != 1:
        raise ConfigError(f"{len(given)} arguments given, one is needed")
    return given[0]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"'{text}' is not a number; write one such as 0.001") from None


def _whole(given: Sequence[str]) -> int:
    text = _one(given)
    if not text.isdecimal():
        raise ConfigError(f"'{text}' is not a whole number; write digits only, such as 100")
    return int(text)


def _value(name: str) -> Callable[[Sequence[str]], Meaning]:
    return lambda given: say.SetValue(name, _number(_one(given)))


def _any_value(given: Sequence[str]) -> Meaning:
    if len(given) < 2:
        raise ConfigError("a name and a value are needed, such as: set warp.amount 0.5")
    numbers = tuple(map(_number, given[1:]))
    return say.SetValue(given[0], numbers if len(numbers) > 1 else numbers[0])


def _dropout(given: Sequence[str]) -> Meaning:
    if not given:
        raise ConfigError("a rate is needed, or one per layer that drops")
    numbers = tuple(map(_number, given))
    return say.SetValue("dropout", numbers if len(numbers) > 1 else numbers[0])


def _file(make: Callable[[Path], say.Command]) -> Callable[[Sequence[str]], Meaning]:
    """A file, ``CNN.save`` if none is named."""
    return lambda given: make(Path(_one(given) if given else "CNN.save").expanduser())


def _optimiser(kind: str) -> Callable[[Sequence[str]], Meaning]:
    def read(given: Sequence[str]) -> Meaning:
        numbers = {}
        for part in given:
            name, sign, value = part.partition("=")
            if not sign:
                raise ConfigError(f"'{part}': write name=value, such as rate=0.01")
            number = _number(value)
            numbers[name] = int(number) if value.isdecimal() and name in WHOLE else number
        return say.UseOptimiser(kind, numbers)

    return read


WHOLE = ("searches", "iterations", "evaluations", "memory", "warmup")
"""Numbers of optimisers that are whole."""


def _help(given: Sequence[str]) -> Meaning:
    if not given:
        return Show(menu())
    if given[0] not in WORDS:
        raise ConfigError(f"'{given[0]}' is no word: {nearest(given[0], WORDS)}")
    return Show(line_of(given[0]))


def _smooth(given: Sequence[str]) -> Meaning:
    raise ConfigError("filters are not smoothed, and never were; a larger weight decay does that: setwd 0.001")


_TABLE = say.Describe
WORDS: Mapping[str, Word] = {
    "q": Word("", "leave the console; the training goes on", _always(Leave())),
    "help": Word("[word]", "these lines", _help),
    "status": Word("", "step, losses, errors, rate, time", _always(_TABLE("status"))),
    "stop": Word("", "save and leave the program; the same command resumes there", _always(say.Stop("console"))),
    "abort": Word("", "end the training here and write its results", _always(say.Abort())),
    "kill": Word("", "leave the program at once, saving nothing", _always(say.Kill())),
    "save": Word("[file]", "save the network (CNN.save in the state directory)", _file(say.SaveNow)),
    "load": Word("[file]", "load weights; other sizes are cut, tiled, centred", _file(say.LoadWeights)),
    "sethist": Word("<int>", "steps between rows of the history", lambda given: say.SetHistory(_whole(given))),
    "record": Word("", "add a row to the history now", _always(say.RecordNow())),
    "setlr": Word("<float>", "learning rate", _value("rate")),
    "setmom": Word("<float>", "momentum", _value("momentum")),
    "setwd": Word("<float>", "weight decay", _value("weight_decay")),
    "setdropout": Word("<float> …", "dropout rate of all layers that drop, or of each", _dropout),
    "set": Word(
        "<name> <float> …", "any number of the training, such as warp.amount or loss.class_weights", _any_value
    ),
    "SGD": Word("[name=value …]", "go on with gradient descent", _optimiser("sgd")),
    "Adam": Word("[name=value …]", "go on with Adam", _optimiser("adam")),
    "AdamW": Word("[name=value …]", "go on with AdamW", _optimiser("adamw")),
    "AdaGrad": Word("[name=value …]", "go on with AdaGrad", _optimiser("adagrad")),
    "AdaDelta": Word("[name=value …]", "go on with AdaDelta", _optimiser("adadelta")),
    "RPROP": Word("[name=value …]", "go on with resilient propagation", _optimiser("rprop")),
    "CG": Word("[name=value …]", "go on with conjugate gradients", _optimiser("cg")),
    "LBFGS": Word("[name=value …]", "go on with L-BFGS", _optimiser("lbfgs")),
    "params": Word("", "table of the parameters", _always(_TABLE("parameters"))),
    "paramstats": Word("", "the same", _always(_TABLE("parameters"))),
    "gradstats": Word("", "table of the gradients on the last batch", _always(_TABLE("gradients"))),
    "actstats": Word("", "table of the activations on the last batch", _always(_TABLE("activations"))),
    "test": Word("<train|valid|test>", "loss and error on monitor examples", lambda given: say.Measure(_one(given))),
    "sf": Word("[layer]", "picture of a layer's filters", lambda given: say.ShowFilters(_one(given) if given else "")),
    "smooth": Word("", "of old; says what to do instead", _smooth),
    "preview": Word("", "predict a section now", _always(say.PreviewNow())),
    "debugbatch": Word("", "picture of the last batch", _always(say.ShowBatch())),
}
"""Name → word, in the order of the menu."""


def line_of(name: str) -> str:
    """A word as a line of the menu."""
    return f"  {f'{name} {WORDS[name].arguments}'.rstrip():28}{WORDS[name].help}"


def menu() -> str:
    """What can be typed."""
    return "\n".join(
        [
            *map(line_of, WORDS),
            "  data.warp_on = False        and other changes: data.warp.amount, config.history_freq, cnn.dropout_rates",
            f"  cnn.input_shape             and other values of {', '.join(ROOTS)}; Tab completes",
        ]
    )


def meaning_of(text: str) -> Meaning:
    """What a line asks for.

    Words count when they stand alone or before a space; then come the old spellings (:mod:`.spellings`); what else holds
    ``(`` or ``=`` is Python; the rest is an expression.

    Raises:
        ConfigError: a word with wrong arguments.

    Example:
        >>> meaning_of("setlr 0.002")
        SetValue(name='rate', value=0.002)
        >>> meaning_of("data.warp_on = False")
        SetData(name='warp_on', value=False)
        >>> meaning_of("load = 3")
        Execute(text='load = 3')
    """
    text = text.strip()
    first, *rest = text.split()
    if first in WORDS and not (rest and rest[0].startswith(("=", "(", "."))):
        try:
            return WORDS[first].meaning(rest)
        except ConfigError as error:
            raise ConfigError(f"{first}: {error}") from None
    if first == "ip":
        raise ConfigError("ip: there is no IPython here; with --allow-python a line of Python can be typed as it is")
    command = spelled(text)
    if command is not None:
        return command
    return say.Execute(text) if "(" in text or "=" in text else say.Ask(text)


def completions(text: str) -> list[str]:
    """What the last part of an unfinished line may become.

    Example:
        >>> completions("seth"), completions("cnn.input_")
        (['sethist'], ['cnn.input_shape'])
    """
    start, _, last = text.rpartition(" ")
    if not start:
        names = [*WORDS, *NAMES]
    elif start.strip() == "help":
        names = [*WORDS]
    elif start.strip() == "test":
        names = ["train", "valid", "test"]
    else:
        names = [*NAMES]
    # first to the dot, so that a long list of names does not hide the words
    roots = {f"{name.split('.')[0]}." for name in names if "." in name} if "." not in last else set()
    names = [name for name in names if "." not in name or "." in last] + sorted(roots)
    return [name for name in names if name.startswith(last)]
