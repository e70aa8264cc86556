"""Compare predictions with labels, block by block, and judge every volume at one threshold."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from elektronn.axes import Box, Size
from elektronn.errors import ConfigError, DataError, at
from elektronn.evaluation.cells import Cells
from elektronn.evaluation.counters import Counter, Histogram
from elektronn.evaluation.curves import best_threshold
from elektronn.evaluation.placement import Place, overlap, parts, score
from elektronn.evaluation.settings import EvaluateSettings
from elektronn.evaluation.uncertainty import Interval, roc_area_interval
from elektronn.evaluation.workers import shared, workers
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import Volume, open_volume

DEFAULT_THRESHOLD = 0.5

SECTION_BINS = 4096
"""Score bins per section where predictions are not uint8."""

BLOCK_BINS = 256
"""Score bins per block where predictions are not uint8."""


@dataclass(frozen=True)
class Pair:
    """A prediction and the labels it is judged by.

    Attributes:
        name: short name of the volume, unique.
        role: ``valid``, ``test`` or another word; volumes of a role are pooled.
        prediction: ``czyx`` with class 1 = boundary, or ``zyx`` probability of boundary.
        labels: −1 ignored, 0, 1 boundary; centred in the image.
        label_axes: order of the labels' axes on disk; by default what the file says.
    """

    name: str
    role: str
    prediction: Address
    labels: Address
    label_axes: str | None = None


@dataclass(frozen=True)
class Measured:
    """The counts of one volume and the place that was judged.

    Attributes:
        name: of the pair.
        role: of the pair.
        histogram: all of it.
        place: what was judged.
        sections: z and counts of each section, z in the image where it is known, else in the prediction; if asked for.
        blocks: counts of each block for resampling; if asked for.
        made_of: sha256 of ``model`` and ``image`` that the prediction says it was made of.
    """

    name: str
    role: str
    histogram: Histogram
    place: Place
    sections: tuple[tuple[int, Histogram], ...] = ()
    blocks: tuple[Histogram, ...] = ()
    made_of: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """All that was counted, and the threshold at which it is judged.

    Attributes:
        volumes: one per pair, in the given order.
        threshold: score from which a voxel is called boundary.
        threshold_from: ``valid`` (best F1 there) or ``default`` (0.5).
        curve_points: most points of a curve in the tables.
        warnings: sentences a reader must know.
        bootstrap: resamples for the interval of the ROC area; 0 for none.
    """

    volumes: tuple[Measured, ...]
    threshold: float
    threshold_from: str
    curve_points: int
    warnings: tuple[str, ...]
    bootstrap: int = 0

    @property
    def roles(self) -> dict[str, Histogram]:
        """Role → counts of all its volumes; ``test`` first, then ``valid``, then the others."""
        names = sorted(
            {volume.role for volume in self.volumes}, key=lambda role: (role != "test", role != "valid", role)
        )
        return {name: pooled(v.histogram for v in self.volumes if v.role == name) for name in names}

    def interval(self, role: str) -> Interval | None:
        """Confidence interval of the ROC area of a role; its blocks are those of all its volumes."""
        blocks = [block for volume in self.volumes if volume.role == role for block in volume.blocks]
        return roc_area_interval(blocks, self.bootstrap)

    @property
    def judged(self) -> str:
        """The role that the tables and the verdict are about: ``test`` if there is one."""
        return next(iter(self.roles))


def pooled(histograms: Iterator[Histogram]) -> Histogram:
    """The sum of at least one histogram."""
    total = next(histograms)
    for histogram in histograms:
        total = total + histogram
    return total


def evaluate(pairs: Sequence[Pair], settings: EvaluateSettings, *, sections: bool = False) -> Evaluation:
    """Judge predictions by labels in one pass over the files and in constant memory.

    The threshold is the one of best F1 over all ``valid`` volumes together, so that nothing about the test
    volumes is fitted to them; without ``valid`` volumes it is 0.5.

    Args:
        pairs: predictions and their labels.
        settings: what the section ``evaluate`` says.
        sections: count each section by itself as well.

    Raises:
        ConfigError: two volumes have one name.
        DataError: no pairs, a file is unreadable, the boxes do not overlap, or not one voxel is labelled.
    """
    if not pairs:
        raise DataError("nothing to evaluate: name at least one volume with labels and a prediction")
    names = [pair.name for pair in pairs]
    if len(set(names)) < len(names):
        raise ConfigError(f"two volumes have the same name among {', '.join(sorted(names))}; give each its own")
    volumes = tuple(_measured(pair, settings, sections) for pair in pairs)
    if not any(volume.histogram.voxels for volume in volumes):
        files = ", ".join(str(pair.labels) for pair in pairs)
        raise DataError(f"{files}: every label is -1 (ignored): nothing can be judged; check the labels")
    pooled(volume.histogram for volume in volumes)  # all counted alike, or a DataError
    threshold, source, reason = _threshold(volumes)
    warnings = [*reason, *_overlaps(pairs), *(text for volume in volumes for text in _gaps(volume))]
    return Evaluation(volumes, threshold, source, settings.curve_points, tuple(warnings), settings.bootstrap)


def _threshold(volumes: Sequence[Measured]) -> tuple[float, str, list[str]]:
    valid = [volume.histogram for volume in volumes if volume.role == "valid"]
    found = best_threshold(pooled(iter(valid))) if valid else None
    if found is not None:
        return found, "valid", []
    why = "the validation volumes hold no boundary" if valid else "there is no validation volume"
    text = f"{why}: the threshold is {DEFAULT_THRESHOLD} and was not chosen by data"
    return DEFAULT_THRESHOLD, "default", [text]


def _overlaps(pairs: Sequence[Pair]) -> Iterator[str]:
    seen: dict[Address, Pair] = {}
    for pair in pairs:
        other = seen.setdefault(pair.labels, pair)
        if other.role != pair.role:
            yield f"volumes {other.name} ({other.role}) and {pair.name} ({pair.role}) use the same labels {pair.labels}"


def _gaps(volume: Measured) -> Iterator[str]:
    histogram = volume.histogram
    if not histogram.voxels:
        yield f"volume {volume.name}: every label is -1 (ignored); it has no figures"
    elif not histogram.positives:
        yield f"volume {volume.name}: no boundary among the labels; ROC area, average precision and recall are undefined"
    elif not histogram.negatives:
        yield f"volume {volume.name}: nothing but boundary among the labels; the ROC area is undefined"


class _Counters:
    """What one worker counts into; what is asked for per section or per block it counts by itself only where it must.

    Attributes:
        whole: of the volume.
        sections: the same, unless sections have more bins.
        blocks: for resampling.
    """

    def __init__(self, dtype: Any, bins: int) -> None:
        self.whole = Counter(dtype, bins)
        self.sections = self.whole if bins >= SECTION_BINS else Counter(dtype, SECTION_BINS)
        self.blocks = Counter(dtype, BLOCK_BINS)


def _measured(pair: Pair, settings: EvaluateSettings, sections: bool) -> Measured:
    with (
        at(f"volume {pair.name}"),
        open_volume(pair.prediction) as prediction,
        open_volume(pair.labels, pair.label_axes) as labels,
    ):
        place = overlap(prediction, labels)
        along = Cells(Size(1, place.size.y, place.size.x), SECTION_BINS) if sections else None
        around = Cells(Size(*settings.bootstrap_block), BLOCK_BINS) if settings.bootstrap else None
        boxes = list(parts(place, prediction, settings.block))
        with at(str(pair.prediction)):
            own = [_Counters(prediction.dtype, settings.bins) for _ in range(workers(len(boxes)))]
        count = partial(_count, pair, prediction, labels, place, along, around)
        with shared(boxes, count, own) as counted:
            deque(counted, maxlen=0)
        first = (place.image or place.prediction).z
        return Measured(
            pair.name,
            pair.role,
            pooled(counters.whole.histogram() for counters in own),
            place,
            tuple((at_z.z + first, histogram) for at_z, histogram in along.items()) if along else (),
            tuple(histogram for _, histogram in around.items()) if around else (),
            _made_of(prediction),
        )


def _count(
    pair: Pair,
    prediction: Volume,
    labels: Volume,
    place: Place,
    along: Cells | None,
    around: Cells | None,
    box: Box,
    counters: _Counters,
) -> None:
    """Read a box of both volumes and count it."""
    scores, marks = score(prediction, box), labels.read(box.shifted(place.shift))
    start, classes = box.shifted(-n for n in place.prediction).start, max(2, prediction.channels)
    with at(f"{pair.prediction} and {pair.labels}"):
        if along is None or counters.sections is not counters.whole:
            counters.whole.add(scores, marks, classes)
        if along is not None:
            along.add(start, scores, marks, counters.sections, classes)
        if around is not None:
            around.add(start, scores, marks, counters.blocks, classes)


def _made_of(prediction: Volume) -> dict[str, str]:
    """Digests of what made a prediction, as far as it says them."""
    said = prediction.attributes
    return {name: str(said[f"{name}_sha256"]) for name in ("model", "image") if said.get(f"{name}_sha256")}
