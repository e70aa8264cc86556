"""The arithmetic of dense prediction: float32, or less of it on request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from elektronn.errors import ConfigError
from elektronn.prediction.settings import EngineName, Precision

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def require_precision(precision: Precision, engine: EngineName, device: torch.device) -> None:
    """Refuse an arithmetic that is not there, or of no use.

    Raises:
        ConfigError: ``tf32`` or ``fp16`` on a CPU, the latter being many times slower than float32 there; anything but
            float32 in lanes.

    Example:
        >>> require_precision("tf32", "auto", torch.device("cpu"))
        Traceback (most recent call last):
        elektronn.errors.ConfigError: predict.precision: tf32 is arithmetic of GPUs, not of cpu; write float32 or bf16
    """
    if precision == "float32":
        return
    if device.type == "cpu" and precision != "bf16":
        why = "is arithmetic of GPUs, not of cpu" if precision == "tf32" else "is slower than float32 on a CPU"
        raise ConfigError(f"predict.precision: {precision} {why}; write float32 or bf16")
    if engine == "lanes":
        raise ConfigError(f"predict.precision: lanes computes in float32, not in {precision}; write engine: auto")


@contextmanager
def arithmetic(precision: Precision, device: torch.device) -> Iterator[None]:
    """The block in which convolutions are computed so; left to itself torch rounds to tf32 on a GPU."""
    libraries: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [library.allow_tf32 for library in libraries]
    half = HALVES.get(precision)
    try:
        for library in libraries:
            library.allow_tf32 = precision == "tf32"
        with torch.autocast(device.type, half) if half else nullcontext():
            yield
    finally:
        for library, was in zip(libraries, before):
            library.allow_tf32 = was
