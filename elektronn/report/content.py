"""What goes into the report: paths on one side, plain values on the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

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


@dataclass(frozen=True)
class ReportInputs:
    """Files and values of one run; all of them may be absent, the page says so.

    Attributes:
        metrics: ``metrics.json`` of the evaluation.
        roc: table with columns fpr, tpr, threshold.
        pr: table with columns recall, precision, threshold.
        confusion: table with columns actual, predicted, count.
        history: table with a column ``step`` and any of loss, valid_loss, train_error, valid_error, rate …
        model: model card (JSON) with any of layers, parameters, fingerprint, settings, versions, warnings, steps,
            seconds.
        checks: registration checks (JSON) with ok, volume, sentence (here or under content) and perhaps warnings
            (a list) and picture (the path of a PNG, relative to the JSON file).
        manifests: manifests of the predicted volumes (JSON) with store and certificate.
        volumes: the volumes of the run.
        settings: the resolved settings of the run.
        commands: shell lines that make the run again.
        made: when or by whom, if the page shall say so; nothing is taken from the clock.
    """

    metrics: Path | None = None
    roc: Path | None = None
    pr: Path | None = None
    confusion: Path | None = None
    history: Path | None = None
    model: Path | None = None
    checks: tuple[Path, ...] = ()
    manifests: tuple[Path, ...] = ()
    volumes: tuple[ReportVolume, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    made: str = ""


class Picture(NamedTuple):
    """An encoded picture for the page."""

    data: bytes
    media: str
    alt: str
    caption: str = ""


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
        rank: ``best``, ``median`` or ``worst``.
        where: the place in words, zyx.
        error: part of the labelled voxels that is called wrongly.
        pictures: the four pictures, fewer where one is not to be had.
    """

    volume: str
    rank: str
    where: str
    error: float
    pictures: tuple[Picture, ...]


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
        model: the model card; empty if there is none.
        checks: registration checks.
        certificates: of the predictions.
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
    model: Mapping[str, Any] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    certificates: tuple[Certificate, ...] = ()
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
        """Failed checks and their warnings, then what training and evaluation warn of."""
        failed = [f"registration of {check.volume}: {check.sentence}" for check in self.checks if not check.ok]
        failed += [f"{check.volume}: {warning}" for check in self.checks for warning in check.warnings]
        said = [str(text) for source in (self.model, self.metrics) for text in source.get("warnings") or ()]
        return tuple(dict.fromkeys([*failed, *said]))
