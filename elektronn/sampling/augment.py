"""What can be done to training examples, and the section of settings that asks for it."""

from __future__ import annotations

from typing import Annotated, Literal

from elektronn.sampling.defects import BlurredSection, FadedSection, MisalignedSection, MissingSection
from elektronn.sampling.elektronn1 import Elektronn1Warp
from elektronn.sampling.grey import Blur, Grey, Noise
from elektronn.sampling.spatial import Elastic, Flip, Warp
from elektronn.settings import Field, Fraction, NotNegative, Settings, checked

Spatial = Flip | Warp | Elastic | Elektronn1Warp | MisalignedSection
"""Components that contribute to the map from patch to image."""
Values = Grey | Noise | Blur | MissingSection | FadedSection | BlurredSection
"""Components that change the values of what was cut."""
Augmentation = Annotated[Spatial | Values, Field(discriminator="kind")]


class SamplingSettings(Settings):
    """How training examples are cut and changed."""

    batch_size: Annotated[int, Field(ge=1)] = 1
    """Examples per step."""
    augment: tuple[Augmentation, ...] = (Flip(), Warp(), Grey())
    """Components, applied in this order; spatial ones become one map, which comes first."""
    interpolation: Literal["linear", "nearest"] = "linear"
    """Of images. Class labels are always the nearest ones, regression targets always linear."""
    ignore_above: Fraction = 1.0
    """An example with a larger share of ignored labels (−1) is drawn again."""
    workers: NotNegative = 1
    """Threads that prepare batches ahead; 0 prepares them inside the step. The batches are the same."""
    prefetch: Annotated[int, Field(ge=1)] = 4
    """Batches kept ready."""

    @checked
    def _one_of_each_bend(self) -> SamplingSettings:
        for once in (Elastic, Elektronn1Warp):
            if sum(isinstance(component, once) for component in self.augment) > 1:
                kind = once.model_fields["kind"].default
                raise ValueError(f"augment: {kind} stands twice, and one map holds one; take one out")
        return self
