"""Grey-value augmentations: each draws a change of one channel before anything is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.sampling.spatial import NonNegative, Numbers
from elektronn.settings import Fraction, NotNegative, Settings, checked

Image = NDArray[np.float32]
Range = tuple[NonNegative, NonNegative]
"""From – to; a number is drawn uniformly between."""


class Change(Protocol):
    """What one component does to one channel of one example."""

    def apply(self, image: Image) -> None:
        """Change ``image`` (zyx, values in [0, 1]) in place."""
        ...

    @property
    def numbers(self) -> Numbers:
        """What was drawn."""
        ...


Changes = list[tuple[int, Change]]
"""Channel and what happens to it."""


class Ranged(Settings):
    """A section whose pairs of numbers are ranges."""

    @checked
    def _in_order(self) -> Ranged:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name != "channels" and isinstance(value, tuple) and len(value) == 2 and value[0] > value[1]:
                raise ValueError(f"{name}: {list(value)} is no range; write the smaller number first")
        return self


class OfChannels(Ranged):
    """A component that changes some channels, each by draws of its own."""

    channels: tuple[NotNegative, ...] = (0,)
    """Channels that are changed."""

    def fault(self, patch: Size, channels: int) -> str | None:
        """Why this component cannot work on such patches, with the cure."""
        if beyond := [channel for channel in self.channels if channel >= channels]:
            kind = type(self).model_fields["kind"].default
            return f"{kind}.channels: {beyond[0]}: the images have {channels} channels, counted from 0"
        return None

    def draw(self, random: np.random.Generator, patch: Size, channels: int) -> Changes:
        """What happens to which channel."""
        drawn = [(channel, self.change(random)) for channel in self.channels]
        return [(channel, change) for channel, change in drawn if change is not None]

    def change(self, random: np.random.Generator) -> Change | None:
        """One draw; ``None``: nothing this time."""
        raise NotImplementedError


class Grey(OfChannels):
    """Random contrast, brightness and gamma: ``clip(a·v + b, 0, 1) ** g`` on values in [0, 1].

    a in 1 ± contrast, b in ± brightness, g = 2 ** U(−gamma, gamma); the ranges of ELEKTRONN 1 by default. ``gamma: 0``
    leaves the power away.
    """

    kind: Literal["grey"] = "grey"
    probability: Fraction = 1.0
    contrast: NonNegative = 0.15
    brightness: NonNegative = 0.15
    gamma: NonNegative = 1.0

    def change(self, random: np.random.Generator) -> Curve | None:
        """One draw: contrast, brightness, gamma in this order."""
        if random.random() >= self.probability:
            return None
        a, b, g = (2 * value - 1 for value in random.random(3).tolist())
        return Curve(1.0 + a * self.contrast, b * self.brightness, 2.0 ** (g * self.gamma))


@dataclass(frozen=True)
class Curve:
    """``clip(a·v + b, 0, 1) ** g``; a :class:`Change`.

    Example:
        >>> image = np.array([[[0.0, 0.25, 0.5, 1.0]]], np.float32)
        >>> Curve(1.0, 0.0, 2.0).apply(image)
        >>> image
        array([[[0.    , 0.0625, 0.25  , 1.    ]]], dtype=float32)
    """

    a: float
    b: float
    g: float

    def apply(self, image: Image) -> None:
        """See :class:`Change`."""
        from elektronn.sampling.rows import bend_values

        bend_values(image, np.float32(self.a), np.float32(self.b), np.float32(self.g))

    @property
    def numbers(self) -> Numbers:
        """See :class:`Change`."""
        return {"grey: contrast": [self.a], "grey: brightness": [self.b], "grey: gamma": [self.g]}


class Noise(OfChannels):
    """Additive normal noise of a strength drawn per example; values stay in [0, 1]."""

    kind: Literal["noise"] = "noise"
    probability: Fraction = 0.5
    sigma: Range = (0.0, 0.05)
    """Standard deviation, of the range of values."""

    def change(self, random: np.random.Generator) -> Grain | None:
        """One draw."""
        if random.random() >= self.probability:
            return None
        return Grain(float(random.uniform(*self.sigma)), int(random.integers(2**63)))


@dataclass(frozen=True)
class Grain:
    """Normal noise from a stream of its own; a :class:`Change`."""

    sigma: float
    seed: int

    def apply(self, image: Image) -> None:
        """See :class:`Change`."""
        image += self.noise(image.shape)
        np.clip(image, 0, 1, out=image)

    def noise(self, shape: tuple[int, ...]) -> Image:
        """What is added to an image of that shape."""
        stream = np.random.Generator(np.random.SFC64(self.seed))
        noise = stream.standard_normal(shape, dtype=np.float32)
        noise *= np.float32(self.sigma)
        return noise

    @property
    def numbers(self) -> Numbers:
        """See :class:`Change`."""
        return {"noise: sigma": [self.sigma]}


class Blur(OfChannels):
    """Gaussian blur in y and x of a width drawn per example; beyond the patch lies its mirror image."""

    kind: Literal["blur"] = "blur"
    probability: Fraction = 0.2
    sigma_vox: Range = (0.0, 1.5)
    """Standard deviation of the Gaussian."""

    def change(self, random: np.random.Generator) -> Softening | None:
        """One draw."""
        if random.random() >= self.probability:
            return None
        return Softening(float(random.uniform(*self.sigma_vox)))


@dataclass(frozen=True)
class Softening:
    """Gaussian blur in y and x of some sections; a :class:`Change`."""

    sigma_vox: float
    sections: slice | None = None
    """``None``: all."""

    def apply(self, image: Image) -> None:
        """See :class:`Change`."""
        from scipy.ndimage import gaussian_filter

        part = image if self.sections is None else image[self.sections]
        gaussian_filter(part, self.sigma_vox, axes=(1, 2), truncate=3.0, output=part)

    @property
    def numbers(self) -> Numbers:
        """See :class:`Change`."""
        if self.sections is None:
            return {"blur: sigma / vox": [self.sigma_vox]}
        count = self.sections.stop - self.sections.start
        return {"blurred section: sections": [count], "blurred section: sigma / vox": [self.sigma_vox]}
