"""``elektronn check``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from elektronn.artefacts import write_json
from elektronn.axes import Size
from elektronn.cli.options import params_of, settings_arguments, volume
from elektronn.cli.progress import Display
from elektronn.errors import CheckFailed, ConfigError
from elektronn.settings import plain
from elektronn.volumes.address import Address

if TYPE_CHECKING:
    from elektronn.volumes.content import CheckReport

WORD = "prediction"
"""First argument of a check of a prediction."""


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.usage = (
        "elektronn check IMAGE LABELS [options]\n"
        "       elektronn check prediction IMAGE PREDICTION --model FILE [options]"
    )
    verb.add_argument("image", type=_volume, metavar="IMAGE", help="image volume")
    verb.add_argument("labels", type=volume, nargs="?", metavar="LABELS", help="boundary map, class labels or IDs")
    verb.add_argument(
        "third", type=volume, nargs="?", metavar="PREDICTION", help="behind the word prediction and IMAGE"
    )
    verb.add_argument(
        "--prediction", type=volume, metavar="FILE", help="check this prediction of IMAGE instead, by brute force"
    )
    verb.add_argument("--model", type=Path, metavar="FILE", help="with --prediction: model that it was made with")
    verb.add_argument(
        "--manifest", type=Path, metavar="FILE", help="with --prediction: its manifest; default: FILE.json"
    )
    verb.add_argument("--name", help="name of the volume in messages (default: the image's)")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write the verdict here")
    verb.add_argument("--picture", type=Path, metavar="FILE", help="draw the verdict here (PNG)")
    verb.add_argument(
        "--field", type=int, nargs=3, metavar=("Z", "Y", "X"), help="field of view to hold against the margin"
    )
    settings_arguments(verb)


def _volume(text: str) -> Address | str:
    """The first argument: a volume, or the word that says what is checked."""
    return text if text == WORD else volume(text)


def _in_words(given: argparse.Namespace) -> None:
    """``check prediction IMAGE FILE`` is ``check IMAGE --prediction FILE``."""
    if given.image != WORD:
        if given.third:
            raise ConfigError(f"{given.third}: one volume too many; name IMAGE and LABELS")
        return
    if given.prediction or not (given.labels and given.third):
        raise ConfigError("prediction: write `elektronn check prediction IMAGE PREDICTION --model FILE`")
    given.image, given.labels, given.prediction = given.labels, None, given.third


def run(given: argparse.Namespace) -> None:
    """Check labels, or a prediction; a failure of labels still leaves the picture beside the log."""
    _in_words(given)
    if given.prediction:
        _prediction(given)
        return
    if not given.labels:
        raise ConfigError("LABELS is missing; name a volume of labels, or a prediction with --prediction and --model")
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
    if report.verdict is None or report.verdict.state != "undecided":  # that was a warning
        display.line(f"{given.name or given.image}: {said}")
    if given.json:
        facts = {"volume": given.name or str(given.image), **report.plain(), "settings": plain(params.check)}
        write_json(given.json, facts | ({"picture": given.picture.name} if given.picture else {}))
    if given.picture:
        _draw(report, given.picture)


def _prediction(given: argparse.Namespace) -> None:
    """Recompute the certificate of a prediction."""
    from elektronn.prediction.recheck import recheck

    if given.labels or not given.model:
        raise ConfigError("prediction: wants --model FILE, the model that it was made with, and no LABELS")
    display, out = Display("check", given.log), given.prediction.path
    manifest = given.manifest or out.with_name(out.name + ".json")
    voxels = params_of(given).predict.certificate
    found = recheck(given.prediction, given.model, given.image, manifest, voxels)
    said = (
        f"{given.prediction}: {found.voxels} random voxels recomputed by brute force differ by at most "
        f"{found.largest:.1e} (allowed {found.tolerance:.1e})"
    )
    display.line(said if manifest.is_file() else f"{said}; there is no manifest to compare it with")
    if given.json:
        write_json(given.json, {"prediction": str(given.prediction), **found.plain})


def _draw(report: CheckReport, path: Path) -> None:
    from elektronn.volumes.content_picture import draw

    if report.verdict is not None:
        draw(report.verdict, report.image_part, report.boundary_part, path)
