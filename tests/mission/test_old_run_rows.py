"""M006 to M013: configs of ELEKTRONN 1 train as they are."""

from __future__ import annotations

import os
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from elektronn.artefacts import digest
from elektronn.cli import elektronn_train
from elektronn.cli.main import main
from elektronn.cli.old_run import find_config, upgraded
from elektronn.errors import ConfigError, DataError

CONFIG = """
save_path = 'runs/'
save_name = 'small'
save_path += save_name + '/'
mode = 'img-img'
n_dim = 3
n_lab = 2
filters = [[4, 4, 1], [3, 3, 3]]
pool = [[2, 2, 1], [1, 1, 1]]
nof_filters = [3 + i for i in range(2)]
del i
desired_input = [23, 23, 5]
batch_size = 2
data_path = 'cubes/'
label_path = data_path
d_files = [('raw_%i.h5' % i, 'raw') for i in range(2)]
l_files = [('lab_%i.h5' % i, 'lab') for i in range(2)]
del i
valid_cubes = [1]
warp_on = 0.5
n_steps = 6
max_runtime = 600
history_freq = [3]
monitor_batch_size = 4
optimizer = 'SGD'
SGD_params = dict(LR=0.01, momentum=0.9)
weight_decay = 1e-4
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two cubes in the original's order (x, y, z) and a config; the user is there."""
    random = np.random.default_rng(0)
    (tmp_path / "cubes").mkdir()
    for i in range(2):
        with h5py.File(tmp_path / "cubes" / f"raw_{i}.h5", "w") as file:
            file["raw"] = random.integers(0, 255, (41, 40, 10), dtype=np.uint8)
        with h5py.File(tmp_path / "cubes" / f"lab_{i}.h5", "w") as file:
            file["lab"] = random.integers(0, 2, (21, 20, 6)).astype(np.int16)
    (tmp_path / "config.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    return tmp_path


def train(*arguments: str) -> int:
    return elektronn_train.main(["--gpu=false", *arguments])


def files(folder: Path) -> dict[str, tuple[int, str]]:
    return {str(f): (f.stat().st_mtime_ns, digest(f)) for f in sorted(folder.rglob("*")) if f.is_file()}


def test_M006_the_name_of_an_example_is_enough(world: Path) -> None:
    for name in ("neuro_3d_config", "neuro_3d_config.py", "MNIST_CNN_warp_config", "MNIST_MLP_config"):
        assert find_config(Path(name)).is_file()
    (world / "neuro_3d_config.py").write_text("here = 1")
    assert find_config(Path("neuro_3d_config.py")) == Path("neuro_3d_config.py")
    with pytest.raises(DataError, match=r"could not be found.*neuro_3d_config"):
        find_config(Path("neuro3d"))


def test_M006_every_example_is_a_config_of_today(world: Path) -> None:
    for file in find_config(Path("neuro_3d_config")).parent.glob("*.py"):
        _, new, params = upgraded(file, world)
        assert new.name in params.experiments


def test_M007_results_stand_in_save_path_save_name_with_a_copy_of_the_config(world: Path) -> None:
    assert train("config.py") == 0
    folder = world / "runs" / "small"
    assert (folder / "Backup" / "config.py").read_bytes() == (world / "config.py").read_bytes()
    for name in elektronn_train.FILES:
        assert (folder / name).is_file(), name
    assert sorted(p.name for p in world.iterdir()) == ["config.py", "cubes", "runs"]


def test_M007_a_save_path_without_the_name_gets_it(world: Path) -> None:
    (world / "config.py").write_text(CONFIG.replace("save_path += save_name + '/'\n", ""))
    (world / "runs").mkdir()
    (world / "runs" / "thesis.txt").write_text("years of work")
    assert train("config.py") == 0
    assert (world / "runs" / "small" / "model.safetensors").is_file()
    assert (world / "runs" / "thesis.txt").read_text() == "years of work"


def test_M008_without_overwrite_nothing_is_touched(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("config.py") == 0
    before = files(world / "runs")
    (world / "config.py").write_text(CONFIG + "overwrite = False\n")
    assert train("config.py") == 2
    assert "exists and overwrite is False" in capsys.readouterr().err
    assert files(world / "runs") == before


def test_another_run_in_the_same_folder_is_moved_aside_and_never_deleted(world: Path) -> None:
    assert train("config.py") == 0
    folder = world / "runs" / "small"
    (folder / "notes.txt").write_text("mine")
    first = digest(folder / "model.safetensors")
    (world / "config.py").write_text(CONFIG.replace("n_steps = 6", "n_steps = 4"))
    assert train("config.py") == 0
    assert digest(folder / "Backup" / "run-1" / "model.safetensors") == first
    assert digest(folder / "model.safetensors") != first
    assert (folder / "notes.txt").read_text() == "mine"


def test_the_same_run_again_keeps_its_result(world: Path) -> None:
    assert train("config.py") == 0
    model = world / "runs" / "small" / "model.safetensors"
    before = digest(model)
    assert train("config.py") == 0
    assert digest(model) == before
    assert not (world / "runs" / "small" / "Backup" / "run-1").exists()


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (("raw_%i", "row_%i"), 4, r"row_0\.h5: no such file"),
        (("'raw')", "'rew')"), 4, r"rew"),
        (("[23, 23, 5]", "[4, 4, 1]"), 2, r"field of view"),
        (("n_lab = 2", "n_lab = 1"), 4, r"labels reach from 0 to 1"),
        (("mode = 'img-img'", "mode = 'img'"), 2, r"line 5: mode: unknown word 'img'"),
    ],
)
def test_nothing_is_made_before_all_is_checked(
    world: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], code: int, said: str
) -> None:
    (world / "config.py").write_text(CONFIG.replace(*change))
    assert train("config.py") == code
    assert re.search(said, capsys.readouterr().err)
    assert not (world / "runs").exists()


@pytest.mark.parametrize(
    ("given", "device"),
    [("false", "cpu"), ("False", "cpu"), ("FALSE", "cpu"), ("auto", "auto"), ("0", "cuda:0"), ("3", "cuda:3")],
)
def test_M010_the_gpu_argument(given: str, device: str) -> None:
    assert elektronn_train.parser().parse_args(["c.py", f"--gpu={given}"]).gpu == device


@pytest.mark.parametrize("given", ["foo", "-1", "1.5", "100", "ture"])
def test_M010_another_gpu_argument_is_a_usage_error(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        elektronn_train.main(["c.py", f"--gpu={given}"])
    assert caught.value.code == 2
    assert "write auto, false or the number of a GPU" in capsys.readouterr().err


def test_M010_auto_says_which_device_it_took(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert elektronn_train.main(["config.py", "--gpu=auto"]) == 0
    assert re.search(r"device (cpu|cuda)", capsys.readouterr().err)


def test_M011_the_device_of_the_config_counts_where_the_command_says_none(world: Path) -> None:
    (world / "config.py").write_text(CONFIG + "device = 2\n")
    _, new, params = upgraded(world / "config.py", world)
    assert params.experiments[new.name].training.device == "cuda:2"


def test_M011_a_device_that_is_not_there_is_an_error_before_any_file(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (world / "config.py").write_text(CONFIG + "device = 77\n")
    assert elektronn_train.main(["config.py"]) == 2
    assert "usable CUDA devices" in capsys.readouterr().err
    assert not (world / "runs").exists()
    assert train("config.py") == 0


def test_M012_without_plots_and_status_the_numbers_are_still_there(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (world / "config.py").write_text(CONFIG + "plot_on = False\nprint_status = False\n")
    assert train("config.py") == 0
    assert "train error" not in capsys.readouterr().err
    assert list((world / "runs").rglob("*.png")) == []
    rows = (world / "runs" / "small" / "history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "0", "3", "6"]


def test_M012_with_them_there_are_lines_and_pictures(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("config.py") == 0
    assert "train error" in capsys.readouterr().err
    assert list((world / "runs").rglob("*.png")) != []


def test_M013_the_upgraded_config_trains_the_same_network(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("config.py") == 0
    capsys.readouterr()
    assert main(["config", "upgrade", "config.py"]) == 0
    text = capsys.readouterr().out
    assert text.count("#   ") >= 4
    (world / "params.yaml").write_text(text)
    where = ["--model", "again/model.safetensors", "--set", "experiments.small.training.device=cpu"]
    assert main(["train", "small", "--params", "params.yaml", *where]) == 0
    one, two = world / "runs" / "small" / "model.safetensors", world / "again" / "model.safetensors"
    assert digest(one) == digest(two)


def test_several_processes_are_sent_to_the_command_that_knows_them(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    before = files(world)
    assert train("config.py") == 2
    assert "torchrun" in capsys.readouterr().err
    assert files(world) == before


def test_an_upgrade_needs_a_config(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "upgrade"]) == 2
    assert "needs a config of ELEKTRONN 1" in capsys.readouterr().err


def test_a_target_that_is_not_built_is_refused(world: Path) -> None:
    (world / "config.py").write_text(CONFIG + "target = 'malis'\n")
    with pytest.raises(ConfigError, match=r"config\.py: target: 'malis' needs segment affinities"):
        upgraded(world / "config.py", world)


def test_param_file_in_the_run_folder_is_read_before_that_is_cleared(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("config.py") == 0
    (world / "config.py").write_text(CONFIG + "param_file = 'runs/small/model.safetensors'\n")
    assert train("config.py") == 0
    assert "conv1: loaded" in capsys.readouterr().err


def test_relative_paths_start_where_the_command_was_given(world: Path) -> None:
    os.chdir(world / "cubes")
    (world / "config.py").write_text(CONFIG.replace("data_path = 'cubes/'", "data_path = ''"))
    assert train("../config.py") == 0
    assert (world / "cubes" / "runs" / "small" / "model.safetensors").is_file()


def test_M107_a_dict_of_parameters_changes_only_the_keys_it_has(world: Path) -> None:
    (world / "config.py").write_text(CONFIG.replace("dict(LR=0.01, momentum=0.9)", "dict(momentum=0.5)"))
    _, new, params = upgraded(world / "config.py", world)
    optimiser = params.experiments[new.name].training.optimiser
    assert (optimiser.rate, optimiser.momentum, optimiser.rule) == (0.001, 0.5, "elektronn1")  # type: ignore[union-attr]


def test_M013_from_python_the_same_files_as_from_the_shell(world: Path) -> None:
    assert train("config.py") == 0
    folder = world / "runs" / "small"
    before = digest(folder / "model.safetensors"), sorted(f.name for f in folder.iterdir())
    (world / "runs").rename(world / "shell")
    given = elektronn_train.parser().parse_args(["config.py", "--gpu=false"])
    elektronn_train.run(given)
    assert (digest(folder / "model.safetensors"), sorted(f.name for f in folder.iterdir())) == before
