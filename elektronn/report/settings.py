"""What a user may choose about the report."""

from __future__ import annotations

from typing import Annotated

from elektronn.settings import Field, Fraction, NotNegative, Settings


class ReportSettings(Settings):
    """How the one-page report looks and judges."""

    title: str = "Cell boundaries"
    """Headline of the page."""

    panels: NotNegative = 4
    """Most test volumes whose places are shown; each gets a best, a median and a worst place."""

    panel_vox: Annotated[int, Field(ge=16, le=512)] = 160
    """Edge of a shown place along y and x, voxels."""

    good: Fraction = 0.9
    """ROC area of the test volumes from which the verdict is green."""

    usable: Fraction = 0.75
    """ROC area below which the verdict is red; between the two it is amber."""
