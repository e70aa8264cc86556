"""``elektronn check``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from elektronn.artefacts import write_json
from elektronn.axes import Size
from elektronn.cli.options import params_of, settings_arguments, volume
from elektronn.cli.progress import Display
from elektronn.errors import CheckFailed
from elektronn.settings import plain

if TYPE_CHECKING:
    from elektronn.volumes.content import CheckReport


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument("image", type=volume, metavar="IMAGE", help="image volume")
    verb.add_argument("labels", type=volume, metavar="LABELS", help="boundary map, class labels or IDs")
    verb.add_argument("--name", help="name of the volume in messages (default: the image's)")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write the verdict here")
    verb.add_argument("--picture", type=Path, metavar="FILE", help="draw the verdict here (PNG)")
    verb.add_argument(
        "--field", type=int, nargs=3, metavar=("Z", "Y", "X"), help="field of view to hold against the margin"
    )
    settings_arguments(verb)


def run(given: argparse.Namespace) -> None:
    """Check; a failure still leaves the picture beside the log."""
    from elektronn.network.chain import chain
    from elektronn.network.document import geometry
    from elektronn.volumes.content import check

    params, display = params_of(given), Display("check", given.log)
    fields = [geometry(chain(e.network)).field for e in params.experiments.values()]
    field = Size(*given.field) if given.field else (Size(*map(max, *fields, (1, 1, 1))) if fields else None)
    classes = max((e.network.classes for e in params.experiments.values()), default=2)
    report = check(given.image, given.labels, params.check, field=field, classes=classes)
    for text in report.warnings:
        display.warn(text)
    said = report.verdict.sentence if report.verdict else "contents were not compared (check.enabled: false)"
    if not report.ok:
        # never over an earlier picture, which belongs to the verdict that stays beside it
        kept = Path(given.log).with_suffix(".png") if given.log else given.picture
        if kept is not None and kept == given.picture:
            kept = kept.with_stem(f"{kept.stem}_failed")
        if kept is not None:
            _draw(report, kept)
        raise CheckFailed(f"{given.name or given.image}: {report.complaint}" + (f"; picture: {kept}" if kept else ""))
    display.line(f"{given.name or given.image}: {said}")
    if given.json:
        facts = {"volume": given.name or str(given.image), **report.plain(), "settings": plain(params.check)}
        write_json(given.json, facts | ({"picture": given.picture.name} if given.picture else {}))
    if given.picture:
        _draw(report, given.picture)


def _draw(report: CheckReport, path: Path) -> None:
    from elektronn.volumes.content_picture import draw

    if report.verdict is not None:
        draw(report.verdict, report.image_part, report.boundary_part, path)
