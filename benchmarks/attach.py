"""Training with an idle client attached against without one, and what a step costs that asks for nothing.

Steps per second of the wall clock, and steps per second of processor time of the whole training process (its socket's
thread included). On a machine that others use too neither can show a per cent, so what an attached client costs is also
measured directly: processor time of the socket's thread and of telling it, as a share of that of the training.

python benchmarks/attach.py [ROUNDS]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np

from elektronn.axes import Size
from elektronn.console.address import POINTER
from elektronn.console.desk import Desk
from elektronn.console.server import Server
from elektronn.errors import Stopped
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.batch import Sampler
from elektronn.sampling.cubes import Cube
from elektronn.training.checkpoint import Backups
from elektronn.training.commands import Kill
from elektronn.training.control import Event, both
from elektronn.training.settings import TrainingSettings
from elektronn.training.task import Task
from elektronn.training.trainer import Trainer

CLIENT = """
import sys
from pathlib import Path
from elektronn.console.attach import Line
for word in sys.stdin:
    if word.strip() == "attach":
        line = Line(Path(sys.argv[1]), lambda text: None)
    else:
        line.close()
    print("done", flush=True)
"""
"""Another process that attaches, reads what it is told, and leaves."""

WINDOW_S = 2.0
"""Seconds of each measurement."""


def trainer_of(folder: Path, network: NetworkSettings, every: int) -> Trainer:
    """A training that never ends, with a row of the history every so many steps."""
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (1, 16, 200, 200), dtype=np.uint8)
    cube = Cube("a", image, (image[0] < 100).astype(np.int16), Size(0, 0, 0), 1 / 255)
    built = build(chain(network), seed=1)
    patch = built.geometry.input_at_most(network.patch)
    sampling = SamplingSettings(workers=1)
    training = TrainingSettings(
        steps=10**9, history_every=every, monitor_examples=1, preview_every=0, device="cpu", backup_s=1e9
    )
    common = ([cube], built.geometry, patch, sampling, 1)
    watch = {"train": Sampler(*common, purpose="watch", augmented=False)}
    task = Task(built, Sampler(*common), watch, None, "benchmark")
    return Trainer(task, training, sampling, Backups(folder), Desk(), lambda event: None)


def steps_per_s(trainer: Trainer) -> tuple[float, float]:
    """Over one window: of the wall clock, of processor time."""
    step, start, used = trainer.step, time.perf_counter(), time.process_time()
    time.sleep(WINDOW_S)
    steps = trainer.step - step
    return steps / (time.perf_counter() - start), steps / (time.process_time() - used)


def measure(name: str, network: NetworkSettings, every: int, rounds: int) -> None:
    """Print medians over interleaved windows."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        trainer = trainer_of(state, network, every)
        desk = trainer.mailbox
        assert isinstance(desk, Desk)

        def work() -> None:
            with Server(desk, state, print) as server, suppress(Stopped):
                servers.append(server)

                def tell(event: Event) -> None:
                    start = time.thread_time()
                    server.tell(event)
                    told[0] += time.thread_time() - start

                trainer.listen = both(trainer.listen, tell)
                trainer.run()

        servers: list[Server] = []
        told = [0.0]
        spent = used = 0.0

        def cost() -> float:
            """Processor time that went into the socket so far."""
            own = servers[0]._thread
            assert own is not None
            assert own.ident is not None
            return told[0] + time.clock_gettime(time.pthread_getcpuclockid(own.ident))

        thread = threading.Thread(target=work)
        thread.start()
        while not (state / POINTER).exists() or trainer.step < 20:
            time.sleep(0.05)
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert client.stdin is not None
        assert client.stdout is not None
        alone: list[tuple[float, float]] = []
        attached: list[tuple[float, float]] = []
        for number in range(2 * rounds):
            # ABBA: what drifts, drifts for both
            if number % 4 in (1, 2):
                for word, found in (("attach", attached), ("leave", None)):
                    client.stdin.write(f"{word}\n")
                    client.stdin.flush()
                    client.stdout.readline()
                    if found is not None:
                        before, start = cost(), time.process_time()
                        found.append(steps_per_s(trainer))
                        spent, used = spent + cost() - before, used + time.process_time() - start
            else:
                alone.append(steps_per_s(trainer))
        client.communicate("")
        desk.post(Kill())
        thread.join()
    print(f"{name:26}an idle client takes {spent / used:.4%} of the processor time of the training")
    for i, clock in enumerate(("wall clock", "processor time")):
        with_it, without = [pair[i] for pair in attached], [pair[i] for pair in alone]
        pairs = sorted(a / b for a, b in zip(with_it, without))
        low, high = pairs[len(pairs) // 4], pairs[-1 - len(pairs) // 4]
        print(
            f"{name:26}{clock:15}alone {median(without):7.1f}   attached {median(with_it):7.1f} it/s   "
            f"ratio of pairs: median {median(pairs):.3f}, half within {low:.3f}–{high:.3f}"
        )


def empty_look() -> None:
    """Print what it costs a step to look into an empty mailbox."""
    desk, count = Desk(), 1_000_000
    start = time.perf_counter()
    for step in range(count):
        desk.drain(step)
    print(f"a look into an empty mailbox: {(time.perf_counter() - start) / count * 1e9:.0f} ns")


def main(rounds: int = 12) -> None:
    small = NetworkSettings(kernels=((1, 3, 3),), pools=((1, 1, 1),), features=(4,), patch=(1, 8, 8))
    measure("neuro_3d, row each 100", NetworkSettings(), 100, rounds)
    measure("tiny network, row each 20", small, 20, rounds)
    empty_look()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
