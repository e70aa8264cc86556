"""The chain of components: what it needs is known before anything is cut, what it does comes after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from elektronn.axes import Size
from elektronn.errors import ConfigError
from elektronn.sampling.augment import Augmentation, Spatial, Values
from elektronn.sampling.grey import Change
from elektronn.sampling.maps import IDENTITY, Map, Matrix
from elektronn.sampling.spatial import Part

SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.0)
"""Strengths at which a map that fits nowhere is tried again."""

Outcome = Literal["", "warped", "shrunk", "plain"]
"""What became of an example's warp; empty: it had none."""


@dataclass(frozen=True)
class Chain:
    """Components for patches of one size.

    Args:
        components: in the order of their application.
        patch: size zyx.
        channels: of the images.

    Raises:
        ConfigError: a component cannot work on such patches; says why.
    """

    components: Sequence[Augmentation]
    patch: Size
    channels: int
    spatial: Sequence[Spatial] = field(init=False, repr=False)
    values: Sequence[Values] = field(init=False, repr=False)
    centring: Matrix = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # a frozen value may compute fields once, at birth
        object.__setattr__(self, "spatial", [c for c in self.components if isinstance(c, Spatial)])
        object.__setattr__(self, "values", [c for c in self.components if isinstance(c, Values)])
        centring = IDENTITY.copy()
        centring[:3, 3] = [-(n - 1) / 2 for n in self.patch]
        object.__setattr__(self, "centring", centring)
        for component in self.components:
            if fault := getattr(component, "fault", lambda patch, channels: None)(self.patch, self.channels):
                raise ConfigError(fault)

    def parts(self, random: np.random.Generator) -> list[Part]:
        """Draw what the spatial components contribute to one map."""
        drawn: list[Part | None] = [component.draw(random, self.patch) for component in self.spatial]
        return [part for part in drawn if part is not None]

    def changes(self, random: np.random.Generator) -> list[list[Change]]:
        """Draw what happens to the values, per channel."""
        changes: list[list[Change]] = [[] for _ in range(self.channels)]
        for component in self.values:
            for channel, change in component.draw(random, self.patch, self.channels):
                changes[channel].append(change)
        return changes

    def maps(self, parts: Sequence[Part]) -> Iterator[tuple[Map, Outcome, Sequence[float]]]:
        """The map of all parts, then weaker ones for images in which it fits nowhere; the last one is not warped.

        With each map, what became of the warp, and the strength of every part.
        """
        is_bent = any(part.bends for part in parts)
        for share in SHARES:
            strengths = [share if part.too_large == "shrink" else float(share == 1) for part in parts]
            map = Map()
            for part, strength in zip(parts, strengths):
                map = part.onto(map, strength)
            left = any(part.bends and strength for part, strength in zip(parts, strengths))
            outcome: Outcome = "" if not is_bent else "warped" if share == 1 else "shrunk" if left else "plain"
            yield map.after(self.centring), outcome, strengths


def must_fit(parts: Sequence[Part]) -> bool:
    """Whether some part forbids to go on with a weaker map."""
    return any(part.too_large == "error" for part in parts)
