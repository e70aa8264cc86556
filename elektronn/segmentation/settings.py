"""What a user may choose about segmentation."""

from __future__ import annotations

from typing import Annotated

from elektronn.settings import Field, Fraction, NotNegative, Settings, Triple, checked


class AgglomerateSettings(Settings):
    """How segments that hardly any boundary divides are merged (extra ``agglomerate``)."""

    threshold: Fraction = 0.5
    """Segments that touch are merged, those with the least boundary between them first, while the mean probability on
    the area of a contact is below this."""


class SegmentSettings(Settings):
    """How a boundary probability becomes segments."""

    boundary_threshold: Fraction = 0.5
    """Probability from which a voxel is boundary; all others are interior."""

    seed_nm: Annotated[float, Field(ge=0)] = 20.0
    """Distance to the nearest boundary from which the interior is a seed, nanometres; a neck between two seeds is cut
    where it is narrower than twice this. 0: every connected interior is one segment."""

    min_voxels: NotNegative = 100
    """Segments of fewer interior voxels are not kept; what surrounds them takes their place."""

    per_section: bool = False
    """Segment every section by itself, in 2-D; no id is in two sections."""

    fill_boundaries: bool = True
    """Divide the boundary among the segments; otherwise it keeps id 0."""

    agglomerate: AgglomerateSettings | None = None
    """Merge the segments afterwards; left out: do not. `{}` merges with the default threshold."""

    block: Triple = (64, 128, 128)
    """Part of a volume that is flooded at one time, zyx, voxels; the result does not depend on it."""

    @checked
    def _contacts_are_on_boundaries(self) -> SegmentSettings:
        if self.agglomerate and not self.fill_boundaries:
            raise ValueError(
                "agglomerate: needs the boundary between two segments to be divided among them, or they touch only where "
                "there is none; set fill_boundaries: true"
            )
        return self
