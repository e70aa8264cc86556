"""Read the files of a run into the values of the page. What is not there becomes a sentence, not a failure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elektronn.artefacts import digest
from elektronn.errors import DataError, ElektronnError
from elektronn.report.audit import Evidence, judge_certificates, judge_making, judge_settings, judge_threshold
from elektronn.report.cells import cells_of
from elektronn.report.charts import TIMING, learning_curves, rate_curves
from elektronn.report.content import (
    Certificate,
    Check,
    Panel,
    Picture,
    ReportContent,
    ReportInputs,
    ReportVolume,
    Segmentation,
    VolumeRow,
)
from elektronn.report.files import Files
from elektronn.report.interventions import interventions_of, stretches_of, warnings_of
from elektronn.report.panels import panels_of
from elektronn.report.settings import ReportSettings
from elektronn.report.split import judge_split
from elektronn.volumes.arrays import open_volume

Manifests = Mapping[str, Mapping[str, Any]]


def gather(inputs: ReportInputs, settings: ReportSettings) -> ReportContent:
    """All values of the page.

    Raises:
        DataError: a file is there but is not what it should be (damaged JSON, no table).
    """
    files = Files()
    metrics = files.mapping(inputs.metrics, "evaluation")
    model = files.mapping(inputs.model, "model card")
    roc, pr = files.table(inputs.roc, "ROC table"), files.table(inputs.pr, "PR table")
    history = files.table(inputs.history, "history of the training")
    journal = files.journal(inputs.events, "journal of the training")
    manifests = {path: files.mapping(path, "manifest of the prediction") for path in inputs.manifests}
    certificates = tuple(c for path, said in manifests.items() for c in _certificate(path, said))
    split, neighbours = judge_split(inputs.volumes, model)
    evidence = _evidence(inputs, metrics, model, {Path(str(m.get("store"))).stem: m for m in manifests.values()}, files)
    interventions = interventions_of(journal, model.get("changes") or ())
    claims = (
        split,
        judge_threshold(evidence),
        judge_making(evidence),
        judge_settings(evidence),
        judge_certificates(certificates),
    )
    return ReportContent(
        title=settings.title,
        good=settings.good,
        usable=settings.usable,
        metrics=metrics,
        confusion=_confusion(inputs.confusion, files),
        curves=rate_curves(roc, pr, ReportContent("", metrics=metrics).judged),
        learning=learning_curves(history, interventions),
        timing=learning_curves(history, (), TIMING),
        interventions=interventions,
        stretches=stretches_of(journal),
        model=model,
        heard=warnings_of(journal),
        checks=tuple(check for path in inputs.checks for check in _check(path, files)),
        certificates=certificates,
        segmentations=tuple(found for path in inputs.segmentations for found in _segmentation(path, files)),
        cells=_cells(inputs, settings, files.missing),
        claims=claims,
        neighbours=neighbours,
        volumes=tuple(map(_volume_row, inputs.volumes)),
        panels=_panels(inputs, metrics, settings, files.missing),
        settings=inputs.settings or model.get("settings") or {},
        commands=inputs.commands,
        missing=tuple(files.missing),
        made=inputs.made,
    )


def _evidence(
    inputs: ReportInputs, metrics: Mapping[str, Any], model: Mapping[str, Any], manifests: Manifests, files: Files
) -> Evidence:
    weights = files.there(inputs.weights, "model file")
    evaluated = files.settings(inputs.evaluated, "settings of the evaluation")
    labels = {v.name: v.labels.path for v in inputs.volumes if v.labels is not None}
    stores = {v.name: v.prediction.path for v in inputs.volumes if v.prediction is not None and v.name in manifests}
    return Evidence(
        model=model,
        metrics=metrics,
        manifests={name: said for name, said in manifests.items() if said},
        evaluated=evaluated.get("evaluate") or {},
        roles={volume.name: volume.role for volume in inputs.volumes},
        weights=digest(weights) if weights else "",
        images={volume.name: volume.sha256 for volume in inputs.volumes},
        labels={name: digest(path) for name, path in labels.items() if path.exists()},
        stores={name: digest(path) for name, path in stores.items() if path.exists()},
        now=inputs.settings,
    )


def _confusion(path: Path | None, files: Files) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for row in files.table(path, "confusion table"):
        try:
            cell, count = (row["actual"], row["predicted"]), int(row["count"])
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{path}: {dict(row)} is no row of actual, predicted, count; evaluate again") from None
        counts[cell] = counts.get(cell, 0) + count
    return counts


def _check(path: Path, files: Files) -> list[Check]:
    said = files.mapping(path, "registration check")
    if not said:
        return []
    volume, picture = str(said.get("volume", path.stem)), None
    if said.get("picture"):
        found = files.there(path.parent / str(said["picture"]), f"picture of the check of {volume}")
        if found is not None:
            picture = Picture(found.read_bytes(), "image/png", f"registration check of {volume}", volume)
    content = said.get("content") or {}
    sentence = str(said.get("sentence") or content.get("sentence") or "the contents were not compared")
    warnings = [str(text) for text in said.get("warnings") or ()]
    return [Check(volume, said.get("ok") is True, sentence, picture, tuple(warnings))]


def _certificate(path: Path, said: Mapping[str, Any]) -> list[Certificate]:
    found = said.get("certificate")
    if not isinstance(found, dict):
        return []
    warnings = tuple(str(text) for text in said.get("warnings") or ())
    try:
        store = str(said["store"])
        return [Certificate(store, found["voxels"], found["largest_difference"], found["tolerance"], warnings)]
    except KeyError as error:
        raise DataError(f"{path}: the certificate has no {error}; predict again") from None


def _segmentation(path: Path, files: Files) -> list[Segmentation]:
    """The figures of segments in a file, those of one kind in several definitions as ``kind.definition``."""
    said = files.mapping(path, "evaluation of segments")
    if not said:
        return []
    words = dict(said.get("definitions") or {})
    if said.get("definition"):
        words |= {name: str(said["definition"]) for name in said if name.endswith("_thinned")}
    # of one volume, or of the volumes of each role together
    entries = {path.stem: said}
    if "volumes" in said:
        entries = {f"{path.stem}, {role} volumes": said[role] for role in ("test", "valid", "train") if role in said}
    return [_figures(path, name, entry, words) for name, entry in entries.items()]


def _figures(path: Path, name: str, entry: Mapping[str, Any], words: Mapping[str, str]) -> Segmentation:
    flat = {**entry, **{f"adapted_rand_error.{n}": v for n, v in (entry.get("adapted_rand_error") or {}).items()}}
    figures = {name: flat[name] for name in words if name in flat}
    if not figures:
        raise DataError(f"{path}: holds no figures of segments; make it with `elektronn evaluate --segmentation`")
    return Segmentation(name, figures, words, str(entry.get("background", "")))


def _cells(inputs: ReportInputs, settings: ReportSettings, missing: list[str]) -> tuple[Panel, ...]:
    """A section of each segmentation whose volume is known."""
    volumes, found = {volume.name: volume for volume in inputs.volumes}, []
    for name, address in inputs.segments.items():
        try:
            if name not in volumes:
                raise DataError(f"no volume '{name}' was given")
            panel = cells_of(volumes[name], address, settings.panel_vox)
            found.append(panel.looked_at(inputs.looks.get(name, "")))
        except ElektronnError as error:
            missing.append(f"no picture of the segments {address}: {error}")
    return tuple(found)


def _volume_row(volume: ReportVolume) -> VolumeRow:
    digest_of_image = volume.sha256 or "not recorded"
    try:
        with open_volume(volume.image, volume.image_axes, volume.voxel_nm) as image:
            voxel = "not recorded" if image.voxel_nm is None else " × ".join(f"{n:g}" for n in image.voxel_nm)
            return VolumeRow(volume.name, volume.role, str(volume.image), str(image.size), voxel, digest_of_image)
    except ElektronnError as error:
        found = f"cannot be opened: {error}"
        return VolumeRow(volume.name, volume.role, str(volume.image), found, "", digest_of_image)


def _panels(
    inputs: ReportInputs, metrics: Mapping[str, Any], settings: ReportSettings, missing: list[str]
) -> tuple[Panel, ...]:
    tested = [volume for volume in inputs.volumes if volume.role == "test"]
    entries = metrics.get("volumes") or {}
    if len(tested) > settings.panels:
        missing.append(f"pictures of {len(tested) - settings.panels} test volumes: the limit is {settings.panels}")
    found: list[Panel] = []
    for volume in tested[: settings.panels]:
        if volume.name not in entries:
            missing.append(f"no pictures of volume {volume.name}: the evaluation does not know it")
            continue
        try:
            places = panels_of(volume, entries[volume.name], settings.panel_vox)
            found += [panel.looked_at(inputs.looks.get(volume.name, "")) for panel in places]
        except ElektronnError as error:
            missing.append(f"no pictures of volume {volume.name}: {error}")
    return tuple(found)
