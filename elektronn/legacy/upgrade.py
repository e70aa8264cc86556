"""A config of ELEKTRONN 1 as an experiment of ours: the same run in params.yaml, with a note for each thing that changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elektronn.errors import ConfigError
from elektronn.legacy.config_file import OldConfig
from elektronn.legacy.elektronn1 import per_axis, spelled, stacks_of
from elektronn.legacy.options import OPTIONS
from elektronn.legacy.upgrade_data import Looks, data_of

Section = dict[str, Any]


@dataclass(frozen=True)
class Upgraded:
    """What an old config stands for.

    Attributes:
        name: of the experiment.
        params: content of a params.yaml.
        notes: ``(dotted place, sentence)``, one per thing that changed.
        folder: run directory, ``save_path/save_name``.
        overwrite: whether an earlier run in it may be moved aside.
        start: initial weights, or None.
        plots, status: whether pictures are drawn, and lines of the history printed.
    """

    name: str
    params: Section
    notes: tuple[tuple[str, str], ...]
    folder: Path
    overwrite: bool
    start: Path | None
    plots: bool
    status: bool


@dataclass
class _Notes:
    rows: list[tuple[str, str]] = field(default_factory=list)

    def say(self, place: str, text: str) -> None:
        self.rows.append((place, text))


def upgrade(old: OldConfig, look: Looks) -> Upgraded:
    """The experiment that a config of ELEKTRONN 1 describes.

    Args:
        old: as :func:`elektronn.legacy.config_file.read_config` gives it.
        look: answers what only the data can tell; see :class:`Looks`.

    Raises:
        ConfigError: it asks for something that is not there any more; says what and what to do.
    """
    said, notes = old.options, _Notes()
    folder = run_folder(said["save_path"], said["save_name"], look.base)
    name = experiment_name(said["save_name"])
    if name != said["save_name"]:
        notes.say(f"experiments.{name}", f"save_name '{said['save_name']}': names are small letters, digits and _")
    data = data_of(said, look, notes.say)
    experiment: Section = {"network": _network(said, data.classes, notes), "sampling": data.sampling}
    experiment["training"] = _training(said, look, notes)
    if data.source:
        experiment["data"] = data.source
    params: Section = {"volumes": data.volumes, "boundaries": {"source": "classes"}} if data.volumes else {}
    params |= {"experiments": {name: experiment}}
    start = None if said["param_file"] is None else look.path(said["param_file"])
    _say_what_is_gone(old, notes)
    return Upgraded(
        name=name,
        params=params,
        notes=tuple(notes.rows),
        folder=folder,
        overwrite=bool(said["overwrite"]),
        start=start,
        plots=bool(said["plot_on"]),
        status=bool(said["print_status"]),
    )


def run_folder(save_path: str, save_name: str, base: Path) -> Path:
    """``save_path/save_name``; a ``save_path`` that ends in ``save_name`` already, as most configs write it, stays.

    Example:
        >>> run_folder("runs/", "a", Path("/home")), run_folder("runs/a/", "a", Path("/home"))
        (PosixPath('/home/runs/a'), PosixPath('/home/runs/a'))
    """
    folder = base / Path(save_path)
    return folder if folder.name == save_name else folder / save_name


def experiment_name(text: str) -> str:
    """A name of experiments: small letters, digits and underscores, a letter first.

    Example:
        >>> experiment_name("Debug-3D"), experiment_name("3D")
        ('debug_3d', 'run_3d')
    """
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return name if re.match("[a-z]", name) else f"run_{name}".rstrip("_")


def _network(said: Mapping[str, Any], classes: int, notes: _Notes) -> Section:
    images = said["mode"] != "vect-scalar"
    dimensions = said["n_dim"]

    def sizes(rows: Sequence[Any]) -> list[list[int]]:
        return [list(per_axis(row, dimensions)) for row in rows] if images else []

    section: Section = {
        "kernels": sizes(said["filters"]),
        "pools": sizes(said["pool"]),
        "features": list(said["nof_filters"]) if images else [],
        "perceptrons": list(said["MLP_layers"]),
        "activation": _one_or_list([spelled(text) for text in said["activation_func"]]) or "relu",
        "pooling": _one_or_list(said["pooling_mode"]) or "max",
        "dropout": _dropout(said),
        "initialisation": "elektronn1",
        "classes": classes,
        "patch": list(per_axis(_patch(said), dimensions)) if images else [1, 1, 1],
    }
    if said["rnn_layer_kwargs"] is not None:
        given = said["rnn_layer_kwargs"]
        section["recurrent"] = {"units": given["n_hid"], "activation": spelled(given.get("activation_func", "tanh"))}
    if dimensions == 3 and images:
        notes.say("network", "sizes stand in the order z, y, x (x, y, z before)")
    elif images:
        notes.say("network", "sizes stand in the order z, y, x with z = 1 (x, y before)")
    if any(said["MFP"]):
        notes.say("network", "MFP is left out: training is strided, and prediction is dense at all times")
    return section


def _patch(said: Mapping[str, Any]) -> Any:
    """The wanted input; where images are padded to fit, the next valid size that holds them."""
    wanted = said["desired_input"]
    if said["mode"] != "img-scalar" or said["border_mode"] not in ("mirror", "0-pad", "c-pad"):
        return wanted
    dimensions = said["n_dim"]
    sizes = [wanted] * dimensions if isinstance(wanted, int) else list(wanted)
    stacks = stacks_of(said)
    return [
        stack.smallest + -(-max(n - stack.smallest, 0) // s) * s
        for n, stack in zip(sizes, stacks)
        for s in [stack.reach.stride]
    ]


def _dropout(said: Mapping[str, Any]) -> Any:
    rates = [rate or 0.0 for rate in said["dropout_rates"] or ()]
    if any(rate >= 1 for rate in rates):
        raise ConfigError(f"dropout_rates: {max(rates)} drops everything; write less than 1")
    return _one_or_list(rates) if rates else 0.0


def _one_or_list(values: Sequence[Any]) -> Any:
    """The one value that all are, or the list of them."""
    return values[0] if values and all(value == values[0] for value in values) else list(values)


def _training(said: Mapping[str, Any], look: Looks, notes: _Notes) -> Section:
    section: Section = {
        "steps": int(said["n_steps"]),
        "optimiser": _optimiser(said, notes),
        "schedule": _schedule(said),
        "loss": _loss(said),
        "history_every": _history(said, notes),
        "monitor_examples": said["monitor_batch_size"],
    }
    if said["max_runtime"]:
        section["max_seconds"] = float(said["max_runtime"])
    section["preview_every"] = 0
    if said["plot_on"] and said["mode"] == "img-img":
        section["preview_h"] = [float(said["initial_prev_h"]), max(float(said["prev_save_h"]), 1e-3)]
        section |= _previews(said, look, notes)
    if said["param_save_h"]:
        section["snapshot_h"] = float(said["param_save_h"])
    device = said["device"]
    if device is not False and device is not None:
        section["device"] = f"cuda:{int(device)}"
    notes.say("training.seed", "weights and draws follow from a seed; ELEKTRONN 1 took the time of day")
    return section


def _previews(said: Mapping[str, Any], look: Looks, notes: _Notes) -> Section:
    """Volumes of their own for the previews; without any, those of the validation data are shown."""
    if said["preview_data_path"] is None:
        return {}
    given = said["preview_kwargs"] or {}
    classes = given.get("export_class", 1)
    if classes in ("malis", "affinity"):
        notes.say(
            "training.preview_classes", f"export_class '{classes}': one grey picture per class, not one in colours"
        )
        classes = "all"
    if isinstance(classes, int):
        classes = [classes]
    return {
        "preview_volumes": [f"{look.path(said['preview_data_path'])}@xyz"],
        "preview_planes": int(given.get("max_z_pred", 5)),
        "preview_classes": classes if isinstance(classes, str) else [int(index) for index in classes],
    }


def _history(said: Mapping[str, Any], notes: _Notes) -> int:
    every = int(said["history_freq"][0])
    if every == 0:
        notes.say("training.history_every", "history_freq 0: one row at the start and one at the end")
    return every or int(said["n_steps"])


OPTIMISERS: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "SGD": ("sgd", "SGD_params", {"LR": "rate", "momentum": "momentum"}),
    "Adam": ("adam", "Adam_params", {"LR": "rate", "beta1": "beta1", "beta2": "beta2", "epsilon": "epsilon"}),
    "RPROP": ("rprop", "RPROP_params", {"penalty": "penalty", "gain": "gain", "initial_update_size": "initial"}),
    "CG": ("cg", "CG_params", {"n_steps": "searches", "alpha": "alpha", "beta": "beta", "max_step": "max_step", "min_step": "min_step"}),
    "LBFGS": ("lbfgs", "LBFGS_params", {"maxfun": "evaluations", "maxiter": "iterations", "m": "memory", "factr": "reduction", "pgtol": "gradient"}),
}  # fmt: skip
"""Old optimiser → our kind, its option, and old key → our key."""

WHOLE = {"searches", "evaluations", "iterations", "memory"}
"""Keys that take whole numbers."""


def _optimiser(said: Mapping[str, Any], notes: _Notes) -> Section:
    kind, option, keys = OPTIMISERS[said["optimizer"]]
    place = "training.optimiser"
    section: Section = {"kind": kind}
    if kind in ("sgd", "adam"):
        section["rule"] = "elektronn1"
    for key, value in {**OPTIONS[option].default, **(said[option] or {})}.items():
        if key in keys:
            section[keys[key]] = int(value) if keys[key] in WHOLE else float(value)
        elif key in (said[option] or {}):
            notes.say(place, f"{option}['{key}'] is left out: it had no effect on the updates")
    decay = float(said["weight_decay"] or 0.0)
    if decay and kind in ("sgd", "rprop"):
        section["weight_decay"] = decay
    elif decay:
        notes.say(place, f"weight_decay is left out: {said['optimizer']} of ELEKTRONN 1 ignored it")
    return section


def _schedule(said: Mapping[str, Any]) -> Section:
    decay = float(said["LR_decay"])
    if said["LR_schedule"]:
        values = [[int(step), float(rate)] for step, rate in said["LR_schedule"]]
        return {"kind": "steps", "values": values, "decay": decay}
    if decay == 1:
        return {"kind": "constant"}
    return {"kind": "exponential", "decay": decay, "every": 1000, "jumps": "after"}


TARGETS = {"nll": "nll", "nll_weak": "weak", "regression": "regression", "nll_mutiple_binary": "binary"}
"""Old target → our kind of loss."""


def _loss(said: Mapping[str, Any]) -> Section:
    if said["target"] not in TARGETS:
        raise ConfigError(
            f"target: '{said['target']}' needs segment affinities, which are not built; train with target = 'nll'"
        )
    kind = TARGETS[said["target"]]
    section: Section = {"kind": kind}
    if kind in ("nll", "weak"):
        section["epsilon"] = 1e-6
    if said["class_weights"] is not None and kind != "regression":
        section["class_weights"] = [float(weight) for weight in said["class_weights"]]
    if said["label_prop_thresh"] is not None and kind == "nll":
        section["propagate"] = float(said["label_prop_thresh"])
    return section


GONE: Mapping[str, str] = {
    "SSGD_params": "was never read",
}
"""Options without a place of their own: what happens instead."""


def _say_what_is_gone(old: OldConfig, notes: _Notes) -> None:
    for name, text in GONE.items():
        if name in old.given:
            notes.say(name, text)
