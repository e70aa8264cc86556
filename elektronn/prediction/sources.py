"""What the finished blocks were made from: after an image was mended, only blocks that saw a change are computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.errors import ConfigError
from elektronn.prediction.claims import Claims
from elektronn.prediction.job import Job


def values_digest(values: NDArray[Any]) -> str:
    """sha256 of an array's values, type and shape.

    Example:
        >>> values_digest(np.zeros((1, 2))) == values_digest(np.zeros((2, 1)))
        False
    """
    total = hashlib.sha256(f"{values.dtype.str}{values.shape}".encode())
    total.update(np.ascontiguousarray(values).data)
    return total.hexdigest()


def renew(job: Job, claims: Claims, say: Callable[[str], None]) -> None:
    """Take back the marks of blocks whose part of the image is another one now, and confirm the others.

    A mark holds the stamp of the image's files at the time, and a digest of what was read for the block. While the stamp
    is the same nothing is read. Else the block's part is read again and compared: so every block that counts was made of
    what the image holds now, and the output is that of a fresh run.

    Raises:
        ConfigError: no block at all was made from this image; it is another one.
        DataError: the image is damaged.
    """
    marks = {name: claims.facts(name) for name in sorted(claims.done())}
    old = {name for name, said in marks.items() if said.get("stamp") != job.stamp}
    boxes = dict(zip(job.plan.names, job.plan.boxes))
    looked, changed = [name for name in boxes if name in old], list[str]()
    for name in looked:
        if values_digest(job.image.read(job.around(boxes[name]))) == marks[name].get("source"):
            claims.finish(name, {**marks[name], "stamp": job.stamp})
        else:
            changed.append(name)
    if changed and len(changed) == len(boxes.keys() & marks.keys()) and len(changed) > 1:
        raise ConfigError(
            f"{job.work.out}: {job.work.folder} holds unfinished work on it, made with another content of the image; "
            "go on with what it was begun with, name another output, or remove that folder to begin anew"
        )
    # coarser levels are made of the blocks, and quickly
    for name in {*changed, *(old - boxes.keys()), *(marks.keys() - boxes.keys() if changed else ())}:
        claims.forget(name)
    if looked:
        kept = len(looked) - len(changed)
        say(
            f"{job.image.volume.address}: its files are not what they were; of {len(looked)} finished blocks "
            f"{kept} stay, {len(changed)} saw what changed and are computed again"
        )
