"""Where the socket of a running training lies, and how another program finds it."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elektronn.artefacts import write_json
from elektronn.errors import ConfigError

LIMIT = 100
"""Bytes of a socket's path; the system takes 107."""

POINTER = "attach.json"
"""File in the state directory that says where the socket is."""


def places(state: Path) -> Iterator[Path]:
    """Paths for the socket, best first: in the state directory if its path is short enough, else in one of the user's."""
    direct = state.resolve() / "console.sock"
    if len(os.fsencode(direct)) <= LIMIT:
        yield direct
    name = f"elektronn-{hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:16]}.sock"
    yield _own_folder() / name


def _own_folder() -> Path:
    """A folder that only this user can enter.

    Raises:
        PermissionError: somebody else made it.
    """
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given and len(os.fsencode(given)) < LIMIT - 40 and _is_own(Path(given)):
        return Path(given)
    folder = Path("/tmp") / f"elektronn-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if not _is_own(folder):
        raise PermissionError(f"{folder} belongs to somebody else, or others may enter it")
    return folder


def _is_own(folder: Path) -> bool:
    try:
        facts = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077


def listening(state: Path) -> tuple[socket.socket, Path]:
    """A socket that only this user may connect to, and its path. The caller holds the lock of the state directory.

    Raises:
        OSError: it can be bound nowhere.
    """
    reason: OSError = OSError("no place")
    for path in places(state):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # left over by a training that was killed; nobody else works here while we hold the lock
            if path.is_socket():
                path.unlink()
            # before bind, so that there is no moment at which others could connect
            os.fchmod(made.fileno(), 0o600)
            made.bind(str(path))
            path.chmod(0o600)
            made.listen(8)
        except OSError as error:  # a network file system may hold no sockets
            made.close()
            reason = error
        else:
            return made, path
    raise reason


def point(state: Path, path: Path) -> None:
    """Write down where the socket is."""
    facts: dict[str, Any] = {"socket": str(path), "host": socket.gethostname(), "pid": os.getpid()}
    if job := os.environ.get("SLURM_JOB_ID"):
        facts["job"] = job
    write_json(state / POINTER, facts)


def peer(connection: socket.socket) -> int:
    """User id of the other side, as the system vouches for it."""
    facts = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", facts)[1])


def state_of(run: str) -> Path:
    """The state directory that a run's name stands for: a directory, or an experiment of the workflow.

    Raises:
        ConfigError: nothing is running under this name.
    """
    folders = [Path(run), Path(run) / "state", Path("data/state") / run, Path("data/models") / run / "state"]
    for folder in folders:
        if (folder / POINTER).is_file():
            return folder
    looked = ", ".join(map(str, folders))
    raise ConfigError(f"{run}: no training is running there (looked in {looked}); give its state directory")


def connected(state: Path) -> socket.socket:
    """A connection to the training that works in a state directory.

    Raises:
        ConfigError: it runs elsewhere, not at all, or belongs to somebody else.
    """
    try:
        facts = json.loads((state / POINTER).read_text(encoding="utf-8"))
        path, host = str(facts["socket"]), str(facts["host"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{state / POINTER}: cannot be read ({error}); is the training running?") from error
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.connect(path)
    except OSError as error:
        made.close()
        raise ConfigError(_reason(state, host, facts.get("job"), error)) from error
    return made


def _reason(state: Path, host: str, job: object, error: OSError) -> str:
    if host != socket.gethostname():
        way = f"srun --overlap --jobid={job} --pty" if job else f"ssh -t {host}"
        return f"{state}: the training runs on {host}; go there: {way} elektronn attach {state.resolve()}"
    if isinstance(error, PermissionError):
        return f"{state}: the training belongs to another user; only its owner may attach"
    return f"{state}: no training is running there any more ({error.strerror})"
