"""Snakemake and DVC see the same jobs: outputs, dependencies, rule names and settings."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from elektronn.config.tree import Experiment
from elektronn.settings import parse
from elektronn.volumes.address import Address
from elektronn.volumes.table import Row
from elektronn.workflow.dag import Job, dvc_jobs
from elektronn.workflow.layout import CODE, WITHOUT_EFFECT, code_files, segment_options, segmented

ROOT = Path(__file__).parents[2]

DUMP = """
import json, sys, warnings
warnings.simplefilter("ignore")
from elektronn.workflow.dag import dvc_jobs, snakemake_jobs
from dataclasses import asdict
print(json.dumps([[asdict(job) for job in jobs] for jobs in (snakemake_jobs(), dvc_jobs())]))
"""


@pytest.fixture(scope="module")
def graphs() -> tuple[dict[tuple[str, ...], Job], dict[tuple[str, ...], Job]]:
    """Both graphs of the project, by outputs; built in another process, engines keep global state."""
    import json

    done = subprocess.run([sys.executable, "-c", DUMP], cwd=ROOT, capture_output=True, text=True, check=True)
    pair = json.loads(done.stdout.splitlines()[-1])
    first, second = ({tuple(row["outs"]): _job(row) for row in rows} for rows in pair)
    return first, second


def _job(row: dict[str, object]) -> Job:
    return Job(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})  # type: ignore[arg-type]


def differences(snakemake: dict[tuple[str, ...], Job], dvc: dict[tuple[str, ...], Job]) -> list[str]:
    """Every point in which the graphs differ."""
    found = [f"only snakemake: {outs}" for outs in snakemake.keys() - dvc.keys()]
    found += [f"only dvc: {outs}" for outs in dvc.keys() - snakemake.keys()]
    for outs in snakemake.keys() & dvc.keys():
        ours, theirs = snakemake[outs], dvc[outs]
        rule, target = theirs.command.split()[-2:]
        wanted = {*ours.deps, _rule_file(rule), *(_cards(theirs.deps) if rule != "report" else ())}
        found += [f"{theirs.name}: deps {wanted ^ set(theirs.deps)}"] if wanted != set(theirs.deps) else []
        needs_card = rule in ("boundaries", "check", "train", "prediction")
        found += [f"{theirs.name}: no card of its volume"] if needs_card and not _cards(theirs.deps) else []
        found += [f"{theirs.name}: params {ours.params} {theirs.params}"] if ours.params != theirs.params else []
        found += [f"{theirs.name}: runs {rule}, not {ours.name}"] if rule != ours.name else []
        found += [f"{theirs.name}: target {target} is none of its outputs"] if target not in outs else []
    return found


def _cards(deps: tuple[str, ...]) -> list[str]:
    """Cards of volumes: only dvc needs them, Snakemake has the addresses of the table as parameters."""
    return [dep for dep in deps if dep.startswith("data/interim/volumes/")]


def _rule_file(rule: str) -> str:
    """The file that holds a rule; its text is the command, so dvc must see it change."""
    for file in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        if f"rule {rule}:" in file.read_text():
            return file.relative_to(ROOT).as_posix()
    raise AssertionError(rule)


def test_both_engines_have_the_same_graph(
    graphs: tuple[dict[tuple[str, ...], Job], dict[tuple[str, ...], Job]],
) -> None:
    assert differences(*graphs) == []


def test_a_lost_dependency_would_be_noticed(
    graphs: tuple[dict[tuple[str, ...], Job], dict[tuple[str, ...], Job]],
) -> None:
    snakemake, dvc = graphs
    outs, job = next((outs, job) for outs, job in dvc.items() if job.name == "train_neuro")
    poorer = {**dvc, outs: Job(job.name, job.outs, job.deps[:-1], job.params, job.command)}
    assert len(differences(snakemake, poorer)) == 1
    assert len(differences(snakemake, {k: v for k, v in dvc.items() if k != outs})) == 1


ENTRY = {
    "sample": "volumes.sample",
    "boundaries": "volumes.convert",
    "check": "volumes.content",
    "train": "training.stage",
    "predict": "prediction.stage",
    "segment": "segmentation.stage",
    "evaluate": "evaluation.tables",
    "report": "report.page",
}


@pytest.mark.parametrize("stage", CODE)
def test_all_code_that_a_stage_reaches_is_a_dependency_or_known_to_have_no_effect(stage: str) -> None:
    package = ROOT / "elektronn"
    reached, waiting = set(), {ENTRY[stage]}
    while waiting:
        name = waiting.pop()
        file = package / (name.replace(".", "/") + ".py")
        if name in reached or not file.exists():
            continue
        reached.add(name)
        waiting |= {
            node.module.removeprefix("elektronn.")
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("elektronn.")
        }
    files = {f"elektronn/{name.replace('.', '/')}.py" for name in reached}
    known = {*code_files(stage, ROOT), *(f"elektronn/{file}" for file in WITHOUT_EFFECT)}
    assert sorted(files - known) == []


def test_only_what_an_experiment_asks_for_is_segmented(
    graphs: tuple[dict[tuple[str, ...], Job], dict[tuple[str, ...], Job]],
) -> None:
    made = sorted(out for outs in graphs[0] for out in outs if "segment" in out)
    stores = [f"data/segmentations/neuro/cube2.zarr{end}" for end in ("", ".json")]
    assert made == ["data/reports/neuro/segments.json", *stores]


def test_roles_choose_the_volumes_to_segment() -> None:
    rows = [("a", "train"), ("b", "valid"), ("c", "test"), ("d", "predict")]
    here = Address(Path(__file__))
    table = {name: Row(name, here, None if role == "predict" else here, None, role) for name, role in rows}

    def chosen(*roles: str) -> list[str]:
        experiment = parse(Experiment, {"volumes": ["a", "b", "c"], "segment": list(roles)}, "")
        return [row.name for row in segmented("x", experiment, table)]

    assert (chosen(), chosen("test"), chosen("predict", "valid")) == ([], ["c"], ["b", "d"])
    options = segment_options([table["c"]], "out/{volume}.zarr")
    assert options == f"--test c out/c.zarr {here.path}"


def test_dvc_sees_the_project_without_a_lock() -> None:
    assert {job.name for job in dvc_jobs(ROOT)} >= {"train_neuro", "evaluate_neuro", "report_neuro"}
