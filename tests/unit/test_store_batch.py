"""Batches of volumes: one bad volume does not stop the others, and the summary says what became of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elektronn.cli.main import main
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import save_model
from elektronn.prediction.batch import outcomes_of, predict_all
from elektronn.prediction.certificate import Certificate
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import open_volume
from elektronn.volumes.table import Row

NET = NetworkSettings(kernels=((1, 4, 4), (1, 3, 3)), pools=((1, 2, 2), (1, 1, 1)), features=(2, 2))
HEAD = "name\timage\tlabels\taxes\tvoxel_nm\trole\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "m", build(chain(NET), seed=1), {"fingerprint": "f"})
    noise = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        np.save(tmp_path / f"{name}.npy", noise.integers(0, 256, (3, 30, 31), np.uint8))
    (tmp_path / "broken.npy").write_bytes(b"no numbers")
    np.save(tmp_path / "small.npy", np.zeros((1, 5, 5), np.uint8))
    rows = [("a", "predict"), ("broken", "predict"), ("b", "predict"), ("c", "test"), ("small", "predict")]
    table = "".join(f"{n}\t{tmp_path}/{n}.npy\t{tmp_path}/{n}.npy\tzyx\t40,10,10\t{role}\n" for n, role in rows)
    (tmp_path / "volumes.tsv").write_text(HEAD + table)
    return tmp_path


def run(folder: Path, *more: str) -> int:
    return main(["predict", "--model", f"{folder}/m", "--out", f"{folder}/out", *more, "--set", "predict.device=cpu"])


def summary(folder: Path) -> dict[str, list[str]]:
    header, *rows = (line.split("\t") for line in (folder / "out" / "summary.tsv").read_text().splitlines())
    assert header == [
        "name",
        "image",
        "output",
        "status",
        "seconds",
        "voxels",
        "largest_difference",
        "missing_chunks",
        "reason",
    ]
    return {row[0]: row for row in rows}


def test_a_bad_volume_does_not_stop_the_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--volumes", f"{folder}/volumes.tsv") == 4
    said = capsys.readouterr()
    assert f"2 of 4 volumes failed (broken, small); {folder}/out/summary.tsv says why" in said.err
    found = summary(folder)
    assert {name: row[3] for name, row in found.items()} == {
        "a": "done",
        "broken": "failed",
        "b": "done",
        "small": "failed",
    }
    assert "cannot be read" in found["broken"][8]
    assert "smaller than the field of view" in found["small"][8]
    assert int(found["a"][5]) >= 64
    assert sorted(f.name for f in (folder / "out").iterdir()) == [
        "a.zarr",
        "a.zarr.json",
        "b.zarr",
        "b.zarr.json",
        "summary.tsv",
    ]
    with open_volume(parse_address(f"{folder}/out/b.zarr")) as volume:
        assert volume.voxel_nm == (40, 10, 10)
    assert "broken" in said.out


def test_a_volume_that_shows_a_defect_does_not_stop_the_others_either() -> None:
    rows = [Row(name, parse_address(f"{name}.npy"), None, None, "predict") for name in "ab"]

    def one(row: Row, out: Path) -> Certificate:
        return {"b": Certificate(64, 0.0, 0.1)}[row.name]

    first, second = predict_all(rows, Path("out"), one)
    assert (first.cells[3], first.cells[-1]) == ("failed", "KeyError: 'a'")
    assert second.cells[3] == "done"


def test_what_a_workflow_left_is_summed_up(folder: Path) -> None:
    run(folder, "--volumes", f"{folder}/volumes.tsv")
    (folder / "out" / "broken.log").write_text("first\nno volume\n")
    rows = [Row(n, parse_address(f"{n}.npy"), None, None, "predict") for n in ("a", "broken", "small")]
    rows.append(Row("c", parse_address("c.npy"), None, None, "test"))
    a, broken, small = outcomes_of(rows, folder / "out", folder / "out", 0)
    assert a.cells[3] == "done"
    assert a.cells[5:8] == tuple(summary(folder)["a"][5:8])
    assert (broken.cells[3], broken.cells[-1]) == ("failed", "no volume")
    assert (small.cells[3], small.cells[-1]) == ("failed", "left no word; see the log of snakemake")
    assert outcomes_of(rows, folder / "out", folder / "out", 1e12)[0].status == "skipped"


def test_run_again_only_what_failed_is_tried(folder: Path) -> None:
    run(folder, "--volumes", f"{folder}/volumes.tsv")
    made = (folder / "out" / "a.zarr" / "zarr.json").stat().st_mtime_ns
    np.save(folder / "broken.npy", np.load(folder / "a.npy"))
    (folder / "small.npy").unlink()
    np.save(folder / "small.npy", np.load(folder / "b.npy"))
    assert run(folder, "--volumes", f"{folder}/volumes.tsv") == 0
    assert [row[3] for row in summary(folder).values()] == ["skipped", "done", "skipped", "done"]
    assert (folder / "out" / "a.zarr" / "zarr.json").stat().st_mtime_ns == made


def test_the_exit_code_is_that_of_the_first_failure(folder: Path) -> None:
    table = (folder / "volumes.tsv").read_text().splitlines()
    (folder / "volumes.tsv").write_text("\n".join([table[0], *table[:0:-1]]) + "\n")
    assert run(folder, "--volumes", f"{folder}/volumes.tsv") == 2
    assert [row[0] for row in summary(folder).values()] == ["small", "b", "broken", "a"]


def test_volumes_of_the_parameter_file_are_taken_too(folder: Path) -> None:
    inline = "volumes:\n" + "".join(
        f"  - {{name: {name}, image: '{folder}/{name}.npy', role: predict}}\n" for name in ("a", "b")
    )
    (folder / "params.yaml").write_text(inline)
    assert run(folder, "--volumes", "--params", f"{folder}/params.yaml") == 0
    assert list(summary(folder)) == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--volumes t.tsv", "--volumes: wants --out FOLDER"),
        ("in.npy out.zarr --volumes t.tsv --out f", "neither IMAGE"),
        ("in.npy out.zarr --out f", "--out: only with --volumes"),
        ("in.npy", "name IMAGE and OUT, or a table"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(
    options: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", *options.split(), "--model", "m"]) == 2
    assert says in capsys.readouterr().err


def test_a_table_without_such_volumes_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "volumes.tsv").write_text(HEAD + f"c\t{folder}/c.npy\t{folder}/c.npy\tzyx\t\ttest\n")
    assert run(folder, "--volumes", f"{folder}/volumes.tsv") == 2
    assert "no volume has the role predict" in capsys.readouterr().err
