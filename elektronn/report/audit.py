"""Is every part of a run of the same making? Digests, fingerprints and settings that must agree are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from elektronn.report.content import Certificate, Claim

UNSEEN = ("device", "threads", "certificate", "memory_gb")
"""Settings of a prediction that do not change its numbers."""
SOURCES = ("valid", "default")
"""Where a threshold may come from: the validation volumes, or nowhere."""

Digests = Mapping[str, str]


@dataclass(frozen=True)
class Evidence:
    """What a run says about its own making, and what its files are now.

    Attributes:
        model: the model card.
        metrics: content of ``metrics.json``.
        manifests: of the predictions, by the name of the volume.
        evaluated: settings section ``evaluate`` as the evaluation left it.
        roles: of the volumes, by name, as the table of volumes has them now.
        weights: sha256 of the model file; empty where it was not given.
        images, labels, stores: sha256 of image files, boundary maps and predictions, by the name of the volume.
        now: settings as they are now; empty where nobody gave any.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    manifests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    evaluated: Mapping[str, Any] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    weights: str = ""
    images: Digests = field(default_factory=dict)
    labels: Digests = field(default_factory=dict)
    stores: Digests = field(default_factory=dict)
    now: Mapping[str, Any] = field(default_factory=dict)


def judge_threshold(found: Evidence) -> Claim:
    """The operating point comes from validation volumes, and from nothing that is judged."""
    name, metrics = "Threshold not fitted to the test", found.metrics
    source, entries = str(metrics.get("threshold_from", "")), metrics.get("volumes") or {}
    if not source:
        return Claim(name, "unchecked", ("there is no evaluation that says where its threshold comes from",))
    wrong = [] if source in SOURCES else [f"the threshold was chosen on '{source}', not on the validation volumes"]
    for volume, entry in entries.items():
        role, today = str(entry.get("role")), found.roles.get(volume)
        if today is not None and role != today:
            deed = "chose the threshold" if role == "valid" else f"is judged as '{role}'"
            wrong.append(f"{volume} {deed}, and the table of volumes calls it '{today}'")
    chosen, judged = (
        {volume: entry.get("scores_sha256") for volume, entry in entries.items() if entry.get("role") == role}
        for role in ("valid", "test")
    )
    for volume, scores in chosen.items():
        same = [other for other, its in judged.items() if scores and its == scores]
        wrong += [f"the scores of {volume}, which chose the threshold, are those of {other} (test)" for other in same]
    if wrong:
        return Claim(name, "broken", tuple(wrong))
    said = f"best F1 on {', '.join(chosen)}" if source == "valid" else "not chosen by data at all"
    return Claim(name, "holds", (f"{_number(metrics)}{said}",))


def _number(metrics: Mapping[str, Any]) -> str:
    judged = metrics.get(str(metrics.get("judged"))) or {}
    return f"{judged['threshold']:.4f}: " if isinstance(judged.get("threshold"), float) else ""


class _Comparison:
    """Counts what was compared, and keeps what differs."""

    def __init__(self) -> None:
        self.count, self.wrong = 0, list[str]()

    def same(self, recorded: Any, now: Any, sentence: str) -> None:
        """Two digests must be equal if both are known."""
        if recorded and now:
            self.count += 1
            if recorded != now:
                self.wrong.append(f"{sentence} ({str(recorded)[:8]}, now {str(now)[:8]})")


def judge_making(found: Evidence) -> Claim:
    """Model, predictions and figures belong to each other, and to the volumes as they are."""
    name, compared = "Nothing is stale", _Comparison()
    for volume, said in (found.model.get("data") or {}).items():
        if isinstance(said, Mapping):
            text = f"the model was trained with another {{}} of {volume}"
            compared.same(said.get("image"), found.images.get(volume), text.format("image"))
            compared.same(said.get("labels"), found.labels.get(volume), text.format("boundary map"))
    for volume, said in found.manifests.items():
        _compare_prediction(found, volume, said, compared)
    if compared.wrong:
        return Claim(name, "broken", tuple(compared.wrong))
    if not compared.count:
        return Claim(name, "unchecked", ("no digests were there to compare",))
    return Claim(name, "holds", (f"{compared.count} digests of model, images, labels, predictions and figures agree",))


def _compare_prediction(found: Evidence, volume: str, said: Mapping[str, Any], compared: _Comparison) -> None:
    inputs, attributes = said.get("inputs") or {}, said.get("attributes") or {}
    card = found.model.get("fingerprint")
    compared.same(attributes.get("model_fingerprint"), card, f"the prediction of {volume} was made by another model")
    compared.same(inputs.get("model"), found.weights, f"the prediction of {volume} was made by another model file")
    compared.same(inputs.get("image"), found.images.get(volume), f"the prediction of {volume} is of another image")
    compared.same(said.get("sha256"), found.stores.get(volume), f"the prediction of {volume} was changed afterwards")
    entry = (found.metrics.get("volumes") or {}).get(volume) or {}
    judged = entry.get("made_of") or {}
    for part in ("model", "image"):
        compared.same(
            judged.get(part), inputs.get(part), f"the figures of {volume} are of a prediction by another {part}"
        )


def judge_settings(found: Evidence) -> Claim:
    """The settings are those that the run recorded."""
    name = "Settings are those of the run"
    if not found.now:
        return Claim(name, "unchecked", ("no settings were given to compare the run with",))
    experiment = next((key for key in found.now if key.startswith("experiments.")), "")
    pairs = [(experiment, found.model.get("settings") or {}, found.now.get(experiment) or {})] if experiment else []
    for volume, said in found.manifests.items():
        recorded = {key: value for key, value in (said.get("settings") or {}).items() if key not in UNSEEN}
        pairs.append((f"prediction of {volume}: predict", recorded, found.now.get("predict") or {}))
    pairs.append(("evaluate", found.evaluated, found.now.get("evaluate") or {}))
    wrong = [line for place, recorded, now in pairs if now for line in differences(place, recorded, now)]
    if wrong:
        return Claim(name, "broken", tuple(wrong))
    count = sum(len(list(_leaves("", recorded))) for _, recorded, now in pairs if now)
    if not count:
        return Claim(name, "unchecked", ("the run recorded no settings",))
    return Claim(name, "holds", (f"{count} recorded settings are what they are now",))


def differences(place: str, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What was recorded and is different now, one sentence each.

    Example:
        >>> differences("training", {"steps": 10, "seed": 1}, {"steps": 20, "seed": 1, "threads": 4})
        ['training.steps: the run had 10, now it is 20']
    """
    today, wrong = dict(_leaves("", now)), []
    for key, value in _leaves("", recorded):
        if today.get(key) != value:
            said = f"now it is {_said(today[key])}" if key in today else "now it is gone"
            wrong.append(f"{place}.{key}: the run had {_said(value)}, {said}")
    return wrong


def _leaves(prefix: str, tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value


def _said(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) < 80 else text[:77] + "…"


def judge_certificates(certificates: Sequence[Certificate]) -> Claim:
    """Recomputed voxels agree with what is stored."""
    name = "Predictions are exact"
    if not certificates:
        return Claim(name, "unchecked", ("no prediction came with a certificate",))
    wrong = [
        f"{c.store}: a recomputed voxel differs by {c.largest_difference:.1e}, allowed is {c.tolerance:.1e}"
        for c in certificates
        if not c.largest_difference <= c.tolerance
    ]
    if wrong:
        return Claim(name, "broken", tuple(wrong))
    voxels = sum(c.voxels for c in certificates)
    largest = max(c.largest_difference for c in certificates)
    said = (
        f"{voxels} voxels of {len(certificates)} predictions recomputed by brute force differ by at most {largest:.1e}"
    )
    return Claim(name, "holds", (said,))
