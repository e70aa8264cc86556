"""Mission rows M001–M005 and M009: configs of ELEKTRONN 1, read without running them."""

from __future__ import annotations

from pathlib import Path

import pytest

from elektronn.errors import ConfigError
from elektronn.legacy.config_file import read_config

BASE = """
save_name, save_path, mode, n_dim, n_lab = 'x', '~/runs/', 'img-img', 2, 2
save_path += save_name + '/'
batch_size, monitor_batch_size, desired_input = 1, 10, 31
filters, pool, nof_filters = [4, 3], [2, 1], [3, 3]
d_files = [('raw_%i.h5' % ii, 'raw') for ii in range(3)]
l_files = [('lab_%i.h5' % ii, 'lab') for ii in range(3)]
del ii
data_path = label_path = '~/d/'
n_steps, max_runtime = 10, 10
SGD_params = dict(LR=0.001, momentum=0.9)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def written(home: Path, text: str) -> Path:
    file = home / "old.py"
    file.write_text(text)
    return file


def test_M001_three_levels(home: Path) -> None:
    (home / ".elektronn.config").write_text("batch_size = 3\nLR_decay = 0.5\nmy_note = 'x'\n")
    found = read_config(written(home, BASE.replace("desired_input = 1, 10", "desired_input = 5, 10")))
    assert found.options["batch_size"] == 5
    assert found.options["LR_decay"] == 0.5
    assert found.options["weight_decay"] is False
    assert found.options["my_note"] == "x"
    assert {"LR_decay", "batch_size"} <= found.given
    assert "weight_decay" not in found.given
    assert found.warnings == ("~/.elektronn.config: line 3: 'my_note' is no option of ELEKTRONN 1 and has no effect",)


def test_M001_mistakes_in_the_users_file_name_it(home: Path) -> None:
    (home / ".elektronn.config").write_text("\nbatch_size = \n")
    with pytest.raises(ConfigError, match=r"^~/\.elektronn\.config: line 2: "):
        read_config(written(home, BASE))
    (home / ".elektronn.config").write_text("\noptimizer = 'sgdd'\n")
    with pytest.raises(ConfigError, match=r"^~/\.elektronn\.config: line 2: optimizer: "):
        read_config(written(home, BASE))
    assert read_config(home / "old.py", None).options["optimizer"] == "SGD"


def test_M002_comprehension_and_del(home: Path) -> None:
    found = read_config(written(home, BASE))
    assert found.options["d_files"] == [("raw_0.h5", "raw"), ("raw_1.h5", "raw"), ("raw_2.h5", "raw")]
    assert "ii" not in found.options


@pytest.mark.parametrize(
    ("text", "cure"),
    [(BASE.replace("del ii\n", ""), "write 'del ii' behind it"), (BASE + "ii = 3\n", "write 'del ii' at the end")],
)
def test_M002_a_leftover_variable_is_refused(home: Path, text: str, cure: str) -> None:
    with pytest.raises(ConfigError, match=rf"old\.py: line \d+: unknown option 'ii': .*{cure}"):
        read_config(written(home, text))


@pytest.mark.parametrize(
    ("name", "nearest"), [("LR_decy", "LR_decay"), ("dropout_rate", "dropout_rates"), ("x", "MFP")]
)
def test_M003_unknown_option(home: Path, name: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=rf"old\.py: line 12: unknown option '{name}': did you mean '{nearest}'\?"):
        read_config(written(home, f"{BASE}{name} = 1\n"))


def test_M004_missing_mandatory_option(home: Path) -> None:
    found = read_config(written(home, BASE.replace("n_steps, max_runtime = 10, 10", "max_runtime = 10")))
    assert found.warnings == (f"{home / 'old.py'}: not given, so the defaults hold: n_steps",)
    assert found.options["n_steps"] == 10**12
    assert read_config(written(home, BASE)).warnings == ()


def test_M004_what_is_mandatory_depends_on_the_mode(home: Path) -> None:
    found = read_config(written(home, "mode = 'vect-scalar'\ndata_class_name = 'MNISTData'\n"))
    (said,) = found.warnings
    assert "MLP_layers" in said
    assert "filters" not in said
    assert "d_files" not in said


RULES = [
    # kinds of values
    ("save_name = 3", "save_name"), ("save_path = 3", "save_path"), ("data_path = []", "data_path"),
    ("label_path = 1", "label_path"), ("mode = 1", "mode"), ("border_mode = 1", "border_mode"), ("target = 1", "target"),
    ("optimizer = 1", "optimizer"), ("param_file = 1", "param_file"), ("preview_data_path = 1", "preview_data_path"),
    ("overwrite = 'no'", "overwrite"), ("plot_on = 'no'", "plot_on"), ("print_status = 0.5", "print_status"),
    ("flip_data = None", "flip_data"), ("anisotropic_data = 'x'", "anisotropic_data"), ("lazy_labels = 'x'", "lazy_labels"),
    ("use_example_weights = []", "use_example_weights"), ("zchxy_order = 'xyz'", "zchxy_order"),
    ("upright_x = 0.1", "upright_x"), ("background_processes = 2.0", "background_processes"),
    ("batch_size = 1.5", "batch_size"), ("monitor_batch_size = '10'", "monitor_batch_size"), ("n_dim = 2.0", "n_dim"),
    ("d_files = 'a.h5'", "d_files"), ("l_files = ['a.h5']", "l_files"), ("valid_cubes = 'x'", "valid_cubes"),
    ("grey_augment_channels = {}", "grey_augment_channels"), ("dropout_rates = 'x'", "dropout_rates"),
    ("filters = '4,3'", "filters"), ("pool = {}", "pool"), ("nof_filters = 'x'", "nof_filters"), ("MFP = 'x'", "MFP"),
    ("MLP_layers = 'x'", "MLP_layers"), ("history_freq = 'x'", "history_freq"), ("cube_prios = 'x'", "cube_prios"),
    ("LR_schedule = [3]", "LR_schedule"), ("data_load_kwargs = []", "data_load_kwargs"),
    ("data_batch_kwargs = 1", "data_batch_kwargs"), ("preview_kwargs = 1", "preview_kwargs"), ("SGD_params = []", "SGD_params"),
    ("RPROP_params = 1", "RPROP_params"), ("CG_params = 1", "CG_params"), ("LBFGS_params = 1", "LBFGS_params"),
    ("rnn_layer_kwargs = 1", "rnn_layer_kwargs"), ("example_ignore_threshold = 0", "example_ignore_threshold"),
    # lists of the wrong length
    ("dropout_rates = [0.5]", "dropout_rates"), ("pool = [2]", "pool"), ("nof_filters = [3]", "nof_filters"),
    ("activation_func = ['relu']", "activation_func"), ("pooling_mode = ['max']", "pooling_mode"), ("MFP = [1]", "MFP"),
    ("cube_prios = [1]", "cube_prios"), ("class_weights = [1.0]", "class_weights"), ("l_files = []", "l_files"),
    ("desired_input = (31, 31, 7)", "desired_input"), ("filters = [[4, 4, 1], 3]", "filters"),
    # words and ranges
    ("mode = 'img'", "mode"), ("target = 'mse'", "target"), ("optimizer = 'sgd'", "optimizer"), ("n_dim = 1", "n_dim"),
    ("activation_func = 'rellu'", "activation_func"), ("pooling_mode = 'mean'", "pooling_mode"),
    ("border_mode = 'mirorr'", "border_mode"), ("pre_process = 'x'", "pre_process"), ("warp_on = 2", "warp_on"),
    ("valid_cubes = [3]", "valid_cubes"), ("SGD_params = dict(lr=1)", "SGD_params"), ("batch_size = 0", "batch_size"),
    # what excludes each other
    ("MLP_layers = [10]", "MLP_layers"), ("mode = 'img-scalar'", "MLP_layers"), ("mode = 'vect-scalar'", "filters"),
    ("mode, MLP_layers, lazy_labels = 'img-scalar', [5], True", "lazy_labels"),
    ("rnn_layer_kwargs = dict(n_hid=3)", "rnn_layer_kwargs"), ("filters, pool = [3, 3], [2, 2]", "filters"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "option"), RULES, ids=[line for line, _ in RULES])
def test_M005_checks(home: Path, line: str, option: str) -> None:
    file = written(home, f"{BASE}{line}\n")
    with pytest.raises(ConfigError, match=rf"^\S+old\.py: line \d+: .*\b{option}\b"):
        read_config(file)
    assert sorted(home.iterdir()) == [file]


def test_M009_home(home: Path) -> None:
    extra = "param_file, preview_data_path, data_class_name = '~/p.param', '~/v.h5', ('~/my.py', 'Mine')\n"
    found = read_config(written(home, BASE + extra)).options
    assert found["save_path"] == f"{home}/runs/x/"
    assert (found["data_path"], found["label_path"]) == (f"{home}/d/", f"{home}/d/")
    assert (found["param_file"], found["preview_data_path"]) == (f"{home}/p.param", f"{home}/v.h5")
    assert found["data_class_name"] == (f"{home}/my.py", "Mine")


def test_M009_the_config_itself_may_lie_in_the_home(home: Path) -> None:
    written(home, BASE)
    assert read_config(Path("~/old.py")).options["save_name"] == "x"
