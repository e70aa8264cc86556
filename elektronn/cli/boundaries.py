"""``elektronn boundaries``."""

from __future__ import annotations

import argparse

from elektronn.cli.options import params_of, settings_arguments, volume
from elektronn.cli.progress import Display

MOST = 0.9
"""A larger share of boundary is no tissue; in an image nearly every neighbour differs."""


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument("ids", type=volume, metavar="IDS", help="volume of IDs (0 = extracellular or unassigned)")
    verb.add_argument(
        "out", type=volume, metavar="OUT", help="boundary map to make (.h5, .zarr, .zarr@ngff0.4 or .npy)"
    )
    settings_arguments(verb)


def run(given: argparse.Namespace) -> None:
    """Convert."""
    from elektronn.volumes.convert import convert

    display = Display("boundaries", given.log)
    with display.bar():
        share = convert(given.ids, given.out, params_of(given).boundaries, progress=display.advance)
    if share > MOST:
        display.warn(f"{share:.0%} of the voxels are boundary: is {given.ids} a volume of IDs, and not an image?")
    display.line(f"{given.out}: boundary map of {given.ids}")
