"""Detection and false alarms of the check by content, measured on planted cases of the real volumes.

    python benchmarks/registration.py [FOLDER] [--cases 20] [--seed 1] [--crop 10,96,96]

FOLDER holds the real volumes (default: ELEKTRONN_DATA). Per volume and kind of fault ``--cases`` crops are cut
at random, whole volumes among them; image and labels are cut at different places for a shift, so that both are
full of real content. ``--crop`` makes all crops one size. Half of the shifts are the smallest ones that must be found. Every crop is disturbed: noise,
contrast, brightness, inverted grey values. As many crops without a fault are judged too.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import load
from elektronn.volumes.content import CheckSettings, Verdict, content_check
from elektronn.volumes.content_match import turned
from elektronn.volumes.content_values import borders
from elektronn.volumes.registration import Turn

VOLUMES = {
    "fib_medulla": "fib_medulla_s2_z000-169.h5",
    "gala": "gala_train.h5",
    "isbi2012": "isbi2012_z00-23.h5",
}
SHIFTS = {"shift yx": (False, True), "shift z": (True, False), "shift zyx": (True, True)}
TURNS = {
    "flip z": Turn(flips=(True, False, False)),
    "flip y": Turn(flips=(False, True, False)),
    "flip x": Turn(flips=(False, False, True)),
    "swap yx": Turn((0, 2, 1)),
    "turn by 90°": Turn((0, 2, 1), (False, True, False)),
}
REACH = (3, 8, 8)
Array = NDArray[np.generic]


class Case(NamedTuple):
    image: Array
    boundary: Array
    shift: tuple[int, ...]
    turn: Turn
    """What undoes the fault."""


def read(folder: Path, name: str) -> tuple[Array, Array]:
    """Image and boundary map (1 boundary), zyx."""
    image, labels = (load(parse_address(f"{folder / VOLUMES[name]}:{key}")) for key in ("raw", "labels"))
    boundary = {
        "fib_medulla": lambda: borders(labels),
        "gala": lambda: borders(labels) | (labels == 0),
        "isbi2012": lambda: labels == 0,
    }[name]()
    return image, boundary.astype(np.int8)


def random_shift(rng: np.random.Generator, along_z: bool, in_section: bool) -> np.ndarray:
    shift = np.zeros(3, int)
    smallest = rng.random() < 0.5
    if along_z:
        shift[0] = (1 if smallest else rng.integers(1, REACH[0] + 1)) * rng.choice([-1, 1])
    if in_section:
        axes = [[1], [2], [1, 2]][rng.integers(3)]
        for axis in axes:
            shift[axis] = (2 if smallest else rng.integers(2, REACH[axis] + 1)) * rng.choice([-1, 1])
    return shift


def disturbed(rng: np.random.Generator, image: Array) -> Array:
    grey = image.astype(np.float32) * rng.uniform(0.4, 1.2) + rng.uniform(-40, 40)
    grey = -grey if rng.random() < 0.25 else grey
    return grey + rng.normal(0, rng.uniform(0, 25), grey.shape).astype(np.float32)


def random_size(rng: np.random.Generator, room: np.ndarray) -> np.ndarray:
    return room if rng.random() < 0.1 else np.array([rng.integers(10, 49), *rng.integers(96, 251, 2)])


def plant(rng: np.random.Generator, image: Array, boundary: Array, kind: str, crop: list[int] | None) -> Case:
    shift = random_shift(rng, *SHIFTS[kind]) if kind in SHIFTS else np.zeros(3, int)
    turn = TURNS.get(kind, Turn())
    room = np.array(image.shape) - np.abs(shift)
    size = np.minimum(crop or random_size(rng, room), room)
    if turn.order != (0, 1, 2):
        size[1:] = size[1:].min()
    corner = rng.integers(0, room - size + 1) + np.maximum(-shift, 0)
    image_part, boundary_part = (
        a[tuple(slice(c, c + n) for c, n in zip(start, size))]
        for a, start in ((image, corner), (boundary, corner + shift))
    )
    undone = turned(turned(boundary_part, Turn(flips=turn.flips)), Turn(turn.order))
    return Case(disturbed(rng, image_part), np.ascontiguousarray(undone), tuple(map(int, shift)), turn)


def is_found(case: Case, verdict: Verdict) -> bool:
    """The alarm is raised, the fault has its right name, a shift is right to one voxel."""
    near = all(abs(a - b) <= 1 for a, b in zip(verdict.shift, case.shift))
    return not verdict.ok and verdict.turn == case.turn and near


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=os.environ.get("ELEKTRONN_DATA"))
    parser.add_argument("--cases", type=int, default=20, help="per volume and kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--crop", type=lambda text: [int(n) for n in text.split(",")], help="zyx, such as 10,96,96")
    given = parser.parse_args()
    if given.folder is None:
        parser.error("name the folder of the real volumes or set ELEKTRONN_DATA")
    rng, settings = np.random.default_rng(given.seed), CheckSettings(shift=REACH)
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    slowest = 0.0
    kinds = [*SHIFTS, *TURNS]
    for name in VOLUMES:
        image, boundary = read(Path(given.folder), name)
        for kind in [*kinds, *["as given"] * len(kinds)]:
            for _ in range(given.cases):
                case = plant(rng, image, boundary, kind, given.crop)
                start = time.process_time()
                verdict = content_check(case.image, case.boundary, settings)
                slowest = max(slowest, time.process_time() - start)
                wrong = not verdict.ok if kind == "as given" else not is_found(case, verdict)
                count = counts[name, kind]
                count[0] += 1
                count[1] += wrong
                count[2] += verdict.state == "undecided"
                if wrong:
                    print(f"  {name} {kind} {case.boundary.shape} truth {case.shift}: {verdict.sentence}")
    show(counts)
    print(f"slowest case {slowest:.2f} s of processor time")


def show(counts: dict[tuple[str, str], list[int]]) -> None:
    print(f"{'volume':12} {'kind':12} {'cases':>6} {'wrong':>6} {'undecided':>10}")
    for (name, kind), (cases, wrong, undecided) in counts.items():
        print(f"{name:12} {kind:12} {cases:6} {wrong:6} {undecided:10}")
    planted = np.sum([c for (_, kind), c in counts.items() if kind != "as given"], axis=0)
    clean = np.sum([c for (_, kind), c in counts.items() if kind == "as given"], axis=0)
    print(f"detection    {100 * (1 - planted[1] / planted[0]):.2f} % of {planted[0]} planted cases")
    print(f"false alarms {100 * clean[1] / clean[0]:.2f} % of {clean[0]} cases as given, {clean[2]} undecided")


if __name__ == "__main__":
    main()
