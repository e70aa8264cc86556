"""Memory of predictions with random networks, volumes and formats: limit, forecast and measured peak of each process.

Run with ``python benchmarks/memory.py [COUNT] [SEED]``; 30 configurations take about ten minutes. Fails if any process
exceeds its ``predict.memory_gb``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

import numpy as np

from elektronn.axes import whole
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import create_volume

GIB = 2**30


@dataclass(frozen=True)
class Case:
    """One configuration.

    Attributes:
        network: what predicts.
        size: of the image, zyx, voxels.
        source, out: formats.
        settings: of the section ``predict``.
    """

    network: NetworkSettings
    size: tuple[int, int, int]
    source: str
    out: str
    settings: dict[str, str]

    @property
    def limit(self) -> float:
        """Bytes."""
        return 1e9 * float(self.settings["memory_gb"])


@dataclass(frozen=True)
class Outcome:
    """What a process took, and what it had said, bytes."""

    peak: float
    memory: float
    disk: float
    written: float


def drawn(random: Random) -> Case:
    """A random configuration."""
    depth = random.randint(2, 4)
    kernels = tuple((random.choice((1, 1, 2, 3)), *(random.choice((2, 3, 4)),) * 2) for _ in range(depth))
    pools = (*(random.choice(((1, 1, 1), (1, 2, 2), (2, 2, 2))) for _ in range(depth - 1)), (1, 1, 1))
    features = tuple(random.choice((4, 8, 10, 16)) for _ in range(depth))
    activation = random.choice(("relu", "tanh", "abs"))
    network = NetworkSettings(
        kernels=kernels, pools=pools, features=features, activation=activation, classes=random.choice((2, 2, 3))
    )
    settings = {
        "memory_gb": random.choice(("0.6", "0.7", "0.8", "1.0", "1.3")),
        "output": random.choice(("uint8", "float16", "float32")),
        "classes": random.choice(("boundary", "all")),
        "engine": random.choice(("auto", "portable", "lanes")),
        "threads": random.choice(("1", "2")),
        "pyramid": "0",
        "pad_raw": random.choice(("false", "true")),
    }
    out = random.choice((".zarr", ".zarr", ".zarr@ngff0.4", ".h5"))
    size = (random.choice((24, 48, 140)), random.choice((150, 300)), random.choice((200, 320, 600)))
    return Case(network, size, random.choice((".zarr", ".h5", ".npy")), out, settings)


def measured(case: Case, folder: Path) -> Outcome:
    """Run a case in a process of its own, with nothing remembered."""
    save_model(folder / "model.safetensors", build(chain(case.network), seed=1), {"fingerprint": "f"})
    image, out = parse_address(f"{folder}/image{case.source}"), f"{folder}/out{case.out}"
    values = np.random.default_rng(0).integers(0, 256, case.size, np.uint8)
    with create_volume(image, case.size, np.uint8) as sink:
        sink.write(whole(case.size), values)
    command = [sys.executable, "-m", "elektronn", "predict", str(image), out, "--model", f"{folder}/model.safetensors"]
    for name, value in {"device": "cpu", **case.settings}.items():
        command += ["--set", f"predict.{name}={value}"]
    log = folder / "said"
    with log.open("w") as file:
        environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    said = log.read_text()
    if least := re.search(r"is too little: .* write at least ([\d.]+)", said):
        case.settings["memory_gb"] = least[1]
        return measured(case, folder)
    if process.returncode:
        raise SystemExit(f"{case}\n{said}")
    memory, disk = (
        float(amount) * (GIB if unit == "GiB" else 2**20)
        for amount, unit in re.findall(r"([\d.]+) ([GM]iB) (?:RAM|disk)", said.partition("; you have")[0])
    )
    path = parse_address(out).path
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return Outcome(1024 * used.ru_maxrss, memory, disk, sum(file.stat().st_size for file in files))


def main(count: int = 30, seed: int = 0) -> None:
    """Print a table, and fail if a limit was exceeded."""
    random, shares, errors = Random(seed), [], []
    print("limit MB  peak MB  of limit  forecast MB  off    disk forecast/found MB  case")
    for _ in range(count):
        case = drawn(random)
        with tempfile.TemporaryDirectory() as folder:
            found = measured(case, Path(folder))
        shares.append(found.peak / case.limit)
        errors.append(found.memory / found.peak - 1)
        print(
            f"{case.limit / 1e6:8.0f}  {found.peak / 1e6:7.0f}  {100 * shares[-1]:6.0f} %  {found.memory / 1e6:11.0f} "
            f"{100 * errors[-1]:+4.0f} %  {found.disk / 1e6:9.1f} / {found.written / 1e6:<9.1f}  {case.size} {case.source} "
            f"→ {case.out} {'k' + str(case.network.kernels)} p{case.network.pools} f{case.network.features} {case.settings}",
            flush=True,
        )
    print(
        f"{sum(share > 1 for share in shares)} of {count} exceeded; peak {100 * median(shares):.0f} % of the limit in the median, "
        f"{100 * max(shares):.0f} % at most; forecast within 15 %: {sum(abs(e) <= 0.15 for e in errors)} of {count}"
    )
    if max(shares) > 1:
        raise SystemExit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
