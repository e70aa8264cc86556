"""Read the files of a run into the values of the page. What is not there becomes a sentence, not a failure."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elektronn.errors import DataError, ElektronnError
from elektronn.report.charts import learning_curves, rate_curves
from elektronn.report.content import (
    Certificate,
    Check,
    Panel,
    Picture,
    ReportContent,
    ReportInputs,
    ReportVolume,
    Row,
    VolumeRow,
)
from elektronn.report.panels import panels_of
from elektronn.report.settings import ReportSettings
from elektronn.volumes.arrays import open_volume


def gather(inputs: ReportInputs, settings: ReportSettings) -> ReportContent:
    """All values of the page.

    Raises:
        DataError: a file is there but is not what it should be (damaged JSON, no table).
    """
    missing: list[str] = []
    metrics = _mapping(inputs.metrics, "evaluation", missing)
    model = _mapping(inputs.model, "model card", missing)
    roc, pr = _table(inputs.roc, "ROC table", missing), _table(inputs.pr, "PR table", missing)
    judged = ReportContent("", metrics=metrics).judged
    return ReportContent(
        title=settings.title,
        good=settings.good,
        usable=settings.usable,
        metrics=metrics,
        confusion=_confusion(inputs.confusion, missing),
        curves=rate_curves(roc, pr, judged),
        learning=learning_curves(_table(inputs.history, "history of the training", missing)),
        model=model,
        checks=tuple(check for path in inputs.checks for check in _check(path, missing)),
        certificates=tuple(c for path in inputs.manifests for c in _certificate(path, missing)),
        volumes=tuple(map(_volume_row, inputs.volumes)),
        panels=_panels(inputs.volumes, metrics, settings, missing),
        settings=inputs.settings or model.get("settings") or {},
        commands=inputs.commands,
        missing=tuple(missing),
        made=inputs.made,
    )


def _there(path: Path | None, name: str, missing: list[str]) -> Path | None:
    if path is not None and path.exists():
        return path
    missing.append(f"no {name}" + (f": {path} does not exist" if path else " was given"))
    return None


def _mapping(path: Path | None, name: str, missing: list[str]) -> Mapping[str, Any]:
    found = _there(path, name, missing)
    if found is None:
        return {}
    try:
        value = json.loads(found.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{found}: cannot be read as JSON ({error}); make the {name} again") from error
    if not isinstance(value, dict):
        raise DataError(f"{found}: holds no JSON object; make the {name} again")
    return value


def _table(path: Path | None, name: str, missing: list[str]) -> tuple[Row, ...]:
    found = _there(path, name, missing)
    if found is None:
        return ()
    try:
        with found.open(encoding="utf-8", newline="") as file:
            return tuple(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{found}: cannot be read as a table ({error}); make the {name} again") from error


def _confusion(path: Path | None, missing: list[str]) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for row in _table(path, "confusion table", missing):
        try:
            cell, count = (row["actual"], row["predicted"]), int(row["count"])
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{path}: {dict(row)} is no row of actual, predicted, count; evaluate again") from None
        counts[cell] = counts.get(cell, 0) + count
    return counts


def _check(path: Path, missing: list[str]) -> list[Check]:
    said = _mapping(path, "registration check", missing)
    if not said:
        return []
    volume, picture = str(said.get("volume", path.stem)), None
    if said.get("picture"):
        found = _there(path.parent / str(said["picture"]), f"picture of the check of {volume}", missing)
        if found is not None:
            picture = Picture(found.read_bytes(), "image/png", f"registration check of {volume}", volume)
    content = said.get("content") or {}
    sentence = str(said.get("sentence") or content.get("sentence") or "the contents were not compared")
    warnings = [str(text) for text in said.get("warnings") or ()]
    return [Check(volume, said.get("ok") is True, sentence, picture, tuple(warnings))]


def _certificate(path: Path, missing: list[str]) -> list[Certificate]:
    said = _mapping(path, "manifest of the prediction", missing)
    found = said.get("certificate")
    if not isinstance(found, dict):
        return []
    try:
        return [Certificate(str(said["store"]), found["voxels"], found["largest_difference"], found["tolerance"])]
    except KeyError as error:
        raise DataError(f"{path}: the certificate has no {error}; predict again") from None


def _volume_row(volume: ReportVolume) -> VolumeRow:
    digest = volume.sha256 or "not recorded"
    try:
        with open_volume(volume.image, volume.image_axes, volume.voxel_nm) as image:
            voxel = "not recorded" if image.voxel_nm is None else " × ".join(f"{n:g}" for n in image.voxel_nm)
            return VolumeRow(volume.name, volume.role, str(volume.image), str(image.size), voxel, digest)
    except ElektronnError as error:
        return VolumeRow(volume.name, volume.role, str(volume.image), f"cannot be opened: {error}", "", digest)


def _panels(
    volumes: tuple[ReportVolume, ...], metrics: Mapping[str, Any], settings: ReportSettings, missing: list[str]
) -> tuple[Panel, ...]:
    tested = [volume for volume in volumes if volume.role == "test"]
    entries = metrics.get("volumes") or {}
    if len(tested) > settings.panels:
        missing.append(f"pictures of {len(tested) - settings.panels} test volumes: the limit is {settings.panels}")
    found: list[Panel] = []
    for volume in tested[: settings.panels]:
        if volume.name not in entries:
            missing.append(f"no pictures of volume {volume.name}: the evaluation does not know it")
            continue
        try:
            found += panels_of(volume, entries[volume.name], settings.panel_vox)
        except ElektronnError as error:
            missing.append(f"no pictures of volume {volume.name}: {error}")
    return tuple(found)
