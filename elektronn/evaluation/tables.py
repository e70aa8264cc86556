"""What an evaluation leaves behind: ``metrics.json``, ``roc.csv``, ``pr.csv``, ``confusion.csv`` and a figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from elektronn.artefacts import write_json, write_text, writing
from elektronn.evaluation import curves
from elektronn.evaluation.counters import Histogram
from elektronn.evaluation.curves import Confusion, Curve
from elektronn.evaluation.evaluate import Evaluation, Measured, pooled

CLASSES = ("other", "boundary")
CONFUSION_ROWS = 1000
SECTION_MEASURES = ("roc_area", "average_precision", "f1", "balanced_accuracy", "accuracy", "precision", "recall")
SECTION_COLUMNS = ("role", "volume", "z", "voxels", "ignored_voxels", "boundary_voxels", *SECTION_MEASURES)


def measures(histogram: Histogram, threshold: float) -> dict[str, Any]:
    """All figures of one histogram as plain data; ``None`` where a figure is not defined."""
    table = curves.confusion(histogram, threshold)
    return {
        "roc_area": curves.roc_area(histogram),
        "roc_area_error": curves.roc_area_error(histogram),
        "average_precision": curves.average_precision(histogram),
        "average_precision_error": curves.average_precision_error(histogram),
        "calibration_error": curves.calibration_error(histogram),
        "f1": table.f1,
        "accuracy": table.accuracy,
        "balanced_accuracy": table.balanced_accuracy,
        "precision": table.precision,
        "recall": table.recall,
        "threshold": threshold,
        "true_positive": table.true_positive,
        "false_positive": table.false_positive,
        "false_negative": table.false_negative,
        "true_negative": table.true_negative,
        "voxels": table.voxels,
        "ignored_voxels": histogram.ignored,
    }


def metrics_of(evaluation: Evaluation) -> dict[str, Any]:
    """The content of ``metrics.json``: per role, overall, per volume, and what to know about it."""
    at = evaluation.threshold
    everything = pooled(volume.histogram for volume in evaluation.volumes)
    return {
        **{role: measures(histogram, at) | _interval(evaluation, role) for role, histogram in evaluation.roles.items()},
        "overall": measures(everything, at),
        "volumes": {
            v.name: {"role": v.role, **measures(v.histogram, at), "place": v.place._asdict(), **_origin(v)}
            for v in evaluation.volumes
        },
        "judged": evaluation.judged,
        "threshold_from": evaluation.threshold_from,
        "warnings": list(evaluation.warnings),
    }


def _origin(volume: Measured) -> dict[str, Any]:
    """What tells the scores of one volume from those of another, and what made them."""
    digest = volume.histogram.digest if volume.histogram.voxels else None
    return {"scores_sha256": digest, "made_of": dict(volume.made_of)}


def _interval(evaluation: Evaluation, role: str) -> dict[str, Any]:
    if not evaluation.bootstrap:
        return {}
    found = evaluation.interval(role)
    return {"roc_area_interval": None if found is None else found._asdict()}


def write_tables(
    evaluation: Evaluation,
    *,
    metrics: Path,
    roc: Path,
    pr: Path,
    confusion: Path,
    figure: Path | None = None,
    calibration: Path | None = None,
    sections: Path | None = None,
) -> None:
    """Write the tables, each file whole; equal evaluations give equal bytes.

    ``roc.csv``, ``pr.csv`` and ``confusion.csv`` are about the judged role (``test`` if there is one), so that a
    plot of the file shows one curve. A curve that is not defined leaves a table with its header only. ``calibration``
    is about the judged role too; ``sections`` has a row per section of every volume that was counted so.

    Raises:
        StorageError: the disk is full or not writable.
    """
    write_json(metrics, metrics_of(evaluation))
    role, points = evaluation.judged, evaluation.curve_points
    histogram = evaluation.roles[role]
    table = curves.confusion(histogram, evaluation.threshold)
    write_text(roc, _curve_table(("fpr", "tpr"), role, curves.roc(histogram), points))
    write_text(pr, _curve_table(("recall", "precision"), role, curves.precision_recall(histogram), points))
    write_text(confusion, _csv(("actual", "predicted", "count"), confusion_rows(table)))
    if calibration is not None:
        write_text(calibration, _calibration_table(role, curves.calibration(histogram)))
    if sections is not None:
        write_text(sections, _csv(SECTION_COLUMNS, _section_rows(evaluation)))
    if figure is not None:
        from elektronn.evaluation.figure import draw

        with writing(figure) as part:
            part.write_bytes(draw(evaluation))


def confusion_rows(table: Confusion, rows: int = CONFUSION_ROWS) -> Iterator[tuple[str, str, int]]:
    """The confusion table as about ``rows`` groups of voxels: actual class, predicted class, voxels of the group.

    Two readers, one table: the sum of ``count`` is exact, and tools that count rows (the ``confusion``
    template of DVC does) see the shares. A cell that is not empty has at least one row.

    Example:
        >>> list(confusion_rows(Confusion(4, 0, 1, 5), rows=2))
        [('other', 'other', 5), ('boundary', 'other', 1), ('boundary', 'boundary', 4)]
    """
    cells = {
        (0, 0): table.true_negative,
        (0, 1): table.false_positive,
        (1, 0): table.false_negative,
        (1, 1): table.true_positive,
    }
    for (actual, predicted), count in cells.items():
        groups = min(count, max(1, round(rows * count / max(table.voxels, 1))))
        for group in range(groups):
            share = count * (group + 1) // groups - count * group // groups
            yield CLASSES[actual], CLASSES[predicted], share


def _section_rows(evaluation: Evaluation) -> Iterator[tuple[Any, ...]]:
    for volume in evaluation.volumes:
        for z, histogram in volume.sections:
            found = measures(histogram, evaluation.threshold)
            figures = ("" if found[name] is None else f"{found[name]:.9g}" for name in SECTION_MEASURES)
            counts = histogram.voxels, histogram.ignored, histogram.positives
            yield volume.role, volume.name, z, *counts, *figures


def _calibration_table(role: str, found: curves.Calibration) -> str:
    rows = zip(found.predicted.tolist(), found.observed.tolist(), found.voxels.tolist())
    return _csv(("role", "prob_pred", "prob_true", "voxels"), ((role, f"{p:.9g}", f"{t:.9g}", n) for p, t, n in rows))


def _curve_table(names: tuple[str, str], role: str, curve: Curve | None, points: int) -> str:
    rows = () if curve is None else zip(*(values.tolist() for values in curves.thinned(curve, points)))
    return _csv(("role", *names, "threshold"), ((role, *(f"{value:.9g}" for value in row)) for row in rows))


def _csv(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
