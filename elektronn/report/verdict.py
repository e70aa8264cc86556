"""Green, amber or red: one sentence about the run, and the reasons."""

from __future__ import annotations

from typing import NamedTuple

from elektronn.report.content import Claim, ReportContent


class Verdict(NamedTuple):
    """``level`` is ``good``, ``care`` or ``bad``; ``sentence`` stands on top of the page; ``reasons`` below it."""

    level: str
    sentence: str
    reasons: tuple[str, ...]


WORDS = {"good": "Good", "care": "Use with care", "bad": "Do not use"}


def verdict(content: ReportContent) -> Verdict:
    """Judge a run.

    Red: nothing was measured on test volumes, a registration check failed, a claim about the run is broken, or the ROC
    area is below ``usable``. Amber: the ROC area is below ``good``, there are warnings, or something was not checked.
    Green: else.

    Example:
        >>> verdict(ReportContent("t", metrics={"test": {"roc_area": 0.6}, "judged": "test"})).level
        'bad'
    """
    area = content.judged.get("roc_area")
    bad = [_short(claim, "broken") for claim in content.claims if claim.state == "broken"]
    bad += [f"registration of {check.volume} failed" for check in content.checks if not check.ok]
    care = list(content.warnings)
    care += [_short(claim, "not checked") for claim in content.claims if claim.state == "unchecked"]
    if not content.checks:
        care.append("the registration of image and labels was not checked")
    if area is None:
        bad.append("no ROC area was measured" + (" on test volumes" if content.metrics else ""))
    elif str(content.metrics.get("judged", "test")) != "test":
        bad.append(f"nothing was measured on test volumes; the figures are of '{content.metrics['judged']}' volumes")
    elif area < content.usable:
        bad.append(f"the ROC area is below {content.usable:g}")
    elif area < content.good:
        care.insert(0, f"the ROC area is below {content.good:g}")
    level = "bad" if bad else "care" if care else "good"
    return Verdict(level, f"{WORDS[level]}: {_measured(content)}", tuple(dict.fromkeys([*bad, *care])))


def _short(claim: Claim, state: str) -> str:
    first, *others = claim.findings
    return f"{claim.name} – {state}: {first}" + (f" (and {len(others)} more)" if others else "")


def _measured(content: ReportContent) -> str:
    figures, role = content.judged, str(content.metrics.get("judged", "test"))
    if figures.get("roc_area") is None:
        return "nothing is known about how well boundaries are found."
    f1 = figures.get("f1")
    more = "" if f1 is None else f" and an F1 of {f1:.4f} at threshold {figures.get('threshold', 0.5):.4f}"
    return f"ROC area {figures['roc_area']:.4f} on the {role} volumes (1 is perfect, 0.5 is chance){more}."


def registration_claim(content: ReportContent) -> Claim:
    """What the registration checks amount to."""
    name, wrong = "Labels lie on the image", [check for check in content.checks if not check.ok]
    if wrong:
        return Claim(name, "broken", tuple(f"{check.volume}: {check.sentence}" for check in wrong))
    if not content.checks:
        return Claim(name, "unchecked", ("no registration check was given",))
    return Claim(name, "holds", (f"{len(content.checks)} volumes passed the check of sizes and contents",))
