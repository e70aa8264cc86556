"""``elektronn evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from elektronn.cli.options import params_of, settings_arguments
from elektronn.cli.progress import Display
from elektronn.errors import ConfigError


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
    verb.add_argument("--resolved", type=Path, metavar="FILE", help="full settings (YAML); default: beside the metrics")
    settings_arguments(verb)


def run(given: argparse.Namespace) -> None:
    """Evaluate."""
    from elektronn.config.load import write_resolved
    from elektronn.evaluation.evaluate import Pair, evaluate
    from elektronn.evaluation.tables import write_tables
    from elektronn.volumes.address import parse_address

    if len(given.pair) not in (0, 2):
        raise ConfigError(f"expected PREDICTION LABELS, got {len(given.pair)} volumes; for more use --test and --valid")
    rows = [("valid", *row) for row in given.valid] + [("test", *row) for row in given.test]
    rows += [("test", Path(given.pair[0]).stem, *given.pair)] if given.pair else []
    pairs = [Pair(name, role, parse_address(p), parse_address(labels)) for role, name, p, labels in rows]
    params = params_of(given)
    evaluation = evaluate(pairs, params.evaluate)
    folder = given.json.parent
    write_tables(
        evaluation,
        metrics=given.json,
        roc=given.roc or folder / "roc.csv",
        pr=given.pr or folder / "pr.csv",
        confusion=given.confusion or folder / "confusion.csv",
        figure=given.figure or folder / "curves.svg",
    )
    write_resolved(given.resolved or folder / "evaluate.resolved.yaml", params, "evaluate")
    display = Display("evaluate", given.log)
    for text in evaluation.warnings:
        display.warn(text)
    for line in summary(evaluation):
        display.line(line)


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
        lines.append(
            f"{role}: ROC area {area}, F1 {f1} at threshold {evaluation.threshold:.3f}, {found['voxels']} voxels"
        )
    return lines
