"""Mission rows M128 to M137: the console, at a terminal and from another shell."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest

from elektronn.artefacts import digest
from elektronn.network.weights import load_tensors
from tests.terminal import Terminal

SETTINGS = {
    "network.kernels": "[[1,4,4],[1,3,3]]",
    "network.pools": "[[1,2,2],[1,1,1]]",
    "network.features": "[4,4]",
    "network.dropout": "[0.3,0.2]",
    "network.patch": "[1,20,20]",
    "sampling.workers": "2",
    "training.steps": "1000000",
    "training.history_every": "20",
    "training.preview_every": "0",
    "training.device": "cpu",
}


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("console") / "cubes.h5"
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name in ("a", "b"):
            dark = np.repeat(np.repeat(random.random((4, 12, 12)) < 0.3, 4, 1), 4, 2)
            file[name] = (200 - 150 * dark + random.integers(-20, 20, dark.shape)).astype(np.uint8)
            file[f"{name}_labels"] = dark.astype(np.uint8)
    return path


def command(cubes: Path, folder: Path, *more: str, **changes: str) -> list[str]:
    """Arguments of a training in ``folder``."""
    words = ["train", "tiny", "--model", str(folder / "model.safetensors"), *more]
    words += ["--train", "a", f"{cubes}:a", f"{cubes}:a_labels", "--valid", "b", f"{cubes}:b", f"{cubes}:b_labels"]
    settings = {**SETTINGS, **{key.replace("__", "."): value for key, value in changes.items()}}
    for key, value in settings.items():
        words += ["--set", f"experiments.tiny.{key}={value}"]
    return words


class Console:
    """A training at a terminal whose console is open."""

    def __init__(self, cubes: Path, folder: Path, *more: str, words: Sequence[str] = (), **changes: str) -> None:
        self.folder, self.greeting = folder, ""
        self.terminal = Terminal(words or command(cubes, folder, *more, **changes), folder)

    def open(self, after: str = "step 20 ") -> str:
        """Press Ctrl-C when ``after`` was said; what stands above the prompt."""
        self.terminal.wait_for(after)
        self.terminal.press("c")
        return self.terminal.wait_for("@ELEKTRONN:")

    def ask(self, line: str, expected: str) -> str:
        """Type a line and wait for a part of its answer and for the next prompt; the rest of that line of the answer."""
        self.terminal.type(line)
        self.terminal.wait_for(expected)
        found = self.terminal.wait_for("\n")
        self.terminal.wait_for("@ELEKTRONN:")
        return found

    def value(self, line: str) -> str:
        """The answer to an expression."""
        return self.ask(line, f"{line}\n")

    def end(self, word: str = "kill") -> int:
        """Leave; the exit code."""
        self.terminal.type(word)
        return self.terminal.finish()


@pytest.fixture(scope="module")
def consoles() -> Iterator[list[Console]]:
    """Those that are to be ended whatever happens."""
    opened: list[Console] = []
    yield opened
    for console in opened:
        with suppress(ProcessLookupError, ChildProcessError):
            console.terminal.kill()
            os.waitpid(console.terminal.pid, 0)


@pytest.fixture
def console(cubes: Path, tmp_path: Path, consoles: list[Console]) -> Console:
    consoles.append(Console(cubes, tmp_path))
    consoles[-1].open()
    return consoles[-1]


@pytest.fixture(scope="module")
def shared(cubes: Path, tmp_path_factory: pytest.TempPathFactory, consoles: list[Console]) -> Console:
    """A training that several rows talk to; its console is open before and after each."""
    consoles.append(Console(cubes, tmp_path_factory.mktemp("shared")))
    consoles[-1].greeting = consoles[-1].open()
    return consoles[-1]


def rows(folder: Path, event: str) -> list[dict[str, object]]:
    """Lines of one kind in the journal."""
    lines = (folder / "state" / "events.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["event"] == event]


def test_M128_ctrl_c_opens_the_console_and_q_goes_on(shared: Console) -> None:
    said = shared.greeting
    for word in ("q ", "abort", "kill", "save", "load", "sf ", "smooth", "sethist", "setlr", "setmom", "params"):
        assert f"\n  {word}" in said
    assert re.search(r"step \d+ of 1000000  loss .* rate 0\.001", said)
    # Ctrl-C inside the console returns to it, an empty line is ignored
    shared.terminal.press("c")
    shared.terminal.wait_for("q goes on with the training")
    shared.terminal.wait_for("@ELEKTRONN:")
    shared.terminal.type("")
    shared.terminal.wait_for("\n")
    shared.terminal.wait_for("@ELEKTRONN:")
    step = int(shared.value("self.step"))
    time.sleep(0.3)
    assert int(shared.value("self.step")) == step, "the training waits while somebody talks"
    shared.terminal.type("q")
    shared.terminal.wait_for(f"step {(step // 20 + 3) * 20} ")
    shared.open("step ")


def test_M129_every_shortcut_does_what_it_says(shared: Console) -> None:
    state = shared.folder / "state"
    shared.ask("setlr 0.02", "rate = 0.02")
    assert shared.value("cnn.SGD_LR").startswith("0.02")
    shared.ask("setmom 0.5", "not changed: momentum: no number of this training")
    shared.ask("SGD rate=0.05", "optimiser sgd rate=0.05")
    shared.ask("setmom 0.5", "momentum = 0.5")
    shared.ask("setwd 0.001", "weight_decay = 0.001")
    shared.ask("sethist 7", "history every 7 steps")
    assert shared.value("config.history_freq") == "7"
    shared.ask("sethist", "sethist: 0 arguments given, one is needed")
    shared.ask("sethist many", "sethist: 'many' is not a whole number")
    shared.ask("smooth", "smooth: filters are not smoothed")
    shared.ask("params", "layers.output.weight")
    shared.ask("gradstats", "layers.output.weight")
    shared.ask("actstats", "output ")
    shared.ask("save", f"saved to {state / 'CNN.save'}")
    shared.ask("save mine.save", "mine.save")
    shared.ask("load mine.save", "output: loaded")
    shared.ask("load nowhere", "nowhere: no such file")
    shared.ask("sf", "filters_conv1.png")
    shared.ask("sf output", "filters_output.png")
    shared.ask("debugbatch", "debugGetCNNBatch.png")
    shared.ask("preview", "preview of step")
    shared.ask("help setlr", "learning rate")
    shared.ask("sethist 20", "history every 20 steps")
    pictures = ("filters_conv1.png", "filters_output.png", "debugGetCNNBatch.png", "previews")
    for name in ("CNN.save", "mine.save", *pictures):
        assert (state / name).exists(), name
    assert load_tensors(state / "CNN.save")[0].keys() == load_tensors(state / "mine.save")[0].keys()
    assert len(rows(shared.folder, "command")) > 15


def test_M130_expressions_are_free_and_statements_need_leave(
    cubes: Path, tmp_path: Path, consoles: list[Console], shared: Console
) -> None:
    assert shared.value("cnn.input_shape") == "(1, 1, 1, 19, 19)"
    shared.ask(
        "x = 5", "not changed: 'x = 5': is Python, which this training does not run; start it with --allow-python"
    )
    shared.ask("nonsense", "unknown name 'nonsense'")
    (tmp_path / "free").mkdir()
    consoles.append(Console(cubes, tmp_path / "free", "--allow-python"))
    free = consoles[-1]
    free.open()
    free.ask("x = 5", "python: x = 5")
    assert free.value("x") == "5"
    free.ask("1 / 0", "ZeroDivisionError")
    assert free.value("cnn.input_shape") == "(1, 1, 1, 19, 19)"
    assert free.end() == 130
    assert [row["text"] for row in rows(tmp_path / "free", "command")][1:3] == ["x = 5", "x"]


def children(pid: int) -> list[str]:
    """Processes that a process has started and that still run."""
    return [word for file in Path(f"/proc/{pid}/task").glob("*/children") for word in file.read_text().split()]


def test_M131_abort_writes_the_results_and_kill_writes_nothing(
    cubes: Path, tmp_path: Path, consoles: list[Console]
) -> None:
    for word, code in (("abort", 0), ("kill", 130)):
        folder = tmp_path / word
        folder.mkdir()
        consoles.append(Console(cubes, folder))
        consoles[-1].open()
        assert children(consoles[-1].terminal.pid) == []
        assert consoles[-1].end(word) == code
    written = {
        "model.safetensors",
        "history.csv",
        "model.json",
        "curves.png",
        "events.jsonl",
        "params.resolved.yaml",
        "state",
    }
    assert {path.name for path in (tmp_path / "abort").iterdir()} == written
    assert {path.name for path in (tmp_path / "kill").iterdir()} == {"state"}
    assert not list((tmp_path / "kill" / "state").glob("backup*"))
    card = json.loads((tmp_path / "abort" / "model.json").read_text())
    assert card["changes"] == [f"step {card['steps']}: ended by hand"]


def test_M131_end_of_input_is_an_abort(console: Console) -> None:
    console.terminal.press("d")
    assert console.terminal.finish() == 0
    assert (console.folder / "model.safetensors").is_file()
    assert console.terminal.seen.count("@ELEKTRONN:") < 10


def test_M131_sigterm_at_the_prompt_saves_and_stops(console: Console) -> None:
    os.kill(console.terminal.pid, signal.SIGTERM)
    assert console.terminal.finish() == 130
    assert list((console.folder / "state").glob("backup*"))


def test_M132_dropout_rates(shared: Console) -> None:
    shared.ask("cnn.setDropoutRates([0.5, 0.25])", "dropout = (0.5, 0.25)")
    assert shared.value("cnn.dropout_rates") == "(0.5, 0.25)"
    shared.ask("cnn.setDropoutRates([0.5, 1.0])", "not changed: ")
    shared.ask("setdropout 0.1", "dropout = 0.1")
    assert shared.value("cnn.dropout_rates") == "(0.1, 0.1)"


def test_M133_warping_off_reaches_all_workers_with_the_next_batch(console: Console) -> None:
    console.ask("data.warp_on = False", "data.warp_on = False")
    console.ask("record", "a row of the history")
    step = int(console.value("self.step"))
    console.terminal.type("q")
    console.terminal.wait_for(f"step {(step // 20 + 3) * 20} ")
    console.open("step ")
    assert console.end("abort") == 0
    with (console.folder / "history.csv").open() as file:
        shares = {int(row["step"]): row["warped"] for row in csv.DictReader(file) if row["warped"]}
    assert any(float(share) > 0 for at, share in shares.items() if at <= step)
    assert [float(share) for at, share in shares.items() if at > step][:3] == [0, 0, 0]


DIGITS = """
import numpy as np

class Digits:
    axes = "bc"

    def __init__(self):
        self.warp_on = True

    def getbatch(self, batch_size, source="train", step=0, seed=0):
        random = np.random.default_rng([seed, step, len(source)])
        labels = random.integers(0, 3, batch_size)
        return np.eye(3, dtype=np.float32)[labels] + self.warp_on, labels.astype(np.int16)
"""


def test_M134_the_test_set_of_a_data_class(tmp_path: Path, consoles: list[Console]) -> None:
    (tmp_path / "digits.py").write_text(DIGITS)
    words = ["train", "tiny", "--model", "model.safetensors"]
    for setting in (
        'data={"name": "digits:Digits"}',
        "network.kernels=[]",
        "network.pools=[]",
        "network.features=[]",
        "network.perceptrons=[4]",
        "network.classes=3",
        "network.patch=[1,1,1]",
        "sampling.augment=[]",
        "training.steps=1000000",
        "training.history_every=20",
        "training.device=cpu",
    ):
        words += ["--set", f"experiments.tiny.{setting}"]
    made = Console(tmp_path, tmp_path, words=words)
    consoles.append(made)
    made.open()
    for line in ("self.testModel('test')", "print self.testModel('test')", "test valid"):
        assert re.fullmatch(r"\([\d.e-]+, [\d.e-]+\)", made.value(line))
    # the recipe of the tutorial: the attribute of the data class changes
    made.ask("data.warp_on = False", "data.warp_on = False")
    assert made.value("data.warp_on") == "False"
    assert made.end() == 130


def test_M135_optimisers_are_switched(shared: Console) -> None:
    for word, kind in (("CG", "cg"), ("RPROP", "rprop"), ("LBFGS", "lbfgs"), ("Adam", "adam"), ("SGD", "sgd")):
        shared.ask(word, f"optimiser {kind}")
        assert f"kind='{kind}'" in shared.value("cnn.optimiser")
    shared.ask("Adam rate=fast", "Adam: 'fast' is not a number")
    shared.ask("CG", "optimiser cg")
    step = int(shared.value("self.step"))
    shared.terminal.type("q")
    shared.terminal.wait_for(f"step {(step // 20 + 1) * 20} ")
    shared.open("step ")


DIVERGING = {"training__optimiser": '{"kind": "sgd", "rate": 1.0e+30}', "training__schedule": '{"kind": "constant"}'}


def test_M136_a_diverged_training_asks_a_person(cubes: Path, tmp_path: Path, consoles: list[Console]) -> None:
    consoles.append(Console(cubes, tmp_path, **DIVERGING))
    consoles[-1].terminal.wait_for("training diverged: the loss is")
    consoles[-1].terminal.wait_for("@ELEKTRONN:")
    # nothing that is no number becomes a result
    assert consoles[-1].end("abort") == 3
    assert not (tmp_path / "model.safetensors").exists()


def quiet(arguments: Sequence[str], folder: Path, code: int) -> str:
    """Run without a terminal; what it said."""
    words = [sys.executable, "-m", "elektronn", *arguments]
    done = subprocess.run(
        words, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def test_M136_without_a_terminal_it_ends_with_batch_and_state_kept(cubes: Path, tmp_path: Path) -> None:
    said = quiet(command(cubes, tmp_path, **DIVERGING), tmp_path, 3)
    assert "training diverged: the loss is" in said
    assert "@ELEKTRONN" not in said
    tensors, _ = load_tensors(tmp_path / "state" / "diverged.safetensors")
    assert {"batch.image", "batch.labels", "weights.layers.conv1.weight"} <= tensors.keys()
    assert not (tmp_path / "model.safetensors").exists()


def test_M136_even_a_forced_console_without_a_terminal_is_no_endless_loop(cubes: Path, tmp_path: Path) -> None:
    said = quiet(command(cubes, tmp_path, "--console", "on", **DIVERGING), tmp_path, 3)
    assert len(said) < 20_000


def test_M137_a_run_with_human_hands_in_it_ends_well_and_is_repeated_bit_for_bit(
    cubes: Path, tmp_path: Path, consoles: list[Console]
) -> None:
    """At the end: exit code 0, no processes left, parameters on disk; and its journal gives the same weights again."""
    (tmp_path / "first").mkdir()
    consoles.append(Console(cubes, tmp_path / "first", training__steps="200"))
    first = consoles[-1]
    first.open()
    first.ask("setlr 0.02", "rate = 0.02")
    first.ask("data.warp_on = False", "data.warp_on = False")
    first.ask("SGD rate=0.05", "optimiser sgd")
    first.terminal.type("q")
    first.terminal.wait_for("trained model of experiment tiny")
    assert first.terminal.finish() == 0
    journal = tmp_path / "first" / "state" / "events.jsonl"
    quiet(command(cubes, tmp_path / "second", "--replay", str(journal), training__steps="200"), tmp_path, 0)
    cards = [json.loads((tmp_path / name / "model.json").read_text()) for name in ("first", "second")]
    assert len(cards[0]["changes"]) == 3
    assert cards[0]["changes"] == cards[1]["changes"]
    assert digest(tmp_path / "first" / "model.safetensors") == digest(tmp_path / "second" / "model.safetensors")


def _attach_at_a_terminal(folder: Path) -> None:
    """The same console, with completion; Ctrl-C stays in it and q leaves the training alone."""
    terminal = Terminal(["attach", str(folder)], folder)
    terminal.wait_for("you have the pen")
    terminal.wait_for("of 1000000")
    terminal.type("setlr 0.25")
    terminal.wait_for("rate = 0.25")
    terminal.write("cnn.inp\t")
    terminal.wait_for("cnn.input_shape")
    terminal.type("")
    terminal.wait_for("(1, 1, 1, 19, 19)")
    terminal.press("c")
    terminal.wait_for("q leaves, the training goes on")
    terminal.type("q")
    assert terminal.finish() == 0


def test_M137_another_shell_talks_to_a_training_that_has_no_terminal(cubes: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "elektronn", *command(cubes, tmp_path)]
    training = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "state" / "attach.json").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        _attach_at_a_terminal(tmp_path)
        lines = "setlr 0.125\ncnn.input_shape\nfoo(\nparams\nabort\n"
        attach = [sys.executable, "-m", "elektronn", "attach", str(tmp_path)]
        told = subprocess.run(attach, input=lines, capture_output=True, text=True, timeout=60, check=False)
        assert told.returncode == 0, told.stderr
        assert "rate = 0.125" in told.stdout
        assert "(1, 1, 1, 19, 19)" in told.stdout
        assert "start it with --allow-python" in told.stdout
        assert "layers.output.bias" in told.stdout
        said = training.communicate(timeout=60)[1]
    finally:
        training.kill()
        training.wait()
    assert training.returncode == 0, said
    assert (tmp_path / "model.safetensors").is_file()
    assert [row["who"] for row in rows(tmp_path, "command")] == ["attach1"] * 3 + ["attach2"] * 4
    assert [row["text"] for row in rows(tmp_path, "not done")] == ["foo("]
    gone = subprocess.run(attach, input="", capture_output=True, text=True, timeout=60, check=False)
    assert gone.returncode == 2
    assert "no training is running there" in gone.stderr
