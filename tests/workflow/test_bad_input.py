"""Every kind of bad input gives one line that names file and cure, its exit code, and leaves earlier artefacts alone."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from contextlib import chdir
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elektronn.axes import whole
from elektronn.cli.main import main
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import create_volume
from tests.workflow.bad_input import (
    BOUNDARIES,
    CHECK,
    COLUMNS,
    CONFIG,
    EVALUATE,
    PARAMS,
    PREDICT,
    PREDICT_FLOAT,
    PREDICT_NPY,
    PREDICT_ONTO_ITSELF,
    PREDICT_ZARR,
    REPORT,
    ROWS,
    SAMPLE,
    TRAIN,
    TRAIN_OTHER,
    VOLUME,
    Case,
    cell,
    cut,
    cut_chunk,
    cut_metadata,
    cut_prediction,
    dangling_link,
    edit,
    folder_instead,
    ids,
    image,
    labels,
    nothing,
    objects,
    remove,
    table,
    two_channels,
    with_nan,
    write,
    zarr_image,
)

ROOT = Path(__file__).parents[2]

PROGRESS = re.compile(
    r"(boundaries|predict|train tiny): \d+/\d+.*|\d+ parameters on .*|step \d+ .*|warning: .*|.*: needs .* RAM.*"
)
"""What a command may say before its error: it was at work."""

IMAGE, IDS, LABELS, STORE, MODEL = (
    "data/a.h5:raw",
    "data/a.h5:ids",
    "data/labels/a.h5",
    "data/image.zarr",
    "model.safetensors",
)
TABLE, TINY = "data/volumes.tsv", "params.yaml: experiments.tiny"

UNREADABLE = (
    Case("truncated-hdf5", cut("data/a.h5"), PREDICT, f"{IMAGE} … truncated … copy it again"),
    Case("truncated-hdf5-late", cut("data/a.h5", 0.99), TRAIN, f"{IMAGE} … truncated … copy it again"),
    Case("missing-key", nothing, PREDICT.replace(":raw", ":rwa"), "data/a.h5: no array 'rwa' … did you mean 'raw'"),
    Case("no-key-of-several", nothing, PREDICT.replace(":raw", ""), "data/a.h5: … (ids, raw) … name one"),
    Case("text-named-h5", write("data/a.h5", "x"), BOUNDARIES, "data/a.h5: is not an HDF5 file … correct the path"),
    Case(
        "folder-named-h5", folder_instead("data/a.h5"), BOUNDARIES, "data/a.h5: is not an HDF5 file … correct the path"
    ),
    Case("missing-file", remove("data/a.h5"), VOLUME, "data/a.h5: no such file; check the path"),
    Case("dangling-link", dangling_link("data/a.h5"), TRAIN, "data/a.h5: no such file; check the path"),
    Case("damaged-zarr-chunk", zarr_image(cut_chunk), PREDICT_ZARR, f"{STORE}: cannot be read … copy it again"),
    Case("damaged-zarr-metadata", zarr_image(cut_metadata), PREDICT_ZARR, f"{STORE}: cannot be read … copy it again"),
    Case(
        "damaged-prediction",
        cut_prediction,
        EVALUATE,
        "volume a: data/predicted/a.zarr: cannot be read … copy it again",
    ),
    Case(
        "npy-of-objects", objects("data/image.npy"), PREDICT_NPY, "data/image.npy: holds Python objects … save it again"
    ),
    Case("text-named-npy", write("data/image.npy", "x"), PREDICT_NPY, "data/image.npy: cannot be read … copy it again"),
    Case("damaged-metrics", write("data/report/metrics.json", "{"), REPORT, "metrics.json … make the evaluation again"),
    Case("damaged-model", cut(f"data/model/{MODEL}"), PREDICT, f"{MODEL} … damaged … train it again"),
    Case(
        "backup-as-model", nothing, PREDICT.replace("model/model", "state/backup_b"), "backup_b … give the model file"
    ),
    Case("not-utf8", write("params.yaml", b"a: \xff"), CONFIG, "params.yaml: … save it as UTF-8"),
    Case("odd-surplus", labels(lambda v: v[:, :, 1:]), TRAIN, f"{LABELS} … along x is odd; crop one voxel"),
    Case("odd-surplus-check", labels(lambda v: v[1:]), CHECK, f"{LABELS} … along z is odd; crop one voxel"),
    Case("labels-out-of-range", labels(lambda v: v * 3), TRAIN, f"{LABELS} … from 0 to 3 … `elektronn boundaries`"),
    Case("labels-out-of-range-evaluate", labels(lambda v: v * 3), EVALUATE, f"{LABELS} … hold 3 … convert the labels"),
    Case("fractional-labels", labels(lambda v: v * 0.5), TRAIN, f"{LABELS} … whole numbers; store them as integers"),
    Case("nan-labels", labels(lambda v: v * np.nan), TRAIN, f"{LABELS} … whole numbers; store them as integers"),
    Case("nan-labels-check", labels(lambda v: v * np.nan), CHECK, f"{LABELS} … NaN; store classes as whole numbers"),
    Case("labels-of-two-channels", labels(two_channels), TRAIN, f"{LABELS}: has 2 channels … name a volume of one"),
    Case("one-class-only", labels(lambda v: v * 0), TRAIN, f"{LABELS}: … one class … check the labels"),
    Case(
        "all-labels-ignored",
        labels(lambda v: v * np.int8(0) - np.int8(1)),
        TRAIN,
        f"{LABELS} … is −1 … check the labels",
    ),
    Case("one-id-only", ids(lambda v: v * 0 + 5), BOUNDARIES, f"{IDS}: every voxel has the ID 5 … check that"),
    Case("fractional-ids", ids(lambda v: v * 1.0), BOUNDARIES, f"{IDS}: holds float64 … as an integer type"),
    Case("nan-image-train", image(with_nan), TRAIN, f"{IMAGE} … NaN … (0, 3, 4, 5); repair"),
    Case("nan-image-predict", image(with_nan), PREDICT, f"{IMAGE} … NaN … (3, 4, 5); repair"),
    Case("float-image-of-wrong-scale", image(lambda v: v * 1.0), PREDICT, f"{IMAGE} … 0…1; scale it"),
    Case(
        "constant-image", image(lambda v: v * 0), TRAIN, f"{IMAGE} … every voxel … check that this is the right image"
    ),
    Case("two-axes", image(lambda v: v[0]), PREDICT, f"{IMAGE}: has 2 axes … name another key"),
    Case("five-axes", image(lambda v: v[None, None]), TRAIN, f"{IMAGE}: has 5 axes … name another key"),
    Case(
        "text-for-numbers",
        image(lambda v: np.full(v.shape, b"x")),
        PREDICT,
        f"{IMAGE}: … not numbers; name another key",
    ),
    Case("unknown-axes-in-file", image(axes="zyq"), PREDICT, f"{IMAGE}: axes 'zyq': write an order"),
    Case(
        "axes-do-not-fit",
        nothing,
        PREDICT.replace(":raw", ":raw@czyx"),
        f"{IMAGE}@czyx … fit the 3 axes … correct them",
    ),
    Case("bad-voxel-size-in-file", image(voxel_nm=7), PREDICT, f"{IMAGE}: attribute voxel_nm … correct it in the file"),
    Case(
        "part-outside", nothing, PREDICT.replace(":raw", ":raw[0:999]"), f"{IMAGE}[0:999]: … outside … correct [0:999]"
    ),
    Case("model-of-fewer-channels", image(two_channels), PREDICT, f"{IMAGE}: has 2 channels … {MODEL} … choose"),
    Case("channels-differ", image(two_channels), TRAIN, f"{IMAGE} has 2, data/b.h5:raw has 1; take images that fit"),
)
FOUND_WRONG = (
    Case(
        "flipped-labels",
        labels(lambda v: v[:, ::-1]),
        CHECK,
        f"{LABELS}: labels are turned … flip y or set check.accept",
    ),
)
SETTINGS = (
    Case(
        "image-below-field-of-view",
        image(lambda v: v[:, :8, :8]),
        PREDICT,
        f"{IMAGE} … field of view 3×9×9; take a larger",
    ),
    Case(
        "patch-above-volume",
        edit("13, 13", "201, 201"),
        TRAIN_OTHER,
        f"{TINY}: a: no place … use a smaller network.patch",
    ),
    Case("patch-below-field-of-view", edit("13, 13", "7, 7"), CONFIG, f"{TINY}: network: … valid sizes are 9, 11, 13"),
    Case("even-field-of-view", edit("1, 4, 4", "1, 3, 3"), TRAIN, f"{TINY}: network: … even along y, x … by one"),
    Case("unknown-axes", nothing, PREDICT.replace(":raw", ":raw@zyy"), "IMAGE: axes 'zyy': write an order of z, y, x"),
    Case("unknown-ending", nothing, PREDICT.replace("a.zarr", "a.jpg"), "OUT: … a.jpg … file ending .h5"),
    Case(
        "output-only-read",
        nothing,
        PREDICT.replace("a.zarr", "a.tif"),
        "predicted/a.tif: TIFF files are read only; name an output",
    ),
    Case(
        "output-is-the-ids",
        nothing,
        BOUNDARIES.replace("labels/", ""),
        "data/a.h5: would replace … name another output",
    ),
    Case("output-is-the-image", zarr_image(), PREDICT_ONTO_ITSELF, f"{STORE}: would replace … name another output"),
    Case("volume-given-twice", nothing, TRAIN.replace("--valid b", "--valid a"), "volume 'a' … give each volume once"),
    Case("model-of-another-run", edit("steps: 2", "steps: 3"), TRAIN, f"{MODEL}: … another run … give another --model"),
    Case("unknown-experiment", nothing, TRAIN.replace("tiny", "tinny"), "experiment 'tinny': did you mean 'tiny'?"),
    Case("unknown-key", edit("steps:", "step:"), CONFIG, f"{TINY}.training.step: unknown key: did you mean 'steps'?"),
    Case(
        "unknown-kind", edit("flip", "flop"), CONFIG, f"{TINY}.sampling.augment.0.kind: … 'flop': did you mean 'flip'?"
    ),
    Case("number-as-text", edit("0.001", "1e-4"), CONFIG, f'{TINY}.training.optimiser.rate: "1e-4" … wants 1.0e-4'),
    Case(
        "true-for-a-number", edit("steps: 2", "steps: true"), CONFIG, f"{TINY}.training.steps: true … write digits only"
    ),
    Case("not-yaml", edit("tiny:", "tiny: ["), CONFIG, "params.yaml: line 6, … not YAML … check indentation"),
    Case(
        "key-twice", edit("data_root: data", "volumes: x"), CONFIG, "params.yaml: line 2: … 'volumes' … twice; keep one"
    ),
    Case(
        "set-through-a-value", nothing, f"{CONFIG} --set predict.threads.x=1", "--set predict.threads.x=1: … as a whole"
    ),
    Case("empty-table", table(), CONFIG, f"{TABLE}: … no volumes; add a row"),
    Case("unknown-column", table(header=(*COLUMNS[:5], "rolle")), CONFIG, f"{TABLE}: … 'rolle': did you mean 'role'?"),
    Case(
        "missing-cell",
        table(ROWS[0][:5]),
        CONFIG,
        f"{TABLE}: line 2: has 5 cells, expected 6; separate them by single tabs",
    ),
    Case("empty-cell", cell("image", ""), CONFIG, f"{TABLE}: line 2: … no image; fill the cell"),
    Case("bad-voxel-size", cell("voxel_nm", "nan,1,1"), CONFIG, f"{TABLE}: line 2: … 'nan,1,1' … such as 20,10,10"),
    Case("bad-role", cell("role", "tset"), CONFIG, f"{TABLE}: line 2: role 'tset': did you mean 'test'?"),
    Case("bad-axes-in-table", cell("axes", "zyy"), CONFIG, f"{TABLE}: line 2: axes 'zyy': write an order"),
    Case("duplicate-volume", table(*ROWS, ROWS[0]), CONFIG, f"{TABLE}: volume 'a' … twice; give each its own name"),
)
WORKFLOW = (
    Case("workflow-empty-table", table(), "snakemake -n", f"{TABLE}: … no volumes; add a row"),
    Case(
        "workflow-unknown-key",
        edit("steps:", "step:"),
        "snakemake -n",
        f"{TINY}.training.step: … did you mean 'steps'?",
    ),
)
NOT_WRITABLE = (
    Case(
        "folder-is-a-file", nothing, PREDICT.replace("data/predicted", TABLE), f"{TABLE}/a.zarr … choose another place"
    ),
    Case("model-is-a-folder", nothing, TRAIN.replace(f"/{MODEL}", ""), "data/model: is a folder … name a file"),
    Case("log-in-a-file", nothing, f"{PREDICT} --log params.yaml/x.log", "params.yaml/x.log: … choose another place"),
    Case("file-size-limit-predict", nothing, PREDICT_FLOAT, "data/predicted/a.zarr: … raise the limit", limit=8192),
    Case("file-size-limit-boundaries", nothing, BOUNDARIES, f"{LABELS}: … raise the limit", limit=8192),
    Case(
        "full-disk-predict", nothing, PREDICT_FLOAT, "data/predicted/a.zarr: … free some space", full="data/predicted"
    ),
    Case("full-disk-boundaries", nothing, BOUNDARIES, f"{LABELS}: … free some space", full="data/labels"),
    Case("full-disk-train", nothing, TRAIN, "data/model/ … the disk is full; free some space", full="data/model"),
)
CASES = [
    pytest.param(case, code, id=case.name)
    for code, cases in ((4, UNREADABLE), (3, FOUND_WRONG), (2, SETTINGS), (1, WORKFLOW), (5, NOT_WRITABLE))
    for case in cases
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world in which every stage has run once."""
    folder = tmp_path_factory.mktemp("world")
    with chdir(folder):
        write("params.yaml", PARAMS)()
        assert main(SAMPLE.split()) == 0
        for name in "bc":
            shutil.copy("data/a.h5", f"data/{name}.h5")
        table(*ROWS)()
        for command in (
            BOUNDARIES,
            BOUNDARIES.replace("a.h5", "b.h5"),
            TRAIN,
            PREDICT,
            CHECK,
            EVALUATE,
            VOLUME,
            REPORT,
            CONFIG,
        ):
            assert main(command.split()) == 0, command
    return folder


@pytest.mark.parametrize(("case", "code"), CASES)
def test_bad_input(case: Case, code: int, template: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world = tmp_path / "world"
    shutil.copytree(template, world)
    with chdir(world):
        case.spoil()
        before = contents(world)
        capfd.readouterr()
        found, text = run(case, world, capfd)
        after = contents(world)

    error, others = line_of_error(case, text)
    assert found == code, text
    assert re.search(".*".join(re.escape(words.strip()) for words in case.says.split(" … ")), error), error
    assert [line for line in others if not PROGRESS.fullmatch(line)] == []
    # the journal of a training grows by what happened
    journal = "data/state/events.jsonl"
    assert [path for path in before if after.get(path) != before[path] and path != journal] == []
    # a training that could not hand over its result keeps its backups; all else that is new would be a left-over
    assert [path for path in after.keys() - before.keys() if not path.startswith(("data/logs", "data/state"))] == (
        ["data/check/a_failed.png"] if code == 3 else []
    )
    assert [path for path in after if path.endswith((".part", ".old"))] == []


def contents(folder: Path) -> dict[str, str]:
    """Path → hash of each file, and each folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def run(case: Case, world: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run the command of a case; exit code and what it wrote to stderr."""
    program = [sys.executable, "-m", "elektronn", *case.command.split()]
    if case.command.startswith("snakemake"):
        return run_workflow(world, case.command)
    if case.full:
        return run_on_full_disk(program, world / case.full)
    if case.limit:
        return run_program(["prlimit", f"--fsize={case.limit}", *program])
    try:
        return main(case.command.split()), capfd.readouterr().err
    except SystemExit as end:
        return int(end.code or 0), capfd.readouterr().err


def run_program(command: list[str], **options: Any) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **options)
    return done.returncode, done.stderr or done.stdout


def run_workflow(world: Path, command: str) -> tuple[int, str]:
    """Run Snakemake beside the world, so that its own files do not count."""
    project = world.with_name("project")
    shutil.copytree(world, project)
    shutil.copy(ROOT / "Snakefile", project)
    shutil.copytree(ROOT / "workflow", project / "workflow")
    return run_program([sys.executable, "-m", *command.split()], cwd=project)


FULL_DISK = """
set -e
kept=$1 folder=$2; shift 2
cp -a "$folder" "$kept"
mount -t tmpfs -o size=256k none "$folder"
cp -a "$kept/." "$folder"
cat /dev/zero >"$folder/filler" 2>/dev/null || true
truncate -s -4096 "$folder/filler"
set +e
"$@"; code=$?
set -e
rm "$folder/filler"
diff -r "$kept" "$folder" >&2 || exit 99
exit $code
"""
"""Lays a small disk over a folder, fills it but for one block, runs a command, and compares the folder with before."""


def run_on_full_disk(program: list[str], folder: Path) -> tuple[int, str]:
    unshare = own_mounts()
    if unshare is None:
        pytest.skip("this system lets us mount no small disk; the cases file-size-limit-… run everywhere")
    return run_program([*unshare, "sh", "-c", FULL_DISK, "sh", str(folder.parents[2] / "kept"), str(folder), *program])


@cache
def own_mounts() -> tuple[str, ...] | None:
    """How to run a command that may mount, if there is a way."""
    for command in (("unshare", "-m"), ("unshare", "-rm")):
        try:
            tried = subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
        except FileNotFoundError:
            return None
        if tried.returncode == 0:
            return command
    return None


def line_of_error(case: Case, text: str) -> tuple[str, list[str]]:
    """The one line of the error, and all others that are no words of the workflow engine."""
    lines = text.splitlines()
    if case.command.startswith("snakemake"):
        (error,) = (line for line in lines if "WorkflowError" not in line and "common.smk" not in line)
        return error, []
    verb = case.command.split()[0]
    (error,) = (line for line in lines if line.startswith(f"elektronn {verb}: "))
    return error, [line for line in lines if line != error]


def test_a_broken_zarr_is_told_in_one_line(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (64, 192, 192), dtype=np.uint8)
    with create_volume(parse_address(f"{tmp_path}/a.zarr"), values.shape, values.dtype, chunks=(16, 16, 16)) as sink:
        sink.write(whole(values.shape), values)
    shard = tmp_path / "a.zarr" / "0" / "c" / "0" / "0" / "0"
    os.truncate(shard, shard.stat().st_size - 200)  # the others are being read when this one fails
    command = [sys.executable, "-m", "elektronn", "boundaries", "a.zarr", "b.zarr"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 4
    lines = [line for line in done.stderr.splitlines() if not line.startswith("boundaries:")]
    assert len(lines) == 1, done.stderr
    assert "cannot be read" in lines[0]
