"""``elektronn-profile``: speed and memory of a network's dense prediction against the size of its input."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from elektronn.cli.elektronn_train import device_name
from elektronn.cli.main import Parser, guarded
from elektronn.cli.progress import Display
from elektronn.errors import ConfigError, at
from elektronn.registry import nearest

if TYPE_CHECKING:
    from elektronn.config.tree import Params


def parser() -> argparse.ArgumentParser:
    """The command line of ELEKTRONN 1, with more."""
    made = Parser(
        prog="elektronn-profile",
        description="Measure speed and memory of dense prediction for growing inputs, until the memory limit "
        "(predict.memory_gb) or the time is reached. Writes Speed_NAME.csv (tab-separated) and Speed_NAME.png.",
        epilog="Exit codes: 0 ok, 2 usage or settings, 4 config unreadable, 5 result not writable.",
    )
    made.add_argument("config", type=Path, metavar="CONFIG", help="params.yaml, or a config of ELEKTRONN 1 (.py)")
    made.add_argument(
        "--gpu",
        type=device_name,
        metavar="{auto,false,N}",
        help="auto: a GPU if there is one; false: CPU; N: GPU number N (default: predict.device)",
    )
    made.add_argument("--experiment", metavar="NAME", help="only this one (default: all of the file)")
    made.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where the files go (default: here)")
    made.add_argument("--seconds", type=float, default=60.0, help="begin no further size after them (default: 60)")
    made.add_argument("--repeats", type=int, default=3, help="per size, after one that warms up (default: 3)")
    made.add_argument("--memory-gb", type=float, metavar="GB", help="limit (default: predict.memory_gb)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    given = parser().parse_args(arguments)
    given.log = None
    return guarded("elektronn-profile", given, run)


def run(given: argparse.Namespace) -> None:
    """Measure."""
    import torch

    from elektronn.artefacts import prepare
    from elektronn.network.build import build
    from elektronn.network.chain import chain
    from elektronn.network.device import choose_device
    from elektronn.network.document import require_dense
    from elektronn.prediction.speed import Speed, draw, optimum, speeds, write_table

    if given.repeats < 1 or given.seconds < 0 or (given.memory_gb is not None and given.memory_gb <= 0):
        raise ConfigError("--repeats, --seconds and --memory-gb: write numbers above 0")
    params, names = _read(given)
    display = Display("elektronn-profile", None)
    device = choose_device(given.gpu or params.predict.device)
    torch.set_num_threads(params.predict.threads)

    def tell(speed: Speed) -> None:
        display.line(f"input {speed.size}: {speed.rate:.4g} MPix/s, {speed.expected / 1e6:.0f} MB")

    for name in names:
        document = chain(params.experiments[name].network)
        with at(f"{given.config}: experiments.{name}"):
            require_dense(document)
        memory = 1e9 * (given.memory_gb or params.predict.memory_gb)
        network = build(document, seed=0)
        table, picture = (given.out / f"Speed_{name}.{end}" for end in ("csv", "png"))
        prepare(table, picture)
        found = speeds(network, device, memory=memory, seconds=given.seconds, repeats=given.repeats, tell=tell)
        write_table(table, found)
        draw(picture, found, f"{name}, dense prediction on {device}")
        best = optimum(found)
        display.line(f"{table}: {len(found)} sizes; the fastest is {best.size} with {best.rate:.4g} MPix/s")


def _read(given: argparse.Namespace) -> tuple[Params, list[str]]:
    """The settings, and the experiments that are wanted."""
    if given.config.suffix in (".yaml", ".yml"):
        from elektronn.config.load import read_params, resolve

        raw = read_params(given.config)
        with at(str(given.config)):
            params = resolve(raw)
    else:
        from elektronn.cli.old_run import find_config, upgraded

        params = upgraded(find_config(given.config), Path.cwd())[2]
    if not params.experiments:
        raise ConfigError(f"{given.config}: has no experiments; there is no network to measure")
    if given.experiment and given.experiment not in params.experiments:
        raise ConfigError(f"--experiment {given.experiment}: {nearest(given.experiment, params.experiments)}")
    return params, [given.experiment] if given.experiment else list(params.experiments)


def entry() -> NoReturn:
    """Entry point of the console script."""
    sys.exit(main())
