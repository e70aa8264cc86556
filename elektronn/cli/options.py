"""Options that several verbs share: settings from file, JSON and --set; log; volumes."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elektronn.errors import ConfigError, at
from elektronn.volumes.address import Address, parse_address

if TYPE_CHECKING:
    from elektronn.config.tree import Params


def settings_arguments(verb: argparse.ArgumentParser) -> None:
    """``--params``, ``--params-json``, ``--set`` and ``--log``."""
    group = verb.add_argument_group("settings")
    group.add_argument("--params", type=Path, metavar="FILE", help="parameter file (default: built-in defaults)")
    group.add_argument(
        "--params-json",
        metavar="JSON",
        help='sections as JSON by dotted name, {"predict": {…}}; what a workflow passes',
    )
    group.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting; may be repeated"
    )
    verb.add_argument("--log", metavar="FILE", help="also write what is printed to this file")


def params_of(given: argparse.Namespace) -> Params:
    """The settings of a command: file, then JSON, then overrides, resolved and checked."""
    from elektronn.config.load import override, put, read_params, resolve

    raw: dict[str, Any] = read_params(given.params) if given.params else {}
    if given.params_json:
        try:
            sections = json.loads(given.params_json)
        except ValueError as error:
            raise ConfigError(f"--params-json: not JSON ({error})") from None
        if not isinstance(sections, dict):
            raise ConfigError(f'--params-json: {given.params_json}: not an object; write {{"section": …}}')
        for dotted, value in sections.items():
            put(raw, dotted, value)
    with at(str(given.params) if given.params else "settings"):
        return resolve(override(raw, given.set))


def length(text: str) -> float:
    """A length above 0 on the command line."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}': write a number above 0, nanometres")
    return number


def volume(text: str) -> Address:
    """A volume named on the command line."""
    try:
        return parse_address(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
