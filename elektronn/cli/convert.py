"""``elektronn convert``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elektronn.cli.progress import Display
from elektronn.errors import ConfigError, at

if TYPE_CHECKING:
    from elektronn.network.document import Document


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument(
        "old",
        type=Path,
        metavar="OLD",
        help="parameter file of ELEKTRONN 1 (.param, .param.gz) or model file of ELEKTRONN2 (.mdl)",
    )
    verb.add_argument("model", type=Path, metavar="MODEL", help="model file to make (.safetensors)")
    verb.add_argument(
        "--config", type=Path, metavar="FILE", help="config (.py) that the network of a parameter file was trained with"
    )
    verb.add_argument(
        "--trust",
        action="store_true",
        help="run a config that cannot be read as a program; only if you know its author",
    )
    verb.add_argument(
        "--batch-norm",
        choices=("file", "stored", "off"),
        default="file",
        help="batch normalisation of a .mdl file: as the file says (mostly by the statistics of the batch at hand), by "
        "the stored statistics of training, or off (default: file)",
    )
    verb.add_argument("--log", metavar="FILE", help="also write what is printed to this file")


def run(given: argparse.Namespace) -> None:
    """Convert."""
    if given.old.suffix == ".safetensors":
        raise ConfigError(
            f"{given.old}: is a model file of today already; `elektronn predict --model` takes it as it is"
        )
    display = Display("convert", given.log)
    if given.old.suffix == ".mdl":
        _elektronn2(given, display)
    else:
        _elektronn1(given, display)


def _elektronn1(given: argparse.Namespace, display: Display) -> None:
    from elektronn.artefacts import digest
    from elektronn.legacy.config_file import read_config
    from elektronn.legacy.elektronn1 import from_options
    from elektronn.legacy.param_file import read_param
    from elektronn.network.edits import with_output_activation

    if given.config is None:
        raise ConfigError(
            f"{given.old}: a parameter file does not say pooling and activations; give its config with --config"
        )
    old, config = read_param(given.old), read_config(given.config, trust=given.trust)
    with at(f"{given.old} with {given.config}"):
        document, weights = from_options(config.options, [layer.arrays for layer in old.layers])
    for text in config.warnings:
        display.warn(text)
    target = config.options["target"]
    if target in ("affinity", "malis"):
        raise ConfigError(f"{given.config}: a network of target '{target}' cannot be converted; nll and regression can")
    if target == "nll_mutiple_binary":
        document = with_output_activation(document, "sigmoid")
        display.warn("target nll_mutiple_binary: each output is the probability of class 0 of one question")
    kind, source = {"converted": "elektronn1"}, {"parameters": digest(given.old), "config": digest(given.config)}
    says: dict[str, Any] = {"output": "values" if target in ("regression", "nll_mutiple_binary") else "probabilities"}
    if _has_fragments(config.options):
        says |= {"fragments": True}
    _save(given, display, document, weights, says | _origin(kind, source))


def _has_fragments(options: Mapping[str, Any]) -> bool:
    """Whether every pooling of a network of ELEKTRONN 1 is of max-fragments, so that its plain output is the dense one."""
    rows = zip(options["MFP"], options["pool"])
    pooled = [flag for flag, pool in rows if any(n > 1 for n in ([pool] if isinstance(pool, int) else pool))]
    return bool(pooled) and all(pooled)


def _elektronn2(given: argparse.Namespace, display: Display) -> None:
    from elektronn.artefacts import digest
    from elektronn.legacy.elektronn2 import from_mdl
    from elektronn.legacy.mdl_file import read_mdl

    if given.config is not None:
        raise ConfigError(f"{given.old}: a model file of ELEKTRONN2 says all of the network; leave --config out")
    old = read_mdl(given.old)
    with at(str(given.old)):
        made = from_mdl(old, given.batch_norm)
    for text in made.notes:
        display.line(text)
    kind = {"converted": "elektronn2", "batch_norm": given.batch_norm}
    says = {"output": made.output} | ({"fragments": True} if made.has_fragments else {})
    _save(given, display, made.document, made.weights, says | _origin(kind, {"model": digest(given.old)}))


def _origin(kind: dict[str, str], source: dict[str, str]) -> dict[str, Any]:
    """What a card says of where the model comes from; images may hold any floats: the original took them as they were."""
    from elektronn.artefacts import fingerprint

    return {"fingerprint": fingerprint(kind, source.values()), "source": source, "floats": "any"}


def _save(
    given: argparse.Namespace,
    display: Display,
    document: Document,
    weights: Mapping[str, Any],
    card: Mapping[str, Any],
) -> None:
    """Write the model."""
    import torch

    from elektronn.network.build import build
    from elektronn.network.document import layers
    from elektronn.network.weights import save_model

    network = build(document)
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
    save_model(given.model, network, card)
    count = sum(layer.weights for layer in layers(document))
    display.line(
        f"{given.model}: {len(document.nodes) - 1} layers, {count} parameters of {given.old}; "
        f"its outputs are {card['output']}"
    )
