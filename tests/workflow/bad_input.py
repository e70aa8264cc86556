"""A small world in which every stage has run, its commands, and the ways to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from elektronn.axes import whole
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import create_volume, load

PARAMS = """\
volumes: data/volumes.tsv
data_root: data
experiments:
  tiny:
    network:
      kernels: [[1, 4, 4], [3, 3, 3]]
      pools: [[1, 2, 2], [1, 1, 1]]
      features: [2, 2]
      activation: tanh
      patch: [3, 13, 13]
    sampling:
      batch_size: 1
      augment: [{kind: flip}]
    training:
      steps: 2
      optimiser: {kind: adam, rate: 0.001}
      history_every: 1
      monitor_examples: 1
      preview_every: 0
      device: cpu
      threads: 1
predict: {device: cpu, certificate: 4, threads: 1}
"""
COLUMNS = ("name", "image", "labels", "axes", "voxel_nm", "role")
ROWS = tuple(
    (name, f"data/{name}.h5:raw", f"data/{name}.h5:ids", "zyx", "20,10,10", role)
    for name, role in (("a", "train"), ("b", "valid"), ("c", "test"))
)

CONFIG = "config check --params params.yaml"
SAMPLE = "sample data/a.h5 --set sample.label_size=[8,72,72] --set sample.margin=[4,8,8]"
BOUNDARIES = "boundaries data/a.h5:ids data/labels/a.h5"
CHECK = "check data/a.h5:raw data/labels/a.h5 --json data/check/a.json --picture data/check/a.png --params params.yaml"
TRAIN = (
    "train tiny --train a data/a.h5:raw data/labels/a.h5 --valid b data/b.h5:raw data/labels/b.h5"
    " --model data/model/model.safetensors --state data/state --params params.yaml"
)
TRAIN_OTHER = TRAIN.replace("model.safetensors", "other.safetensors")
PREDICT = "predict data/a.h5:raw data/predicted/a.zarr --model data/model/model.safetensors --params params.yaml"
EVALUATE = "evaluate data/predicted/a.zarr data/labels/a.h5 --json data/report/metrics.json"
VOLUME = "volume a data/cards/a.json --image data/a.h5:raw --labels data/a.h5:ids"
REPORT = "report tiny data/report/index.html --metrics data/report/metrics.json --params params.yaml"
PREDICT_FLOAT = f"{PREDICT} --set predict.output=float32"
PREDICT_ZARR, PREDICT_NPY = (PREDICT.replace("data/a.h5:raw", f"data/image.{end}") for end in ("zarr", "npy"))
PREDICT_ONTO_ITSELF = PREDICT_ZARR.replace("predicted/a", "image")

Spoil = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One kind of bad input.

    Attributes:
        name: of the case.
        spoil: makes the input bad; runs in the world.
        command: arguments of ``elektronn``; ``snakemake …`` runs the workflow.
        says: words of the one line in their order, with … between them; the file (or setting) and the cure.
        full: folder on a disk that is full.
        limit: no file may become larger than this, bytes.
    """

    name: str
    spoil: Spoil
    command: str
    says: str
    full: str = ""
    limit: int = 0


def nothing() -> None:
    """The command itself is what is wrong."""


def write(file: str, content: str | bytes) -> Spoil:
    return lambda: Path(file).write_bytes(content.encode() if isinstance(content, str) else content)


def cut(file: str, share: float = 0.5) -> Spoil:
    return lambda: Path(file).write_bytes(Path(file).read_bytes()[: int(share * Path(file).stat().st_size)])


def edit(old: str, new: str, file: str = "params.yaml") -> Spoil:
    def spoil() -> None:
        text = Path(file).read_text()
        assert old in text
        Path(file).write_text(text.replace(old, new, 1))

    return spoil


def change(file: str, key: str, how: Callable[[Any], Any], **attributes: Any) -> Spoil:
    """Replace a data set by what ``how`` makes of it."""

    def spoil() -> None:
        with h5py.File(file, "a") as opened:
            values = how(opened[key][()])
            del opened[key]
            opened[key] = values
            opened[key].attrs.update(attributes)

    return spoil


def same(values: Any) -> Any:
    return values


def labels(how: Callable[[Any], Any]) -> Spoil:
    return change("data/labels/a.h5", "data", how)


def ids(how: Callable[[Any], Any]) -> Spoil:
    return change("data/a.h5", "ids", how)


def image(how: Callable[[Any], Any] = same, **attributes: Any) -> Spoil:
    return change("data/a.h5", "raw", how, **attributes)


def two_channels(values: Any) -> Any:
    return np.stack([values, values])


def with_nan(values: Any) -> Any:
    values = values / np.float32(255)
    values[3, 4, 5] = np.nan
    return values


def table(*rows: tuple[str, ...], header: tuple[str, ...] = COLUMNS) -> Spoil:
    return write("data/volumes.tsv", "".join("\t".join(row) + "\n" for row in (header, *rows)))


def cell(column: str, text: str) -> Spoil:
    return table(tuple(text if name == column else old for name, old in zip(COLUMNS, ROWS[0])), *ROWS[1:])


def remove(file: str) -> Spoil:
    return lambda: Path(file).unlink()


def folder_instead(file: str) -> Spoil:
    return lambda: (Path(file).unlink(), Path(file).mkdir())


def dangling_link(file: str) -> Spoil:
    return lambda: (Path(file).unlink(), Path(file).symlink_to("/nowhere/a.h5"))


def objects(file: str) -> Spoil:
    return lambda: np.save(file, np.array([{}], object))


def zarr_image(spoil: Callable[[Path], Any] = same) -> Spoil:
    """The image as a zarr store, of which ``spoil`` gets the folder."""

    def spoiled() -> None:
        values = load(parse_address("data/a.h5:raw"))
        with create_volume(parse_address("data/image.zarr"), values.shape, values.dtype) as sink:
            sink.write(whole(values.shape), values)
        spoil(Path("data/image.zarr"))

    return spoiled


def cut_chunk(store: Path) -> None:
    (chunk,) = (file for file in store.rglob("*") if file.is_file() and file.name != "zarr.json")
    cut(str(chunk))()


def cut_metadata(store: Path) -> None:
    cut(str(store / "0" / "zarr.json"))()


def cut_prediction() -> None:
    cut_chunk(Path("data/predicted/a.zarr"))
