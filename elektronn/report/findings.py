"""Sections of the page about what came out: claims, figures, places, registration, exactness, segments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from elektronn.report.content import Claim, Panel, ReportContent, Segmentation
from elektronn.report.markup import Markup, bullets, code, folded, group, paragraph, picture, section, table, text
from elektronn.report.verdict import registration_claim

FIGURES = {
    "roc_area": "ROC area",
    "roc_area_error": "± by binning",
    "average_precision": "average precision",
    "average_precision_error": "± by binning of that",
    "f1": "F1",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "precision": "precision",
    "recall": "recall",
    "voxels": "voxels",
    "ignored_voxels": "ignored",
}
KEY_FIGURES = ("roc_area", "average_precision", "f1", "precision", "recall")
MEANING = (
    "ROC area: how often a boundary voxel scores above another voxel; ties count half.",
    "± by binning: most that the ROC area can be off because scores were counted in bins; told where it is not 0.",
    "Average precision: precision averaged over the steps of recall, without interpolation.",
    "± by binning of that: most that the average precision can be off for the same reason.",
    "Precision: part of what is called boundary that is boundary. Recall: part of the boundary that is found.",
    "F1: harmonic mean of precision and recall. Accuracy: part of all voxels that is called rightly.",
    "Balanced accuracy: mean of the recall of both classes.",
    "A voxel is called boundary when its score is at least the threshold; voxels labelled −1 are ignored.",
)
SIGNS = {"holds": ("✓", "holds"), "broken": ("✗", "broken"), "unchecked": ("?", "not checked")}
SHOWN = 4
"""Findings of a claim that are seen without a click."""


def key_figures(content: ReportContent) -> Markup:
    """The most important figures, large."""
    figures = [(FIGURES[key], content.judged[key]) for key in KEY_FIGURES if content.judged.get(key) is not None]
    tiles = (f"<div><dt>{text(name)}</dt><dd>{value:.3f}</dd></div>" for name, value in figures)
    return Markup(f'<dl class="figures">{"".join(tiles)}</dl>') if figures else Markup("")


def claims(content: ReportContent) -> Markup:
    """What must be true for the figures to mean what they say, and whether it is."""
    if not content.claims:
        return Markup("")
    items = "".join(map(_claim, (registration_claim(content), *content.claims)))
    return Markup(
        f'<section id="trust"><h2>Can the figures be trusted?</h2>\n<ul class="claims">{items}</ul></section>\n'
    )


def _claim(claim: Claim) -> str:
    sign, words = SIGNS[claim.state]
    rest = claim.findings[SHOWN:]
    more = folded(f"{len(rest)} more", bullets(rest)) if rest else ""
    body = bullets(claim.findings[:SHOWN]) if len(claim.findings) > 1 else paragraph(claim.findings[0])
    head = f'<h3><span aria-hidden="true">{sign}</span> {text(claim.name)} <em>{words}</em></h3>'
    return f'<li class="{claim.state}">{head}{body}{more}</li>\n'


def warnings(content: ReportContent) -> Markup:
    """Every warning of the run."""
    if not content.warnings:
        return section("warnings", "Warnings", paragraph("None."))
    return section("warnings", "Warnings", bullets(content.warnings, "alarm"))


def quality(content: ReportContent) -> Markup:
    """Figures by role and by volume, curves, confusion."""
    metrics, title = content.metrics, "How well boundaries are found"
    if not metrics:
        return section("quality", title, paragraph("There is no evaluation.", "alarm"))
    roles = [(name, entry) for name, entry in metrics.items() if isinstance(entry, Mapping) and name != "volumes"]
    volumes = [(f"{name} ({entry.get('role', '?')})", entry) for name, entry in (metrics.get("volumes") or {}).items()]
    shown = _columns([*roles, *volumes])
    source = {"valid": "the best F1 on the validation volumes", "default": "the default, not chosen by data"}
    origin = source.get(str(metrics.get("threshold_from")), metrics.get("threshold_from"))
    return section(
        "quality",
        title,
        paragraph(f"Threshold {text(content.judged.get('threshold'))}: {origin}."),
        table(["volumes", *shown.values()], _figures(roles, shown), "by role"),
        table(["volume", *shown.values()], _figures(volumes, shown), "by volume"),
        group("charts", map(picture, content.curves))
        if content.curves
        else paragraph("There are no curves: a class is absent, or the tables are not there.", "quiet"),
        _confusion(content),
        folded("What the figures mean", bullets(MEANING)),
    )


def _figures(entries: Iterable[tuple[str, Mapping[str, Any]]], shown: Iterable[str]) -> Iterable[list[Any]]:
    return ([name, *(entry.get(key) for key in shown)] for name, entry in entries)


def _columns(entries: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """The figures of tables; what binning does to them only where it does anything."""
    values = {key: [entry.get(key) for _, entry in entries] for key in FIGURES}
    return {key: name for key, name in FIGURES.items() if not key.endswith("_error") or any(values[key])}


def _confusion(content: ReportContent) -> Markup:
    counts = content.confusion
    if not counts:
        return paragraph("There is no confusion table.", "quiet")
    names = sorted({name for cell in counts for name in cell}, reverse=True)
    rows = [[f"is {actual}", *(counts.get((actual, called), 0) for called in names)] for actual in names]
    return table(["voxels", *(f"called {name}" for name in names)], rows, "confusion at the threshold")


def places(panels: tuple[Panel, ...]) -> Markup:
    """Pictures of the best, the median and the worst places, and how to go there."""
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
    look = folded(f"Go to this place ({panel.volume}, {panel.rank})", code(panel.look)) if panel.look else ""
    return Markup(f"<h3>{title}</h3>{paragraph(panel.where, 'quiet')}{tiles}{look}")


def registration(content: ReportContent) -> Markup:
    """Verdicts and heat maps of the registration checks."""
    title = "Do image and labels lie on each other?"
    if not content.checks:
        return section("registration", title, paragraph("No registration check was given.", "quiet"))
    rows = [[check.volume, "passed" if check.ok else _alarm("FAILED"), check.sentence] for check in content.checks]
    pictures = [picture(check.picture) for check in content.checks if check.picture]
    return section(
        "registration",
        title,
        table(["volume", "verdict", "finding"], rows, "registration checks"),
        group("stack", pictures),
    )


def _alarm(words: str) -> Markup:
    return Markup(f'<span class="alarm">{text(words)}</span>')


def exactness(content: ReportContent) -> Markup:
    """Certificates of the predictions."""
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


def segments(content: ReportContent) -> Markup:
    """Figures of segments with the definition of each, and a section of them; nothing where there are none."""
    parts = [*map(_panel, content.cells), *map(_segmentation, content.segmentations)]
    return section("segments", "How well cells are told apart", *parts) if parts else Markup("")


def _segmentation(found: Segmentation) -> Markup:
    rows = [[name, value, found.definitions[name]] for name, value in found.figures.items()]
    known = found.background not in ("", "none")
    note = paragraph(f"Predicted id 0 counts as: {found.background}.", "quiet") if known else ""
    return Markup(f"<h3>{text(found.name)}</h3>{note}{table(['measure', 'value', 'definition'], rows, found.name)}")
