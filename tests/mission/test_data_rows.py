"""Mission rows M048, M051 to M053, M061, M066 to M069: options of the data, by old configs and by settings."""

from __future__ import annotations

import threading
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from elektronn.axes import Size
from elektronn.cli.old_run import upgraded
from elektronn.errors import ConfigError, DataError
from elektronn.geometry import Geometry
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.batch import Sampler
from elektronn.sampling.cubes import Cube, Wanted, load_cubes
from elektronn.sampling.prefetch import Prefetch
from elektronn.sampling.spatial import Flip
from elektronn.training.settings import TrainingSettings
from elektronn.training.world import of_volumes
from elektronn.volumes.address import parse_address

FLAT = Geometry.of([Size(1, 5, 5)], [Size(1, 1, 1)])


def coded(depth: int, rows: int, columns: int) -> Cube:
    """Image and labels that tell their place; labels only in the middle, 2 voxels of margin along y and x."""
    index = np.arange(depth * rows * columns, dtype=np.float32).reshape(depth, rows, columns)
    inner = index[:, 2:-2, 2:-2].astype(np.int16)
    return Cube("coded", index[None], inner, Size(0, 2, 2), 1.0)


def planes(cube: Cube, settings: SamplingSettings, patch: Size, count: int) -> list[tuple[int, ...]]:
    """Per example, the axes of the cube along which the patch's y and x run."""
    batch = Sampler([cube], FLAT, patch, settings, 1).batch(0)
    size = cube.image.shape[1:]
    found = []
    for image in batch.image[:count, 0, 0]:
        places = [np.unravel_index(int(image[a]), size) for a in ((0, 0), (1, 0), (0, 1))]
        found.append(tuple(int(np.flatnonzero(np.subtract(there, places[0]))[0]) for there in places[1:]))
    return found


def test_M048_isotropic_patches_come_from_all_planes_and_never_from_outside_the_labels() -> None:
    cube = coded(12, 16, 17)
    settings = SamplingSettings(batch_size=400, augment=(Flip(isotropic=True),))
    batch = Sampler([cube], FLAT, Size(1, 7, 7), settings, 1).batch(0)
    assert {frozenset(pair) for pair in planes(cube, settings, Size(1, 7, 7), 400)} == {
        frozenset({1, 2}),
        frozenset({0, 2}),
        frozenset({0, 1}),
    }
    # each label tells the voxel in the middle of what the output sees, whatever plane the patch lies in
    np.testing.assert_array_equal(batch.labels[:, 0], batch.image[:, 0, 0, 2:-2, 2:-2].astype(np.int16))


def test_M048_a_cube_too_thin_to_be_turned_gives_its_sections_only() -> None:
    settings = SamplingSettings(batch_size=60, augment=(Flip(isotropic=True),))
    assert {frozenset(pair) for pair in planes(coded(3, 16, 17), settings, Size(1, 7, 7), 60)} == {frozenset({1, 2})}


def test_M048_patches_of_a_cube_have_48_symmetries() -> None:
    cube = coded(9, 9, 9)
    reach = Geometry.of([Size(1, 1, 1)], [Size(1, 1, 1)])
    whole = Cube("whole", cube.image, cube.image[0].astype(np.int16), Size(0, 0, 0), 1.0)
    settings = SamplingSettings(batch_size=1500, augment=(Flip(isotropic=True),))
    batch = Sampler([whole], reach, Size(9, 9, 9), settings, 1).batch(0)
    assert len({image.tobytes() for image in batch.image}) == 48
    np.testing.assert_array_equal(batch.labels, batch.image[:, 0].astype(np.int16))


CONFIG = """
save_path = 'runs/'
save_name = 'rows'
mode = 'img-img'
n_dim = 2
filters = [3]
pool = [1]
nof_filters = [4]
desired_input = 12
batch_size = 1
data_path = ''
label_path = ''
d_files = [('c.h5', 'raw0'), ('c.h5', 'raw1'), ('c.h5', 'raw2')]
l_files = [('c.h5', 'lab0'), ('c.h5', 'lab1'), ('c.h5', 'lab2')]
n_steps = 3
max_runtime = 60
monitor_batch_size = 2
SGD_params = dict(LR=0.01, momentum=0.9)
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    random = np.random.default_rng(0)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        for i, depth in enumerate((3, 5, 4)):
            file[f"raw{i}"] = random.integers(0, 255, (20, 22, depth), dtype=np.uint8)
            file[f"lab{i}"] = random.integers(-1, 3, (20, 22, depth)).astype(np.int16)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    return tmp_path


def read(world: Path, more: str = "", n_lab: str = "n_lab = 3") -> tuple[Any, Any]:
    (world / "config.py").write_text(f"{CONFIG}\n{n_lab}\n{more}\n")
    _, new, params = upgraded(world / "config.py", world)
    return params, params.experiments[new.name]


def test_M051_priorities_of_cubes_are_those_of_their_files(world: Path) -> None:
    params, experiment = read(world, "cube_prios = [1, 7, 3]\nvalid_cubes = [1]")
    assert experiment.sampling.weights == {"c": 1.0, "c_raw2": 3.0}
    rows = [
        (v.name, parse_address(f"{v.image}@{v.axes}"), parse_address(f"{v.labels}@{v.axes}"))
        for v in params.volumes
        if v.role == "train"
    ]
    cubes = load_cubes(rows, Wanted(3, experiment.sampling))
    sampler = Sampler(cubes, Geometry.of([Size(1, 3, 3)], [Size(1, 1, 1)]), Size(1, 12, 12), experiment.sampling, 1)
    np.testing.assert_allclose(sampler.shares, [0.25, 1.0])


def test_M051_draws_follow_the_weights() -> None:
    cubes = [
        Cube(name, np.full((1, 1, 8, 8), value, np.uint8), np.zeros((1, 8, 8), np.int16), Size(0, 0, 0), 1.0)
        for name, value in (("a", 1), ("b", 2))
    ]
    reach = Geometry.of([Size(1, 1, 1)], [Size(1, 1, 1)])
    settings = SamplingSettings(batch_size=4000, augment=(), weights={"a": 1.0, "b": 3.0})
    drawn = Sampler(cubes, reach, Size(1, 4, 4), settings, 1).batch(0).image[:, 0, 0, 0, 0]
    assert (drawn == 2).mean() == pytest.approx(0.75, abs=0.02)
    plain = [cubes[0], Cube("b", np.full((1, 3, 8, 8), 2, np.uint8), np.zeros((3, 8, 8), np.int16), Size(0, 0, 0), 1.0)]
    drawn = Sampler(plain, reach, Size(1, 4, 4), SamplingSettings(batch_size=4000, augment=()), 1).batch(0).image
    assert (drawn[:, 0, 0, 0, 0] == 2).mean() == pytest.approx(0.75, abs=0.02)


def test_M052_validation_cubes_are_never_drawn_for_training(world: Path) -> None:
    params, _ = read(world, "valid_cubes = [2]")
    assert [v.role for v in params.volumes] == ["train", "train", "valid"]
    params, _ = read(world)
    assert {v.role for v in params.volumes} == {"train"}


def test_M053_no_batch_exceeds_the_threshold_and_an_impossible_one_ends() -> None:
    random = np.random.default_rng(0)
    labels = np.zeros((1, 40, 60), np.int16)
    labels[:, :, 30:] = -1
    cube = Cube("half", random.integers(0, 255, (1, 1, 40, 60), np.uint8), labels, Size(0, 0, 0), 1 / 255)
    reach, patch = Geometry.of([Size(1, 1, 1)], [Size(1, 1, 1)]), Size(1, 10, 10)
    free = Sampler([cube], reach, patch, SamplingSettings(batch_size=200, augment=()), 1).batch(0).labels
    assert (free < 0).mean((1, 2, 3)).max() > 0.3
    kept = Sampler([cube], reach, patch, SamplingSettings(batch_size=200, augment=(), ignore_above=0.3), 1).batch(0)
    assert (kept.labels < 0).mean((1, 2, 3)).max() <= 0.3
    nothing = Cube("none", cube.image, np.full_like(labels, -1), Size(0, 0, 0), 1 / 255)
    with pytest.raises(ConfigError, match="ignore_above"):
        Sampler([nothing], reach, patch, SamplingSettings(ignore_above=0.3), 1).batch(0)


def test_M061_the_network_sees_mean_0_and_deviation_1_in_training_and_prediction(world: Path) -> None:
    params, experiment = read(world, "pre_process = 'standardise'")
    rows = [
        (v.name, parse_address(f"{v.image}@{v.axes}"), parse_address(f"{v.labels}@{v.axes}")) for v in params.volumes
    ]
    found = of_volumes(rows, [], experiment.network, experiment.sampling, TrainingSettings())
    network = build(found.document, seed=1)
    values = [network.layers["standardise"](torch.from_numpy(np.asarray(load(world, i))[None])) for i in range(3)]
    everything = torch.cat([value.flatten() for value in values])
    assert float(everything.mean()) == pytest.approx(0, abs=1e-5)
    assert float(everything.std(unbiased=False)) == pytest.approx(1, abs=1e-5)
    # what is predicted densely goes through the same node
    x = torch.from_numpy(load(world, 0)[None])
    plain = build(found.document.model_copy(update={"nodes": without_standard(found.document.nodes)}))
    plain.load_state_dict(network.state_dict())
    torch.testing.assert_close(network.dense(x), plain.dense(network.layers["standardise"](x)))


def load(world: Path, i: int) -> np.ndarray:
    with h5py.File(world / "c.h5") as file:
        return (file[f"raw{i}"][:].transpose(2, 1, 0)[None] / 255).astype(np.float32)


def without_standard(nodes: Any) -> Any:
    kept = [node for node in nodes if node.kind != "standardise"]
    return tuple(n.model_copy(update={"parents": ("input",)}) if n.parents == ("standardise",) else n for n in kept)


def test_M066_the_number_of_classes_is_counted_without_the_ignored(world: Path) -> None:
    _, experiment = read(world, n_lab="n_lab = None")
    assert experiment.network.classes == 3


def test_M066_where_the_labels_are_not_here_training_asks_for_them_and_an_upgrade_guesses(world: Path) -> None:
    (world / "config.py").write_text(f"{CONFIG}\nn_lab = None\n")
    (world / "c.h5").unlink()
    with pytest.raises(DataError, match="n_lab: None asks for the number of classes in the labels"):
        upgraded(world / "config.py", world)
    _, new, params = upgraded(world / "config.py", world, without_data=True)
    assert params.experiments[new.name].network.classes == 2
    assert any("2 is a guess" in text for _, text in new.notes)


@pytest.mark.parametrize(("given", "workers"), [("False", 0), ("True", 2), ("1", 2), ("3", 3)])
def test_M067_background_processes_are_threads(world: Path, given: str, workers: int) -> None:
    _, experiment = read(world, f"background_processes = {given}")
    assert experiment.sampling.workers == workers
    before = threading.active_count()
    random = np.random.default_rng(0)
    cube = Cube("a", random.random((1, 2, 20, 20), np.float32), np.zeros((2, 20, 20), np.int16), Size(0, 0, 0), 1.0)
    sampler = Sampler([cube], FLAT, Size(1, 12, 12), SamplingSettings(), 1)
    with Prefetch(sampler.batch, first=0, workers=workers, ahead=8) as batches:
        taken = [batches.take() for _ in range(8)]
        assert threading.active_count() <= before + workers
    assert threading.active_count() == before
    assert len({batch.image.tobytes() for batch in taken}) == 8


CLASS = """
import numpy as np

class Mine:
    n_lab = 2
    def __init__(self, edge):
        self.edge = edge
    def getbatch(self, batch_size, source="train", shift=0.0):
        with open("seen.txt", "a") as log:
            log.write(f"{source} {shift}\\n")
        labels = np.random.randint(0, 2, batch_size)
        x = np.random.rand(batch_size, 1, self.edge, self.edge) + labels[:, None, None, None]
        return x.astype("float32"), labels
"""

SCALAR = """
save_path = 'runs/'
save_name = 'mine'
mode = 'img-scalar'
n_dim = 2
n_lab = None
filters = [3]
pool = [2]
nof_filters = [4]
MLP_layers = [5]
desired_input = 12
batch_size = 3
data_class_name = ('~/mine.py', 'Mine')
data_load_kwargs = dict(edge=12)
data_batch_kwargs = dict(shift=0.5)
n_steps = 4
max_runtime = 60
monitor_batch_size = 3
SGD_params = dict(LR=0.01, momentum=0.9)
"""


def test_M068_a_class_of_the_users_gives_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from elektronn.cli import elektronn_train

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CLASS)
    (tmp_path / "config.py").write_text(SCALAR)
    assert elektronn_train.main(["config.py", "--gpu=false"]) == 0
    assert (tmp_path / "runs" / "mine" / "model.safetensors").is_file()
    seen = set((tmp_path / "seen.txt").read_text().splitlines())
    assert seen == {"train 0.5", "train 0.0", "valid 0.0"}


def test_M069_threads_share_the_data() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (1, 40, 400, 400), np.uint8)
    cube = Cube("large", image, np.zeros((40, 400, 400), np.int16), Size(0, 0, 0), 1 / 255)
    sampler = Sampler([cube], FLAT, Size(1, 64, 64), SamplingSettings(), 1)
    sampler.batch(0)
    peaks = {}
    for workers in (1, 4):
        tracemalloc.start()
        with Prefetch(sampler.batch, first=0, workers=workers, ahead=8) as batches:
            for _ in range(20):
                batches.take()
        peaks[workers] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[4] < image.nbytes / 4
    assert peaks[4] < peaks[1] + 4 * 1_000_000


@pytest.mark.parametrize("mode", ["img-scalar", "regression"])
def test_M049_old_configs_with_one_label_per_image_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    from elektronn.cli import elektronn_train

    monkeypatch.setenv("HOME", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["raw"] = random.integers(0, 255, (14, 14, 30), dtype=np.uint8)
        values = random.integers(0, 2, 30)
        file["lab"] = values.astype(np.int16) if mode == "img-scalar" else values / 3
    config = SCALAR.replace("data_class_name = ('~/mine.py', 'Mine')\n", "d_files = [('s.h5', 'raw')]\n")
    config = config.replace("data_load_kwargs = dict(edge=12)\n", "l_files = [('s.h5', 'lab')]\ndata_path = ''\n")
    config = config.replace("data_batch_kwargs = dict(shift=0.5)\n", "label_path = ''\nborder_mode = 'mirror'\n")
    if mode == "regression":
        config = config.replace("n_lab = None", "n_lab = 1\ntarget = 'regression'")
    (tmp_path / "config.py").write_text(config)
    assert elektronn_train.main(["config.py", "--gpu=false"]) == 0
    assert (tmp_path / "runs" / "mine" / "model.safetensors").is_file()


def test_M049_the_input_that_images_are_padded_to_holds_them() -> None:
    from elektronn.legacy.upgrade import _patch

    said = {"mode": "img-scalar", "n_dim": 2, "filters": [3, 3], "pool": [2, 2]}
    for border, wanted, size in (
        ("crop", 28, 28),
        ("mirror", 28, [30, 30]),
        ("0-pad", 26, [26, 26]),
        ("c-pad", 9, [10, 10]),
    ):
        assert _patch({**said, "border_mode": border, "desired_input": wanted}) == size
    assert NetworkSettings(kernels=((1, 3, 3),) * 2, pools=((1, 2, 2),) * 2, features=(2, 2)).is_dense
