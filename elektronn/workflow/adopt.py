"""Let one engine accept what the other has made, after the first has proved it current."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from elektronn.errors import ConfigError
from elektronn.workflow.dag import dvc_jobs


def into_dvc(targets: Sequence[str] = ()) -> str:
    """Record in dvc.lock the stages whose outputs Snakemake proves current; returns a sentence.

    A stage qualifies when each output is up to date for Snakemake *and* Snakemake itself made it: files without
    its metadata also look current, because only their times are compared then.

    Raises:
        ConfigError: Snakemake or DVC refuses; with its own words.
    """
    table = _run("snakemake", "-D", *(["--", *targets] if targets else []))
    rows = {row["output_file"]: row for row in csv.DictReader(io.StringIO(table), delimiter="\t")}
    good = [job.name for job in dvc_jobs() if all(_proved(rows.get(out)) for out in job.outs)]
    left = [job.name for job in dvc_jobs() if job.name not in good]
    if good:
        # never without names: a bare commit records whatever lies on the disk
        with _times_kept([Path(out) for job in dvc_jobs() if job.name in good for out in job.outs]):
            _run("dvc", "commit", "-f", "-q", *good)
    return _sentence("dvc", good, left)


@contextmanager
def _times_kept(outs: Sequence[Path]) -> Iterator[None]:
    """Give the files their times back afterwards: dvc copies them through its cache, and new times would make
    Snakemake run again whatever is larger than the files that it compares by content."""
    files = [file for out in outs for file in ([*out.rglob("*"), out] if out.is_dir() else [out])]
    times = {file: file.stat() for file in files}
    yield
    for file, before in times.items():
        if file.stat().st_size == before.st_size or file.is_dir():
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def into_snakemake() -> str:
    """Let Snakemake accept the outputs of the stages that DVC proves current; returns a sentence.

    Needed after `dvc pull`, `dvc checkout`, `dvc exp apply` and after stages that came from DVC's run cache.
    """
    stale = json.loads(_run("dvc", "status", "--json") or "{}")
    jobs = dvc_jobs()
    good = [job for job in jobs if job.name not in stale]
    if good:
        outs = [out for job in good for out in job.outs]
        _run("snakemake", "--cores", "1", "--touch", "--force", "--", *outs)
    return _sentence("snakemake", [job.name for job in good], [job.name for job in jobs if job.name in stale])


def _proved(row: dict[str, str] | None) -> bool:
    return row is not None and row["shellcmd"] != "-" and row["status"] == "ok" and row["plan"] == "no update"


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ConfigError(
            f"the program '{command[0]}' is not there; install elektronn[workflow] and activate its environment"
        ) from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise ConfigError(f"{' '.join(command[:3])} … failed: {' / '.join(line.strip() for line in last)}")
    return done.stdout


def _sentence(engine: str, good: Sequence[str], left: Sequence[str]) -> str:
    text = f"{engine}: accepted {len(good)} stages"
    return text + (f"; not current, left alone: {', '.join(left)}" if left else "")
