"""What a trainer is given: a network, and where its batches come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from elektronn.network.build import Network
from elektronn.sampling.batch import Supply
from elektronn.sampling.cubes import Cube
from elektronn.sampling.slabs import Slab


@dataclass(frozen=True)
class Task:
    """What is trained on what.

    Attributes:
        network: with fresh weights.
        supply: of the training batches.
        watch: of the monitor examples: ``train``, and ``valid`` if there are any.
        preview: cube that previews show a section of; None where there is nothing to show.
        fingerprint: of settings, data and code; a backup with another one is not resumed.
        slabs: what previews show instead, if there are any.
    """

    network: Network
    supply: Supply
    watch: Mapping[str, Supply]
    preview: Cube | None
    fingerprint: str
    slabs: tuple[Slab, ...] = ()
