"""All options of ELEKTRONN 1: name, default, what they take, when they are asked for, and where they go in our settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """What an option takes: in words, for messages, and as a test."""

    words: str
    takes: Callable[[Any], bool]


def is_whole(value: Any) -> bool:
    """A whole number, no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """A finite number, no truth value."""
    return is_whole(value) or (isinstance(value, float) and value - value == 0)


def _rows(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A list, tuple or None whose entries all pass."""
    return lambda value: value is None or (isinstance(value, list | tuple) and all(map(test, value)))


def _either(*tests: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: any(test(value) for test in tests)


def _none(value: Any) -> bool:
    return value is None


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _size(value: Any) -> bool:
    """A positive whole number, or one per axis."""
    return _positive(value) or (isinstance(value, list | tuple) and len(value) > 0 and all(map(_positive, value)))


def _positive(value: Any) -> bool:
    return is_whole(value) and 1 <= value < 2**31


def _index(value: Any) -> bool:
    return is_whole(value) and value >= 0


def _pair(first: Callable[[Any], bool], second: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and len(value) == 2 and first(value[0]) and second(value[1])


def _not_negative(value: Any) -> bool:
    return is_number(value) and value >= 0


def _fraction(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1


def _steps(value: Any) -> bool:
    return is_number(value) and value >= 1 and value == int(value)


def _threshold(value: Any) -> bool:
    return isinstance(value, float) and is_number(value)


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types)


_FLAG = Kind("True, False or a whole number", _is(bool, int))
_FLAG_OR_COUNT = Kind("False, or a whole number of 0 or more", lambda v: isinstance(v, bool) or _index(v))
_NAME = Kind("text in quotes", _text)
_NAME_OR_NONE = Kind("text in quotes or None", _either(_text, _none))
_NAMES = Kind("text in quotes, or a list of one per layer", _either(_text, lambda v: v is not None and _rows(_text)(v)))
_COUNT = Kind("a whole number of 1 or more", _positive)
_SIZE = Kind("a whole number of 1 or more, or one per axis", _size)
_SIZES = Kind("a list with, per layer, a whole number of 1 or more or one per axis", _rows(_size))
_COUNTS = Kind("a list of whole numbers of 1 or more, or None", _rows(_positive))
_INDICES = Kind("a list of whole numbers of 0 or more, or None", _rows(_index))
_FILES = Kind("a list of ('file name', 'key of the data set')", _rows(_pair(_text, _text)))
_STEPS = Kind("a whole number of 1 or more", _steps)
_TIME = Kind("a number of 0 or more", _not_negative)
_RATES = Kind("a list of numbers of 0 to 1 (or None), one such number, or None",
              _either(_fraction, _rows(_either(_fraction, _none))))  # fmt: skip
_WEIGHTS = Kind("a list of numbers of 0 or more, or None", _rows(_not_negative))
_TABLE_OR_NONE = Kind("a dict or None", _either(_is(dict), _none))


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: as written in a config.
        default: its value where nothing is written.
        kind: what it takes.
        goes: what became of it, for docs/elektronn1.md; places in an experiment of params.yaml in backquotes.
        asked: when a config must name it: "" never, else ``always``, ``images``, ``vectors`` or ``files``.
    """

    name: str
    default: Any
    kind: Kind
    goes: str
    asked: str = ""


_ROWS: tuple[Option, ...] = (
    # run
    Option("save_path", "~/CNN_Training/Test/", _NAME, "run directory, joined with `save_name`"),
    Option("save_name", "Test", _NAME, "name of the experiment", "always"),
    Option("overwrite", True, _FLAG, "whether an earlier run in the directory is moved aside into `Backup/`; nothing is deleted"),
    Option("param_file", None, _NAME_OR_NONE, "weights to start from; also new model files"),
    Option("plot_on", True, _FLAG, "curves and previews as pictures"),
    Option("print_status", True, _FLAG, "history lines on the terminal"),
    Option("device", False, Kind("False or a whole number", _either(_is(bool, int), _none)), "`training.device`"),
    Option("param_save_h", 1.0, _TIME, "`training.snapshot_h`; backups come once a minute besides"),
    Option("initial_prev_h", 1.0, _TIME, "`training.preview_h`"),
    Option("prev_save_h", 3.0, _TIME, "`training.preview_h`"),
    # network; 3-D sizes are x, y, z in the file and z, x, y after reading
    Option("activation_func", "relu", _NAMES, "`network.activation`"),
    Option("batch_size", 1, _COUNT, "`sampling.batch_size`", "always"),
    Option("dropout_rates", [], _RATES, "`network.dropout`"),
    Option("n_dim", 2, Kind("2 or 3", lambda v: is_whole(v) and v in (2, 3)), "z extents of `network.kernels` and `pools`", "images"),
    Option("desired_input", 100, _SIZE, "`network.patch`", "images"),
    Option("filters", [], _SIZES, "`network.kernels`", "images"),
    Option("pool", [], _SIZES, "`network.pools`", "images"),
    Option("nof_filters", [], _COUNTS, "`network.features`", "images"),
    Option("pooling_mode", "max", _NAMES, "`network.pooling`"),
    Option("MFP", [], Kind("True, False, None, or a list of these per layer", _either(_is(bool, int), _rows(_is(bool, int)))),
           "none: training is strided, prediction always dense"),
    Option("rnn_layer_kwargs", None, _TABLE_OR_NONE, "`network.recurrent`"),
    Option("MLP_layers", [], _COUNTS, "`network.perceptrons`", "vectors"),
    Option("target", "nll", _NAME, "`training.loss.kind`"),
    # images
    Option("data_path", "/", _NAME, "`volumes`: image", "files"),
    Option("label_path", "/", _NAME, "`volumes`: labels", "files"),
    Option("d_files", [], _FILES, "`volumes`: image", "files"),
    Option("l_files", [], _FILES, "`volumes`: labels", "files"),
    Option("cube_prios", None, _WEIGHTS, "`sampling.weights`"),
    Option("valid_cubes", [], _INDICES, "`volumes`: role"),
    Option("example_ignore_threshold", 0.0, Kind("a number with a decimal point, such as 0.0, or None",
           _either(_threshold, _none)), "`sampling.ignore_above`"),
    Option("grey_augment_channels", [0], _INDICES, "`sampling.augment`: grey"),
    Option("use_example_weights", False, _FLAG, "`sampling.weights_from_last_channel`"),
    Option("flip_data", True, _FLAG, "`sampling.augment`: flip"),
    Option("anisotropic_data", True, _FLAG, "`sampling.augment`: flip, `isotropic`"),
    Option("lazy_labels", False, _FLAG, "`sampling.lazy_labels`"),
    Option("warp_on", False, Kind("True, False or a number of 0 to 1", _either(_is(bool), _fraction)),
           "`sampling.augment`: warp"),
    Option("pre_process", None, _NAME_OR_NONE, "`sampling.standardise`"),
    Option("zchxy_order", False, _FLAG, "`volumes`: axes"),
    Option("border_mode", "crop", _NAME, "`sampling.border`"),
    Option("upright_x", False, _FLAG, "`sampling.augment`: flip"),
    Option("downsample_xy", False, _FLAG_OR_COUNT, "`sampling.downsample`"),
    Option("preview_data_path", None, _NAME_OR_NONE, "`training.preview_volumes`; none: validation data"),
    Option("preview_kwargs", {"export_class": 1, "max_z_pred": 5}, _TABLE_OR_NONE, "`training.preview_classes`, `training.preview_planes`"),
    # data of any kind
    Option("mode", "img-img", _NAME, "none: follows from network and data", "always"),
    Option("n_lab", None, Kind("a whole number of 1 or more, or None", _either(_positive, _none)), "`network.classes`",
           "always"),
    Option("background_processes", False, _FLAG_OR_COUNT, "`sampling.workers`, threads"),
    Option("data_class_name", None, Kind("text in quotes, ('file', 'class') or None", _either(_text, _none, _pair(_text, _text))),
           "`data.name`"),
    Option("data_load_kwargs", {}, _TABLE_OR_NONE, "`data.load`"),
    Option("data_batch_kwargs", {}, _TABLE_OR_NONE, "`data.batch`"),
    # optimisation
    Option("n_steps", 10**12, _STEPS, "`training.steps`", "always"),
    Option("max_runtime", 86400, _TIME, "`training.max_seconds`", "always"),
    Option("history_freq", [500], Kind("a list of one whole number, or that number; 0 for no history",
           lambda v: _index(v[0]) if isinstance(v, list | tuple) and len(v) == 1 else _index(v)), "`training.history_every`"),
    Option("monitor_batch_size", 10, _COUNT, "`training.monitor_examples`", "always"),
    Option("weight_decay", False, Kind("False or a number of 0 or more", _either(lambda v: v is False, _not_negative)),
           "`training.optimiser.weight_decay`"),
    Option("class_weights", None, _WEIGHTS, "`training.loss.class_weights`"),
    Option("label_prop_thresh", None, Kind("a number of 0 to 1, or None", _either(_fraction, _none)), "`training.loss.propagate`"),
    Option("optimizer", "SGD", _NAME, "`training.optimiser.kind`"),
    Option("LR_decay", 0.993, Kind("a number above 0", lambda v: is_number(v) and v > 0), "`training.schedule.decay`"),
    Option("LR_schedule", None, Kind("a list of (step, learning rate), or None", _rows(_pair(_not_negative, _not_negative))),
           "`training.schedule`: steps"),
    Option("SGD_params", {"LR": 0.001, "momentum": 0.9}, _TABLE_OR_NONE, "`training.optimiser`", "always"),
    Option("SSGD_params", {"LR": 0.01, "momentum": 0.9, "var_momentum": 0.9, "var_cuttoff": 3.0}, _TABLE_OR_NONE,
           "none: was never read"),
    Option("RPROP_params", {"penalty": 0.35, "gain": 0.2, "beta": 0.7, "initial_update_size": 1e-4}, _TABLE_OR_NONE,
           "`training.optimiser`"),
    Option("Adam_params", {"LR": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}, _TABLE_OR_NONE,
           "`training.optimiser`"),
    Option("CG_params", {"n_steps": 4, "alpha": 0.35, "beta": 0.75, "max_step": 0.02, "min_step": 8e-5}, _TABLE_OR_NONE,
           "`training.optimiser`"),
    Option("LBFGS_params", {"maxfun": 40, "maxiter": 4, "m": 10, "factr": 1e2, "pgtol": 1e-9, "iprint": -1},
           _TABLE_OR_NONE, "`training.optimiser`"),
)  # fmt: skip

OPTIONS: dict[str, Option] = {option.name: option for option in _ROWS}
"""Name → option."""

PATHS = ("save_path", "param_file", "data_path", "label_path", "preview_data_path", "data_class_name")
"""Options in which ``~`` is the home directory."""

PER_LAYER = ("filters", "pool", "nof_filters")
"""Lists with one entry per convolution."""

CHOICES: dict[str, tuple[str, ...]] = {
    "mode": ("img-img", "img-scalar", "vect-scalar"),
    "target": ("nll", "regression", "nll_mutiple_binary", "nll_weak", "affinity", "malis"),
    "optimizer": ("SGD", "CG", "RPROP", "LBFGS", "Adam"),
    "border_mode": ("crop", "keep", "mirror", "0-pad", "c-pad", "reject"),
    "pre_process": ("standardise",),
    "pooling_mode": ("max", "maxabs"),
    "activation_func": ("relu", "ReLU", "tanh", "abs", "linear", "sigmoid", "sig", "none", "None", "maxout 2"),
}
"""Option → words that it knows."""

KEYS: dict[str, tuple[str, ...]] = {
    "SGD_params": ("LR", "momentum"),
    "RPROP_params": ("penalty", "gain", "beta", "initial_update_size"),
    "Adam_params": ("LR", "beta1", "beta2", "epsilon"),
    "CG_params": ("n_steps", "alpha", "beta", "max_step", "min_step", "only_descent", "show"),
    "rnn_layer_kwargs": ("n_hid", "activation_func", "iterations"),
}
"""Option → keys that its dict may have."""


def asked_for(options: dict[str, Any]) -> list[str]:
    """Names that a config of this mode must give; without them it runs on defaults that fit nobody.

    Example:
        >>> "filters" in asked_for({"mode": "vect-scalar", "data_class_name": "MNISTData"})
        False
    """
    kinds = {"always", "vectors" if options["mode"] == "vect-scalar" else "images"}
    if options["data_class_name"] is None:
        kinds.add("files")
    return [option.name for option in OPTIONS.values() if option.asked in kinds]


def distance(a: str, b: str) -> int:
    """Levenshtein distance: letters to put in, take out or change.

    Example:
        >>> distance("LR_decy", "LR_decay")
        1
    """
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        before, row = row, [i]
        for j, other in enumerate(b, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other)))
    return row[-1]
