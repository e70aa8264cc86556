"""Files appear whole: temporary name, fsync, rename. And what made them: digests and fingerprints."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elektronn.errors import StorageError

MARKS = {".snakemake_timestamp"}
"""Files that a workflow engine puts into our directories; they are no part of the artefact."""


@contextmanager
def writing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it becomes ``path``, on failure it goes.

    Works for a file and for a directory (a zarr store). What stood at ``path`` stays until the very end.

    Raises:
        StorageError: the disk is full or not writable, or a file would replace a folder; says where and what to do.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with writing(target) as part:
        ...     _ = part.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with storage(path):
            yield part
            _flush(part)
            _replace(part, path)
    finally:
        with storage(path):
            remove(part)


def prepare(*files: Path | str) -> None:
    """Make the folders of files that long work will write, so that a wrong place shows before the work, not after.

    Raises:
        StorageError: a folder cannot be made or written to, or a folder stands where the file shall be.
    """
    for file in map(Path, files):
        with storage(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            _no_folder(file)
            if not os.access(file.parent, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "no permission")


def _no_folder(path: Path) -> None:
    if path.is_dir():
        raise StorageError(f"{path}: is a folder, and a file would replace it; name a file")


@contextmanager
def storage(path: Path | str) -> Iterator[None]:
    """Turn the operating system's refusal to write ``path`` into a StorageError with a cure."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            raise StorageError(f"{path}: the disk is full; free some space and run the same command again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StorageError(f"{path}: no permission to write here; choose another place") from error
        if error.errno == errno.EFBIG:
            raise StorageError(f"{path}: file size limit reached; raise the limit or choose another place") from error
        if error.errno in _UNUSABLE:
            raise StorageError(
                f"{path}: cannot be written here ({os.strerror(error.errno)}); choose another place"
            ) from error
        raise


_UNUSABLE = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO}
"""What the operating system says of places that cannot hold a file."""


def write_text(path: Path | str, text: str) -> None:
    """Write a text file whole."""
    with writing(path) as part:
        part.write_text(text, encoding="utf-8")


def as_json(value: Any) -> str:
    """Plain data as JSON, keys in the given order, two spaces of indent."""
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def write_json(path: Path | str, value: Any) -> None:
    """Write plain data as JSON."""
    write_text(path, as_json(value))


def remove(path: Path) -> None:
    """Remove a file or a directory tree if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def digest(path: Path | str) -> str:
    """sha256 of a file's bytes, or of a directory's relative names and bytes in sorted order."""
    path = Path(path)
    return digest_of(digests(path)) if path.is_dir() else _sha256(path)


def digests(folder: Path) -> dict[str, str]:
    """Relative name → sha256 of each file of a directory tree, sorted by their paths."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name not in MARKS)
    return {file.relative_to(folder).as_posix(): _sha256(file) for file in files}


def digest_of(files: Mapping[str, str]) -> str:
    """The :func:`digest` of a directory whose :func:`digests` are known."""
    return hashlib.sha256("".join(f"{name}\0{sum_}\n" for name, sum_ in files.items()).encode()).hexdigest()


def fingerprint(settings: Mapping[str, Any], inputs: Iterable[str], code: str = "") -> str:
    """One sha256 over settings, input digests and code digest: what made an artefact.

    No host, time or core count goes in: the same work has the same fingerprint everywhere.
    """
    text = json.dumps({"settings": settings, "inputs": list(inputs), "code": code}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def code_digest(*rooms: str) -> str:
    """sha256 over the source files of the named rooms of this package (``sampling``, ``axes`` …)."""
    total, root = hashlib.sha256(), Path(__file__).parent
    for room in rooms:
        files = sorted((root / room).rglob("*.py")) if (root / room).is_dir() else [root / f"{room}.py"]
        for file in files:
            total.update(f"{file.relative_to(root).as_posix()}\0{_sha256(file)}\n".encode())
    return total.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            handle = os.open(file, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _replace(part: Path, path: Path) -> None:
    if not part.is_dir():
        _no_folder(path)
    if path.is_dir() and not path.is_symlink():
        # a directory cannot be renamed over: move the old one aside first, so that one of the two is always whole
        old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
        path.rename(old)
        part.rename(path)
        remove(old)
    else:
        part.replace(path)
