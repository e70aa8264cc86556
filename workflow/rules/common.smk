import json
import os
import time
from pathlib import Path

from elektronn.config.load import get, read_params, resolve
from elektronn.errors import ElektronnError
from elektronn.volumes.table import data_root, rows_of
from elektronn.workflow.layout import (
    code_files,
    gpus,
    input_files,
    merged,
    pair_options,
    row_options,
    segment_options,
    segmented,
    there,
    use_own_commands,
    volume_options,
    volumes_of,
)

use_own_commands()

STARTED = time.time()

# a run on this machine: neither one that sends jobs to a cluster nor such a job
IS_LOCAL = (
    workflow.exec_mode.name == "DEFAULT" and workflow.resource_settings.nodes is None
)

try:
    RAW = merged(read_params(Path("params.yaml")), config)
    PARAMS = resolve(RAW)
    VOLUMES = {
        row.name: row for row in rows_of(PARAMS.volumes, data_root(PARAMS.data_root))
    }
    for name, experiment in PARAMS.experiments.items():
        volumes_of(name, experiment, VOLUMES)
except ElektronnError as error:
    raise WorkflowError(str(error))

EXPERIMENTS = list(PARAMS.experiments)
LABELLED = [name for name, row in VOLUMES.items() if row.labels]
SEGMENT_ROWS = {
    exp: segmented(exp, PARAMS.experiments[exp], VOLUMES) for exp in EXPERIMENTS
}


def section(*keys):
    """The sections under these dotted keys as JSON: what a stage's result depends on, and what dvc.yaml lists."""

    def as_json(wildcards):
        names = [key.format(**wildcards) for key in keys]
        return json.dumps({name: get(RAW, name) for name in names}, sort_keys=True)

    return as_json


def code(stage):
    """Source files with a numeric effect on a stage, relative to the working directory."""
    return [
        os.path.relpath(Path(workflow.basedir) / file)
        for file in code_files(stage, Path(workflow.basedir))
    ]


def of_experiment(pattern, *roles):
    """An input function: ``pattern`` for each volume of the experiment that has one of the roles."""

    def files(wildcards):
        rows = volumes_of(
            wildcards.exp, PARAMS.experiments[wildcards.exp], VOLUMES, roles
        )
        return [pattern.format(volume=row.name, exp=wildcards.exp) for row in rows]

    return files


def image_files(*roles):
    """An input function: the image files of an experiment's volumes, each once."""

    def files(wildcards):
        rows = volumes_of(
            wildcards.exp, PARAMS.experiments[wildcards.exp], VOLUMES, roles
        )
        return input_files(*(row.image for row in rows))

    return files


def image_to_predict(wildcards):
    """Files of the image; of the open-ended batch those that are there: a lost one fails its own job, not the workflow."""
    row = VOLUMES[wildcards.volume]
    files = input_files(row.image)
    return there(files) if row.role == "predict" else files


def image(wildcards):
    return str(VOLUMES[wildcards.volume].image)


def voxel(wildcards):
    """Voxel size as a command line option; nothing where the table does not say it."""
    size = VOLUMES[wildcards.volume].voxel_nm
    return "" if size is None else "--voxel-nm {:g} {:g} {:g}".format(*size)


def with_ids(exp):
    """The volumes whose segments can be compared with IDs of cells."""
    known = PARAMS.boundaries.source == "ids"
    return [row for row in SEGMENT_ROWS[exp] if known and row.labels]


def of_segmented(pattern):
    """An input function: ``pattern`` for each volume whose segments are compared."""
    return lambda w: [
        pattern.format(exp=w.exp, volume=row.name) for row in with_ids(w.exp)
    ]


SEGMENTED = [
    f"data/segmentations/{exp}/{row.name}.zarr.json"
    for exp, rows in SEGMENT_ROWS.items()
    for row in rows
] + [f"data/reports/{exp}/segments.json" for exp in EXPERIMENTS if with_ids(exp)]


def summarise():
    """data/predictions/EXPERIMENT/summary.tsv: what became of the volumes of role predict, if any was tried just now."""
    for exp in EXPERIMENTS:
        logs = Path("data/logs/predict", exp)
        tried = [
            logs / f"{row.name}.log"
            for row in VOLUMES.values()
            if row.role == "predict"
        ]
        if any(log.exists() and log.stat().st_mtime >= STARTED for log in tried):
            from elektronn.prediction.batch import outcomes_of, write_summary

            folder = Path("data/predictions", exp)
            outcomes = outcomes_of(list(VOLUMES.values()), folder, logs, STARTED)
            write_summary(folder / "summary.tsv", outcomes)
