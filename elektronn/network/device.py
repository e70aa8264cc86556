"""Where to compute."""

from __future__ import annotations

import torch

from elektronn.errors import ConfigError


def choose_device(wanted: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N`` as a device that is there.

    Raises:
        ConfigError: no such device on this machine.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ConfigError(f"device '{wanted}': write auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device '{wanted}': write auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device '{wanted}': this machine has {torch.cuda.device_count()} usable CUDA devices")
    return device
