"""Who works on which part of an output: files in one folder, so that processes on all machines that see it can share.

A claim is a hard link to the file of its owner: making a link is atomic and fails where one exists, on network file
systems too, and touching the owner's file touches all its claims at once. Nothing depends on claims being exclusive:
a part that is done twice is done to the same bytes. They only keep processes from doing each other's work.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from elektronn.artefacts import remove, storage

HEARTBEAT_S = 10.0
STALE_S = 120.0
"""A claim of another machine counts as forgotten when its owner has not been heard of for so long."""
POLL_S = 0.5

CLAIM, DONE = ".claim", ".done"


class Claims:
    """The claims and marks of one process in a folder; a context, within which the process is heard of.

    Args:
        folder: is made if it is not there.
        stale_s: silence after which an owner's claims may be taken over. An owner on this machine that is no longer
            alive loses them at once.

    Example:
        >>> import tempfile
        >>> with Claims(Path(tempfile.mkdtemp())) as ours, Claims(ours.folder) as theirs:
        ...     ours.take("0"), theirs.take("0"), theirs.take("1")
        ...     ours.finish("0", {"largest": 0.0})
        ...     theirs.done()
        (True, False, True)
        {'0'}
    """

    def __init__(self, folder: Path, stale_s: float = STALE_S) -> None:
        self.folder, self.stale_s = folder, stale_s
        self.owner = folder / f"owner-{uuid.uuid4().hex}"
        self._quit = threading.Event()
        self._pulse = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Claims:
        with storage(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self.owner.write_text(json.dumps({"pid": os.getpid(), "host": _host(), "born": _born(os.getpid())}))
            except OSError:
                self.owner.unlink(missing_ok=True)
                raise
        self._pulse.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._quit.set()
        self._pulse.join()
        for entry in self._entries(CLAIM):
            self.release(entry.removesuffix(CLAIM))
        with suppress(OSError):
            self.owner.unlink()

    def _beat(self) -> None:
        while not self._quit.wait(min(HEARTBEAT_S, self.stale_s / 4)):
            with suppress(OSError):
                os.utime(self.owner)

    def done(self) -> set[str]:
        """Names that are marked as done, by whomever."""
        return {name.removesuffix(DONE) for name in self._entries(DONE)}

    def _entries(self, end: str) -> list[str]:
        try:
            return [entry.name for entry in os.scandir(self.folder) if entry.name.endswith(end)]
        except FileNotFoundError:  # all was finished and tidied up by another process
            return []

    def take(self, name: str) -> bool:
        """Claim a part that is neither done nor claimed by somebody who is at work."""
        path = self.folder / (name + CLAIM)
        with storage(self.folder):
            for _ in range(2):
                try:
                    os.link(self.owner, path)
                except FileExistsError:
                    if not self._free(path):
                        return False
                except FileNotFoundError:
                    return False
                else:
                    # marks are made before claims go, so this shows what was done since somebody looked
                    if not (self.folder / (name + DONE)).exists():
                        return True
                    self.release(name)
                    return False
        return False

    def holds(self, name: str) -> bool:
        """Whether the claim is ours; after a long silence it may have been taken over."""
        try:
            return self.owner.samefile(self.folder / (name + CLAIM))
        except FileNotFoundError:
            return False

    def release(self, name: str) -> None:
        """Give a claim back, if it is ours."""
        if self.holds(name):
            (self.folder / (name + CLAIM)).unlink(missing_ok=True)

    def finish(self, name: str, facts: Mapping[str, Any]) -> None:
        """Mark a part as done, for good, and give its claim back."""
        hidden = self.folder / f"{self.owner.name}.{name}"
        with storage(self.folder):
            with hidden.open("w", encoding="utf-8") as file:
                json.dump(facts, file)
                file.flush()
                os.fsync(file.fileno())
            hidden.replace(self.folder / (name + DONE))
        self.release(name)

    def facts(self, name: str) -> dict[str, Any]:
        """What was said when the part was marked; nothing where the mark is damaged."""
        try:
            found = json.loads((self.folder / (name + DONE)).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def forget(self, name: str) -> None:
        """Take back the mark of a part that turned out to be wrong."""
        remove(self.folder / (name + DONE))

    def each(self, names: Sequence[str], stop: threading.Event) -> Iterator[str]:
        """Claim one part after the other, until all are done or ours; waits for those of others, who may yet fail."""
        waiting = list(names)
        while waiting and not stop.is_set():
            done = self.done()
            claimed = set(self._entries(CLAIM))
            waiting = [n for n in waiting if n not in done and not (n + CLAIM in claimed and self.holds(n))]
            taken = 0
            for name in waiting:
                if stop.is_set():
                    return
                if self.take(name):
                    taken += 1
                    yield name
            if not self.folder.exists():
                return
            if waiting and not taken:
                stop.wait(POLL_S)

    def _free(self, path: Path) -> bool:
        """Remove a claim whose owner is dead or silent; whether it is gone."""
        try:
            found, owner = path.stat(), json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return True
        except ValueError:
            owner = {}
        if not self._is_stale(owner, found.st_mtime):
            return False
        aside = path.with_name(f"{self.owner.name}.{path.name}.stale")
        try:
            path.rename(aside)
        except FileNotFoundError:
            return True
        if aside.stat().st_ino != found.st_ino:
            # somebody was faster, and this is his fresh claim
            with suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink()
        return True

    def _is_stale(self, owner: Mapping[str, Any], heard: float) -> bool:
        if owner.get("host") == _host() and not _lives(owner.get("pid", 0), owner.get("born", "")):
            return True
        with suppress(OSError):
            os.utime(self.owner)
        # the clock of the file system, not that of this machine
        return self.owner.stat().st_mtime - heard > self.stale_s


def wait_a_little() -> None:
    """Between two looks at what others do."""
    time.sleep(POLL_S)


def _host() -> str:
    """This machine since it was started, and this view of its processes (a container has its own)."""
    words = [socket.gethostname()]
    with suppress(OSError):
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        words.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(words)


def _born(pid: int) -> str:
    """When a process was started, so that a later one with its number is not taken for it; empty if it is dead."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if words[0] in "ZX" else words[19]


def _lives(pid: int, born: str) -> bool:
    if Path("/proc/self/stat").exists():
        return born != "" and _born(pid) == born
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
