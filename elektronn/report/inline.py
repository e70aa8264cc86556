"""A drawing of matplotlib as a part of the page: no network names, ids of its own, the page's colours and letters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

INK, GRID = "#000000", "#b0b0b0"
LINES = ("#010101", "#010102", "#010103", "#010104", "#010105", "#010106")
"""Colours to draw lines with; the page's style sheet says what they are, by day and by night."""
MARK = "#010107"
_COLOURS = {INK: "currentColor", GRID: "currentColor", MARK: "var(--mark)"} | {
    colour: f"var(--line-{number})" for number, colour in enumerate(LINES, 1)
}


def inlined(svg: bytes, name: str, titles: Mapping[str, str]) -> bytes:
    """The ``svg`` element of a drawing, fit to stand in a page among others.

    Args:
        svg: as matplotlib writes it, its text as text.
        name: prefix of all its ids, unique in the page.
        titles: id of an element → what a pointer on it shows.

    Example:
        >>> inlined(b'<?xml?><svg width="9pt" viewBox="0 0 9 9"><g id="a" style="stroke: #010101"/></svg>', "n", {})
        b'<svg viewBox="0 0 9 9"><g id="n-a" style="stroke: var(--line-1)"/></svg>'
    """
    text = svg.decode()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"\s*<metadata>.*?</metadata>|\s*<style.*?</style>", "", text, flags=re.DOTALL)
    text = (
        re.sub(r' (xmlns(:\w+)?|version|width|height)="[^"]*"', "", text[: text.index(">")]) + text[text.index(">") :]
    )
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'\b(id="|href="#|url\(#)', lambda found: f"{found[1]}{name}-", text)
    for colour, ours in _COLOURS.items():
        text = text.replace(colour, ours)
    for place, title in titles.items():
        text = text.replace(f'<g id="{name}-{place}">', f'<g id="{name}-{place}"><title>{escape(title)}</title>')
    return re.sub(r"\s*\n\s*", " ", text).encode()
