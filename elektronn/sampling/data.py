"""Where examples come from when it is not from volumes: the settings."""

from __future__ import annotations

from typing import Any

from elektronn.settings import NotNegative, Settings


class DataSettings(Settings):
    """A class that gives the batches."""

    name: str
    """``package.module:Name`` or ``folder/file.py:Name``."""
    load: dict[str, Any] = {}
    """Arguments of the class."""
    batch: dict[str, Any] = {}
    """Further arguments of ``getbatch``, for training batches only."""
    processes: NotNegative = 0
    """Processes that make the training batches ahead, each with its own object of the class; 0: threads of the training.
    For code that holds the interpreter's lock. Batches are the same; more than one needs a getbatch(…, step, seed)."""
