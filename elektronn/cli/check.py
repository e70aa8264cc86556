"""``elektronn check``."""

from __future__ import annotations

import argparse
from pathlib import Path

from elektronn.artefacts import write_json, writing
from elektronn.axes import Size
from elektronn.cli.options import params_of, settings_arguments, volume
from elektronn.cli.progress import Display
from elektronn.errors import CheckFailed


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
    from elektronn.network.document import chain, geometry
    from elektronn.volumes.content import check

    params, display = params_of(given), Display("check", given.log)
    fields = [geometry(chain(e.network)).field for e in params.experiments.values()]
    field = Size(*given.field) if given.field else (Size(*map(max, *fields, (1, 1, 1))) if fields else None)
    report = check(given.image, given.labels, params.check, field=field)
    for text in report.warnings:
        display.warn(text)
    display.line(f"{given.name or given.image}: {report.verdict.sentence}")
    if not report.ok:
        kept = Path(given.log).with_suffix(".png") if given.log else given.picture
        if kept is not None:
            _draw(report, kept)
        raise CheckFailed(f"{given.name or given.image}: {report.complaint}" + (f"; picture: {kept}" if kept else ""))
    if given.json:
        said = {"volume": given.name or str(given.image), **report.plain()}
        write_json(given.json, said | ({"picture": given.picture.name} if given.picture else {}))
    if given.picture:
        _draw(report, given.picture)


def _draw(report: object, path: Path) -> None:
    from elektronn.volumes.content_picture import draw

    with writing(path) as part:
        draw(report, part)
