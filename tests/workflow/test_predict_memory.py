"""The promise of ``predict.memory_gb``, in processes of their own: fewer of the configurations of benchmarks/memory.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model

WIDE = NetworkSettings(kernels=((1, 3, 3), (1, 2, 2)), pools=((2, 2, 2), (1, 1, 1)), features=(24, 4))
"""Pooling of many features: three times them live at once."""
DEEP = NetworkSettings(
    kernels=((2, 3, 3), (2, 3, 3), (3, 2, 2)), pools=((1, 2, 2), (1, 1, 1), (1, 1, 1)), features=(4, 8, 8)
)


PROGRAM = """
import sys
from pathlib import Path
from elektronn.cli.main import run

try:
    run()
finally:
    lines = Path("/proc/self/status").read_text().splitlines()
    Path(sys.argv[0]).write_text(next(line for line in lines if line.startswith("VmHWM")).split()[1])
"""
"""The command, and then the peak of its own memory in KiB. (What wait4 tells begins with the memory of the parent.)"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs the peak memory of a child process")
@pytest.mark.parametrize(
    ("network", "size", "limit", "settings"),
    [
        (WIDE, (40, 200, 260), 0.6, ("predict.output=float32", "predict.classes=all")),
        (DEEP, (40, 180, 300), 0.5, ("predict.pad_raw=true",)),
        (DEEP, (8, 60, 60), 2.0, ()),
    ],
    ids=["measured", "padded", "small"],
)
def test_the_peak_stays_below_the_limit_and_near_the_forecast(
    tmp_path: Path, network: NetworkSettings, size: tuple[int, int, int], limit: float, settings: tuple[str, ...]
) -> None:
    save_model(tmp_path / "m.safetensors", build(chain(network), seed=1), {"fingerprint": "f"})
    np.save(tmp_path / "image.npy", np.random.default_rng(0).integers(0, 256, size, np.uint8))
    program = PROGRAM.replace("sys.argv[0]", repr(f"{tmp_path}/peak"))
    command = [sys.executable, "-c", program, "predict", f"{tmp_path}/image.npy", f"{tmp_path}/p.zarr"]
    command += ["--model", f"{tmp_path}/m.safetensors"]
    for setting in (
        "predict.device=cpu",
        "predict.engine=portable",
        "predict.threads=1",
        f"predict.memory_gb={limit}",
        *settings,
    ):
        command += ["--set", setting]
    cache = {**os.environ, "XDG_CACHE_HOME": f"{tmp_path}/cache"}
    done = subprocess.run(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True, env=cache, check=False)
    said = done.stdout
    assert done.returncode == 0, said
    peak = 1024 * int((tmp_path / "peak").read_text())
    assert peak <= 1e9 * limit
    found = re.search(r"needs ([\d.]+) GiB RAM", said)
    assert found, said
    assert float(found[1]) * 2**30 == pytest.approx(peak, rel=0.15)
