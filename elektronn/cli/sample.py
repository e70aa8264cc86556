"""``elektronn sample``."""

from __future__ import annotations

import argparse
from pathlib import Path

from elektronn.cli.options import params_of, settings_arguments
from elektronn.cli.progress import Display
from elektronn.errors import ConfigError


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument("out", type=Path, metavar="OUT", help="HDF5 file to make: raw (uint8) and ids (uint32)")
    verb.add_argument("--index", type=int, default=0, metavar="N", help="which cube, from 0 (default 0)")
    settings_arguments(verb)


def run(given: argparse.Namespace) -> None:
    """Make the cube."""
    from elektronn.volumes.sample import write_sample

    if given.index < 0:
        raise ConfigError(f"--index {given.index}: cubes are counted from 0; write 0 or more")
    settings = params_of(given).sample
    write_sample(settings, given.index, given.out)
    Display("sample", given.log).line(
        f"{given.out}: cube {given.index}, raw {settings.image_size}, ids {'×'.join(map(str, settings.label_size))} (zyx)"
    )
