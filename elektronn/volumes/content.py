"""Do labels lie on their image? By rule (sizes, classes, margin) and by content (correlation with the image)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import SPATIAL, Size
from elektronn.errors import DataError, at
from elektronn.settings import Settings, Triple
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import open_volume
from elektronn.volumes.content_values import NOTES, Values, boundary_of, kind_of_values, look_through
from elektronn.volumes.faintness import faintness
from elektronn.volumes.registration import Margin, Registration, Turn, centre, margin_report, middle, turns

Array = NDArray[Any]
Point = tuple[float, float, float]
State = Literal["aligned", "misplaced", "undecided"]

MOST = Size(256, 256, 256)
"""A larger volume is judged by its centre of this size."""


class CheckSettings(Settings):
    """How labels are checked against their image; triples are along z, y, x."""

    enabled: bool = True
    """Compare the contents too; without it only sizes, values and margins are checked."""

    accept: bool = False
    """Go on although the contents say that the labels are misplaced: you have looked and know better."""

    shift: Triple = (3, 8, 8)
    """Largest shift that is tried in either direction, voxels."""

    tolerance: Point = (0.5, 1.0, 1.0)
    """A larger shift than this is an alarm, voxels. Hand-drawn labels are often half a voxel off."""

    part: Triple = (48, 256, 256)
    """Size of the central part that is compared, voxels."""

    clarity: float = 1.5
    """The best match must be so many times as strong as the best one of those that turn the sections otherwise."""

    lead: float = 1.15
    """A swap or flip must match so many times as well as the labels as given."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the contents say.

    Attributes:
        state: ``aligned``, ``misplaced``, or ``undecided`` where the data do not tell.
        turn: what to do to the labels to get the best match: swaps and flips.
        shift: and then by how much to move them, zyx, voxels, to a fraction of a voxel.
        step: the same in whole voxels; 0 along axes where it is within the tolerance.
        error: standard error of ``shift``.
        correlation: correlation coefficient of the best match; negative where boundaries are dark.
        identity: the same for the labels as given.
        clarity: strength of the best match over the best one that turns the sections otherwise.
        surface: correlation for each whole shift of the turned labels, −reach … +reach per axis, zyx.
        reason: why it is undecided, or empty.
    """

    state: State
    turn: Turn
    shift: Point
    step: Size
    error: Point
    correlation: float
    identity: float
    clarity: float
    surface: NDArray[np.float64] = field(repr=False)
    reason: str = ""

    @property
    def ok(self) -> bool:
        """No alarm. An undecided case is no alarm, only a warning."""
        return self.state != "misplaced"

    @property
    def margin(self) -> float:
        """How much better the best match is than the labels as given (difference of coefficients)."""
        return abs(self.correlation) - abs(self.identity)

    @property
    def sentence(self) -> str:
        """The verdict for people, one line."""
        match = (
            f"best match at shift {place(self.shift, self.error)}, "
            f"correlation {self.correlation:.2f} against {self.identity:.2f} as given"
        )
        if self.state == "undecided":
            return f"cannot tell by content whether the labels lie on the image: {self.reason}"
        if self.state == "aligned":
            return f"labels lie on the image: {match}"
        if not self.turn.is_identity:
            return f"labels are turned: they match the image after this: {self.turn}; {match}"
        off = [f"{abs(n)} voxel{'s' if abs(n) > 1 else ''} off along {a}" for a, n in zip(SPATIAL, self.step) if n]
        return f"labels sit {' and '.join(off)}: {match}"

    @property
    def cure(self) -> str:
        """What to do about a misplaced volume, or an empty text."""
        if self.ok:
            return ""
        moved = f"shift the labels by zyx {tuple(self.step)}" if any(self.step) else ""
        turned = "" if self.turn.is_identity else str(self.turn)
        return f"{', then '.join(part for part in (turned, moved) if part)} or set check.accept: true"

    def plain(self) -> dict[str, Any]:
        """As plain data for JSON; ``surface`` stays out."""
        return {
            "state": self.state,
            "ok": self.ok,
            "sentence": self.sentence,
            "order": "".join(SPATIAL[axis] for axis in self.turn.order),
            "flipped": [SPATIAL[axis] for axis in range(3) if self.turn.flips[axis]],
            "shift_vox": [round(s, 3) for s in self.shift],
            "error_vox": [round(e, 3) if np.isfinite(e) else None for e in self.error],
            "correlation": round(self.correlation, 4),
            "identity": round(self.identity, 4),
            "margin": round(self.margin, 4),
            "clarity": round(self.clarity, 2),
            "reason": self.reason,
        }


def place(shift: Point, error: Point) -> str:
    """A shift and its error in words.

    Example:
        >>> place((-0.04, -3.0, 0.1), (0.01, 0.02, 0.3))
        'zyx (0.0, -3.0, 0.1) ± (0.01, 0.02, 0.30)'
    """
    return f"zyx ({', '.join(f'{s:z.1f}' for s in shift)}) ± ({', '.join(f'{e:.2f}' for e in error)})"


def content_check(image: Array, boundary: Array, settings: CheckSettings) -> Verdict:
    """Correlate a boundary map with its image over shifts, flips and swaps of equally long axes.

    Both are filtered section by section to what is membrane-sized and correlated in their central part. Whether
    boundaries are dark or bright is found, not assumed. The position of the best match is refined to a fraction of
    a voxel by parabolas; its error comes from leaving out one of 16 blocks of the section at a time.

    Args:
        image: zyx, any number type, at least as large as the labels where it can be; concentric with them.
        boundary: zyx, 1 boundary, 0 interior, negative where unknown.
        settings: reach, tolerance, size of the part.

    Raises:
        DataError: the surplus of the image along an axis is odd.
    """
    from elektronn.volumes import content_match as match

    registration = centre(Size(*image.shape), Size(*boundary.shape))
    boundary = boundary[registration.label_box.slices]
    origin = [max(o, 0) for o in registration.origin]
    box = middle(boundary.shape, settings.part)
    reach = Size(*(min(k + 1, n // 2) for k, n in zip(settings.shift, box.size)))
    under = box.shifted(origin).grown(reach, reach).within(image.shape)
    low = Size(*(a + o - b for a, o, b in zip(box.start, origin, under.start)))
    ground = match.Image(match.features(image[under.slices]), low, box.size, reach)
    swapped: dict[tuple[int, int, int], NDArray[np.float32]] = {}

    def laid(turn: Turn) -> NDArray[np.float32]:
        if turn.order not in swapped:
            part: Array = match.turned(boundary, Turn(turn.order))[box.slices]
            known = part >= 0
            swapped[turn.order] = match.features(part == 1, None if known.all() else known)
        return np.ascontiguousarray(match.turned(swapped[turn.order], Turn(flips=turn.flips)))

    # turn → its strongest correlation within reach, and where
    found: dict[Turn, tuple[float, tuple[int, int, int]]] = {}
    for turn in turns(Size(*boundary.shape)):
        found[turn] = match.extreme(ground.surface(laid(turn)), settings.shift)
    best = max(found, key=lambda turn: found[turn][0])
    peak = match.peak(ground, laid(best), found[best][1])
    surface, given = ground.surface(laid(best)), ground.surface(laid(Turn()))
    others = max((v for turn, (v, _) in found.items() if _differs_in_section(turn, best)), default=0.0)
    clarity = found[best][0] / max(others, 1e-6)
    state, reason = _judge(best, peak, clarity, found[best][0] / max(found[Turn()][0], 1e-6), settings)
    identity = float(given[tuple(n // 2 for n in given.shape)])
    step = Size(*(_whole(s) if abs(s) > t else 0 for s, t in zip(peak.shift, settings.tolerance)))
    return Verdict(state, best, peak.shift, step, peak.error, peak.value, identity, clarity, surface, reason)


def _whole(shift: float) -> int:
    """The nearest whole number that is not 0."""
    return max(1, round(shift)) if shift > 0 else min(-1, round(shift))


def _differs_in_section(one: Turn, other: Turn) -> bool:
    """Two turns that differ by more than the order of the sections."""
    return one.order != other.order or one.flips[1:] != other.flips[1:]


def _judge(turn: Turn, peak: Any, clarity: float, lead: float, settings: CheckSettings) -> tuple[State, str]:
    if peak.value == 0:
        return "undecided", "the part compared has no boundary or no image structure"
    if clarity < settings.clarity:
        return "undecided", f"the best match is only {clarity:.1f} times as strong as a chance one"
    if any(e > t for e, t in zip(peak.error, settings.tolerance)):
        return "undecided", f"the place of the best match is uncertain: {place(peak.shift, peak.error)}"
    if not turn.is_identity:
        return ("misplaced", "") if lead >= settings.lead else ("undecided", f"'{turn}' matches about as well")
    beyond = [abs(s) - t for s, t in zip(peak.shift, settings.tolerance)]
    if max(beyond) <= 0:
        return "aligned", ""
    if all(excess <= e for excess, e in zip(beyond, peak.error)):
        return "undecided", f"the best match lies at the rim of the tolerance: {place(peak.shift, peak.error)}"
    return "misplaced", ""


@dataclass(frozen=True, eq=False)
class CheckReport:
    """Result of the check of one volume.

    Attributes:
        image: address of the image, as text.
        labels: address of the labels, as text.
        values: what the labels hold: ``classes``, ``ids``, or a ``mask`` of 0 (boundary) and 255.
        registration: how the two lie by the centre rule.
        margin: field of view against margin, if a field of view was given.
        verdict: what the contents say; ``None`` if that was switched off.
        accepted: the user takes the labels whatever the verdict.
        warnings: what to know, one line each.
        image_part: the image that was judged, zyx, for the picture.
        boundary_part: its boundary map, concentric with it.
    """

    image: str
    labels: str
    values: Values
    registration: Registration
    margin: Margin | None
    verdict: Verdict | None
    accepted: bool
    warnings: tuple[str, ...]
    image_part: Array = field(repr=False)
    boundary_part: Array = field(repr=False)

    @property
    def ok(self) -> bool:
        """The run may go on."""
        return self.verdict is None or self.verdict.ok or self.accepted

    @property
    def complaint(self) -> str:
        """What was found and what to do about it, one line; empty if all is well."""
        if self.ok or self.verdict is None:
            return ""
        return f"{self.labels}: {self.verdict.sentence}; {self.verdict.cure}"

    def plain(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {
            "image": self.image,
            "labels": self.labels,
            "ok": self.ok,
            "accepted": self.accepted,
            "complaint": self.complaint,
            "warnings": list(self.warnings),
            "values": self.values,
            "image_size": list(self.registration.image),
            "label_size": list(self.registration.label),
            "label_origin": list(self.registration.origin),
            "usable_labels": None if self.margin is None else [list(corner) for corner in self.margin.usable],
            "content": None if self.verdict is None else self.verdict.plain(),
        }


def check(
    image: Address,
    labels: Address,
    settings: CheckSettings,
    *,
    image_axes: str | None = None,
    label_axes: str | None = None,
    field: Size | None = None,
    classes: int = 2,
) -> CheckReport:
    """Check labels (or IDs) against their image: sizes, values, margin for ``field``, and contents.

    A volume larger than 256³ is judged by the contents of its centre; values are looked through everywhere.
    Of several image channels the first is compared.

    Args:
        image: zyx or czyx.
        labels: zyx; classes 0 … ``classes`` − 1 and −1 (ignore), or IDs, whose borders are then the boundary.
        settings: section ``check``.
        image_axes: order of the axes on disk, where the file does not say it.
        label_axes: the same for the labels.
        field: field of view of the network, zyx, voxels.
        classes: number of classes.

    Raises:
        DataError: unreadable files; sizes that have no common centre; NaN; constant image; values that are neither
            classes nor IDs; no label within reach of the field of view.
    """
    with open_volume(image, image_axes) as picture, open_volume(labels, label_axes) as marks:
        with at(str(labels)):
            registration = centre(picture.size, marks.size)
            margin = None if field is None else margin_report(picture.size, marks.size, field)
            if marks.channels > 1:
                raise DataError(f"has {marks.channels} channels; labels have one")
        with at(str(image)):
            faint = faintness(picture.dtype, look_through(picture))
        with at(str(labels)):
            values = kind_of_values(marks, classes)
        box = middle(registration.label_box.size, MOST).shifted(registration.label_loss)
        reach = [k + 1 for k in settings.shift]
        under = box.shifted(registration.origin).grown(reach, reach).within(picture.size)
        image_part, boundary_part = picture.read(under, "czyx")[0], boundary_of(marks.read(box), values)
    verdict = content_check(image_part, boundary_part, settings) if settings.enabled else None
    warnings = [registration.warning, "" if margin is None else margin.warning, NOTES[values]]
    if verdict is not None and verdict.state == "undecided":
        warnings.append(verdict.sentence)
    if verdict is not None and not verdict.ok and settings.accept:
        warnings.append(f"accepted by check.accept: {verdict.sentence}")
    said = tuple(f"{labels}: {warning}" for warning in warnings if warning)
    said += (f"{image}: {faint}, or set sampling.standardise",) if faint else ()
    return CheckReport(
        str(image), str(labels), values, registration, margin, verdict, settings.accept, said, image_part, boundary_part
    )
