"""A training that is killed again and again, also while it writes, ends with the bits of one that nobody disturbed.

    python -m tests.workflow.kill_campaign --kills 60 --seed 1

This process imports everything and stays without threads; each life of a training is a fork of it. Within a life, one of the
functions that write is made to halt at a certain moment, and there the life is ended by SIGKILL.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import h5py
import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401
import numpy as np
import torch._dynamo  # noqa: F401 - what the first optimiser of a process imports

import elektronn.console.server
import elektronn.report.examples
import elektronn.report.pictures
import elektronn.training.stage  # noqa: F401
from elektronn import artefacts
from elektronn.artefacts import digest
from elektronn.cli.main import main as elektronn_main
from elektronn.cli.train import named_volumes
from elektronn.config.load import experiment_of, override, resolve
from elektronn.network.weights import load_tensors
from elektronn.report import examples, learning
from elektronn.training.checkpoint import NAMES
from elektronn.training.history import rows_in
from elektronn.training.journal import FILE, Journal, read_rows
from elektronn.training.world import of_volumes

SETTINGS = {
    "network.kernels": "[[1,4,4],[1,3,3]]",
    "network.pools": "[[1,2,2],[1,1,1]]",
    "network.features": "[4,4]",
    "network.dropout": "[0.3,0.2]",
    "network.patch": "[1,20,20]",
    "training.steps": "60",
    "training.history_every": "10",
    "training.monitor_examples": "8",
    "training.preview_every": "15",
    "training.snapshot_h": "0.000003",
    "training.backup_s": "0.03",
    "training.device": "cpu",
}

HANDS = (
    (12, {"do": "SetValue", "name": "rate", "value": 0.02}),
    (25, {"do": "SetData", "name": "warp_on", "value": False}),
    (34, {"do": "UseOptimiser", "kind": "sgd", "numbers": {"rate": 0.01}}),
    (37, {"do": "RecordNow"}),
    (48, {"do": "UseOptimiser", "kind": "adam", "numbers": {}}),
)
"""Steps and commands of a person in every one of the trainings."""

CLOCK = ("seconds", "steps_per_s", "data_wait")
"""Columns of the history that no two runs share."""

LIVES = 6
"""Most kills of one training."""


class Halt:
    """Stops the process at a certain moment and tells the parent, who kills it there.

    Args:
        tell: end of a pipe.
        skip: how often the moment passes before.
    """

    def __init__(self, tell: int, skip: int) -> None:
        self.tell, self.skip = tell, skip

    def __call__(self) -> None:
        if self.skip:
            self.skip -= 1
            return
        os.write(self.tell, b".")
        time.sleep(3600)


Arm = Callable[[Halt], None]


def half_written(name: str) -> Arm:
    """Halt when half of a file, whose name holds ``name``, is written."""

    def arm(halt: Halt) -> None:
        write = Path.write_bytes

        def slow(self: Path, data: bytes) -> int:
            if name in self.name:
                with self.open("wb") as file:
                    file.write(data[: len(data) // 2])
                halt()
            return write(self, data)

        Path.write_bytes = slow  # type: ignore[method-assign, assignment]

    return arm


def renaming(name: str, *, after: bool = False) -> Arm:
    """Halt when a file is whole under its temporary name, or just renamed."""

    def arm(halt: Halt) -> None:
        replace = artefacts._replace

        def slow(part: Path, path: Path) -> None:
            if name in str(path) and not after:
                halt()
            replace(part, path)
            if name in str(path) and after:
                halt()

        artefacts._replace = slow

    return arm


def drawing(halt: Halt) -> None:
    """Halt while a preview is drawn."""
    draw = learning.draw_preview

    def slow(*given: Any) -> None:
        halt()
        draw(*given)

    learning.draw_preview = slow


def journal(event: str, *, after: bool = False) -> Arm:
    """Halt when half of a line is written, or all of it and nothing has come of it yet."""

    def arm(halt: Halt) -> None:
        append = Journal._append

        def slow(self: Journal, row: Any, wait: bool = False) -> None:
            if row["event"] == event and not after:
                with self.path.open("a") as file:
                    file.write(json.dumps(row)[:20])
                halt()
            append(self, row, wait)
            if row["event"] == event and after:
                halt()

        Journal._append = slow  # type: ignore[method-assign]

    return arm


WINDOWS: dict[str, Arm | None] = {
    "half a backup": half_written(".backup_"),
    "backup not yet renamed": renaming("backup_"),
    "backup just renamed": renaming("backup_", after=True),
    "half a best model": half_written(".best."),
    "half a snapshot": half_written("h.safetensors"),
    "a preview is drawn": drawing,
    "preview not yet renamed": renaming("previews/"),
    "half a row of the journal": journal("row"),
    "half a command in the journal": journal("command"),
    "command noted, not carried out": journal("command", after=True),
    "half a result": half_written(".model.safetensors"),
    "model there, its card not yet": renaming("model.safetensors", after=True),
    "card there, history not yet": renaming("model.json", after=True),
    "curves not yet renamed": renaming("curves.png"),
    "anywhere": None,
}
"""Moments to die at; ``None``: a random one."""

PICTURES = {name for name in WINDOWS if "preview" in name or "curves" in name}
"""Moments in the life of a picture."""

ONCE = {name for name in WINDOWS if name.endswith("yet") or "a result" in name or "curves" in name}
"""Moments that pass only once in a life."""


@dataclass(frozen=True)
class World:
    """What all trainings of a campaign share."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> World:
        """Two small volumes whose boundaries are dark, and the journal of a person."""
        noise = np.random.default_rng(0)
        with h5py.File(folder / "cubes.h5", "w") as file:
            for name in "ab":
                dark = np.repeat(np.repeat(noise.random((4, 12, 12)) < 0.3, 4, 1), 4, 2)
                file[name] = (200 - 150 * dark + noise.integers(-20, 20, dark.shape)).astype(np.uint8)
                file[f"{name}_labels"] = dark.astype(np.uint8)
        lines = [
            {"event": "command", "number": i, "step": step, "who": "terminal", "text": said["do"], "command": said}
            for i, (step, said) in enumerate(HANDS, 1)
        ]
        (folder / "hands.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return cls(folder)

    def words(self, name: str, **changes: Any) -> list[str]:
        """Arguments of a training."""
        cubes = self.folder / "cubes.h5"
        words = ["train", "tiny", "--model", str(self.folder / name / "model.safetensors")]
        words += ["--replay", str(self.folder / "hands.jsonl")]
        words += ["--train", "a", f"{cubes}:a", f"{cubes}:a_labels", "--valid", "b", f"{cubes}:b", f"{cubes}:b_labels"]
        settings = {**SETTINGS, **{key.replace("__", "."): value for key, value in changes.items()}}
        return words + [
            part for key, value in settings.items() for part in ("--set", f"experiments.tiny.{key}={value}")
        ]

    def warm(self) -> None:
        """Load here, once, what every life would load; without threads, which a fork would not survive."""
        tiny = experiment_of(resolve(override({}, [f"experiments.tiny.{k}={v}" for k, v in SETTINGS.items()])), "tiny")
        volumes = named_volumes([["a", f"{self.folder}/cubes.h5:a", f"{self.folder}/cubes.h5:a_labels"]])
        seen = of_volumes(volumes, [], tiny.network, tiny.sampling, tiny.training)
        for step in range(8):
            seen.supply.batch(step)
        flat = np.zeros((4, 4), np.float32)
        learning.draw_preview(flat, flat, flat.astype(np.int16), self.folder / "warm.png")


def life(world: World, name: str, window: str | None, chance: random.Random, longest_s: float) -> bool | int:
    """One life of a training.

    Args:
        world: of the campaign.
        name: of the training's folder.
        window: where to kill it; None: nowhere.
        chance: the other choices.
        longest_s: latest random moment.

    Returns:
        True if it was killed, else its exit code.
    """
    listen, tell = os.pipe()
    words = world.words(name, sampling__workers=chance.randrange(3), sampling__prefetch=chance.randint(1, 4))
    skip = 0 if window in ONCE else chance.randrange(3)
    pid = os.fork()
    if pid == 0:
        os.close(listen)
        _live(world.folder / f"{name}.log", words, window or "", Halt(tell, skip))
    os.close(tell)
    arm = WINDOWS[window] if window else None
    wait_s = chance.uniform(0, longest_s) if window and arm is None else 300
    ready = select.select([listen], [], [], wait_s)[0]
    # a byte: it stands at the moment; nothing: it has ended by itself; not ready: the random moment has come
    if not ready or os.read(listen, 1):
        os.kill(pid, signal.SIGKILL)
    os.close(listen)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code == -signal.SIGKILL or code


def _live(log: Path, words: Sequence[str], window: str, halt: Halt) -> NoReturn:
    """The forked side of :func:`life`."""
    code = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(file, number)
        # pictures take most of the time; they are drawn for lives that shall end at one
        examples.draw_examples = examples.draw_augmentations = lambda *given: None
        if window not in PICTURES:
            learning._save = _saved_blank
        if (arm := WINDOWS.get(window)) is not None:
            arm(halt)
        code = elektronn_main(words)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _saved_blank(canvas: object, picture: Path) -> None:
    with artefacts.writing(picture) as part:
        part.write_bytes(b"blank")


def result(folder: Path) -> dict[str, Any]:
    """What a finished training left, without the clock."""
    state = folder / "state"
    backups = [load_tensors(state / name) for name in NAMES if (state / name).exists()]
    tensors, facts = max(backups, key=lambda pair: pair[1]["step"])
    with (folder / "history.csv").open() as file:
        history = [{k: v for k, v in row.items() if k not in CLOCK} for row in csv.DictReader(file)]
    rows = read_rows(state / FILE)
    timed = ("seconds", "row_seconds", "wait", "history", "kept")
    return {
        "model": digest(folder / "model.safetensors"),
        "best": digest(state / "best.safetensors"),
        "last backup": {name: (str(t.dtype), t.numpy().tobytes()) for name, t in tensors.items()},
        "facts": {name: value for name, value in facts.items() if name not in timed},
        "best so far": facts["kept"]["best"],
        "history": history,
        "rows": [{k: v for k, v in row.items() if k not in CLOCK} for row in rows_in(state / FILE)],
        "commands": [(row["step"], row["who"], row["command"]) for row in rows if row["event"] == "command"],
        "changes": json.loads((folder / "model.json").read_text())["changes"],
    }


def differences(folder: Path, whole: dict[str, Any]) -> list[str]:
    """What is not as in the training that nobody disturbed."""
    found = result(folder)
    wrong = [name for name, value in whole.items() if found[name] != value]
    wrong += [f"{path.name} is visible" for path in folder.rglob("*.part") if not path.name.startswith(".")]
    return wrong


@dataclass
class Campaign:
    """Kills trainings, and keeps count.

    Attributes:
        kills: window → how often one died there.
        faults: what went wrong; empty if all is well.
        trainings: how many were killed and brought to their end.
    """

    world: World
    chance: random.Random
    kills: Counter[str]
    faults: list[str]
    trainings: int = 0
    longest_s: float = 1.0

    def run(self, kills: int) -> None:
        """At least so many kills, each window in turn."""
        self.world.warm()
        began = time.monotonic()
        self._must_end("whole")
        self.longest_s = time.monotonic() - began
        whole = result(self.world.folder / "whole")
        assert whole["history"] == [{k: str(row.get(k, "")) for k in whole["history"][0]} for row in whole["rows"]]
        names = [*WINDOWS]
        queue = [names[i % len(names)] for i in range(kills)]
        self.chance.shuffle(queue)
        while queue and len(self.faults) < 3:
            self._training(queue, whole)

    def _training(self, queue: list[str], whole: dict[str, Any]) -> None:
        """Kill one training until enough is enough, let it end, and look at it."""
        self.trainings += 1
        name, died = f"training_{self.trainings}", []
        while queue and len(died) < LIVES:
            ended = life(self.world, name, queue[0], self.chance, self.longest_s)
            if ended is not True:
                # the moment did not come any more: the next training begins with it
                if ended or (not died and queue[0] != "anywhere"):
                    self.faults.append(f"{name}: not killed at '{queue[0]}', exit code {ended} after {died}")
                    queue.pop(0)
                break
            died.append(queue.pop(0))
            self.kills[died[-1]] += 1
        self._must_end(name)
        if wrong := differences(self.world.folder / name, whole):
            self.faults.append(f"{name}, killed at {died}: {', '.join(wrong)}")

    def _must_end(self, name: str) -> None:
        code = life(self.world, name, None, self.chance, 0)
        if code != 0:
            log = (self.world.folder / f"{name}.log").read_text()
            raise SystemExit(f"{name} ended with {code}:\n{log[-3000:]}")


def main() -> int:
    """The campaign and its table; the exit code is not 0 if a bit was lost."""
    parser = argparse.ArgumentParser(description="Kill trainings at many moments and compare their ends.")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="torture") as folder:
        campaign = Campaign(World.made(Path(folder)), random.Random(given.seed), Counter(), [])
        campaign.run(given.kills)
    for name in WINDOWS:
        print(f"{name:34}{campaign.kills[name]:5}")
    verdict = "bit-identical" if not campaign.faults else "DIFFERENT"
    print(f"{campaign.kills.total()} kills in {campaign.trainings} trainings (seed {given.seed}): {verdict}")
    print("".join(f"{fault}\n" for fault in campaign.faults), end="")
    return bool(campaign.faults)


if __name__ == "__main__":
    sys.exit(main())
