"""``elektronn segment``."""

from __future__ import annotations

import argparse
from pathlib import Path

from elektronn.cli.options import length, params_of, settings_arguments, volume
from elektronn.cli.progress import Display


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument("probability", type=volume, metavar="PROBABILITY", help="probability of boundary")
    verb.add_argument("out", type=volume, metavar="OUT", help="ids to make (.zarr: OME-NGFF 0.5; .h5, .npy)")
    verb.add_argument("--manifest", type=Path, metavar="FILE", help="manifest (JSON); default: OUT.json")
    verb.add_argument(
        "--voxel-nm", type=length, nargs=3, metavar=("Z", "Y", "X"), help="voxel size where the volume does not say it"
    )
    settings_arguments(verb)


def run(given: argparse.Namespace) -> None:
    """Segment."""
    from elektronn.segmentation.stage import segment

    display = Display("segment", given.log)
    with display.bar():
        count = segment(
            given.probability,
            given.out,
            params_of(given).segment,
            voxel_nm=tuple(given.voxel_nm) if given.voxel_nm else None,
            manifest=given.manifest or given.out.path.with_name(given.out.path.name + ".json"),
            progress=display.advance,
        )
    display.line(f"{given.out}: {count} segments of {given.probability}")
