"""Words, spellings, completion, and the desk at which a person talks to a training."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from elektronn.console.desk import HERE, Desk
from elektronn.console.words import WORDS, Leave, Meaning, Show, completions, meaning_of, menu
from elektronn.errors import ConfigError
from elektronn.training import commands as say
from elektronn.training.control import Letter

MEANINGS: dict[str, Meaning] = {
    "q": Leave(),
    "abort": say.Abort(),
    "kill": say.Kill(),
    "stop": say.Stop("console"),
    "save": say.SaveNow(Path("CNN.save")),
    "save a.b": say.SaveNow(Path("a.b")),
    "load": say.LoadWeights(Path("CNN.save")),
    "load /x/y": say.LoadWeights(Path("/x/y")),
    "sf": say.ShowFilters(),
    "sf conv2": say.ShowFilters("conv2"),
    "sethist 20": say.SetHistory(20),
    "setlr 0.002": say.SetValue("rate", 0.002),
    "setlr 1e-4": say.SetValue("rate", 1e-4),
    "setmom 0.5": say.SetValue("momentum", 0.5),
    "setwd 0": say.SetValue("weight_decay", 0.0),
    "setdropout 0.5": say.SetValue("dropout", 0.5),
    "setdropout 0.5 0.25": say.SetValue("dropout", (0.5, 0.25)),
    "set warp.amount 2": say.SetValue("warp.amount", 2.0),
    "set loss.class_weights 1 2": say.SetValue("loss.class_weights", (1.0, 2.0)),
    "params": say.Describe("parameters"),
    "paramstats": say.Describe("parameters"),
    "gradstats": say.Describe("gradients"),
    "actstats": say.Describe("activations"),
    "status": say.Describe("status"),
    "SGD": say.UseOptimiser("sgd"),
    "CG searches=2 alpha=0.5": say.UseOptimiser("cg", {"searches": 2, "alpha": 0.5}),
    "RPROP": say.UseOptimiser("rprop"),
    "LBFGS": say.UseOptimiser("lbfgs"),
    "Adam rate=0.01": say.UseOptimiser("adam", {"rate": 0.01}),
    "preview": say.PreviewNow(),
    "debugbatch": say.ShowBatch(),
    "record": say.RecordNow(),
    "test valid": say.Measure("valid"),
    # the old spellings
    "data.warp_on = False": say.SetData("warp_on", False),
    "data.warp_on=0.5": say.SetData("warp_on", 0.5),
    "data.warp.amount = 0.5": say.SetValue("warp.amount", 0.5),
    "self.data.warp_on = False": say.SetData("warp_on", False),
    "config.history_freq[0] = 50": say.SetHistory(50),
    "self.config.history_freq = [50]": say.SetHistory(50),
    "config.class_weights = [1, 2.5]": say.SetValue("loss.class_weights", (1.0, 2.5)),
    "config.SGD_params['LR'] = 0.1": say.SetValue("rate", 0.1),
    "cnn.setDropoutRates([0.5, 0.5, 0.5])": say.SetValue("dropout", (0.5, 0.5, 0.5)),
    "self.testModel('test')": say.Measure("test"),
    "print self.testModel('test')": say.Measure("test"),
    "print(self.testModel('valid'))": say.Measure("valid"),
    "print cnn.SGD_LR.get_value()": say.Ask("cnn.SGD_LR"),
    "self.debugGetCNNBatch()": say.ShowBatch(),
    "data, label, info1, info2 = self.debugGetCNNBatch()": say.ShowBatch(),
    "cnn.input_shape": say.Ask("cnn.input_shape"),
    "self.cnn.input_shape[1:]": say.Ask("cnn.input_shape[1:]"),
    "self.history[-1]": say.Ask("self.history[-1]"),
    "cnn.input_shape[0] / 2": say.Ask("cnn.input_shape[0] / 2"),
    # everything else is Python
    "x = 5": say.Execute("x = 5"),
    "load_x = 3": say.Execute("load_x = 3"),
    "load = 3": say.Execute("load = 3"),
    "setlr(3)": say.Execute("setlr(3)"),
    "print(x)": say.Ask("x"),
    "cnn.train()": say.Execute("cnn.train()"),
    "cnn.layers = None": say.Execute("cnn.layers = None"),
    "data.__dict__ = 1": say.SetData("__dict__", 1),
}


@pytest.mark.parametrize("text", MEANINGS)
def test_what_a_line_asks_for(text: str) -> None:
    assert meaning_of(text) == MEANINGS[text]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sethist", "sethist: 0 arguments given, one is needed"),
        ("sethist ten", "sethist: 'ten' is not a whole number"),
        ("setlr", "setlr: 0 arguments given"),
        ("setlr fast", "setlr: 'fast' is not a number"),
        ("q now", "q: 'now': this word takes nothing"),
        ("smooth", "smooth: filters are not smoothed"),
        ("help setl", "help: 'setl' is no word: did you mean 'setlr'"),
        ("Adam 0.1", "Adam: '0.1': write name=value"),
        ("set warp.amount", "set: a name and a value are needed"),
        ("ip", "ip: there is no IPython here"),
    ],
)
def test_mistakes_are_told_in_one_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        meaning_of(text)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_every_word_is_in_the_menu_and_has_help() -> None:
    lines = menu().splitlines()
    for name in WORDS:
        assert any(line.split()[0] == name for line in lines)
        assert meaning_of(f"help {name}") == Show(next(line for line in lines if line.split()[0] == name))
    assert all(len(line) <= 120 for line in lines)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("set", ["sethist", "setlr", "setmom", "setwd", "setdropout", "set"]),
        ("cn", ["cnn."]),
        ("cnn.in", ["cnn.input_shape"]),
        ("data.warp", ["data.warp_on", "data.warp"]),
        ("help setl", ["setlr"]),
        ("test v", ["valid"]),
        ("setlr xyz", []),
    ],
)
def test_completion(text: str, found: list[str]) -> None:
    assert completions(text) == found


class Someone:
    """Types prepared lines; an exception among them is raised."""

    def __init__(self, *lines: str | type[BaseException]) -> None:
        self.lines: Iterator[str | type[BaseException]] = iter(lines)
        self.heard: list[str] = []

    def ask(self) -> str:
        line = next(self.lines)
        if isinstance(line, str):
            return line
        raise line

    def say(self, text: str) -> None:
        self.heard.append(text)

    def begin(self) -> None:
        self.heard.append("<")

    def end(self) -> None:
        self.heard.append(">")


def conversation(desk: Desk) -> list[say.Command]:
    """What a trainer gets at one safe point."""
    found: list[Letter] = []
    while letters := desk.drain(0):
        found += letters
        if isinstance(letters[-1].command, say.Abort):
            break
    return [letter.command for letter in found]


def test_nobody_is_asked_before_the_console_is_opened() -> None:
    desk = Desk(person=Someone())
    assert desk.drain(0) == []
    desk.open()
    assert desk.drain(0)[0].who == HERE


def test_lines_reach_the_trainer_one_after_the_other_until_q() -> None:
    someone = Someone("setlr 0.1", "", "nonsense(", "setlr", "help", "params", "q", "setlr 0.2", "q")
    desk = Desk(person=someone)
    desk.open()
    wanted = [say.Describe("status"), say.SetValue("rate", 0.1), say.Execute("nonsense("), say.Describe("parameters")]
    assert conversation(desk) == wanted
    assert conversation(desk) == []
    assert someone.heard[0] == "<"
    assert someone.heard[-1] == ">"
    desk.open()
    assert conversation(desk) == [say.Describe("status"), say.SetValue("rate", 0.2)]


def test_ctrl_c_at_the_prompt_returns_to_the_prompt() -> None:
    desk = Desk(person=Someone(KeyboardInterrupt, KeyboardInterrupt, "setlr 0.1", "q"))
    desk.open()
    assert conversation(desk)[1:] == [say.SetValue("rate", 0.1)]


@pytest.mark.parametrize("gone", [EOFError, OSError])
def test_end_of_input_is_an_abort_and_no_endless_loop(gone: type[Exception]) -> None:
    desk = Desk(person=Someone(gone))
    desk.open()
    assert conversation(desk)[1:] == [say.Abort()]
    assert desk.drain(0) == []


def test_a_signal_ends_the_question_and_its_command_is_obeyed() -> None:
    class Signalled(Someone):
        def ask(self) -> str:
            desk.post(say.Stop("SIGTERM"))
            raise EOFError

    desk = Desk(person=Signalled())
    desk.open()
    assert desk.drain(0)
    assert [letter.command for letter in desk.drain(0)] == [say.Stop("SIGTERM")]


def test_without_a_terminal_there_is_never_a_question() -> None:
    desk = Desk()
    desk.open()
    assert desk.alarm("diverged") is False
    assert desk.drain(0) == []


def test_an_alarm_opens_the_console() -> None:
    someone = Someone("q")
    desk = Desk(person=someone)
    assert desk.alarm("diverged") is True
    assert conversation(desk) == [say.Describe("status")]
    assert someone.heard[0] == "diverged"


def test_letters_of_others_wait_for_the_person() -> None:
    desk = Desk(person=Someone("q"))
    desk.open()
    desk.post(say.SetHistory(3), "else")
    assert [letter.who for letter in desk.drain(0)] == ["else"]


def test_lines_are_kept_for_the_next_time_and_a_full_disk_does_not_end_the_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    from elektronn.console import prompt

    def asked(keys: str) -> list[str]:
        with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
            asking = prompt.session(tmp_path)
            asking.app.output = DummyOutput()
            typed.send_text(keys)
            return [asking.prompt(handle_sigint=False) for _ in range(keys.count("\r"))]

    assert asked("setlr 0.1\rq\r") == ["setlr 0.1", "q"]
    # the arrow up, twice
    assert asked("\x1b[A\x1b[A\r") == ["setlr 0.1"]

    def full(self: FileHistory, string: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FileHistory, "store_string", full)
    assert asked("status\r") == ["status"]
