"""What most trainings ask of the sampler, as plain numbers for compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.chain import Chain, Outcome
from elektronn.sampling.cubes import Cube
from elektronn.sampling.direct import CURVES, FLIP, WARP, cut, draft
from elektronn.sampling.grey import Grey
from elektronn.sampling.outputs import Outputs
from elektronn.sampling.spatial import Flip, Warp

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Recipe:
    """A chain of flips, warps and one grey curve per channel, and cubes of bytes in memory with labels of classes.

    The numbers are those of :func:`elektronn.sampling.direct.draft` and ``cut``.
    """

    cubes: Sequence[Cube]
    key: NDArray[np.uint64]
    shares: Numbers
    frames: Whole
    spatial: Numbers
    grey: Numbers
    channels: Whole
    patch_ends: Whole
    output_ends: Whole
    first: Whole
    stride: Whole

    @classmethod
    def of(
        cls,
        cubes: Sequence[Cube],
        chain: Chain,
        outputs: Outputs,
        settings: SamplingSettings,
        *,
        key: NDArray[np.uint64],
        shares: Numbers,
    ) -> Recipe | None:
        """That of a sampler with a key of its draws and cumulated shares of the cubes; ``None``: it asks for more."""
        curves = [component for component in chain.values if isinstance(component, Grey)]
        channels = curves[0].channels if curves else ()
        if not (
            all(_is_plain(cube) for cube in cubes)
            and all(isinstance(c, Warp) or (isinstance(c, Flip) and not c.isotropic) for c in chain.spatial)
            and len(curves) == len(chain.values) <= 1
            and len(set(channels)) == len(channels)
            and settings.ignore_above >= 1
            and settings.interpolation == "linear"
        ):
            return None
        grey = curves[0] if curves else Grey()
        return cls(
            cubes,
            key,
            shares,
            np.stack([cube.frame for cube in cubes]),
            np.array([_numbers(component) for component in chain.spatial]).reshape(-1, 8),
            np.array([grey.probability, grey.contrast, grey.brightness, grey.gamma, 2.0]),
            np.array(channels, np.int64),
            np.array([(0, 0, 0), outputs.corner]),
            np.array([outputs.first, outputs.last]),
            np.array(outputs.first),
            np.array(outputs.stride),
        )

    def example(
        self, step: int, number: int, image: NDArray[np.float32], labels: NDArray[Any]
    ) -> tuple[Cube, Outcome] | None:
        """Fill image and labels of one example; ``None``: its warp fits nowhere, and nothing is made."""
        made = np.empty(CURVES + 4 * len(image))
        index, is_warped = draft(
            self.key,
            step,
            number,
            self.shares,
            self.frames,
            self.spatial,
            self.grey,
            self.channels,
            self.patch_ends,
            self.output_ends,
            made,
        )
        if index < 0:
            return None
        cube, origin = self.cubes[index], self.frames[index, 1]
        cut(made, cube.image, cube.scale, cube.labels, origin, self.first, self.stride, image, labels)
        return cube, "warped" if is_warped else ""


def _is_plain(cube: Cube) -> bool:
    return (
        isinstance(cube.image, np.ndarray)
        and cube.image.dtype == np.uint8
        and cube.image.flags.c_contiguous
        and isinstance(cube.labels, np.ndarray)
        and not cube.of_sections
        and cube.labels.dtype.kind in "ui"
        and cube.labels.flags.c_contiguous
        and cube.weights is None
    )


def _numbers(component: Any) -> list[float]:
    if isinstance(component, Flip):
        return [FLIP, component.z, component.y, component.x, component.transpose, 0, 0, 0]
    return [WARP, component.probability, component.amount, *component.numbers]
