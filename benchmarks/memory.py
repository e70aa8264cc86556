"""What predictions with random networks, volumes and formats take of memory, disk and time, beside what they forecast.

Run with ``python benchmarks/memory.py [COUNT] [SEED] [--only NUMBER ...]``; 30 configurations take about ten minutes, and
with ``--only`` those of them are run that are named, from 0 on. Fails if any process exceeds its ``predict.memory_gb``. ``python benchmarks/memory.py time`` runs predictions of about half a minute each on a
machine that is otherwise quiet.

The first forecast comes before the first tile and is of samples (small outputs have none); the second comes after three
tiles. Times count from the line on. The disk is what the output and the folder in which it grows take at most.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
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


NARROW = NetworkSettings(
    kernels=((1, 4, 4), (3, 3, 3), (2, 3, 3)),
    pools=((1, 2, 2), (1, 1, 1), (1, 1, 1)),
    features=(8, 12, 12),
    activation="tanh",
)
DEEP = NetworkSettings(
    kernels=((1, 4, 4), (1, 3, 3), *((3, 4, 4),) * 4, (1, 4, 4), (1, 4, 4)),
    pools=((1, 2, 2), (1, 2, 2), *((1, 1, 1),) * 6),
    features=(20, 40, 64, 80, 80, 100, 120, 120),
)
PROGRAM = """
import sys
from pathlib import Path

from elektronn.cli.main import run

place = Path(sys.argv.pop(1))
try:
    run()
finally:
    lines = Path("/proc/self/status").read_text().splitlines()
    place.write_text(next(line for line in lines if line.startswith("VmHWM")).split()[1])
"""
"""The command, and then the peak of its own memory in KiB: what ``wait4`` tells begins with the memory of the parent."""
LONG = [
    Case(network, size, source, out, {"memory_gb": "2.0", "threads": "1", **settings})
    for network, size, source, out, settings in (
        (NetworkSettings(), (68, 542, 542), ".zarr", ".zarr", {"engine": "portable"}),
        (NetworkSettings(), (132, 700, 700), ".h5", ".zarr", {"engine": "lanes", "pyramid": "2", "output": "float16"}),
        (
            NetworkSettings(),
            (40, 500, 700),
            ".h5",
            ".zarr@ngff0.4",
            {"engine": "portable", "threads": "2", "pad_raw": "true"},
        ),
        (NARROW, (140, 500, 700), ".npy", ".h5", {"engine": "portable", "output": "float32", "classes": "all"}),
        (DEEP, (40, 280, 280), ".zarr", ".zarr", {"engine": "lanes"}),
        (NARROW, (100, 900, 1100), ".zarr", ".zarr", {"engine": "portable", "memory_gb": "0.9"}),
    )
]
"""About half a minute each."""


@dataclass(frozen=True)
class Said:
    """One forecast: memory and disk in bytes, and seconds; and when it came."""

    memory: float
    disk: float
    seconds: float
    at: float

    @classmethod
    def read(cls, line: str, at: float) -> Said:
        """From a line of the program."""
        needs = line.partition("; you have")[0]
        memory, disk = (
            float(n) * (GIB if unit == "GiB" else 2**20)
            for n, unit in re.findall(r"([\d.]+) ([GM]iB) (?:RAM|disk)", needs)
        )
        amount, unit = re.findall(r"(?:about|roughly) ([\d.]+) (s|min|h)", needs)[0]
        return cls(memory, disk, float(amount) * {"s": 1, "min": 60, "h": 3600}[unit], at)


@dataclass(frozen=True)
class Outcome:
    """What a process took, in bytes, and what it had said.

    Attributes:
        peak: memory.
        written: disk at most.
        end: time at which it ended.
        others: what other processes had of one processor meanwhile.
        said: its forecasts.
    """

    peak: float
    written: float
    end: float
    others: float
    said: tuple[Said, ...]

    def off(self, said: Said) -> tuple[float, float, float]:
        """Relative errors of a forecast: memory, disk, time."""
        return said.memory / self.peak - 1, said.disk / self.written - 1, said.seconds / (self.end - said.at) - 1


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


def prepared(case: Case, folder: Path) -> list[str]:
    """The command that predicts a case, of which model and image are written."""
    save_model(folder / "model.safetensors", build(chain(case.network), seed=1), {"fingerprint": "f"})
    image, out = parse_address(f"{folder}/image{case.source}"), f"{folder}/out{case.out}"
    values = np.random.default_rng(0).integers(0, 256, case.size, np.uint8)
    with create_volume(image, case.size, np.uint8) as sink:
        sink.write(whole(case.size), values)
    program = [sys.executable, "-c", PROGRAM, str(folder / "peak")]
    command = [*program, "predict", str(image), out, "--model", f"{folder}/model.safetensors"]
    for name, value in {"device": "cpu", **case.settings}.items():
        command += ["--set", f"predict.{name}={value}"]
    return command


def measured(case: Case, folder: Path) -> Outcome:
    """Run a case in a process of its own, with nothing remembered."""
    command, said, lines = prepared(case, folder), list[Said](), list[str]()
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    done, most = threading.Event(), [0.0]
    watch = threading.Thread(target=watched, args=(folder, done, most))
    watch.start()
    begin, before = time.perf_counter(), busy()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True)
    assert process.stdout
    for line in process.stdout:
        lines.append(line)
        if "; you have" in line:
            said.append(Said.read(line, time.perf_counter()))
    _, status, used = os.wait4(process.pid, 0)
    end = time.perf_counter()
    others = max(0.0, busy() - before - used.ru_utime - used.ru_stime) / (end - begin)
    done.set()
    watch.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if least := re.search(r"is too little: .* write at least ([\d.]+)", "".join(lines)):
        case.settings["memory_gb"] = least[1]
        return measured(case, folder)
    if process.returncode:
        raise SystemExit(f"{case}\n{''.join(lines)}")
    peak = 1024 * int((folder / "peak").read_text())
    return Outcome(peak, most[0], end, others, tuple(said))


def busy() -> float:
    """Seconds for which the processors of the machine have worked."""
    user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def watched(folder: Path, done: threading.Event, most: list[float]) -> None:
    """Watch the disk until all is done; what is only renamed in between counts once."""
    is_last = False
    while not is_last:
        is_last = done.wait(0.02)
        files: dict[int, int] = {}
        for top, _, names in (step for start in folder.glob("[.o]*") for step in os.walk(start)):
            for name in names:
                with suppress(OSError):
                    found = os.lstat(f"{top}/{name}")
                    files[found.st_ino] = found.st_size
        for file in folder.glob("[.o]*"):
            with suppress(OSError):
                files[file.stat().st_ino] = file.stat().st_size * file.is_file()
        most[0] = max(most[0], sum(files.values()))


def compared(cases: Iterable[Case]) -> list[tuple[Case, Outcome]]:
    """Run all, and print a line for each."""
    print("limit peak MB | forecasts: memory, disk, time (said at first / after three tiles: off) | case")
    found = []
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            outcome = measured(case, Path(folder))
        found.append((case, outcome))
        parts = []
        for said in outcome.said:
            memory, disk, seconds = outcome.off(said)
            took = outcome.end - said.at
            parts.append(f"{100 * memory:+.0f} % {100 * disk:+.0f} % {100 * seconds:+.0f} % of {took:.1f} s")
        print(
            f"{case.limit / 1e6:5.0f} {outcome.peak / 1e6:5.0f} ({100 * outcome.peak / case.limit:.0f} %) | {' / '.join(parts)} "
            f"| others {100 * outcome.others:.0f} % | {outcome.written / 1e6:.1f} MB {case.size} {case.source} → {case.out} k{case.network.kernels} "
            f"p{case.network.pools} f{case.network.features} {case.settings}",
            flush=True,
        )
    return found


def main(count: int, seed: int, only: Sequence[int] = ()) -> None:
    """Print a table, and fail if a limit was exceeded; of the configurations ``only`` those that are named, if any."""
    random = Random(seed)
    cases = [drawn(random) for _ in range(count)]
    found = compared([cases[number] for number in only] if only else cases)
    count = len(found)
    shares = [outcome.peak / case.limit for case, outcome in found]
    print(
        f"{sum(share > 1 for share in shares)} of {count} exceeded; peak {100 * median(shares):.0f} % of the limit in the median, "
        f"{100 * max(shares):.0f} % at most"
    )
    for name, place in (("first", 0), ("last", -1)):
        errors = np.array([outcome.off(outcome.said[place]) for _, outcome in found])
        words = [
            f"{what} {sum(abs(errors[:, i]) <= 0.15)} of {count} ({100 * errors[:, i].min():+.0f} to {100 * errors[:, i].max():+.0f} %)"
            for i, what in enumerate(("memory", "disk"))
        ]
        print(f"{name} forecast within 15 %: {', '.join(words)}")
    if max(shares) > 1:
        raise SystemExit(1)


if __name__ == "__main__":
    if sys.argv[1:] == ["time"]:
        compared(LONG)
    else:
        parser = argparse.ArgumentParser()
        parser.add_argument("count", type=int, nargs="?", default=30)
        parser.add_argument("seed", type=int, nargs="?", default=0)
        parser.add_argument("--only", type=int, nargs="+", default=())
        main(**vars(parser.parse_args()))
