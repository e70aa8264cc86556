"""``elektronn report``."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elektronn.artefacts import write_text
from elektronn.axes import Size
from elektronn.cli.options import params_of, settings_arguments, volume
from elektronn.cli.progress import Display
from elektronn.errors import ConfigError, DataError
from elektronn.volumes.address import Address, parse_address

if TYPE_CHECKING:
    from elektronn.report.content import ReportVolume

FILES = {
    "metrics": "metrics (JSON) of `elektronn evaluate`",
    "roc": "ROC curve (CSV)",
    "pr": "precision-recall curve (CSV)",
    "confusion": "confusion table (CSV)",
    "evaluated": "settings (YAML) that `elektronn evaluate` wrote",
    "history": "history (CSV) of `elektronn train`",
    "card": "model card (JSON) of `elektronn train`",
    "model": "model file of `elektronn train`",
    "events": "journal (JSON lines) of `elektronn train`",
}
SECTIONS = ("boundaries", "check", "predict", "evaluate", "report")


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="name of the experiment")
    verb.add_argument("out", type=Path, nargs="?", metavar="OUT", help="page to write (.html)")
    for name, text in FILES.items():
        verb.add_argument(f"--{name}", type=Path, metavar="FILE", help=text)
    for name, text in (
        ("volumes", "cards (JSON) of `elektronn volume`"),
        ("checks", "verdicts of `elektronn check`"),
        ("segmentation", "figures (JSON) of `elektronn evaluate --segmentation` or `--thinned`"),
    ):
        verb.add_argument(f"--{name}", type=Path, nargs="*", default=[], metavar="FILE", help=text)
    for name, text in (
        ("labels", "boundary maps"),
        ("predictions", "predicted volumes with their manifests"),
        ("segments", "segmentations"),
    ):
        verb.add_argument(
            f"--{name}", type=volume, nargs="*", default=[], metavar="VOLUME", help=f"{text}, named as their volumes"
        )
    verb.add_argument(
        "--compare",
        nargs="+",
        metavar="RUN",
        help="instead of all that: put runs side by side; each an experiment of the workflow here, or a folder with "
        "metrics.json in it, such as OTHER/data/reports/neuro",
    )
    verb.add_argument(
        "--out",
        type=Path,
        dest="comparison",
        metavar="FILE",
        help="with --compare: page to write; default: compare.html",
    )
    settings_arguments(verb)


def run(given: argparse.Namespace) -> None:
    """Write the page."""
    if given.compare:
        _compare(given)
        return
    if given.out is None:
        raise ConfigError("name EXPERIMENT and OUT, or runs with --compare RUN RUN")
    if not any((given.metrics, given.history, given.card, given.checks, given.segmentation, given.volumes)):
        raise ConfigError(
            f"nothing to report of {given.experiment}: name its files (--metrics, --history, --card, …), or let the workflow "
            f"do it: snakemake --cores all train_{given.experiment}"
        )
    from elektronn.report.content import ReportInputs
    from elektronn.report.page import report

    params = params_of(given)
    labels = {a.path.stem: a for a in given.labels}
    predictions = {a.path.stem: a for a in given.predictions}
    manifests = [a.path.with_name(a.path.name + ".json") for a in given.predictions]
    volumes = tuple(_volume(card, labels, predictions) for card in given.volumes)
    inputs = ReportInputs(
        metrics=given.metrics,
        roc=given.roc,
        pr=given.pr,
        confusion=given.confusion,
        history=given.history,
        model=given.card,
        weights=given.model,
        events=given.events,
        evaluated=given.evaluated,
        checks=tuple(given.checks),
        manifests=tuple(manifests),
        segmentations=tuple(given.segmentation),
        segments={a.path.stem: a for a in given.segments},
        volumes=volumes,
        settings=_said(given, params) if given.params or given.params_json else {},
        commands=commands(given, volumes, Path.cwd()),
        looks={v.name: look(given.experiment, v.name) for v in volumes},
    )
    write_text(given.out, report(inputs, params.report))
    Display("report", given.log).line(f"{given.out}: report of experiment {given.experiment}")


def _compare(given: argparse.Namespace) -> None:
    from elektronn.report.compare import compare
    from elektronn.report.runs import run_of

    if given.experiment or given.out:
        raise ConfigError(
            f"--compare: wants runs only, and {given.experiment} stands before it; name the page with --out"
        )
    out = given.comparison or Path("compare.html")
    runs = [run_of(name, Path.cwd()) for name in given.compare]
    write_text(out, compare(runs))
    Display("report", given.log).line(f"{out}: {len(runs)} runs side by side")


def _said(given: argparse.Namespace, params: Any) -> dict[str, Any]:
    """The resolved settings that made this run, other experiments left out."""
    from elektronn.settings import plain

    said = plain(params)
    kept = {name: said[name] for name in SECTIONS}
    experiment = said["experiments"].get(given.experiment) or {}
    # a workflow passes what makes the network; its volumes and segments, if they are not said, are not none
    experiment = {name: value for name, value in experiment.items() if value}
    return {**({f"experiments.{given.experiment}": experiment} if experiment else {}), **kept}


def commands(given: argparse.Namespace, volumes: tuple[ReportVolume, ...], here: Path) -> tuple[str, ...]:
    """Shell lines that make the run again: by the workflow where there is one, then prediction and figures by hand."""
    name = given.experiment
    found = []
    project = next((folder for folder in (here, *here.parents) if (folder / "Snakefile").is_file()), None)
    if project == here:
        found += ["# all of it, from the data to this page", f"snakemake --cores all train_{name}"]
        found += [f"dvc repro report_{name}"] if (here / "dvc.yaml").is_file() else []
    elif project is not None:
        place = here.relative_to(project).as_posix()
        found += [f"# in the folder of the Snakefile, {place} lies in it"]
        found += [f"snakemake --directory {shlex.quote(place)} --cores all train_{name}"]
    predicted = [volume for volume in volumes if volume.prediction is not None]
    if given.model:
        found += ["# single steps; settings: params.yaml"] if predicted else []
        found += [_prediction(given, volume) for volume in predicted]
    judged = [v for v in predicted if v.role in ("valid", "test") and v.labels is not None]
    if given.metrics and judged:
        pairs = [word for v in judged for word in (f"--{v.role}", v.name, v.prediction, v.labels)]
        found.append(_line("evaluate", *pairs, "--json", given.metrics, *_settings(given)))
    return tuple(found)


def _prediction(given: argparse.Namespace, volume: ReportVolume) -> str:
    """The size of the voxels too, as in the workflow: where the image says it itself, that counts."""
    voxel = ["--voxel-nm", *(f"{n:g}" for n in volume.voxel_nm)] if volume.voxel_nm else []
    return _line("predict", volume.image, volume.prediction, "--model", given.model, *voxel, *_settings(given))


def _settings(given: argparse.Namespace) -> tuple[Any, ...]:
    return ("--params", given.params or "params.yaml")


def look(experiment: str, volume: str) -> str:
    """Shell lines that open a place of a volume; ``{z}``, ``{y}``, ``{x}`` stand for a voxel of the image."""
    line = _line("view", experiment, "--volume", volume).replace("{", "{{").replace("}", "}}")
    return "\n".join(
        (
            f"{line}    # Neuroglancer; go to z {{z}}, y {{y}}, x {{x}}",
            f"{line} --napari    # napari; the same voxel",
            f"{line} --section {{z}} --save section_{{z}}.png    # no display needed",
        )
    )


def _line(verb: str, *words: Any) -> str:
    return shlex.join(["elektronn", verb, *map(str, words)])


def _volume(card: Path, labels: Mapping[str, Address], predictions: Mapping[str, Address]) -> ReportVolume:
    from elektronn.report.content import ReportVolume

    try:
        said = json.loads(card.read_text(encoding="utf-8"))
        name, image, voxel, ids = said["volume"], said["image"], said["voxel_nm"], said.get("labels")
        return ReportVolume(
            name=name,
            role=said["role"],
            image=parse_address(image["address"]),
            labels=labels.get(name),
            prediction=predictions.get(name),
            sha256=image["sha256"],
            voxel_nm=tuple(voxel) if voxel else None,
            image_size=Size(*image["size"]),
            ids=parse_address(ids["address"]) if ids else None,
            ids_size=Size(*ids["size"]) if ids else None,
            ids_sha256=ids["sha256"] if ids else "",
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{card}: not a card of `elektronn volume` ({error}); make it again") from error
