"""What goes into the report: paths on one side, plain values on the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from elektronn.axes import Size
from elektronn.volumes.address import Address

Row = Mapping[str, str]
"""One row of a CSV table: column name → text."""


@dataclass(frozen=True)
class ReportVolume:
    """A volume of the run.

    Attributes:
        name: its name in ``metrics.json``.
        role: ``train``, ``valid``, ``test`` or another word.
        image: the image.
        labels: −1 ignored, 0, 1 boundary; ``None`` without labels.
        prediction: ``czyx`` or ``zyx``; ``None`` where nothing was predicted.
        image_axes: order of the image's axes on disk; by default what the file says.
        label_axes: the same for the labels.
        sha256: digest of the image file; empty if nobody took it.
        voxel_nm: voxel size zyx where the image itself does not say it.
        image_size: of the image, zyx, voxels; ``None`` where nobody said.
        ids: what the labels were made from, as the table of volumes has it.
        ids_size: of these, zyx, voxels; they lie in the centre of the image.
        ids_sha256: digest of their file; empty if nobody took it.
    """

    name: str
    role: str
    image: Address
    labels: Address | None = None
    prediction: Address | None = None
    image_axes: str | None = None
    label_axes: str | None = None
    sha256: str = ""
    voxel_nm: tuple[float, float, float] | None = None
    image_size: Size | None = None
    ids: Address | None = None
    ids_size: Size | None = None
    ids_sha256: str = ""


@dataclass(frozen=True)
class ReportInputs:
    """Files and values of one run; all of them may be absent, the page says so.

    Attributes:
        metrics: ``metrics.json`` of the evaluation.
        roc: table with columns fpr, tpr, threshold.
        pr: table with columns recall, precision, threshold.
        confusion: table with columns actual, predicted, count.
        history: table with a column ``step`` and any of loss, valid_loss, train_error, valid_error, rate …
        model: model card (JSON) with any of layers, parameters, fingerprint, settings, data, field, offset, versions,
            warnings, steps, seconds.
        weights: the model file.
        events: journal of the training (JSON lines).
        evaluated: settings (YAML) that the evaluation left beside its metrics.
        checks: registration checks (JSON) with ok, volume, sentence (here or under content) and perhaps warnings
            (a list) and picture (the path of a PNG, relative to the JSON file).
        manifests: manifests of the predicted volumes (JSON) with store and certificate.
        segmentations: figures of segments (JSON), as ``elektronn evaluate --segmentation`` or ``--thinned`` writes them.
        segments: segmentations, by the name of the volume.
        volumes: the volumes of the run.
        settings: the resolved settings as they are now: ``experiments.NAME``, ``predict``, ``evaluate``, …; empty where
            nobody gave any.
        commands: shell lines that make the run again.
        looks: shell lines that open a volume in a viewer, by its name; ``{z}``, ``{y}`` and ``{x}`` in them stand for a
            voxel of the image.
        made: when or by whom, if the page shall say so; nothing is taken from the clock.
    """

    metrics: Path | None = None
    roc: Path | None = None
    pr: Path | None = None
    confusion: Path | None = None
    history: Path | None = None
    model: Path | None = None
    weights: Path | None = None
    events: Path | None = None
    evaluated: Path | None = None
    checks: tuple[Path, ...] = ()
    manifests: tuple[Path, ...] = ()
    segmentations: tuple[Path, ...] = ()
    segments: Mapping[str, Address] = field(default_factory=dict)
    volumes: tuple[ReportVolume, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    looks: Mapping[str, str] = field(default_factory=dict)
    made: str = ""


State = Literal["holds", "broken", "unchecked"]


class Claim(NamedTuple):
    """Something that must be true of a run, or its figures do not mean what they say.

    Attributes:
        name: what is claimed.
        state: ``holds``, ``broken``, or ``unchecked`` where files to check it with are missing.
        findings: sentences: what is wrong, what is missing, or what was looked at.
    """

    name: str
    state: State
    findings: tuple[str, ...]


class Neighbours(NamedTuple):
    """Two volumes of different roles in one file.

    Attributes:
        one, other: their names and roles.
        apart: how many voxels the nearest labelled voxels that the network is used at lie apart, zyx; 0 along an axis
            on which they overlap.
        field: of view, zyx.
        is_close: whether the network sees some voxel of the image for both.
    """

    one: str
    other: str
    apart: Size
    field: Size
    is_close: bool


class Intervention(NamedTuple):
    """A command that a person gave to a running training.

    Attributes:
        step: updates made before it.
        who: asked for it.
        text: what was typed.
        time: when, as the journal has it.
    """

    step: int
    who: str
    text: str
    time: str = ""


@dataclass(frozen=True)
class Segmentation:
    """Figures of segments: name → value, and name → definition."""

    name: str
    figures: Mapping[str, float | None]
    definitions: Mapping[str, str]
    background: str = ""


class Picture(NamedTuple):
    """A picture for the page: encoded, or an SVG element that becomes a part of it; ``title`` stands above it."""

    data: bytes
    media: str
    alt: str
    caption: str = ""
    title: str = ""


@dataclass(frozen=True)
class Check:
    """The verdict of one registration check."""

    volume: str
    ok: bool
    sentence: str
    picture: Picture | None
    warnings: tuple[str, ...] = ()


class Certificate(NamedTuple):
    """What recomputing random voxels of a prediction by brute force showed."""

    store: str
    voxels: int
    largest_difference: float
    tolerance: float
    warnings: tuple[str, ...] = ()
    """Of the prediction."""


class VolumeRow(NamedTuple):
    """One line of the table of volumes."""

    name: str
    role: str
    path: str
    size: str
    voxel_nm: str
    sha256: str


@dataclass(frozen=True)
class Panel:
    """One place of a test volume: image, label, prediction, error.

    Attributes:
        volume: its name.
        rank: ``best``, ``median`` or ``worst``, or what else it is.
        where: the place in words, zyx.
        error: part of the labelled voxels that is wrong.
        pictures: the four pictures, fewer where one is not to be had.
        middle: voxel of the image in the middle of the place; ``None`` where the prediction does not say where it lies.
        look: shell lines that open the place in a viewer.
    """

    volume: str
    rank: str
    where: str
    error: float
    pictures: tuple[Picture, ...]
    middle: Size | None = None
    look: str = ""

    def looked_at(self, template: str) -> Panel:
        """The panel with the shell lines of a template; without them where its place in the image is not known."""
        if self.middle is None or not template:
            return self
        return replace(self, look=template.format(**self.middle._asdict()))


@dataclass(frozen=True)
class ReportContent:
    """Everything on the page, as values; equal contents give equal pages.

    Attributes:
        title: headline.
        good: ROC area from which the verdict is green.
        usable: ROC area below which the verdict is red.
        metrics: content of ``metrics.json``; empty if there is none.
        confusion: (actual, predicted) → voxels.
        curves: pictures of ROC and PR.
        learning: pictures of the history.
        timing: pictures of its speed.
        interventions: of people into the training.
        stretches: when the training was started, and at which step.
        model: the model card; empty if there is none.
        heard: warnings in the journal of the training.
        checks: registration checks.
        certificates: of the predictions.
        segmentations: figures of segments.
        cells: sections of segmentations.
        claims: what was checked about the run as a whole.
        neighbours: volumes of different roles in one file.
        volumes: rows of the table of volumes.
        panels: places of the test volumes.
        settings: resolved settings.
        commands: shell lines that make the run again.
        missing: sentences about what is not on the page and why.
        made: when or by whom.
    """

    title: str
    good: float = 0.9
    usable: float = 0.75
    metrics: Mapping[str, Any] = field(default_factory=dict)
    confusion: Mapping[tuple[str, str], int] = field(default_factory=dict)
    curves: tuple[Picture, ...] = ()
    learning: tuple[Picture, ...] = ()
    timing: tuple[Picture, ...] = ()
    interventions: tuple[Intervention, ...] = ()
    stretches: tuple[tuple[str, int], ...] = ()
    model: Mapping[str, Any] = field(default_factory=dict)
    heard: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    segmentations: tuple[Segmentation, ...] = ()
    cells: tuple[Panel, ...] = ()
    claims: tuple[Claim, ...] = ()
    neighbours: tuple[Neighbours, ...] = ()
    volumes: tuple[VolumeRow, ...] = ()
    panels: tuple[Panel, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    made: str = ""

    @property
    def judged(self) -> Mapping[str, Any]:
        """Figures of the role that the verdict is about; empty if there are none."""
        found = self.metrics.get(str(self.metrics.get("judged", "test")))
        return found if isinstance(found, Mapping) else {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Failed checks and their warnings, then what predictions, training, its journal and evaluation warn of."""
        failed = [f"registration of {check.volume}: {check.sentence}" for check in self.checks if not check.ok]
        failed += [f"{check.volume}: {warning}" for check in self.checks for warning in check.warnings]
        failed += [f"{found.store}: {warning}" for found in self.certificates for warning in found.warnings]
        said = [str(text) for source in (self.model, self.metrics) for text in source.get("warnings") or ()]
        return tuple(dict.fromkeys([*failed, *said, *self.heard]))
