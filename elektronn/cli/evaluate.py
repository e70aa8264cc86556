"""``elektronn evaluate``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elektronn.cli.options import length, params_of, settings_arguments
from elektronn.cli.progress import Display
from elektronn.errors import ConfigError

if TYPE_CHECKING:
    from elektronn.volumes.address import Address


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument("pair", nargs="*", metavar="PREDICTION LABELS", help="one test volume and its labels")
    for role in ("valid", "test"):
        verb.add_argument(
            f"--{role}",
            action="append",
            nargs=3,
            default=[],
            metavar=("NAME", "PREDICTION", "LABELS"),
            help="a volume that " + ("chooses the threshold" if role == "valid" else "is judged") + "; may be repeated",
        )
    verb.add_argument("--json", type=Path, required=True, metavar="FILE", help="metrics to write")
    for name, text in (
        ("roc", "ROC curve, CSV"),
        ("pr", "precision-recall curve, CSV"),
        ("confusion", "confusion table, CSV"),
        ("figure", "both curves, SVG"),
    ):
        verb.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"{text}; default: beside the metrics")
    verb.add_argument("--calibration", type=Path, metavar="FILE", help="calibration curve, CSV; default: none")
    verb.add_argument("--sections", type=Path, metavar="FILE", help="figures per section, CSV; default: none")
    verb.add_argument("--resolved", type=Path, metavar="FILE", help="full settings (YAML); default: beside the metrics")
    ids = verb.add_argument_group("segments instead of boundaries")
    kind = ids.add_mutually_exclusive_group()
    kind.add_argument(
        "--segmentation", action="store_true", help="predictions and labels are ids: VOI, adapted Rand error, …"
    )
    kind.add_argument(
        "--thinned", action="store_true", help="PREDICTION is a boundary probability: V_rand and V_info of ISBI 2012"
    )
    ids.add_argument(
        "--background",
        choices=("segment", "singletons", "ignore"),
        help="what predicted id 0 is: one more segment, each voxel a segment of its own, or left out",
    )
    ids.add_argument(
        "--border-nm", type=length, metavar="N", help="ignore voxels this close to a border of the truth, nanometres"
    )
    settings_arguments(verb)


def run(given: argparse.Namespace) -> None:
    """Evaluate."""
    from elektronn.prediction.allocator import keep_memory

    keep_memory()
    if not given.segmentation and (given.background or given.border_nm):
        raise ConfigError("--background and --border-nm are about segments; add --segmentation or leave them out")
    if given.segmentation or given.thinned:
        _refuse_what_is_about_boundaries(given)
    if given.thinned:
        _thinned(given)
    elif given.segmentation:
        _segments(given)
    else:
        _boundaries(given)


def _rows(given: argparse.Namespace) -> list[tuple[str, str, Address, Address]]:
    """Name, role, prediction and labels of each volume."""
    from elektronn.volumes.address import parse_address

    if len(given.pair) not in (0, 2):
        count = f"{len(given.pair)} volume" + "s" * (len(given.pair) > 1)
        raise ConfigError(f"{count} given; name PREDICTION and LABELS, or pairs with --test and --valid")
    rows = [(name, role, p, t) for role in ("valid", "test") for name, p, t in getattr(given, role)]
    rows += [(Path(given.pair[0]).stem, "test", *given.pair)] if given.pair else []
    return [(name, role, parse_address(p), parse_address(truth)) for name, role, p, truth in rows]


def _boundaries(given: argparse.Namespace) -> None:
    from elektronn.config.load import write_resolved
    from elektronn.evaluation.evaluate import Pair, evaluate
    from elektronn.evaluation.tables import write_tables

    pairs = [Pair(*row) for row in _rows(given)]
    params = params_of(given)
    evaluation = evaluate(pairs, params.evaluate, sections=given.sections is not None)
    folder = given.json.parent
    write_tables(
        evaluation,
        metrics=given.json,
        roc=given.roc or folder / "roc.csv",
        pr=given.pr or folder / "pr.csv",
        confusion=given.confusion or folder / "confusion.csv",
        figure=given.figure or folder / "curves.svg",
        calibration=given.calibration,
        sections=given.sections,
    )
    write_resolved(given.resolved or folder / "evaluate.resolved.yaml", params, "evaluate")
    display = Display("evaluate", given.log)
    for text in evaluation.warnings:
        display.warn(text)
    for line in summary(evaluation):
        display.line(line)


def _refuse_what_is_about_boundaries(given: argparse.Namespace) -> None:
    names = ("roc", "pr", "confusion", "figure", "calibration", "sections", "resolved")
    if extra := [name for name in names if getattr(given, name)]:
        raise ConfigError(f"--{extra[0]} is about boundaries; leave it out where segments are judged")


def _thinned(given: argparse.Namespace) -> None:
    from elektronn.artefacts import prepare, write_json
    from elektronn.evaluation.thinning import thinned

    rows = _rows(given)
    if len(rows) != 1:
        raise ConfigError(f"got {len(rows)} pairs; --thinned compares one: PREDICTION LABELS --json FILE")
    display = Display("evaluate", given.log)
    prepare(given.json)
    with display.bar():
        scores, place = thinned(*rows[0][2:], progress=display.advance)
    result = scores.plain()
    write_json(given.json, result | {"place": place._asdict()})
    for line in segment_lines(result):
        display.line(line)


def _segments(given: argparse.Namespace) -> None:
    from elektronn.artefacts import prepare, write_json
    from elektronn.evaluation.compare import compare
    from elektronn.evaluation.segments import by_role, measures

    rows, settings = _rows(given), params_of(given).evaluate
    if not rows or len({name for name, *_ in rows}) < len(rows):
        raise ConfigError("name PREDICTION LABELS, or each volume by --test NAME PREDICTION LABELS, no name twice")
    background = given.background or settings.segments.background
    border_nm = given.border_nm or settings.segments.border_nm
    display = Display("evaluate", given.log)
    prepare(given.json)
    tables, places = [], {}
    with display.bar():
        for name, role, found, truth in rows:
            table, place = compare(found, truth, settings.block, border_nm=border_nm, progress=display.advance)
            tables.append((name, role, table))
            places[name] = {"place": place._asdict()}
    said: dict[str, Any] = {"border_nm": border_nm}
    if given.pair and len(rows) == 1:
        result = measures(tables[0][2], background) | said
        write_json(given.json, result | places[rows[0][0]])
        shown = segment_lines(result)
    else:
        result = by_role(tables, background)
        volumes = {name: figures | places[name] for name, figures in result["volumes"].items()}
        write_json(given.json, result | {"volumes": volumes} | said)
        words = {"definitions": result["definitions"]}
        shown = [
            line
            for role in ("test", "valid")
            if role in result
            for line in (f"{role}:", *segment_lines(result[role] | words))
        ]
    for line in shown:
        display.line(line)


def segment_lines(result: Mapping[str, Any]) -> list[str]:
    """A line per figure for the terminal: number, name, definition.

    Example:
        >>> segment_lines({"v_rand": 0.5, "definitions": {"v_rand": "1 is perfect"}})
        ['  0.5000  v_rand: 1 is perfect']
    """
    flat = dict(result)
    for name, value in flat.pop("adapted_rand_error", {}).items():
        flat[f"adapted_rand_error.{name}"] = value
    words = {**result.get("definitions", {})}
    if "definition" in result:
        words |= dict.fromkeys(("v_rand_thinned", "v_info_thinned"), result["definition"])
    shown = {name: "undefined" if flat[name] is None else f"{flat[name]:.4f}" for name in words if name in flat}
    head = [f"predicted id 0 counts as: {result['background']}"] if "background" in result else []
    return head + [f"{value:>8}  {name}: {words[name]}" for name, value in shown.items()]


def summary(evaluation: object) -> list[str]:
    """A line per role for the terminal."""
    from elektronn.evaluation.evaluate import Evaluation
    from elektronn.evaluation.tables import measures

    assert isinstance(evaluation, Evaluation)
    lines = []
    for role, histogram in evaluation.roles.items():
        found = measures(histogram, evaluation.threshold)
        area = "undefined" if found["roc_area"] is None else f"{found['roc_area']:.4f}"
        f1 = "undefined" if found["f1"] is None else f"{found['f1']:.4f}"
        if evaluation.bootstrap and (span := evaluation.interval(role)):
            area += f" ({span.level:.0%} interval {span.low:.4f} to {span.high:.4f}, {span.blocks} blocks)"
        lines.append(
            f"{role}: ROC area {area}, F1 {f1} at threshold {evaluation.threshold:.3f}, {found['voxels']} voxels"
        )
    return lines
