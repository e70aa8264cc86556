"""Sections of the page about how the run was made: data, network, learning, settings, environment, times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from elektronn.report.content import ReportContent
from elektronn.report.markup import (
    Markup,
    bullets,
    code,
    folded,
    group,
    paragraph,
    picture,
    section,
    shortened,
    table,
    text,
)

TIME = ("<!-- time: begin -->\n", "<!-- time: end -->\n")
"""Around the only part of the page that differs between equal runs."""


def data(content: ReportContent) -> Markup:
    """Volumes with their digests, and how far those of one file lie apart."""
    title = "What was run on what"
    if not content.volumes:
        return section("data", title, paragraph("No volumes were given.", "quiet"))
    header = ["volume", "role", "image", "size (z×y×x)", "voxel, nm (z × y × x)", "sha256"]
    rows = [[*row[:5], shortened(row.sha256)] for row in content.volumes]
    whole = [f"{row.name}: {row.sha256}" for row in content.volumes]
    return section(
        "data", title, table(header, rows, "volumes"), folded("Digests in full", bullets(whole)), _split(content)
    )


def _split(content: ReportContent) -> Markup:
    if not content.neighbours:
        return paragraph("No two volumes of different roles are parts of one file.", "quiet")
    rows = [[n.one, n.other, str(n.apart), str(n.field), _verdict(n.is_close)] for n in content.neighbours]
    header = ["volume", "volume", "voxels apart (z×y×x)", "field of view", "verdict"]
    note = (
        "Between the nearest labelled voxels that have their whole field of view in the image; 0: they overlap there."
    )
    return Markup(table(header, rows, "parts of one file") + paragraph(note, "quiet"))


def _verdict(is_close: bool) -> Markup:
    return Markup('<span class="alarm">too close</span>' if is_close else "far enough")


def network(content: ReportContent) -> Markup:
    """The layers."""
    rows = [row for row in content.model.get("layers") or () if isinstance(row, Mapping)]
    if not rows:
        return section("network", "Network", paragraph("No layers were given.", "quiet"))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    facts = [
        f"{name.replace('_', ' ')}: {text(_plain(content.model[name]))}"
        for name in ("parameters", "field", "stride", "patch")
        if name in content.model
    ]
    return section(
        "network",
        "Network",
        paragraph("; ".join(facts).replace("field:", "field of view:") + ".") if facts else Markup(""),
        table(columns, [[_plain(row.get(c, "")) for c in columns] for row in rows], "layers"),
    )


def _plain(value: Any) -> Any:
    return "×".join(map(str, value)) if isinstance(value, list | tuple) else value


def learning(content: ReportContent) -> Markup:
    """Learning curves, and what people did to the training."""
    if not content.learning:
        return section("learning", "Learning", paragraph("There is no history to draw.", "quiet"))
    return section("learning", "Learning", group("charts", map(picture, content.learning)), _interventions(content))


def _interventions(content: ReportContent) -> Markup:
    if not content.interventions:
        return paragraph("Nobody intervened while it ran.", "quiet")
    rows = [[number, one.step, Markup(f"<code>{text(one.text)}</code>"), one.who] for number, one in _numbered(content)]
    note = Markup(
        "Broken lines in the curves, by number. <code>elektronn train … --replay events.jsonl</code> does it again."
    )
    made = table(["mark", "step", "command", "from"], rows, "what people did while it ran")
    return Markup(made + paragraph(note, "quiet"))


def _numbered(content: ReportContent) -> Any:
    return enumerate(content.interventions, 1)


def settings(content: ReportContent) -> Markup:
    """All settings."""
    if not content.settings:
        return section("settings", "Settings", paragraph("No settings were given.", "quiet"))
    lines = yaml.safe_dump(dict(content.settings), sort_keys=False, allow_unicode=True)
    return section("settings", "Settings", folded("All settings, with defaults filled in", code(lines)))


def environment(content: ReportContent) -> Markup:
    """What computed, and what identifies the run."""
    model = content.model
    facts = [(name, shortened(str(model[name]))) for name in ("fingerprint",) if name in model]
    facts += [(name, text(model[name])) for name in ("seed", "steps", "parameters", "device") if name in model]
    facts += [(name, text(number)) for name, number in (model.get("versions") or {}).items()]
    if not facts:
        return section("environment", "Environment", paragraph("No facts about the run were given.", "quiet"))
    tiles = "".join(f"<div><dt>{text(name)}</dt><dd>{value}</dd></div>" for name, value in facts)
    return section("environment", "Environment and versions", Markup(f'<dl class="facts">{tiles}</dl>'))


def again(content: ReportContent) -> Markup:
    """How to make the run again."""
    body = code("\n".join(content.commands)) if content.commands else paragraph("No commands were given.", "quiet")
    return section("again", "How to reproduce", body)


def absent(content: ReportContent) -> Markup:
    """What is not on the page, and why."""
    return section("absent", "Not on this page", bullets(content.missing)) if content.missing else Markup("")


def times(content: ReportContent) -> Markup:
    """When and how fast; the only part of the page that differs between equal runs."""
    lines = [content.made] if content.made else []
    lines += [
        f"training {'resumed at' if step else 'started at'} step {step}: {time}" for time, step in content.stretches
    ]
    lines += [f"mark {number}, step {one.step}: {one.time}" for number, one in _numbered(content) if one.time]
    if "seconds" in content.model:
        lines.append(f"the training took {content.model['seconds']:.1f} s")
    body = bullets(lines) if lines else paragraph("No times were recorded.", "quiet")
    note = paragraph("The only part of this page that differs between two runs of the same.", "quiet")
    inner = section("times", "Times", note, body, group("charts", map(picture, content.timing)))
    return Markup(f"{TIME[0]}{inner}{TIME[1]}")
