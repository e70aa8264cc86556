"""A finished run as a table of settings, figures and curves, found by its name or by its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elektronn.errors import DataError
from elektronn.report.content import Row
from elektronn.report.files import Files

REPORTS, MODELS = Path("data", "reports"), Path("data", "models")
METRICS, SEGMENTS = "metrics.json", "segments.json"
BEFORE = "segments, "
"""Before the role of a figure of segments."""
SECTIONS = ("network", "sampling", "training", "data")
"""Of an experiment; which volumes were used, the model card says."""


@dataclass(frozen=True)
class Run:
    """What is compared of a run.

    Attributes:
        name: as it was given.
        settings: dotted name → value, without the name of the experiment.
        figures: dotted name → number, as ``dvc metrics`` names them.
        judged: sha256 of the images that the test scores are of; empty where nobody said.
        seconds: of the training; ``None`` where nobody said.
        history, roc, pr: tables; empty where they are not there.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float | None] = field(default_factory=dict)
    judged: frozenset[str] = frozenset()
    seconds: float | None = None
    history: tuple[Row, ...] = ()
    roc: tuple[Row, ...] = ()
    pr: tuple[Row, ...] = ()


def run_of(name: str, here: Path) -> Run:
    """The run of that name.

    Args:
        name: of an experiment of the workflow in ``here``, or a folder with ``metrics.json`` in it. What the training
            left is expected there too, or in ``models`` beside ``reports``.
        here: the project.

    Raises:
        DataError: no such run, or damaged files.
    """
    folders = [folder for folder in (here / name, here / REPORTS / name) if (folder / METRICS).is_file()]
    if not folders:
        raise DataError(
            f"run '{name}': neither {here / REPORTS / name} nor {here / name} holds {METRICS}; name an experiment that "
            f"was evaluated, or a folder with {METRICS} in it"
        )
    folder = folders[0].resolve()
    models = folder.parent.parent / "models" / folder.name
    trained = folder if (folder / "model.json").is_file() else models
    files = Files()
    card = files.mapping(trained / "model.json", "model card")
    resolved = files.settings(trained / "params.resolved.yaml", "settings of the training")
    training = next(iter((resolved.get("experiments") or {}).values()), None) or card.get("settings") or {}
    evaluated = files.settings(folder / "evaluate.resolved.yaml", "settings of the evaluation")
    seconds = card.get("seconds")
    metrics = files.mapping(folder / METRICS, "evaluation")
    segments = folder / SEGMENTS
    compared = files.mapping(segments, "figures of segments") if segments.is_file() else {}
    return Run(
        name,
        dict(_settings(training, evaluated, card)),
        dict([*figures_of(metrics), *figures_of(compared, BEFORE)]),
        judged_by(metrics),
        float(seconds) if seconds is not None else None,
        files.table(trained / "history.csv", "history of the training"),
        files.table(folder / "roc.csv", "ROC table"),
        files.table(folder / "pr.csv", "PR table"),
    )


def _settings(
    training: Mapping[str, Any], evaluated: Mapping[str, Any], card: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Settings, then data and versions: all that may make two runs differ."""
    yield from leaves("", {name: said for name, said in training.items() if name in SECTIONS})
    yield from leaves("", evaluated)
    for name, said in (card.get("data") or {}).items():
        if isinstance(said, Mapping):
            yield from ((f"data.{name}.{part}", str(said[part])) for part in ("image", "labels") if part in said)
    yield from leaves("version.", card.get("versions") or {})
    for number, change in enumerate(card.get("changes") or (), 1):
        yield f"intervention.{number}", str(change)


def leaves(prefix: str, tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a nested mapping; lists count as values, but for lists of sections.

    Example:
        >>> dict(leaves("", {"a": {"b": [1, 2]}, "c": [{"kind": "flip"}]}))
        {'a.b': [1, 2], 'c.0.kind': 'flip'}
    """
    for key, value in tree.items():
        if isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
            value = dict(enumerate(value))
        if isinstance(value, Mapping):
            yield from leaves(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value


def figures_of(metrics: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float | None]]:
    """The numbers of a file of metrics by role under the names that ``dvc metrics`` gives them, behind ``before``; those of
    single volumes and places left out."""
    for role, entry in metrics.items():
        if role not in ("volumes", "definitions") and isinstance(entry, Mapping):
            for name, value in leaves(f"{before}{role}.", entry):
                if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
                    yield name, value


def judged_by(metrics: Mapping[str, Any]) -> frozenset[str]:
    """sha256 of the images of the test volumes, as far as the predictions said of what they were made."""
    volumes = metrics.get("volumes")
    entries = [
        entry for entry in (volumes if isinstance(volumes, Mapping) else {}).values() if isinstance(entry, Mapping)
    ]
    images = [(entry.get("made_of") or {}).get("image") for entry in entries if entry.get("role") == "test"]
    return frozenset(image for image in images if image)
