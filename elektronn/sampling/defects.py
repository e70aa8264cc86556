"""Defects of real EM stacks: sections that are missing, misaligned, faded or out of focus.

A section is a plane of the patch. All channels of a section share its defect. Labels describe what is there, not what
can be seen, so they stay as they are; only a misaligned section takes its labels along, unless set otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.sampling.grey import Change, Changes, Image, Range, Ranged, Softening
from elektronn.sampling.spatial import Numbers, TooLarge
from elektronn.settings import Fraction, Positive

if TYPE_CHECKING:  # maps are compiled code, which settings do not need
    from elektronn.sampling.maps import Map

Shares = tuple[Fraction, Fraction]


class Defect(Ranged):
    """A run of neighbouring sections with one defect, in a share of the examples."""

    probability: Fraction = 0.05
    """Share of the examples that have the defect."""
    sections: tuple[Positive, Positive] = (1, 1)
    """How many neighbouring sections have it, from – to; a patch of fewer is hit as a whole."""

    def run(self, random: np.random.Generator, patch: Size) -> slice | None:
        """The sections that are hit; ``None``: none this time."""
        if random.random() >= self.probability:
            return None
        low, high = self.sections
        count = min(int(random.integers(low, high, endpoint=True)), patch.z)
        start = int(random.integers(patch.z - count, endpoint=True))
        return slice(start, start + count)


class OfSections(Defect):
    """A defect of the values of sections."""

    def draw(self, random: np.random.Generator, patch: Size, channels: int) -> Changes:
        """What happens to which channel."""
        sections = self.run(random, patch)
        if sections is None:
            return []
        change = self.change(random, sections)
        return [(channel, change) for channel in range(channels)]

    def change(self, random: np.random.Generator, sections: slice) -> Change:
        """One draw for the sections that are hit."""
        raise NotImplementedError


class MissingSection(OfSections):
    """Sections that are not there: one grey value, dark by default."""

    kind: Literal["missing_section"] = "missing_section"
    value: Shares = (0.0, 0.0)
    """Grey value, from – to."""

    def fault(self, patch: Size, channels: int) -> str | None:
        """Why this component cannot work on such patches, with the cure."""
        if patch.z == 1:
            return "missing_section blanks a patch of one section as a whole; take it out, or take a patch of more sections"
        return None

    def change(self, random: np.random.Generator, sections: slice) -> Blank:
        """One draw for the sections that are hit."""
        return Blank(float(random.uniform(*self.value)), sections)


@dataclass(frozen=True)
class Blank:
    """One grey value for some sections; a :class:`~.grey.Change`."""

    value: float
    sections: slice

    def apply(self, image: Image) -> None:
        """See :class:`~.grey.Change`."""
        image[self.sections] = self.value

    @property
    def numbers(self) -> Numbers:
        """See :class:`~.grey.Change`."""
        return {"missing section: sections": [self.sections.stop - self.sections.start]}


class FadedSection(OfSections):
    """Sections of low contrast: the distance of every value from the section's mean shrinks."""

    kind: Literal["faded_section"] = "faded_section"
    contrast: Shares = (0.1, 0.5)
    """Share of the contrast that is left, from – to."""

    def change(self, random: np.random.Generator, sections: slice) -> Fading:
        """One draw for the sections that are hit."""
        return Fading(float(random.uniform(*self.contrast)), sections)


@dataclass(frozen=True)
class Fading:
    """Less contrast in some sections; a :class:`~.grey.Change`."""

    contrast: float
    sections: slice

    def apply(self, image: Image) -> None:
        """See :class:`~.grey.Change`."""
        for section in image[self.sections]:
            middle = section.mean(dtype=np.float64)
            section[:] = middle + (section - middle) * self.contrast

    @property
    def numbers(self) -> Numbers:
        """See :class:`~.grey.Change`."""
        count = self.sections.stop - self.sections.start
        return {"faded section: sections": [count], "faded section: contrast": [self.contrast]}


class BlurredSection(OfSections):
    """Sections out of focus: a Gaussian blur in y and x."""

    kind: Literal["blurred_section"] = "blurred_section"
    sigma_vox: Range = (1.0, 3.0)
    """Standard deviation of the Gaussian, from – to."""

    def change(self, random: np.random.Generator, sections: slice) -> Softening:
        """One draw for the sections that are hit."""
        return Softening(float(random.uniform(*self.sigma_vox)), sections)


class MisalignedSection(Defect):
    """Sections shifted in y and x by whole voxels: some alone (a slip), or all from one on (a step).

    The labels move along by default, so that every label still describes the voxel it lies on; that is what gunpowder's
    shift augmentation and PyTorch Connectomics do for slips and steps. With ``labels: stay`` the network learns to draw
    the boundary of a slipped section where its neighbours have it, as the data augmentation for SNEMI3D did as an option
    for slips (Lee et al. 2017); a network of small field of view cannot.
    """

    kind: Literal["misaligned_section"] = "misaligned_section"
    shift_vox: Positive = 5
    """Largest shift along y and along x, image voxels."""
    step: Fraction = 0.5
    """Share of steps among the misalignments; the rest are slips."""
    labels: Literal["move", "stay"] = "move"
    """Whether labels of a slipped section move along; those of a step always do."""
    too_large: TooLarge = "shrink"
    """As for ``warp``; a shift that fits nowhere is halved."""

    def draw(self, random: np.random.Generator, patch: Size) -> Slip | None:
        """One misalignment; ``None``: none this time."""
        sections = self.run(random, patch)
        if sections is None:
            return None
        is_step = bool(random.random() < self.step)
        shifts = np.zeros((patch.z, 2))
        shifts[sections.start : None if is_step else sections.stop] = random.integers(
            -self.shift_vox, self.shift_vox, 2, endpoint=True
        )
        return Slip(shifts, is_step or self.labels == "move", self.too_large)


@dataclass(frozen=True)
class Slip:
    """Shifts ``(section, 2)`` of a misalignment, y and x; a :class:`~.spatial.Part`."""

    shifts: NDArray[np.float64]
    labels_move: bool
    too_large: TooLarge
    bends: bool = False

    def onto(self, map: Map, share: float) -> Map:
        """See :class:`~.spatial.Part`."""
        shifts = np.trunc(self.shifts * share)
        image, labels = _sum(map.image_shifts, shifts), map.label_shifts
        return map._replace(image_shifts=image, label_shifts=_sum(labels, shifts) if self.labels_move else labels)

    def numbers(self, share: float) -> Numbers:
        """See :class:`~.spatial.Part`."""
        moved = [shift for shift in np.trunc(self.shifts * share).tolist() if any(shift)]
        if not moved:
            return {}
        return {"misaligned section: sections": [len(moved)], "misaligned section: shift y, x / vox": moved[0]}


def _sum(before: NDArray[np.float64] | None, more: NDArray[np.float64]) -> NDArray[np.float64]:
    return more if before is None else before + more
