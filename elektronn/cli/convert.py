"""``elektronn convert``."""

from __future__ import annotations

import argparse
from pathlib import Path

from elektronn.cli.progress import Display
from elektronn.errors import ConfigError, at


def arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    verb.add_argument("old", type=Path, metavar="OLD", help="parameter file of ELEKTRONN 1 (.param, .param.gz)")
    verb.add_argument("model", type=Path, metavar="MODEL", help="model file to make (.safetensors)")
    verb.add_argument("--config", type=Path, metavar="FILE", help="config (.py) that the network was trained with")
    verb.add_argument(
        "--trust",
        action="store_true",
        help="run a config that cannot be read as a program; only if you know its author",
    )
    verb.add_argument("--log", metavar="FILE", help="also write what is printed to this file")


def run(given: argparse.Namespace) -> None:
    """Convert."""
    import torch

    from elektronn.artefacts import digest, fingerprint
    from elektronn.legacy.config_file import read_config
    from elektronn.legacy.elektronn1 import from_options
    from elektronn.legacy.param_file import read_param
    from elektronn.network.build import build
    from elektronn.network.document import layers
    from elektronn.network.weights import save_model

    if given.config is None:
        raise ConfigError(
            f"{given.old}: a parameter file does not say pooling and activations; give its config with --config"
        )
    old, config = read_param(given.old), read_config(given.config, trust=given.trust)
    with at(f"{given.old} with {given.config}"):
        document, weights = from_options(config.options, [layer.arrays for layer in old.layers])
    network = build(document)
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
    display = Display("convert", given.log)
    for text in config.warnings:
        display.warn(text)
    source = {"parameters": digest(given.old), "config": digest(given.config)}
    card = {
        "fingerprint": fingerprint({"converted": "elektronn1"}, source.values()),
        "output": "values" if config.options["target"] == "regression" else "probabilities",
        "source": source,
    }
    save_model(given.model, network, card)
    count = sum(layer.weights for layer in layers(document))
    display.line(f"{given.model}: {len(document.nodes) - 1} layers, {count} parameters of {given.old}")
