"""Mission row M070: the picture of what an img-img training learns from, and the batch itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from matplotlib.image import imread

from elektronn.axes import Size
from elektronn.cli.main import main
from elektronn.geometry import Geometry, Reach
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.batch import Sampler
from elektronn.sampling.cubes import Cube
from elektronn.sampling.extras import Lazy
from elektronn.sampling.shown import debug_batch

TRAINING = """
      steps: 3
      history_every: 10
      monitor_examples: 1
      preview_every: 50
      threads: 1
      device: cpu
"""
DENSE = f"""
experiments:
  dense:
    network: {{kernels: [[1, 4, 4], [3, 3, 3]], pools: [[1, 2, 2], [1, 1, 1]], features: [3, 3], patch: [4, 24, 24]}}
    sampling: {{batch_size: 2, workers: 0}}
    training:{TRAINING}
  images:
    network: {{kernels: [[1, 3, 3]], pools: [[1, 2, 2]], features: [3], perceptrons: [4], patch: [1, 16, 16]}}
    sampling: {{batch_size: 2, workers: 0}}
    training:{TRAINING}
  values:
    network: {{kernels: [[1, 3, 3]], pools: [[1, 1, 1]], features: [3], classes: 1, patch: [1, 16, 16]}}
    sampling: {{batch_size: 3, workers: 0, augment: []}}
    training:
      loss: {{kind: regression}}{TRAINING}
  own:
    data: {{name: mine.py:Mine}}
    network: {{kernels: [[1, 3, 3]], pools: [[1, 1, 1]], features: [3], patch: [1, 16, 16]}}
    training:{TRAINING}
"""
OWN = """
import numpy as np

class Mine:
    def getbatch(self, batch_size, source="train"):
        x = np.random.rand(batch_size, 1, 16, 16).astype("float32")
        return x, (x[:, 0, 1:-1, 1:-1] > 0.5).astype("int16")
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    (tmp_path / "params.yaml").write_text(DENSE)
    (tmp_path / "mine.py").write_text(OWN)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = random.integers(0, 256, (8, 40, 40), dtype=np.uint8)
        file["lab"] = random.integers(0, 2, (8, 40, 40), dtype=np.uint8)
        file["one"] = np.arange(8) % 2
        file["values"] = random.random((8, 40, 40), dtype=np.float32)
    return tmp_path


def volumes(key: str) -> list[str]:
    return ["--train", "a", "a.h5:raw", f"a.h5:{key}"] if key else []


def test_M070_the_start_of_a_training_writes_the_picture_of_its_first_batch(world: Path) -> None:
    common = ["train", "dense", "--params", "params.yaml", *volumes("lab"), "--model"]
    assert main([*common, "m/model.safetensors"]) == 0
    assert imread(world / "m/state/batch.png").shape[0] > 700  # two rows
    assert imread(world / "m/state/augmentations.png").shape[1] == 1800
    assert main([*common, "n/model.safetensors", "--set", "experiments.dense.training.preview_every=0"]) == 0
    assert not list((world / "n/state").glob("*.png"))


def test_M070_the_function_returns_data_labels_and_the_masks_of_lazy_labels() -> None:
    lazy = Lazy(np.array([1, 0], np.int16), np.array([0, 1], np.int16))
    random = np.random.default_rng(0)
    cube = Cube(
        "a", random.random((1, 3, 20, 20), np.float32), np.zeros((3, 20, 20), np.int16), Size(0, 0, 0), 1.0, lazy=lazy
    )
    reach = Geometry(Reach(1, 1), Reach(3, 2), Reach(3, 2))
    supply = Sampler([cube], reach, Size(1, 9, 9), SamplingSettings(batch_size=2), seed=1)
    data, label, info1, info2 = debug_batch(supply, 0)
    assert (data.shape, label.shape) == ((2, 1, 1, 9, 9), (2, 1, 4, 4))
    assert np.array_equal(np.asarray(info1), [[1, 0]] * 2)
    assert np.array_equal(np.asarray(info2), [[0, 1]] * 2)


@pytest.mark.parametrize(
    ("experiment", "key", "more", "rows"),
    [
        ("dense", "lab", ["--examples", "3", "--step", "5"], 3),
        ("dense", "lab", [], 4),
        ("images", "one", ["--examples", "1"], 1),
        ("values", "values", ["--examples", "2"], 2),
        ("own", "", ["--examples", "2"], 2),
    ],
)
def test_M070_the_picture_on_request(
    world: Path, capsys: Any, experiment: str, key: str, more: list[str], rows: int
) -> None:
    said = ["view", "batch", experiment, "--params", "params.yaml", *volumes(key), *more, "out/p.png"]
    assert main(said) == 0
    assert f"out/p.png: {rows} training examples of experiment {experiment}" in capsys.readouterr().err
    assert imread(world / "out/p.png").shape[0] == 420 * rows


def test_what_is_drawn_for_an_experiment_on_request(world: Path, capsys: Any) -> None:
    common = ["--params", "params.yaml", "p.png"]
    assert main(["view", "augmentations", "dense", *common, *volumes("lab")]) == 0
    assert "p.png: augmentations of the first 1000 training examples" in capsys.readouterr().err
    assert imread("p.png").shape[0] > 500
    assert main(["view", "augmentations", "own", *common]) == 2
    assert "experiments.own.data: a class of your own gives the batches" in capsys.readouterr().err


@pytest.mark.parametrize("said", [["--examples", "0"], ["--step", "-1"], ["--examples", "two"]])
def test_M070_a_wrong_number_is_refused(world: Path, capsys: Any, said: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["view", "batch", "dense", "p.png", *said])
    assert "write a whole number" in capsys.readouterr().err or said[1] == "-1"
