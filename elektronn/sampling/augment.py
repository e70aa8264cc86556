"""Augmentations as components: spatial ones answer with a matrix, grey ones with a curve."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from elektronn.settings import Field, Fraction, NotNegative, Settings

Matrix = NDArray[np.float64]
NonNegative = Annotated[float, Field(ge=0)]


class Flip(Settings):
    """Mirror along each axis with probability ½ and exchange y with x with probability ½."""

    kind: Literal["flip"] = "flip"
    z: bool = True
    y: bool = True
    x: bool = True
    transpose: bool = True
    """Exchange y and x; needs a patch that is square in y, x."""

    def matrix(self, random: np.random.Generator) -> Matrix:
        """Patch coordinates → source coordinates, both centred; 4×4, order z, y, x, 1."""
        toss = random.integers(0, 2, 4)
        matrix = np.eye(4)
        if self.transpose and toss[3]:
            matrix = matrix[[0, 2, 1, 3]]
        signs = [-1.0 if on and toss[i] else 1.0 for i, on in enumerate((self.z, self.y, self.x))]
        return np.diag([*signs, 1.0]) @ matrix


class Warp(Settings):
    """One random projective map: rotation and shear in the y, x plane, scale, stretch, perspective.

    Parameter ranges at ``amount`` 1 are those of ELEKTRONN 1, but for the rotation in 3-D, which there was never
    negative, and for the perspective, which is new. z is scaled, never rotated: anisotropic data stay so.
    """

    kind: Literal["warp"] = "warp"
    probability: Fraction = 0.7
    """Share of the examples that are warped."""
    amount: NonNegative = 1.0
    """Factor on all ranges below."""
    rotation_deg: NonNegative = 15.0
    shear_deg: NonNegative = 3.0
    scale: NonNegative = 0.1
    """Magnification up to 1 + scale, drawn for each axis."""
    stretch: NonNegative = 0.1
    """Relative change of scale along y from one side to the other in x, and vice versa."""
    perspective: NonNegative = 0.02
    """Relative change of scale from the centre of the patch to its sides."""

    def matrix(self, random: np.random.Generator, half: NDArray[np.float64]) -> Matrix | None:
        """As :meth:`Flip.matrix`; ``half`` is half the patch, zyx, voxels. ``None``: not warped this time."""
        if random.random() >= self.probability:
            return None
        rotation, shear = np.deg2rad(random.uniform(-1, 1, 2) * (self.rotation_deg, self.shear_deg)) * self.amount
        zoom = 1 / (1 + random.uniform(0, 1, 3) * self.scale * self.amount)
        stretch = random.uniform(-1, 1, 2) * self.stretch * self.amount
        lean = random.uniform(-1, 1, 3) * self.perspective * self.amount / np.maximum(half, 1)
        turn = np.eye(4)
        turn[1:3, 1:3] = [
            [math.cos(rotation + shear), math.sin(rotation - shear)],
            [-math.sin(rotation + shear), math.cos(rotation - shear)],
        ]
        pull = np.eye(4)
        pull[1, 2], pull[2, 1] = stretch
        projection = np.eye(4)
        projection[3, :3] = lean
        return turn @ pull @ np.diag([*zoom, 1.0]) @ projection


class Grey(Settings):
    """Random contrast, brightness and gamma: ``clip(a·v + b, 0, 1) ** g`` on values in [0, 1].

    a in 1 ± contrast, b in ± brightness, g = 2 ** U(−gamma, gamma); the ranges of ELEKTRONN 1 by default.
    """

    kind: Literal["grey"] = "grey"
    probability: Fraction = 1.0
    channels: tuple[NotNegative, ...] = (0,)
    """Channels that are changed."""
    contrast: NonNegative = 0.15
    brightness: NonNegative = 0.15
    gamma: NonNegative = 1.0

    def curve(self, random: np.random.Generator) -> tuple[float, float, float]:
        """``(a, b, g)``; the identity (1, 0, 1) when this example is left alone."""
        if random.random() >= self.probability:
            return 1.0, 0.0, 1.0
        a, b, g = random.uniform(-1, 1, 3) * (self.contrast, self.brightness, self.gamma)
        return 1.0 + float(a), float(b), 2.0 ** float(g)


Augmentation = Annotated[Flip | Warp | Grey, Field(discriminator="kind")]
KINDS: dict[str, Any] = {"flip": Flip, "warp": Warp, "grey": Grey}


class SamplingSettings(Settings):
    """How training examples are cut and changed."""

    batch_size: Annotated[int, Field(ge=1)] = 1
    """Examples per step."""
    augment: tuple[Augmentation, ...] = (Flip(), Warp(), Grey())
    """Components, applied in this order; spatial ones become one map."""
    ignore_above: Fraction = 1.0
    """An example with a larger share of ignored labels (−1) is drawn again."""
    workers: NotNegative = 1
    """Threads that prepare batches ahead; 0 prepares them inside the step. The batches are the same."""
    prefetch: Annotated[int, Field(ge=1)] = 4
    """Batches kept ready."""
