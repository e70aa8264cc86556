"""Configs of ELEKTRONN 1 at the door: found, read, upgraded, with a look at their data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from elektronn.config.load import resolve
from elektronn.config.tree import Params
from elektronn.errors import ConfigError, DataError, ElektronnError, at
from elektronn.legacy.config_file import OldConfig, read_config
from elektronn.legacy.upgrade import Upgraded, upgrade
from elektronn.legacy.upgrade_data import Looks
from elektronn.registry import load_object
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import load_raw, open_volume

EXAMPLES = Path(__file__).parent.parent / "legacy" / "examples"
"""Configs that come with the package; their names alone are enough."""


def find_config(given: Path) -> Path:
    """The config of that path, or the example of that name.

    Raises:
        DataError: neither is there; names the examples.

    Example:
        >>> find_config(Path("neuro_3d_config")).name
        'neuro_3d_config.py'
    """
    path = given.expanduser()
    if path.is_file():
        return path
    for name in (given.name, f"{given.name}.py"):
        if (EXAMPLES / name).is_file():
            return EXAMPLES / name
    known = ", ".join(sorted(file.stem for file in EXAMPLES.glob("*.py")))
    raise DataError(
        f"{given}: could not be found, neither as a file nor among the examples ({known}); correct the path"
    )


def upgraded(
    config: Path, base: Path, *, trust: bool = False, without_data: bool = False
) -> tuple[OldConfig, Upgraded, Params]:
    """A config read, upgraded and checked as settings of ours.

    Args:
        config: the file.
        base: folder that relative paths in it start from.
        trust: run the config instead of reading it.
        without_data: go on where the data are not here, and guess what only they can tell.

    Raises:
        DataError: the file, or labels that must be counted, cannot be read.
        ConfigError: one line per fault.
    """
    old = read_config(config, trust=trust)
    with at(str(config)):
        looks = Looks(base, _number_of_axes, _count_classes, _ask_outputs)
        if without_data:
            looks = Looks(base, _number_of_axes, _or_none(_count_classes), _or_none(_ask_outputs))
        new = upgrade(old, looks)
        return old, new, resolve(new.params)


T = TypeVar("T")


def _or_none(look: Callable[[T], int]) -> Callable[[T], int | None]:
    def looked(at: T) -> int | None:
        with suppress(DataError):
            return look(at)
        return None

    return looked


def _number_of_axes(path: Path, key: str) -> int | None:
    for order in ("xyz", "cxyz"):
        # what is wrong with a file, training says; an upgrade does not need it
        with suppress(ElektronnError), open_volume(parse_address(f"{path}:{key}@{order}")):
            return len(order)
    return None


def _count_classes(labels: Sequence[tuple[Path, str]]) -> int:
    """Largest label of all plus one; −1 is no class."""
    largest = 0
    for path, key in labels:
        try:
            largest = max(largest, int(load_raw(parse_address(f"{path}:{key}")).max(initial=0)))
        except DataError as error:
            raise DataError(f"n_lab: None asks for the number of classes in the labels, but {error}") from error
    return largest + 1


def _ask_outputs(source: dict[str, Any]) -> int:
    """What the data class says of itself."""
    from elektronn.sampling.data import DataSettings
    from elektronn.sampling.user_data import open_user_data
    from elektronn.settings import parse

    said = parse(DataSettings, source, "data")
    # a number that the class itself has needs no data
    own = getattr(load_object(said.name, "data class"), "n_lab", None)
    if isinstance(own, int):
        return own
    data = open_user_data(said)
    if not hasattr(data, "n_lab"):
        raise ConfigError(f"n_lab: None, and data class '{source['name']}' has no attribute n_lab; write the number")
    return int(data.n_lab)


def as_yaml(new: Upgraded, source: Path) -> str:
    """The new parameter file as text, with what changed as comments on top."""
    import yaml

    head = [
        "# yaml-language-server: $schema=workflow/schemas/params.schema.json",
        f"# {source.name} of ELEKTRONN 1, upgraded. Train with:",
        f"#   elektronn train {new.name} --params params.yaml --model {new.folder}/model.safetensors",
        "# What changed:",
        *(f"#   {place}: {text}" for place, text in new.notes),
    ]
    body = yaml.safe_dump(_plain(new.params), sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
    return "\n".join(head) + "\n" + body


def _plain(value: Any) -> Any:
    """Tuples as lists: YAML has none."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def set_aside(folder: Path, names: Sequence[str]) -> Path | None:
    """Move what an earlier run left into ``Backup/run-N`` of its folder; nothing is ever deleted."""
    there = [folder / name for name in names if (folder / name).exists()]
    if not there:
        return None
    number = 1 + sum(1 for _ in (folder / "Backup").glob("run-*"))
    place = folder / "Backup" / f"run-{number}"
    place.mkdir(parents=True)
    for path in there:
        path.rename(place / path.name)
    return place
