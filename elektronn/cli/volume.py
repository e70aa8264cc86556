"""``elektronn volume``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from elektronn.artefacts import write_json
from elektronn.cli.options import length, volume
from elektronn.cli.progress import Display
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import open_volume
from elektronn.volumes.table import ROLES


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument("name", metavar="NAME", help="name of the volume")
    verb.add_argument("out", type=Path, metavar="OUT", help="card to write (JSON)")
    verb.add_argument("--image", type=volume, required=True, metavar="IMAGE", help="image volume")
    verb.add_argument("--labels", type=volume, metavar="LABELS", help="IDs or class labels")
    verb.add_argument("--role", default="predict", choices=ROLES, help="what it is for (default: predict)")
    verb.add_argument("--voxel-nm", type=length, nargs=3, metavar=("Z", "Y", "X"), help="voxel size")
    verb.add_argument("--log", metavar="FILE", help="also write what is printed to this file")


def run(given: argparse.Namespace) -> None:
    """Describe."""
    card: dict[str, Any] = {"volume": given.name, "role": given.role, "voxel_nm": given.voxel_nm}
    for what in ("image", "labels"):
        if getattr(given, what) is not None:
            card[what] = describe(getattr(given, what))
    write_json(given.out, card)
    said = " ".join(
        f"{what} {'×'.join(map(str, card[what]['size']))} {card[what]['dtype']}"
        for what in ("image", "labels")
        if what in card
    )
    Display("volume", given.log).line(f"{given.name}: {said}")


def describe(address: Address) -> dict[str, Any]:
    """What a volume is: address, size zyx, channels, type, hash of the file."""
    with open_volume(address) as opened:
        return {
            "address": str(address),
            "size": list(opened.size),
            "channels": opened.channels,
            "dtype": str(opened.dtype),
            "sha256": address.digest,
        }
