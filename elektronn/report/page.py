"""The page: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from string import Template

from elektronn.report import findings, making
from elektronn.report.content import ReportContent, ReportInputs
from elektronn.report.gather import gather
from elektronn.report.markup import Markup, bullets, text
from elektronn.report.settings import ReportSettings
from elektronn.report.verdict import verdict

MOST_BYTES = 5_000_000


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
    """The content without its largest check picture, then without its last panel, then without a section of cells."""
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
    if content.cells:
        note = f"the cells of {content.cells[-1].volume}: the page would be larger than 5 MB"
        return replace(content, cells=content.cells[:-1], missing=(*content.missing, note))
    return None


def build_page(content: ReportContent) -> str:
    """HTML of the page; equal contents give equal bytes.

    Example:
        >>> "<h1>A &amp; B</h1>" in build_page(ReportContent("A & B"))
        True
    """
    parts = [
        findings.claims(content),
        findings.warnings(content),
        findings.quality(content),
        findings.places(content.panels),
        findings.segments(content),
        findings.registration(content),
        findings.exactness(content),
        making.data(content),
        making.network(content),
        making.learning(content),
        making.settings(content),
        making.environment(content),
        making.again(content),
        making.absent(content),
        making.times(content),
    ]
    said = verdict(content)
    reasons = said.reasons if len(said.reasons) <= REASONS else (*said.reasons[: REASONS - 1], "and more, see below")
    limits = f"Green from a ROC area of {content.good:g}, red below {content.usable:g}, without a test, or when a claim is broken."
    head = (
        f'<div class="verdict {said.level}" role="status"><p>{text(said.sentence)}</p>'
        f'{bullets(reasons) if reasons else ""}<p class="quiet">{text(limits)}</p></div>\n{findings.key_figures(content)}'
    )
    return filled(content.title, Markup(head), parts)


REASONS = 6
"""Reasons that stand in the verdict, at most."""


def filled(title: str, head: Markup, parts: Sequence[Markup]) -> str:
    """A whole page: headline, what stands above the contents, sections."""
    room = files("elektronn.report")
    body = "".join(parts)
    names = re.findall(r'<section id="(\w+)"><h2>', body)
    links = "".join(f'<a href="#{name}">{CONTENTS.get(name, name.capitalize())}</a>\n' for name in names)
    return Template(room.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=text(title),
        style=room.joinpath("page.css").read_text(encoding="utf-8"),
        head=head,
        links=links,
        body=body,
    )


CONTENTS = {"trust": "Trust", "again": "Reproduce", "absent": "Missing", "exactness": "Exactness"}
"""Section → its name in the contents where that is not the section's own."""
