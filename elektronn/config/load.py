"""Read params.yaml, apply overrides, write what came out. Only this file reads params.yaml for us."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from elektronn.artefacts import write_text
from elektronn.config.tree import Experiment, Params
from elektronn.errors import ConfigError, DataError, at
from elektronn.registry import lookup
from elektronn.settings import parse, plain


class _Loader(yaml.SafeLoader):
    """YAML without its traps: only true/false are truth values, dates are text, a key stands once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"line {key.start_mark.line + 1}: a key must be a single word")
            if key.value in seen:
                raise ConfigError(f"line {key.start_mark.line + 1}: key '{key.value}' stands twice; keep one")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# YAML 1.1 reads on, off, yes and no as truth values and has dates; for YAML 1.2 and most people these are text
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rows if not tag.endswith((":bool", ":timestamp"))]
    for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


def read_yaml(text: str) -> Any:
    """Plain data from YAML text.

    Raises:
        ConfigError: not YAML; names line and column.

    Example:
        >>> read_yaml("a: on")
        {'a': 'on'}
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(f"{where}not YAML ({error.problem}); check indentation and quotes") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML ({str(error).splitlines()[0]}); write it anew as plain text") from None


def read_params(path: Path) -> dict[str, Any]:
    """The raw content of a parameter file, checked against the tree.

    Raises:
        DataError: unreadable.
        ConfigError: no such file, not YAML, or not valid.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give a parameter file, such as params.yaml")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); save it as UTF-8 text") from error
    with at(str(path)):
        raw = read_yaml(text) or {}
        if not isinstance(raw, dict):
            raise ConfigError("is not a mapping; write `section: …` lines")
        resolve(raw)
    return raw


def resolve(raw: Mapping[str, Any]) -> Params:
    """Raw content with all defaults filled in, typed and checked."""
    return parse(Params, raw, "")


def override(raw: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Apply ``a.b=value`` texts; the value is YAML.

    Raises:
        ConfigError: no ``=`` in it, or it goes through something that is no section.

    Example:
        >>> override({"predict": {"threads": 1}}, ["predict.threads=4"])
        {'predict': {'threads': 4}}
    """
    result = copy.deepcopy(dict(raw))
    for change in changes:
        key, sign, value = change.partition("=")
        if not sign or not all(name.strip() for name in key.split(".")):
            raise ConfigError(f"--set {change}: write KEY=VALUE, such as --set predict.threads=4")
        with at(f"--set {change}"):
            put(result, key.strip(), read_yaml(value))
    return result


def put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Set one value of a nested mapping, making sections on the way."""
    *sections, last = dotted.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"'{section}' is a value, not a section; set it as a whole")
    tree[last] = value


def get(tree: Mapping[str, Any], dotted: str) -> Any:
    """One value of a nested mapping, or ``{}`` where a section is left out."""
    for key in dotted.split("."):
        tree = tree.get(key, {})
    return tree


def experiment_of(params: Params, name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        ConfigError: no such experiment; names the nearest.
    """
    if not params.experiments:
        raise ConfigError(
            f"experiment '{name}': the settings have none; name a file that has, such as --params params.yaml"
        )
    return lookup(params.experiments, name, "experiment")


def write_resolved(path: Path, params: Params, *sections: str) -> None:
    """Write the settings that a stage used, defaults included, as YAML.

    Args:
        path: file to write.
        params: all settings.
        sections: dotted names of what the stage used; the others may hold defaults that were never asked for.
    """
    said: dict[str, Any] = {}
    for section in sections:
        put(said, section, get(plain(params), section))
    write_text(path, yaml.safe_dump(said, sort_keys=False, allow_unicode=True))
