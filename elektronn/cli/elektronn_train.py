"""``elektronn-train``: train from a config of ELEKTRONN 1, as its users are used to."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from elektronn.cli.main import Parser, guarded
from elektronn.cli.progress import Display
from elektronn.cli.train import Talk, talk_arguments
from elektronn.errors import ConfigError, DataError

if TYPE_CHECKING:
    from elektronn.config.tree import Params
    from elektronn.legacy.upgrade import Upgraded
    from elektronn.training.stage import Start

FILES = ("model.safetensors", "history.csv", "model.json", "curves.png", "params.yaml", "params.resolved.yaml")
"""What a run leaves in its folder, besides ``Backup`` and ``state``."""


def parser() -> argparse.ArgumentParser:
    """The command line of ELEKTRONN 1."""
    made = Parser(
        prog="elektronn-train",
        description="Train a network from a config of ELEKTRONN 1 (.py). The config is read, not run. Results go to "
        "save_path/save_name; a run that was stopped goes on where it was, and nothing is ever deleted.",
        epilog="`elektronn config upgrade CONFIG > params.yaml` shows what the config means today. Exit codes: 0 ok, 2 usage or "
        "settings, 3 a check failed, 4 data unreadable, 5 result not writable, 130 stopped with state saved.",
    )
    made.add_argument("config", type=Path, metavar="CONFIG", help="config file, or the name of an example")
    made.add_argument(
        "--gpu",
        type=device_name,
        metavar="{auto,false,N}",
        help="auto: a GPU if there is one; false: CPU; N: GPU number N (default: `device` of the config)",
    )
    made.add_argument(
        "--trust", action="store_true", help="run a config that cannot be read; only if you know its author"
    )
    talk_arguments(made)
    return made


def device_name(text: str) -> str:
    """``--gpu`` in our words."""
    if text.lower() == "false":
        return "cpu"
    if text.lower() == "auto":
        return "auto"
    if text.isdecimal() and int(text) < 100:
        return f"cuda:{int(text)}"
    raise argparse.ArgumentTypeError(f"'{text}': write auto, false or the number of a GPU")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    given = parser().parse_args(arguments)
    given.log = None
    return guarded("elektronn-train", given, run)


def run(given: argparse.Namespace) -> None:
    """Train."""
    from elektronn.cli.geometry_table import print_geometry, wide
    from elektronn.cli.old_run import find_config, upgraded
    from elektronn.cli.train import carry_out, finish, table_volumes
    from elektronn.network.device import choose_device
    from elektronn.training.group import is_grouped
    from elektronn.training.stage import Outputs

    if is_grouped():
        raise ConfigError(
            "elektronn-train: trains in one process; `elektronn config upgrade` the config, and start `elektronn train` "
            "under torchrun"
        )
    config = find_config(given.config)
    old, new, params = upgraded(config, Path.cwd(), trust=given.trust)
    display = Display("elektronn-train", None)
    for text in old.warnings:
        display.warn(text)
    params = _on_device(params, new.name, given.gpu)
    experiment = params.experiments[new.name]
    folder = new.folder
    if folder.exists() and not new.overwrite:
        raise ConfigError(f"{folder}: exists and overwrite is False; choose another save_name, nothing was changed")
    display.line(f"device {choose_device(experiment.training.device)}, results in {folder}")
    outputs = Outputs(folder / FILES[0], folder / FILES[1], folder / FILES[2], folder / "state")
    carry_out(
        experiment,
        table_volumes(params, experiment),
        outputs,
        display,
        start=_start(new.start, old.options) if new.start is not None else None,
        fitted=lambda document: print_geometry(new.name, experiment.network, wide(stderr=True), document),
        ready=lambda fingerprint: _claim(new, config, fingerprint, display),
        status=new.status,
        talk=Talk.of(given),
    )
    finish(
        outputs, display, params, new.name, folder / "params.resolved.yaml", folder / FILES[3] if new.plots else None
    )


def _on_device(params: Params, name: str, device: str | None) -> Params:
    from elektronn.config.load import resolve
    from elektronn.settings import plain

    if device is None:
        return params
    raw = plain(params)
    raw["experiments"][name]["training"]["device"] = device
    return resolve(raw)


def _start(file: Path, options: Mapping[str, Any]) -> Start:
    """Initial weights from a parameter file of either generation."""
    import torch

    from elektronn.artefacts import digest
    from elektronn.legacy.elektronn1 import loose_weights
    from elektronn.legacy.param_file import read_param
    from elektronn.training.stage import Start

    if not file.is_file():
        raise DataError(f"{file}: no such file; correct param_file")
    if file.suffix == ".safetensors":
        return Start.of(file)
    arrays = loose_weights([layer.arrays for layer in read_param(file).layers], options)
    return Start(str(file), {name: torch.from_numpy(a.copy()) for name, a in arrays.items()}, digest(file))


def _claim(new: Upgraded, config: Path, fingerprint: str, display: Display) -> None:
    """Make the run's folder ours: set another run aside, keep the config as it was written and as it is read."""
    from elektronn.artefacts import storage, write_text
    from elektronn.cli.old_run import as_yaml, set_aside
    from elektronn.training.checkpoint import locked
    from elektronn.training.stage import made_by

    folder = new.folder
    with locked(folder / "state"), storage(folder):
        before = made_by(folder / FILES[0])
        if before not in (None, fingerprint) and (place := set_aside(folder, FILES)):
            display.line(f"{folder}: held another run, which now stands in {place}")
        (folder / "Backup").mkdir(exist_ok=True)
        shutil.copyfile(config, folder / "Backup" / "config.py")
        write_text(folder / "params.yaml", as_yaml(new, config))


def entry() -> NoReturn:
    """Entry point of the console script."""
    sys.exit(main())
