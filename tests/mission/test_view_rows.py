"""Mission rows M070, M197 and M215: what a training learns from, the viewer, old histories, the words of the console."""

from __future__ import annotations

import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

import elektronn.training.commands as say
from elektronn.axes import Size
from elektronn.cli.main import main
from elektronn.console.desk import Desk
from elektronn.errors import ConfigError, DataError
from elektronn.geometry import Geometry, Reach
from elektronn.legacy.elektronn2_history import loadhistorytracker
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.batch import Sampler
from elektronn.sampling.cubes import Cube
from elektronn.sampling.extras import Lazy
from elektronn.sampling.shown import debug_batch
from elektronn.viewing.scroller import scroll_plot

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


class Wheel:
    """What matplotlib says of the mouse wheel or of a key."""

    def __init__(self, button: str = "", key: str = "") -> None:
        self.button, self.key = button, key


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_M197_wheel_and_keys_scroll_any_number_of_volumes_together(count: int) -> None:
    volumes = [np.arange(5 * 6 * 7).reshape(5, 6, 7) + 100 * n for n in range(count)]
    figure, scroller = scroll_plot(volumes if count > 1 else volumes[0], figure=Figure())
    assert (scroller.index, len(figure.axes) >= count) == (2, True)
    wheel = [("up", 3), ("up", 4), ("up", 4), ("down", 3), ("other", 2), ("down", 1), ("down", 0), ("down", 0)]
    keys = [("up", 1), ("right", 2), ("left", 1), ("pageup", 4), ("pagedown", 0), ("end", 4), ("home", 0), ("x", 0)]
    for handle, events in ((scroller.on_scroll, wheel), (scroller.on_key, keys)):
        for word, index in events:
            handle(Wheel(word, word))
            assert scroller.index == index, word
            for axis, volume, name in zip(scroller.axes, volumes, range(count)):
                assert np.array_equal(axis.images[0].get_array(), volume[index])
                assert (axis.get_xlabel(), axis.get_ylabel()) == (str(name), f"slice {index}")
    scroller.axes[-1].set_xlim(1, 3)
    assert scroller.axes[0].get_xlim() == (1, 3)


def test_M197_colours_start_and_colour_images() -> None:
    grey, ids, rgb = np.zeros((4, 5, 6)), np.ones((4, 5, 6), int), np.zeros((4, 5, 6, 3))
    _, scroller = scroll_plot([grey, ids, rgb], ["raw", "seg", "rgb"], init_z=3, figure=Figure())
    maps = [axis.images[0].get_cmap().name for axis in scroller.axes]
    assert maps[:2] == ["gray", "nipy_spectral"]
    assert scroller.index == 3
    with pytest.raises(ConfigError, match="2 arrays of \\[4, 5\\] sections"):
        scroll_plot([grey, np.zeros((5, 5, 6))], figure=Figure())


def test_M197_volumes_of_several_channels_are_drawn_without_a_display(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    channels = np.zeros((2, 3, 40, 50), np.uint8)
    channels[0, :, 10:20, 10:20] = channels[1, :, 20:30, 30:40] = 255
    ids = np.zeros((3, 40, 50), np.uint32)
    ids[1, 5:35, 5:45] = 7
    with h5py.File("a.h5", "w") as file:
        file["raw"], file["ids"] = channels, ids
    words = ["a.h5:raw", "--layer", "labels", "a.h5:ids", "--save", "s.png", "--section", "0,1"]
    assert main(["view", *words]) == 0
    picture = imread("s.png")[..., :3]
    height, width = picture.shape[0] // 2, picture.shape[1] // 4
    panels = [[picture[y * height : (y + 1) * height, x * width : (x + 1) * width] for x in range(4)] for y in (0, 1)]
    coloured = [[float((np.ptp(panel, axis=-1) > 0.2).mean()) for panel in row] for row in panels]
    assert max(coloured[0]) < 0.01
    # grey, grey, coloured cells, and these over the image
    assert max(coloured[1][:2]) < 0.01 < 0.2 < min(coloured[1][2:])
    assert [float((panel > 0.95).all(-1).mean()) > 0.01 for panel in panels[0]] == [True] * 4


class Growing:
    """As the array of ELEKTRONN2 that doubles its buffer."""

    __module__, __qualname__ = "elektronn2.utils.basic", "AccumulationArray"

    def __init__(self, rows: np.ndarray) -> None:
        self._n_init, self.length = 2, len(rows)
        self.dtype: Any = {"names": list(rows.dtype.names)} if rows.dtype.names else rows.dtype.type
        self._buffer = np.concatenate([rows, np.zeros_like(rows)])
        self._sum, self._min = (None, None) if rows.dtype.names else (rows.sum(0), rows.min(0))


@pytest.fixture
def ancestor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets pickles name the class as the original did."""
    for name in ("elektronn2", "elektronn2.utils", "elektronn2.utils.basic"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules["elektronn2.utils.basic"], "AccumulationArray", Growing, raising=False)


HISTORY = "time train_loss valid_loss loss_gain train_err valid_err lr mom gradnetrate"


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_M215_an_old_history_is_read_and_equal(tmp_path: Path, ancestor: None, monkeypatch: Any, protocol: int) -> None:
    random = np.random.default_rng(0)
    timeline = np.zeros(5, [(name, "f4") for name in ("time", "loss", "batch_char")])
    history = np.zeros(3, [("steps", "i4"), *((name, "f4") for name in HISTORY.split())])
    for table in (timeline, history):
        for name in table.dtype.names:
            table[name] = random.random(len(table)) * 100
    debug, names = np.array([[1, 2], [3, -4], [5, 6]], np.float32), ["i", "loss"]
    pair = [random.random((4, 2), np.float32) for _ in range(2)]
    saved = [Growing(timeline), Growing(history), Growing(debug), names, [Growing(part) for part in pair]]
    file = tmp_path / "run.history.pkl"
    file.write_bytes(pickle.dumps(saved, protocol))
    monkeypatch.undo()
    assert "elektronn2" not in sys.modules
    found = loadhistorytracker(file)
    assert found.timeline.dtype.names == ("time", "loss", "batch_char")
    for ours, theirs in ((found.timeline, timeline), (found.history, history), (found.debug_outputs, debug)):
        assert ours is not None
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    assert found.debug_output_names == ("i", "loss")
    assert found.regression_track is not None
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(found.regression_track, pair))
    file.write_bytes(pickle.dumps([timeline, history, None, None, None], protocol))
    bare = loadhistorytracker(file)
    assert np.array_equal(bare.history, history)
    assert (bare.debug_outputs, bare.debug_output_names, bare.regression_track) == (None, (), None)


class Calls:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch canary",)


def test_M215_a_history_that_asks_for_more_than_data_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "bad.history.pkl"
    objects = np.zeros(2, [("a", "f4"), ("b", "O")])
    nested = np.zeros(2, [("a", [("b", "f4")])])
    for bad in ([Calls()] * 5, [objects] * 5, [nested] * 5, [np.zeros(2, "V3")] * 5, [1, 2, 3, 4, 5], [[], []]):
        file.write_bytes(pickle.dumps(bad, 2))
        with pytest.raises(DataError, match=r"bad\.history\.pkl: "):
            loadhistorytracker(file)
    assert not (tmp_path / "canary").exists()


class Scripted:
    """A person who says the lines of a script."""

    def __init__(self, *lines: str) -> None:
        self.lines, self.told = list(lines), list[str]()

    def ask(self) -> str:
        line = self.lines.pop(0)
        if line == "^C":
            raise KeyboardInterrupt
        return line

    def say(self, text: str) -> None:
        self.told.append(text)

    def begin(self) -> None:
        """Nothing to prepare."""

    def end(self) -> None:
        """Nothing to clear away."""


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("sethist 7", say.SetHistory(7)),
        ("setlr 0.5", say.SetValue("rate", 0.5)),
        ("setmom 0.9", say.SetValue("momentum", 0.9)),
        ("setwd 0.001", say.SetValue("weight_decay", 0.001)),
        ("sf conv1", say.ShowFilters("conv1")),
        ("preview", say.PreviewNow()),
        ("paramstats", say.Describe("parameters")),
        ("gradstats", say.Describe("gradients")),
        ("actstats", say.Describe("activations")),
        ("debugbatch", say.ShowBatch()),
        ("load old.mdl", say.LoadWeights(Path("old.mdl"))),
        ("kill", say.Kill()),
        ("abort", say.Abort()),
        ("model.lr", say.Ask("model.lr")),
        ("load_x = 3", say.Execute("load_x = 3")),
        ("setlr(3)", say.Execute("setlr(3)")),
    ],
)
def test_M215_every_row_of_the_old_shell_is_a_word_of_the_console(line: str, command: say.Command) -> None:
    person = Scripted(line)
    desk = Desk(person=person)
    desk.open()
    assert [letter.text for letter in desk.drain(0)] == ["status"]
    assert [letter.command for letter in desk.drain(0)] == [command]


def test_M215_the_shell_explains_itself_and_goes_on() -> None:
    person = Scripted("help", "^C", "sethist", "sethist x", "ip", "", "q")
    desk = Desk(person=person)
    desk.open()
    desk.drain(0)
    assert desk.drain(0) == []
    assert not desk.is_open
    banner, again, hint, missing, wrong, python = person.told
    assert banner == again
    assert all(f"\n  {word} " in f"\n{banner}" for word in ("q", "kill", "help", "sethist", "setlr", "sf", "load"))
    assert hint.startswith("q goes on with the training")
    assert missing == "sethist: 0 arguments given, one is needed"
    assert wrong.startswith("sethist: 'x' is not a whole number")
    assert python.startswith("ip: there is no IPython here")
