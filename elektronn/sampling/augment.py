"""What can be done to training examples, and the section of settings that asks for it."""

from __future__ import annotations

from typing import Annotated, Literal

from elektronn.sampling.defects import BlurredSection, FadedSection, MisalignedSection, MissingSection
from elektronn.sampling.elektronn1 import Elektronn1Warp
from elektronn.sampling.grey import Blur, Grey, Noise
from elektronn.sampling.sections import Border
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
    weights: dict[str, Annotated[float, Field(ge=0)]] = {}
    """How often each training volume is drawn, by name; left out: as often as it has places for a patch."""
    ignore_above: Fraction = 1.0
    """An example with a larger share of ignored labels (−1) is drawn again."""
    standardise: bool = False
    """Shift and scale grey values to mean 0 and deviation 1 over the training volumes, in prediction too."""
    downsample: Annotated[int, Field(ge=1)] = 1
    """Blocks of so many voxels along y and x become one: image means, the most frequent label (−1 if any is)."""
    border: Border = "crop"
    """Images with one label each, of another size than the network's input: crop, keep (patches at random places),
    mirror, zero, mean (continue the images), or reject."""
    lazy_labels: bool = False
    """Labels tell only some classes: the data set ``info`` beside them has a row of told and a row of absent classes."""
    example_weights: dict[str, str] = {}
    """Volume name → volume of weights (FILE:KEY) of the size of its labels: how much each voxel counts in the loss."""
    weights_from_last_channel: bool = False
    """The last channel is an earlier prediction; voxels where it was wrong count more."""
    memory_gb: Annotated[float, Field(gt=0)] = 8.0
    """Volumes that are larger than this together stay on disk and are read by block, with this much memory for blocks."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where examples are cut and changed; with cuda the volumes lie in the memory of the GPU. Grey values agree to
    rounding, class labels but for places half-way between two voxels."""
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
