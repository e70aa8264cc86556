"""``elektronn report``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elektronn.artefacts import write_text
from elektronn.cli.options import params_of, settings_arguments, volume
from elektronn.cli.progress import Display
from elektronn.errors import DataError
from elektronn.volumes.address import Address, parse_address

if TYPE_CHECKING:
    from elektronn.report.content import ReportVolume

FILES = {
    "metrics": "metrics (JSON) of `elektronn evaluate`",
    "roc": "ROC curve (CSV)",
    "pr": "precision-recall curve (CSV)",
    "confusion": "confusion table (CSV)",
    "history": "history (CSV) of `elektronn train`",
    "card": "model card (JSON) of `elektronn train`",
}


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument("experiment", metavar="EXPERIMENT", help="name of the experiment")
    verb.add_argument("out", type=Path, metavar="OUT", help="page to write (.html)")
    for name, text in FILES.items():
        verb.add_argument(f"--{name}", type=Path, metavar="FILE", help=text)
    verb.add_argument(
        "--volumes", type=Path, nargs="*", default=[], metavar="FILE", help="cards (JSON) of `elektronn volume`"
    )
    verb.add_argument(
        "--checks", type=Path, nargs="*", default=[], metavar="FILE", help="verdicts of `elektronn check`"
    )
    for name, text in (("labels", "boundary maps"), ("predictions", "predicted volumes with their manifests")):
        verb.add_argument(
            f"--{name}", type=volume, nargs="*", default=[], metavar="VOLUME", help=f"{text}, named as their volumes"
        )
    settings_arguments(verb)


def run(given: argparse.Namespace) -> None:
    """Write the page."""
    from elektronn.report.content import ReportInputs
    from elektronn.report.page import report

    params = params_of(given)
    labels = {a.path.stem: a for a in given.labels}
    predictions = {a.path.stem: a for a in given.predictions}
    manifests = [a.path.with_name(a.path.name + ".json") for a in given.predictions]
    inputs = ReportInputs(
        metrics=given.metrics,
        roc=given.roc,
        pr=given.pr,
        confusion=given.confusion,
        history=given.history,
        model=given.card,
        checks=tuple(given.checks),
        manifests=tuple(manifests),
        volumes=tuple(_volume(card, labels, predictions) for card in given.volumes),
        settings=_said(given, params),
        commands=(
            f"snakemake --cores all train_{given.experiment}",
            f"dvc repro report_{given.experiment}",
        ),
    )
    write_text(given.out, report(inputs, params.report))
    Display("report", given.log).line(f"{given.out}: report of experiment {given.experiment}")


def _said(given: argparse.Namespace, params: Any) -> dict[str, Any]:
    """The resolved settings that made this run, other experiments left out."""
    from elektronn.settings import plain

    said = plain(params)
    kept = {name: said[name] for name in ("boundaries", "check", "predict", "evaluate", "report")}
    experiment = said["experiments"].get(given.experiment)
    return {**({f"experiments.{given.experiment}": experiment} if experiment else {}), **kept}


def _volume(card: Path, labels: dict[str, Address], predictions: dict[str, Address]) -> ReportVolume:
    from elektronn.report.content import ReportVolume

    try:
        said = json.loads(card.read_text(encoding="utf-8"))
        name, image, voxel = said["volume"], said["image"], said["voxel_nm"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{card}: not a card of `elektronn volume` ({error}); make it again") from error
    return ReportVolume(
        name=name,
        role=said["role"],
        image=parse_address(image["address"]),
        labels=labels.get(name),
        prediction=predictions.get(name),
        sha256=image["sha256"],
        voxel_nm=tuple(voxel) if voxel else None,
    )
