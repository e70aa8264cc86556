"""Both job graphs, Snakemake's and DVC's, in one shape."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One job of either engine.

    Attributes:
        name: rule (Snakemake) or stage (DVC).
        outs, deps: paths relative to the project, sorted; folders of code as their ``.py`` files.
        params: dotted names of the settings that the job depends on.
        command: shell line.
    """

    name: str
    outs: tuple[str, ...]
    deps: tuple[str, ...]
    params: tuple[str, ...]
    command: str


def snakemake_jobs(targets: Sequence[str] = ("all",), snakefile: Path = Path("Snakefile")) -> list[Job]:
    """All jobs that the targets need, run or not. Uses Snakemake's own graph, which is no public interface."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import DAGSettings, OutputSettings, Quietness, ResourceSettings

    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        flow_api = api.workflow(resource_settings=ResourceSettings(cores=1), snakefile=snakefile)
        flow_api.dag(DAGSettings(targets=set(targets), forceall=True))
        flow = flow_api._workflow
        flow._prepare_dag(forceall=True, ignore_incomplete=True, lock_warn_only=True)
        flow._build_dag()
        jobs = [_from_snakemake(job) for job in flow.dag.jobs if job.output]
    return sorted(jobs, key=lambda job: job.outs)


def _from_snakemake(job: object) -> Job:
    cfg = dict(job.params.items()).get("cfg")  # type: ignore[attr-defined]
    return Job(
        job.rule.name,  # type: ignore[attr-defined]
        tuple(sorted(map(str, job.output))),  # type: ignore[attr-defined]
        tuple(sorted({str(file) for file in job.input})),  # type: ignore[attr-defined]
        tuple(sorted(json.loads(cfg))) if cfg else (),
        job.shellcmd or "",  # type: ignore[attr-defined]
    )


def dvc_jobs(root: Path = Path()) -> list[Job]:
    """All stages of dvc.yaml that have a command."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        jobs = [_from_dvc(stage, root) for stage in repo.index.stages if stage.cmd]
    return sorted(jobs, key=lambda job: job.outs)


def _from_dvc(stage: object, root: Path) -> Job:
    deps: list[str] = []
    params: list[str] = []
    for dep in stage.deps:  # type: ignore[attr-defined]
        if type(dep).__name__ == "ParamsDependency":
            params += list(dep.params)
        else:
            deps += _expanded(dep.def_path, root)
    outs = sorted(out.def_path for out in stage.outs)  # type: ignore[attr-defined]
    return Job(
        stage.addressing,  # type: ignore[attr-defined]
        tuple(outs),
        tuple(sorted(deps)),
        tuple(sorted(params)),
        stage.cmd,  # type: ignore[attr-defined]
    )


def _expanded(path: str, root: Path) -> list[str]:
    folder = root / path
    if path.startswith("elektronn/") and folder.is_dir():
        return [file.relative_to(root).as_posix() for file in folder.rglob("*.py")]
    return [path]
