"""Runs side by side: what differs in their settings, their figures, their curves; one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from elektronn.errors import ConfigError
from elektronn.report.charts import Line, chart, history_line, numbers
from elektronn.report.content import Picture
from elektronn.report.making import TIME
from elektronn.report.markup import Markup, bullets, folded, group, paragraph, picture, section, table, text
from elektronn.report.page import filled
from elektronn.report.runs import BEFORE, Run

DIGITS = 5
"""Digits behind the point, as ``dvc metrics diff`` shows them."""
HIGHER = (
    "roc_area",
    "average_precision",
    "f1",
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "v_rand",
    "v_info",
)
LOWER = ("calibration_error", "voi_bits", "voi_split_bits", "voi_merge_bits", "adapted_rand_error")
"""Figures of which more is better, and less."""
APART = (
    "The runs were judged on different test volumes: a better figure may be that of an easier volume, and none is called "
    "the best."
)
CURVES = {"Validation error": "valid_error", "Training error": "train_error", "Loss": "loss", "Learning rate": "rate"}


def compare(runs: Sequence[Run]) -> str:
    """The page; equal runs give equal bytes, but for a marked block of times.

    Raises:
        ConfigError: fewer than two runs, or one twice.
    """
    names = [run.name for run in runs]
    if len(runs) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"--compare {' '.join(names)}: name two runs or more, each once")
    runs = [replace(run, name=_short(run.name)) for run in runs]
    differ = differing(runs)
    head = Markup(paragraph(_sentence(runs, differ)) + ("" if _comparable(runs) else paragraph(APART, "alarm")))
    parts = [_settings(runs, differ), _figures(runs), _learning(runs), _quality(runs), _times(runs)]
    return filled("Runs side by side", head, parts)


def _short(name: str) -> str:
    """A folder without the parts that all workflows have.

    Example:
        >>> _short("../other/data/reports/neuro/"), _short("neuro")
        ('../other/neuro', 'neuro')
    """
    return name.rstrip("/").replace("data/reports/", "")


def _comparable(runs: Sequence[Run]) -> bool:
    """Whether the test scores are of the same images, as far as that is known."""
    return len({run.judged for run in runs if run.judged}) < 2


def _sentence(runs: Sequence[Run], differ: Mapping[str, Sequence[Any]]) -> str:
    area = {run.name: run.figures.get("test.roc_area") for run in runs}
    known = {name: value for name, value in area.items() if value is not None}
    changed = f"{len(differ)} settings differ" if differ else "No setting differs"
    if not known:
        return f"{changed}; no run has a ROC area on test volumes."
    if not _comparable(runs):
        return (
            f"{changed}. ROC areas on the test volumes: {', '.join(f'{n} {value:.4f}' for n, value in known.items())}."
        )
    best = max(known.values())
    winners = " and ".join(name for name, value in known.items() if value == best)
    return f"{changed}. Best ROC area on the test volumes: {winners} with {best:.4f}."


def differing(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Settings that are not the same in all runs: name → value per run, ``—`` where a run has no such setting."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    rows = {name: [run.settings.get(name, "—") for run in runs] for name in names}
    return {name: row for name, row in rows.items() if any(value != row[0] for value in row)}


def best_of(name: str, values: Sequence[float | None]) -> float | None:
    """The best of the values; none for a count, and where all are the same.

    Example:
        >>> best_of("test.f1", [0.5, 0.7, None]), best_of("test.calibration_error", [0.1, 0.2])
        (0.7, 0.1)
        >>> best_of("test.voxels", [1, 2]), best_of("test.f1", [0.5, 0.5])
        (None, None)
    """
    known, parts = [value for value in values if value is not None], set(name.split("."))
    if len(set(known)) < 2 or not parts & {*HIGHER, *LOWER}:
        return None
    return max(known) if parts & set(HIGHER) else min(known)


def _figures(runs: Sequence[Run]) -> Markup:
    names = dict.fromkeys(name for run in runs for name in run.figures)
    roles = sorted(dict.fromkeys(name.partition(".")[0] for name in names), key=lambda role: "test" not in role)
    tables = [_role(runs, role, [name for name in names if name.startswith(f"{role}.")]) for role in roles]
    note = Markup(
        f"Rounded to {DIGITS} digits, like <code>dvc metrics diff</code>; the best of a row is marked ★ where more or "
        "less is better."
    )
    others = [folded(f"Volumes: {role}", found) for role, found in zip(roles[1:], tables[1:])]
    return section("figures", "Figures", paragraph(note, "quiet"), *tables[:1], *others)


def _role(runs: Sequence[Run], role: str, names: Sequence[str]) -> Markup:
    rows = []
    for name in names:
        values = [run.figures.get(name) for run in runs]
        best = best_of(name, values) if _comparable(runs) else None
        rows.append(
            [name.removeprefix(BEFORE), *(_figure(value, best is not None and value == best) for value in values)]
        )
    return table(["figure", *_names(runs)], rows, f"volumes: {role}")


def _figure(value: float | None, is_best: bool) -> Markup:
    said = "undefined" if value is None else str(value) if isinstance(value, int) else f"{value:.{DIGITS}f}"
    return Markup(f'<span class="best">{said} <span title="best">★</span></span>' if is_best else said)


def _names(runs: Sequence[Run]) -> list[str]:
    return [run.name for run in runs]


def _settings(runs: Sequence[Run], differ: Mapping[str, Sequence[Any]]) -> Markup:
    title = "What differs"
    if not differ:
        return section("settings", title, paragraph("Settings, data and versions are the same.", "quiet"))
    rows = [
        [name, *(Markup(f"<code>{text(_said(value))}</code>") for value in values)] for name, values in differ.items()
    ]
    return section(
        "settings", title, table(["setting", *_names(runs)], rows, "settings, data and versions that differ")
    )


def _said(value: Any) -> str:
    said = "none" if value is None else str(value)
    return said if len(said) != 64 else f"{said[:12]}…"


def _learning(runs: Sequence[Run]) -> Markup:
    charts = [found for title, column in CURVES.items() for found in _curve(runs, title, column)]
    body = group("charts", map(picture, charts)) if charts else paragraph("There are no histories.", "quiet")
    return section("learning", "Learning", body)


def _curve(runs: Sequence[Run], title: str, column: str) -> list[Picture]:
    lines = [history_line(run.history, column, run.name) for run in runs]
    lines = [line for line in lines if line.x]
    return [chart(title, lines, ("step", ""), legend=True)] if lines else []


def _quality(runs: Sequence[Run]) -> Markup:
    charts = []
    for title, tables, (x, y) in (
        ("ROC", [run.roc for run in runs], ("fpr", "tpr")),
        ("Precision and recall", [run.pr for run in runs], ("recall", "precision")),
    ):
        pairs = {run.name: numbers(rows, x, y) for run, rows in zip(runs, tables)}
        lines = [Line(name, [a for a, _ in found], [b for _, b in found]) for name, found in pairs.items() if found]
        charts += [chart(title, lines, (x, y), unit_square=True, legend=True)] if lines else []
    body = group("charts", map(picture, charts)) if charts else paragraph("There are no curves.", "quiet")
    return section("quality", "How well boundaries are found", body)


def _times(runs: Sequence[Run]) -> Markup:
    lines = [f"{run.name}: the training took {run.seconds:.1f} s" for run in runs if run.seconds is not None]
    body = bullets(lines) if lines else paragraph("No times were recorded.", "quiet")
    return Markup(f"{TIME[0]}{section('times', 'Times', body)}{TIME[1]}")
