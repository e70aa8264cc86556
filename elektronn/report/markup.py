"""HTML from values. Every text passes :func:`text`, so nothing in the data can become markup."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from elektronn.report.content import Picture


class Markup(str):
    """Text that is HTML already; whatever is not Markup is escaped."""


def text(value: Any) -> Markup:
    """A value as HTML text: escaped, numbers readable, ``None`` as "undefined".

    Example:
        >>> text("<b>"), text(1234567), text(0.912345), text(None)
        ('&lt;b&gt;', '1\u202f234\u202f567', '0.9123', 'undefined')
    """
    if isinstance(value, Markup):
        return value
    if value is None:
        return Markup("undefined")
    if isinstance(value, bool):
        return Markup("yes" if value else "no")
    if isinstance(value, int):
        return Markup(f"{value:,}".replace(",", "\u202f"))
    if isinstance(value, float) and value == 0:
        return Markup("0")
    if isinstance(value, float):
        return Markup(f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.3g}")
    return Markup(escape(str(value)))


def shortened(digest: str) -> Markup:
    """The first digits of a digest; all of them where a pointer rests."""
    return Markup(f'<code title="{text(digest)}">{text(digest[:12])}</code>') if len(digest) == 64 else text(digest)


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]], caption: str = "") -> Markup:
    """A table that scrolls sideways on a narrow screen; numbers stand to the right."""
    head = "".join(f'<th scope="col">{text(cell)}</th>' for cell in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in rows)
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    label = text(caption or "table")
    return Markup(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>{title}'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"<td{' class=number' if number else ''}>{text(value)}</td>"


def picture(value: Picture, kind: str = "") -> Markup:
    """A picture inside the page: a drawing as it is, others as a data URI."""
    title = f"<h3>{text(value.title)}</h3>" if value.title else ""
    caption = f"<figcaption>{text(value.caption)}</figcaption>" if value.caption else ""
    if value.media == "image/svg+xml":
        drawn = value.data.decode().replace("<svg", f'<svg role="img" aria-label="{text(value.alt)}"', 1)
    else:
        data = base64.b64encode(value.data).decode()
        drawn = f'<img src="data:{text(value.media)};base64,{data}" alt="{text(value.alt)}">'
    return Markup(f'<figure class="{kind}">{title}{drawn}{caption}</figure>')


def group(kind: str, parts: Iterable[Markup]) -> Markup:
    """Parts that are laid out together."""
    return Markup(f'<div class="{kind}">{"".join(parts)}</div>')


def section(name: str, title: str, *parts: Markup) -> Markup:
    """A section with a heading that the page's contents can point to."""
    return Markup(f'<section id="{name}"><h2>{text(title)}</h2>\n' + "\n".join(parts) + "\n</section>\n")


def paragraph(value: Any, kind: str = "") -> Markup:
    """A paragraph."""
    return Markup(f'<p class="{kind}">{text(value)}</p>' if kind else f"<p>{text(value)}</p>")


def bullets(values: Iterable[Any], kind: str = "") -> Markup:
    """A list."""
    return Markup(f'<ul class="{kind}">' + "".join(f"<li>{text(value)}</li>" for value in values) + "</ul>")


def code(value: Any) -> Markup:
    """Lines of code; scrolls sideways."""
    return Markup(f'<pre tabindex="0"><code>{text(value)}</code></pre>')


def folded(title: str, *parts: Markup) -> Markup:
    """Something that opens on a click."""
    return Markup(f"<details><summary>{text(title)}</summary>" + "".join(parts) + "</details>")
