"""What can be wrong with the options of an old config, found before any file is made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from elektronn.legacy.options import CHOICES, KEYS, OPTIONS, PER_LAYER
from elektronn.registry import nearest

Fault = tuple[str, str]
"""Name of the option, and a sentence that says what is wrong and what to write."""


def wrong_kinds(options: dict[str, Any]) -> list[Fault]:
    """Values of a kind that their option does not take.

    Example:
        >>> wrong_kinds({"batch_size": "4"})
        [('batch_size', "batch_size: '4' does not fit; write a whole number of 1 or more")]
    """
    return [
        (name, f"{name}: {_short(value)} does not fit; write {OPTIONS[name].kind.words}")
        for name, value in options.items()
        if name in OPTIONS and not OPTIONS[name].kind.takes(value)
    ]


def contradictions(options: dict[str, Any]) -> list[Fault]:
    """Unknown words, lists of the wrong length, and options that exclude each other.

    Args:
        options: values that all have the right kind, None instead of lists already replaced.
    """
    parts = (_words(options), _keys(options), _modes(options), _layers(options), _files(options))
    return [(name, f"{name}: {text}") for part in parts for name, text in part]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _words(options: dict[str, Any]) -> Iterator[Fault]:
    for name, known in CHOICES.items():
        given = options[name] if isinstance(options[name], list | tuple) else [options[name]]
        for word in given:
            if word not in known and word is not None and not _is_maxout(name, word):
                near = nearest(word, known)
                everything = "" if near.startswith("known") else f" known are {', '.join(known)}"
                yield name, f"unknown word {_short(word)}: {near}{everything}"


def _is_maxout(name: str, word: str) -> bool:
    return name == "activation_func" and re.fullmatch(r"maxout [1-9]\d*", word) is not None


def _keys(options: dict[str, Any]) -> Iterator[Fault]:
    for name, known in KEYS.items():
        for key in options[name] or {}:
            if key not in known:
                yield name, f"unknown key {_short(key)}: {nearest(str(key), known)}"


def _modes(options: dict[str, Any]) -> Iterator[Fault]:
    mode = options["mode"]
    if mode == "img-img" and options["MLP_layers"]:
        yield "MLP_layers", "mode 'img-img' has no such layers; write [] or mode = 'img-scalar'"
    if mode == "img-scalar" and not options["MLP_layers"]:
        yield "mode", "'img-scalar' needs MLP_layers; write their sizes, such as MLP_layers = [100]"
    if mode == "vect-scalar":
        for name in PER_LAYER:
            if options[name]:
                yield name, "mode 'vect-scalar' has no convolutions; write [] or another mode"
    if options["lazy_labels"] and mode != "img-img":
        yield "lazy_labels", f"works in mode 'img-img' only, not in '{mode}'; write False"
    if options["rnn_layer_kwargs"] is not None and mode != "vect-scalar":
        yield "rnn_layer_kwargs", f"works in mode 'vect-scalar' only, not in '{mode}'; write None"


def _layers(options: dict[str, Any]) -> Iterator[Fault]:
    lengths = {name: len(options[name]) for name in PER_LAYER}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        yield "filters", f"filters, pool and nof_filters need one entry per layer: {said}"
        return
    convolutions = len(options["filters"])
    layers = convolutions + len(options["MLP_layers"])
    for name, wanted, may_be_empty in (
        ("activation_func", layers, False),
        ("dropout_rates", layers, True),
        ("pooling_mode", convolutions, False),
        ("MFP", convolutions, True),
    ):
        value = options[name]
        if isinstance(value, list | tuple) and len(value) != wanted and (value or not may_be_empty):
            empty = ", or [] for none" if may_be_empty else ""
            yield name, f"has {len(value)} entries for {wanted} layers; write one for each{empty}"
    yield from _axes(options)


def _axes(options: dict[str, Any]) -> Iterator[Fault]:
    n_dim, mode = options["n_dim"], options["mode"]
    if mode == "vect-scalar":
        return
    for name, sizes in (
        ("filters", options["filters"]),
        ("pool", options["pool"]),
        ("desired_input", [options["desired_input"]]),
    ):
        for size in sizes:
            if isinstance(size, list | tuple) and len(size) != n_dim:
                yield name, f"{_short(size)} has {len(size)} numbers for n_dim = {n_dim}; write {n_dim} or a single one"
                return
    fields = fields_of_view(options)
    if mode == "img-img" and any(field % 2 == 0 for field in fields):
        said = " × ".join(map(str, fields))
        yield (
            "filters",
            f"field of view {said} ({'xyz'[:n_dim]}) is even, so labels have no middle; change a filter by one",
        )


def fields_of_view(options: dict[str, Any]) -> list[int]:
    """Extent in the input that one output sees, voxels, one number per axis, in the order of ``filters``.

    Example:
        >>> fields_of_view({"n_dim": 2, "filters": [[4, 3], 3], "pool": [2, [2, 1]]})
        [11, 8]
    """
    fields = []
    for axis in range(options["n_dim"]):
        field = 1
        for kernel, pool in zip(reversed(options["filters"]), reversed(options["pool"])):
            field = field * _along(pool, axis) + _along(kernel, axis) - 1
        fields.append(field)
    return fields


def _along(size: Any, axis: int) -> int:
    return int(size[axis] if isinstance(size, list | tuple) else size)


def _files(options: dict[str, Any]) -> Iterator[Fault]:
    images, labels = len(options["d_files"]), len(options["l_files"])
    if images != labels:
        yield "l_files", f"{labels} label files for {images} image files in d_files; write one for each"
    if (
        options["cube_prios"] is not None
        and options["data_class_name"] is None
        and len(options["cube_prios"]) != images
    ):
        yield (
            "cube_prios",
            f"has {len(options['cube_prios'])} entries for {images} files in d_files; write one for each",
        )
    beyond = [cube for cube in options["valid_cubes"] if cube >= images]
    if beyond and options["data_class_name"] is None:
        yield "valid_cubes", f"no cube {beyond[0]} among {images} files in d_files; count them from 0"
    weights, n_lab = options["class_weights"], options["n_lab"]
    if weights is not None and options["target"] == "nll" and n_lab is not None and len(weights) != n_lab:
        yield "class_weights", f"has {len(weights)} entries for n_lab = {n_lab}; write one for each class"
