"""The page: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.resources import files
from string import Template
from typing import Any

import yaml

from elektronn.report.content import Panel, ReportContent, ReportInputs
from elektronn.report.gather import gather
from elektronn.report.markup import Markup, bullets, code, folded, group, paragraph, picture, section, table, text
from elektronn.report.settings import ReportSettings
from elektronn.report.verdict import verdict

MOST_BYTES = 5_000_000
FIGURES = {
    "roc_area": "ROC area",
    "roc_area_error": "± by binning",
    "average_precision": "average precision",
    "f1": "F1",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "precision": "precision",
    "recall": "recall",
    "voxels": "voxels",
    "ignored_voxels": "ignored",
}
MEANING = (
    "ROC area: how often a boundary voxel scores above another voxel; ties count half.",
    "± by binning: most that the ROC area can be off because scores were counted in bins; 0 means exact.",
    "Average precision: precision averaged over the steps of recall, without interpolation.",
    "Precision: part of what is called boundary that is boundary. Recall: part of the boundary that is found.",
    "F1: harmonic mean of precision and recall. Accuracy: part of all voxels that is called rightly.",
    "Balanced accuracy: mean of the recall of both classes.",
    "A voxel is called boundary when its score is at least the threshold; voxels labelled −1 are ignored.",
)


def report(inputs: ReportInputs, settings: ReportSettings) -> str:
    """The page of a run, at most 5 MB: pictures that do not fit are left out, and the page says so.

    Raises:
        DataError: a file is there but damaged.
    """
    content = gather(inputs, settings)
    page = build_page(content)
    while len(page.encode()) > MOST_BYTES and (smaller := _smaller(content)) is not None:
        content, page = smaller, build_page(smaller)
    return page


def _smaller(content: ReportContent) -> ReportContent | None:
    """The content without its largest check picture, then without its last panel."""
    sizes = [len(check.picture.data) if check.picture else 0 for check in content.checks]
    if max(sizes, default=0) > 0:
        place = sizes.index(max(sizes))
        checks = [replace(c, picture=None) if i == place else c for i, c in enumerate(content.checks)]
        note = f"the picture of the check of {checks[place].volume}: the page would be larger than 5 MB"
        return replace(content, checks=tuple(checks), missing=(*content.missing, note))
    if content.panels:
        last = content.panels[-1]
        note = f"the {last.rank} place of {last.volume}: the page would be larger than 5 MB"
        return replace(content, panels=content.panels[:-1], missing=(*content.missing, note))
    return None


def build_page(content: ReportContent) -> str:
    """HTML of the page; equal contents give equal bytes.

    Example:
        >>> "<h1>A &amp; B</h1>" in build_page(ReportContent("A & B"))
        True
    """
    room = files("elektronn.report")
    parts = [
        _warnings(content),
        _quality(content),
        _places(content.panels),
        _registration(content),
        _exactness(content),
        _run(content),
        _network(content),
        _learning(content),
        _settings(content),
        _again(content),
        _absent(content),
    ]
    said = verdict(content)
    return Template(room.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=text(content.title),
        style=room.joinpath("page.css").read_text(encoding="utf-8"),
        level=said.level,
        sentence=text(said.sentence),
        reasons=bullets(said.reasons[:5]) if said.reasons else "",
        made=paragraph(content.made, "quiet") if content.made else "",
        limits=text(f"Green from a ROC area of {content.good:g}, red below {content.usable:g} or without a test."),
        body="".join(parts),
    )


def _warnings(content: ReportContent) -> Markup:
    if not content.warnings:
        return section("warnings", "Warnings", paragraph("None."))
    return section("warnings", "Warnings", bullets(content.warnings, "alarm"))


def _quality(content: ReportContent) -> Markup:
    metrics = content.metrics
    if not metrics:
        return section("quality", "How well boundaries are found", paragraph("There is no evaluation.", "alarm"))
    roles = [(name, entry) for name, entry in metrics.items() if isinstance(entry, Mapping) and name != "volumes"]
    volumes = [(f"{name} ({entry.get('role', '?')})", entry) for name, entry in (metrics.get("volumes") or {}).items()]
    source = {"valid": "the best F1 on the validation volumes", "default": "the default, not chosen by data"}
    origin = source.get(str(metrics.get("threshold_from")), metrics.get("threshold_from"))
    return section(
        "quality",
        "How well boundaries are found",
        paragraph(f"Threshold {text(content.judged.get('threshold'))}: {origin}."),
        table(["volumes", *FIGURES.values()], _figures(roles), "by role"),
        table(["volume", *FIGURES.values()], _figures(volumes), "by volume"),
        group("charts", map(picture, content.curves))
        if content.curves
        else paragraph("There are no curves: a class is absent, or the tables are not there.", "quiet"),
        _confusion(content),
        folded("What the figures mean", bullets(MEANING)),
    )


def _figures(entries: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterable[list[Any]]:
    return ([name, *(entry.get(key) for key in FIGURES)] for name, entry in entries)


def _confusion(content: ReportContent) -> Markup:
    counts = content.confusion
    if not counts:
        return paragraph("There is no confusion table.", "quiet")
    names = sorted({name for cell in counts for name in cell}, reverse=True)
    rows = [[f"is {actual}", *(counts.get((actual, called), 0) for called in names)] for actual in names]
    return table(["voxels", *(f"called {name}" for name in names)], rows, "confusion at the threshold")


def _places(panels: tuple[Panel, ...]) -> Markup:
    if not panels:
        return section("places", "Places", paragraph("There are no pictures.", "quiet"))
    legend = Markup(
        '<p class="legend"><span class="swatch boundary"></span> labelled boundary '
        '<span class="swatch false-positive"></span> called boundary, is none '
        '<span class="swatch false-negative"></span> boundary that was missed</p>'
    )
    return section("places", "Best, median and worst places of the test volumes", legend, *map(_panel, panels))


def _panel(panel: Panel) -> Markup:
    title = text(f"{panel.volume}, {panel.rank}: {panel.error * 100:.2f} % wrong")
    tiles = group("tiles", (picture(one, "tile") for one in panel.pictures))
    return Markup(f"<h3>{title}</h3>{paragraph(panel.where, 'quiet')}{tiles}")


def _registration(content: ReportContent) -> Markup:
    title = "Do image and labels lie on each other?"
    if not content.checks:
        return section("registration", title, paragraph("No registration check was given.", "quiet"))
    rows = [[check.volume, "passed" if check.ok else "FAILED", check.sentence] for check in content.checks]
    pictures = [picture(check.picture) for check in content.checks if check.picture]
    return section(
        "registration",
        title,
        table(["volume", "verdict", "finding"], rows, "registration checks"),
        group("stack", pictures),
    )


def _exactness(content: ReportContent) -> Markup:
    title = "Is the prediction exact?"
    if not content.certificates:
        return section("exactness", title, paragraph("No prediction came with a certificate.", "quiet"))
    rows = [[c.store, c.voxels, f"{c.largest_difference:.1e}", f"{c.tolerance:.1e}"] for c in content.certificates]
    return section(
        "exactness",
        title,
        paragraph("Random voxels were computed again, one field of view at a time, in double precision."),
        table(["prediction", "voxels", "largest difference", "allowed"], rows, "certificates"),
    )


def _run(content: ReportContent) -> Markup:
    header = ["volume", "role", "image", "size (z×y×x)", "voxel, nm (z × y × x)", "sha256"]
    volumes = (
        table(header, content.volumes, "volumes") if content.volumes else paragraph("No volumes were given.", "quiet")
    )
    model = content.model
    facts = [
        (name, text(model[name])) for name in ("fingerprint", "seed", "steps", "seconds", "parameters") if name in model
    ]
    facts += [(f"version of {name}", version) for name, version in (model.get("versions") or {}).items()]
    made = (
        table(["fact", "value"], facts, "the run")
        if facts
        else paragraph("No facts about the run were given.", "quiet")
    )
    return section("run", "What was run on what", volumes, made)


def _network(content: ReportContent) -> Markup:
    rows = [row for row in content.model.get("layers") or () if isinstance(row, Mapping)]
    if not rows:
        return section("network", "Network", paragraph("No layers were given.", "quiet"))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return section("network", "Network", table(columns, [[_plain(row.get(c, "")) for c in columns] for row in rows]))


def _plain(value: Any) -> Any:
    return "×".join(map(str, value)) if isinstance(value, list | tuple) else value


def _learning(content: ReportContent) -> Markup:
    if not content.learning:
        return section("learning", "Learning", paragraph("There is no history to draw.", "quiet"))
    return section("learning", "Learning", group("charts", map(picture, content.learning)))


def _settings(content: ReportContent) -> Markup:
    if not content.settings:
        return section("settings", "Settings", paragraph("No settings were given.", "quiet"))
    lines = yaml.safe_dump(dict(content.settings), sort_keys=False, allow_unicode=True)
    return section("settings", "Settings", folded("All settings, with defaults filled in", code(lines)))


def _again(content: ReportContent) -> Markup:
    body = code("\n".join(content.commands)) if content.commands else paragraph("No commands were given.", "quiet")
    return section("again", "How to reproduce", body)


def _absent(content: ReportContent) -> Markup:
    return section("absent", "Not on this page", bullets(content.missing)) if content.missing else Markup("")
