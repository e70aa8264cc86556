"""The socket: other shells talk to a running training, and can neither stop nor slow it by accident."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import elektronn.console.server as server_module
import elektronn.training.commands as say
from elektronn.console import address
from elektronn.console.address import LIMIT, POINTER, connected, places, state_of
from elektronn.console.attach import pipe
from elektronn.console.desk import Desk
from elektronn.console.server import Server
from elektronn.errors import ConfigError, Stopped
from elektronn.training.control import Noted, both
from elektronn.training.trainer import Trainer
from tests.unit.small_training import trainer_in


@dataclass
class Run:
    """A training in a thread, with its socket."""

    state: Path
    trainer: Trainer
    desk: Desk
    server: Server
    thread: threading.Thread
    clients: list[Client] = field(default_factory=list)

    def client(self) -> Client:
        """Another one; closed at the end of the test."""
        self.clients.append(Client(self.state))
        return self.clients[-1]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    state, desk = tmp_path / "state", Desk()
    trainer = trainer_in(state, {"steps": 10**6, "history_every": 20})
    trainer.mailbox = desk

    def work() -> None:
        with Server(desk, state, print) as server:
            made.append(server)
            trainer.listen = both(trainer.listen, server.tell)
            with suppress(Stopped):
                trainer.run()

    made: list[Server] = []
    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: (state / POINTER).exists())
    found = Run(state, trainer, desk, made[0], thread)
    yield found
    for client in found.clients:
        client.close()
    desk.post(say.Kill())
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert not (state / POINTER).exists()
    assert not (state / "console.sock").exists()


def wait_until(claim: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.005)


class Client:
    """The plainest client."""

    def __init__(self, state: Path) -> None:
        self.connection = connected(state)
        self.connection.settimeout(20)
        self.lines = self.connection.makefile("r")
        self.hello = self.next()["hello"]

    def close(self) -> None:
        self.lines.close()
        self.connection.close()

    def next(self) -> dict[str, Any]:
        return dict(json.loads(self.lines.readline()))

    def ask(self, text: str) -> str:
        """Say something; the answer."""
        self.connection.sendall(json.dumps({"say": text}).encode() + b"\n")
        answers = []
        while True:
            message = self.next()
            answers += [message["answer"]] if "answer" in message else []
            if message.get("done"):
                return "\n".join(answers)


def test_words_reach_the_training_and_answers_come_back(run: Run) -> None:
    client = run.client()
    assert client.hello == {"you": "attach1", "writer": True}
    assert client.ask("cnn.input_shape") == "(2, 1, 1, 8, 8)"
    assert client.ask("setlr 0.125") == ""
    assert client.ask("cnn.rate").startswith("0.12")
    assert "1000000" in client.ask("status")
    assert client.ask("setlr -1") == ""
    assert client.ask("setlr much") == "setlr: 'much' is not a number; write one such as 0.001"
    assert "did you mean" in client.ask("cnn.input_shap")
    client.ask("exec('1')")
    assert "leave the console" in client.ask("help")
    assert run.trainer.steering.changes[0].endswith("rate = 0.125")


def test_everybody_is_told_of_rows_and_changes(run: Run) -> None:
    writer, reader = run.client(), run.client()
    writer.ask("sethist 30")
    seen = [reader.next() for _ in range(6)]
    assert any("history every 30 steps" in message.get("line", "") for message in seen)
    assert any("row" in message for message in seen)
    assert not any("done" in message for message in seen)


def test_one_writes_several_read_and_the_pen_can_be_taken(run: Run) -> None:
    first, second = run.client(), run.client()
    assert second.hello["writer"] is False
    assert second.ask("setlr 0.5").startswith("attach1 has the pen and you read")
    assert second.ask("cnn.n_lab") == "2"
    assert second.ask("take") == "you have the pen"
    assert second.ask("setlr 0.5") == ""
    assert "attach2 has the pen" in first.ask("setlr 0.25")
    second.close()
    wait_until(lambda: "has the pen" not in first.ask("setlr 0.25"))


def test_the_socket_is_for_its_owner_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(json.loads((run.state / POINTER).read_text())["socket"])
    assert path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(server_module, "peer", lambda connection: os.getuid() + 1)
    refused = connected(run.state)
    refused.settimeout(20)
    assert refused.recv(1) == b""
    refused.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_by_the_system_and_by_us(run: Run) -> None:
    path = Path(json.loads((run.state / POINTER).read_text())["socket"])

    def other() -> str:
        """What a process of another user gets from the socket."""
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: the child only connects
            child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(str(path))
                os.write(writing, b"got " + connection.recv(9))
            except BaseException as error:
                os.write(writing, type(error).__name__.encode())
            finally:
                os._exit(0)
        os.close(writing)
        os.waitpid(child, 0)
        said = os.read(reading, 99).decode()
        os.close(reading)
        return said

    for folder in (path.parent, *path.parent.parents):
        if folder.stat().st_uid == 0 and folder != Path("/") and "pytest" in str(folder):
            folder.chmod(0o755)
    assert other() == "PermissionError"
    path.chmod(0o666)
    assert other() == "got "


def test_a_slow_reader_is_dropped_and_the_training_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "BACKLOG", 10_000)
    client = run.client()
    before = run.trainer.step
    for _ in range(3000):
        run.server.tell(Noted("x" * 200))
    wait_until(lambda: not run.server._clients)
    wait_until(lambda: run.trainer.step > before + 5)
    client.close()


def test_a_client_that_vanishes_or_talks_nonsense_does_no_harm(run: Run) -> None:
    for data in (b"\xff\xfe\n{}\n[1]\n", b'{"say": ', b"x" * 200_000, b'{"say": "\\u0000"}\n'):
        connection = connected(run.state)
        connection.sendall(data)
        connection.close()
    client = run.client()
    assert client.ask("cnn.n_lab") == "2"
    client.close()
    before = run.trainer.step
    wait_until(lambda: run.trainer.step > before + 5)


def test_lines_of_a_pipe_are_said_one_after_the_other(run: Run) -> None:
    heard: list[str] = []
    pipe(run.state, ["setlr 0.125\n", "\n", "cnn.rate\n", "q\n", "setlr 0.5\n"], heard.append)
    assert any(line.startswith("0.12") for line in heard)
    assert len(run.trainer.steering.changes) == 1


def test_abort_of_a_client_ends_the_training_and_the_pipe(run: Run) -> None:
    pipe(run.state, ["abort\n"], lambda text: None)
    run.thread.join(timeout=30)
    assert run.trainer.ended


def test_a_run_is_found_by_its_name_and_by_its_folders(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    root = run.state.parent
    (root / "data" / "state").mkdir(parents=True)
    (root / "data" / "state" / "neuro").symlink_to(run.state)
    monkeypatch.chdir(root)
    for name in ("neuro", str(run.state), str(root)):
        assert state_of(name).resolve() == run.state.resolve()
    with pytest.raises(ConfigError, match=r"other: no training is running there .*data/state/other"):
        state_of("other")


def test_a_long_path_gives_a_short_socket_in_a_folder_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / ("long" * 30)
    (tmp_path / "own").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "own"))
    monkeypatch.setattr(address, "LIMIT", len(str(tmp_path)) + 60)
    (only,) = places(state)
    assert only.parent == tmp_path / "own"
    assert len(os.fsencode(only)) <= address.LIMIT
    first, _ = places(tmp_path)
    assert first == tmp_path / "console.sock"
    # a folder that others may enter is not taken
    (tmp_path / "own").chmod(0o755)
    (only,) = places(state)
    assert only.parent == Path("/tmp") / f"elektronn-{os.getuid()}"
    assert only.parent.stat().st_mode & 0o077 == 0
    assert LIMIT < 107


def test_a_socket_that_a_killed_training_left_is_replaced(tmp_path: Path) -> None:
    left, path = address.listening(tmp_path)
    left.close()
    again, same = address.listening(tmp_path)
    assert same == path
    assert path.stat().st_mode & 0o777 == 0o600
    again.close()


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    def pointed(**facts: Any) -> str:
        said = {"socket": str(tmp_path / "none.sock"), "host": socket.gethostname(), "pid": 1, **facts}
        (tmp_path / POINTER).write_text(json.dumps(said))
        with pytest.raises(ConfigError) as caught:
            connected(tmp_path)
        return str(caught.value)

    assert "no training is running there any more" in pointed()
    assert f"the training runs on node7; go there: ssh -t node7 elektronn attach {tmp_path}" in pointed(host="node7")
    assert "srun --overlap --jobid=42 --pty elektronn attach" in pointed(host="node7", job="42")
    (tmp_path / POINTER).write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        connected(tmp_path)
