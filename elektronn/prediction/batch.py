"""Many volumes, one after the other: a bad one does not stop the others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from elektronn.artefacts import write_text
from elektronn.errors import ConfigError, ElektronnError
from elektronn.prediction.certificate import Certificate
from elektronn.volumes.table import Row

COLUMNS = ("name", "image", "output", "status", "seconds", "voxels", "largest_difference", "missing_chunks", "reason")


@dataclass(frozen=True)
class Outcome:
    """What became of one volume.

    Attributes:
        name, image, output: which one.
        status: ``done``, ``skipped`` (was there already) or ``failed``.
        seconds: that it took; ``None``: nobody looked at the clock.
        certificate: of the output.
        error: why it failed.
    """

    name: str
    image: str
    output: str
    status: str
    seconds: float | None
    certificate: Certificate | None = None
    error: Exception | None = None

    @property
    def reason(self) -> str:
        """Why it failed, in words; empty if it did not. What is no failure of ours is named by its kind too."""
        if self.error is None:
            return ""
        return (
            str(self.error) if isinstance(self.error, ElektronnError) else f"{type(self.error).__name__}: {self.error}"
        )

    @property
    def cells(self) -> tuple[str, ...]:
        """As a row of the summary."""
        found = self.certificate
        numbers = (str(found.voxels), f"{found.largest:.2e}", str(found.missing_chunks)) if found else ("", "", "")
        reason = " ".join(self.reason.split())
        seconds = "" if self.seconds is None else f"{self.seconds:.1f}"
        return (self.name, self.image, self.output, self.status, seconds, *numbers, reason)


def predict_all(
    rows: Sequence[Row],
    folder: Path,
    one: Callable[[Row, Path], Certificate],
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Predict every volume of role ``predict``, in the order of the table.

    Args:
        rows: of the table; other roles are passed over.
        folder: where ``NAME.zarr`` goes.
        one: predicts one volume.
        tell: called with each outcome.

    Returns:
        One outcome per volume of role ``predict``.

    Raises:
        ConfigError: the table has no such volume.
    """
    wanted = [row for row in rows if row.role == "predict"]
    if not wanted:
        raise ConfigError("no volume has the role predict; give it to those that are to be predicted")
    found = []
    for row in wanted:
        out, begin = folder / f"{row.name}.zarr", time.perf_counter()
        status, certificate, failure = "failed", None, None
        try:
            certificate = one(row, out)
            status = "done" if certificate.is_new else "skipped"
        except Exception as error:  # whatever it is, also a defect of ours: the others are not to wait for it
            failure = error
        seconds = time.perf_counter() - begin
        found.append(Outcome(row.name, str(row.image), str(out), status, seconds, certificate, failure))
        tell(found[-1])
    return found


def outcomes_of(rows: Sequence[Row], folder: Path, logs: Path, since: float) -> list[Outcome]:
    """What became of volumes that a workflow predicted, each by a command of its own.

    Args:
        rows: of the table; those of role ``predict`` count.
        folder: with ``NAME.zarr`` and ``NAME.zarr.json`` of each that there is.
        logs: folder with ``NAME.log``.
        since: when the workflow began, seconds; what is older was there already.
    """
    found = []
    for row in (row for row in rows if row.role == "predict"):
        out, log = folder / f"{row.name}.zarr", logs / f"{row.name}.log"
        manifest, status, certificate, failure = out.with_name(f"{out.name}.json"), "failed", None, None
        if manifest.is_file():
            said = json.loads(manifest.read_text(encoding="utf-8"))
            numbers, missing = said["certificate"], said["missing_chunks"]
            certificate = Certificate(
                numbers["voxels"], numbers["largest_difference"], numbers["tolerance"], missing_chunks=missing
            )
            status = "done" if manifest.stat().st_mtime >= since else "skipped"
        else:
            lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
            failure = ElektronnError(lines[-1] if lines else "left no word; see the log of snakemake")
        found.append(Outcome(row.name, str(row.image), str(out), status, None, certificate, failure))
    return found


def write_summary(path: Path, outcomes: Sequence[Outcome]) -> None:
    """The outcomes as tab-separated text."""
    lines = [COLUMNS, *(outcome.cells for outcome in outcomes)]
    write_text(path, "".join("\t".join(cells) + "\n" for cells in lines))


def complain(outcomes: Sequence[Outcome], summary: Path) -> None:
    """Raise a failure of the kind of the first one, if there was one.

    Raises:
        ElektronnError: of that kind, and so with its exit code; where it was none of ours, with the exit code 1.
    """
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed:
        kind = type(failed[0].error) if isinstance(failed[0].error, ElektronnError) else ElektronnError
        names = ", ".join(outcome.name for outcome in failed)
        raise kind(f"{len(failed)} of {len(outcomes)} volumes failed ({names}); {summary} says why")
