"""The socket of a running training: a thread that reads lines of other shells and tells them what happens.

Both sides send lines of JSON. A client sends ``{"say": text}``. It gets ``hello`` once, then ``line`` (what everybody is
told), ``row`` (of the history), ``answer`` (to what it said) and ``done`` (what it said was carried out, or not). The
trainer only ever puts a message into a queue: whoever reads too slowly is dropped.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import elektronn.training.commands as say
from elektronn.console.address import POINTER, listening, peer, point
from elektronn.console.desk import Desk
from elektronn.console.words import Leave, Show, meaning_of
from elektronn.errors import ElektronnError
from elektronn.training.control import Answered, Event, Noted, Obeyed, Refused, Row, Saved, Started, Warned

BACKLOG = 1 << 20
"""Bytes that a client may leave unread."""

LONGEST = 1 << 16
"""Bytes of a line that a client may send."""

LOOKS = (say.Ask, say.Describe, say.Measure, say.PreviewNow, say.ShowBatch, say.ShowFilters)
"""Commands that everybody may give; for others a client must be the writer."""

Message = dict[str, Any]


@dataclass
class Client:
    """One connection."""

    connection: socket.socket
    name: str
    unread: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)


class Server:
    """Lets other shells talk to a training; starts when the training does.

    Args:
        desk: mailbox of the training.
        state: its directory.
        warn: is told why there is no socket.
    """

    def __init__(self, desk: Desk, state: Path, warn: Callable[[str], None]) -> None:
        self.desk, self.state, self._warn = desk, state, warn
        self.path: Path | None = None
        self._clients: dict[int, Client] = {}
        self._writer: Client | None = None
        self._count = 0
        self._outgoing: deque[tuple[str | None, bytes]] = deque()
        self._wake, self._bell = socket.socketpair()
        self._bell.setblocking(False)
        self._is_ending = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_ending = True
        self._ring()
        if self._thread is not None:
            self._thread.join(timeout=2)
        for one in (self._wake, self._bell):
            one.close()

    def tell(self, event: Event) -> None:
        """Hear what happens in the training, in its thread; never waits."""
        if isinstance(event, Started) and self._thread is None:
            self._start()
        if not self._clients:
            return
        messages = _messages(event)
        for who, message in messages:
            self._outgoing.append((who, _line(message)))
        if messages:
            self._ring()

    def _start(self) -> None:
        try:
            server, self.path = listening(self.state)
            point(self.state, self.path)
        except (OSError, ElektronnError) as error:
            # a training without a socket is better than none
            self._warn(f"`elektronn attach` will not reach this training: {error}")
            return
        self._thread = threading.Thread(target=self._serve, args=(server,), name="console", daemon=True)
        self._thread.start()

    def _ring(self) -> None:
        # a full bell rings already
        with suppress(OSError):
            self._bell.send(b"!")

    def _serve(self, server: socket.socket) -> None:
        try:
            with server, selectors.DefaultSelector() as self._selector:
                server.setblocking(False)
                self._wake.setblocking(False)
                self._selector.register(server, selectors.EVENT_READ)
                self._selector.register(self._wake, selectors.EVENT_READ)
                while not self._is_ending:
                    for key, mask in self._selector.select():
                        self._attend(server, key, mask)
                    self._deliver()
                self._deliver()
                for client in list(self._clients.values()):
                    self._drop(client)
        finally:
            for path in (self.path, self.state / POINTER):
                if path is not None:
                    with suppress(OSError):
                        path.unlink()

    def _attend(self, server: socket.socket, key: selectors.SelectorKey, mask: int) -> None:
        if key.fileobj is server:
            self._accept(server)
        elif key.fileobj is self._wake:
            with suppress(OSError):
                self._wake.recv(4096)
        elif (client := self._clients.get(key.fd)) is not None:
            if mask & selectors.EVENT_READ:
                self._read(client)
            if mask & selectors.EVENT_WRITE and key.fd in self._clients:
                self._send(client)

    def _accept(self, server: socket.socket) -> None:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        if peer(connection) != os.getuid():
            connection.close()
            return
        connection.setblocking(False)
        self._count += 1
        client = Client(connection, f"attach{self._count}")
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ)
        self._writer = self._writer or client
        self._put(client, {"hello": {"you": client.name, "writer": self._writer is client}})

    def _read(self, client: Client) -> None:
        try:
            data = client.connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.unread += data
        *lines, rest = client.unread.split(b"\n")
        client.unread = bytearray(rest)
        for line in lines:
            self._hear(client, line)
        if not data or len(client.unread) > LONGEST:
            self._drop(client)

    def _hear(self, client: Client, line: bytes | bytearray) -> None:
        try:
            text = str(json.loads(line)["say"]).strip()
            self._obey(client, text)
        except (ValueError, KeyError, TypeError):
            self._put(client, {"answer": "not understood", "done": True})
        except ElektronnError as error:
            self._put(client, {"answer": str(error), "done": True})

    def _obey(self, client: Client, text: str) -> None:
        if text == "take":
            self._take(client)
            return
        meaning = meaning_of(text) if text else Show("")
        match meaning:
            case Leave():
                self._drop(client)
            case Show():
                self._put(client, {"answer": meaning.text, "done": True})
            case _ if isinstance(meaning, LOOKS) or self._may_write(client):
                self.desk.post(meaning, client.name, text)
                if self.desk.is_open:
                    self._put(
                        client, {"answer": "the console at the terminal is open; this waits until its user goes on"}
                    )
            case _:
                assert self._writer is not None
                said = f"{self._writer.name} has the pen and you read; `take` takes it over"
                self._put(client, {"answer": said, "done": True})

    def _may_write(self, client: Client) -> bool:
        self._writer = self._writer or client
        return self._writer is client

    def _take(self, client: Client) -> None:
        if self._writer is not None and self._writer is not client:
            self._put(self._writer, {"line": f"{client.name} took the pen; `take` takes it back"})
        self._writer = client
        self._put(client, {"answer": "you have the pen", "done": True})

    def _deliver(self) -> None:
        while self._outgoing:
            who, line = self._outgoing.popleft()
            for client in list(self._clients.values()):
                if who in (None, client.name):
                    self._put(client, line)

    def _put(self, client: Client, message: Message | bytes) -> None:
        client.unsent += message if isinstance(message, bytes) else _line(message)
        self._send(client)

    def _send(self, client: Client) -> None:
        try:
            sent = client.connection.send(client.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(client)
            return
        del client.unsent[:sent]
        if len(client.unsent) > BACKLOG:
            self._drop(client)
            return
        if client.connection.fileno() in self._clients:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0)
            self._selector.modify(client.connection, wanted)

    def _drop(self, client: Client) -> None:
        if self._clients.pop(client.connection.fileno(), None) is None:
            return
        if self._writer is client:
            self._writer = None
        self._selector.unregister(client.connection)
        client.connection.close()


def _messages(event: Event) -> list[tuple[str | None, Message]]:
    """Whom (None: everybody) an event is told, and how."""
    match event:
        case Noted() | Warned():
            return [(None, {"line": event.text})]
        case Saved(failure=str(reason)):
            return [(None, {"line": f"no backup at step {event.step}: {reason}"})]
        case Row():
            return [(None, {"row": {key: value for key, value in event.values.items() if math.isfinite(value)}})]
        case Answered():
            return [(event.letter.who, {"answer": event.text})]
        case Refused():
            # what changes nothing was refused in front of everybody
            said: Message = {} if event.letter.command.lasts else {"answer": event.reason}
            return [(event.letter.who, {**said, "done": True})]
        case Obeyed():
            return [(event.letter.who, {"done": True})]
    return []


def _line(message: Message) -> bytes:
    return (json.dumps(message, ensure_ascii=False) + "\n").encode()
