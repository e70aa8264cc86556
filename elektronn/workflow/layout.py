"""What the rules share: which code counts for which stage, which volumes belong to an experiment, option texts."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elektronn.config.load import read_yaml
from elektronn.config.tree import Experiment
from elektronn.errors import ConfigError, DataError
from elektronn.registry import nearest
from elektronn.volumes.address import Address
from elektronn.volumes.table import VARIABLE, Row

CODE: Mapping[str, tuple[str, ...]] = {
    "sample": ("volumes/sample.py",),
    "boundaries": ("volumes/barriers.py", "volumes/boundaries.py", "volumes/convert.py"),
    "check": (
        "volumes/content.py",
        "volumes/content_match.py",
        "volumes/content_values.py",
        "volumes/registration.py",
    ),
    "train": (
        "geometry.py",
        "network",
        "sampling",
        "training",
        "volumes/downsample.py",
        "volumes/moments.py",
        "volumes/registration.py",
    ),
    "predict": ("geometry.py", "network", "prediction"),
    "segment": ("segmentation", "volumes/classes.py"),
    "evaluate": ("evaluation", "volumes/classes.py", "volumes/registration.py"),
    "report": ("report", "volumes/classes.py"),
}
"""Stage → files and folders of the package whose code has a numeric effect on it; dvc.yaml lists the same."""

WITHOUT_EFFECT = (
    "errors.py",
    "registry.py",
    "settings.py",
    "artefacts.py",
    "axes.py",
    "compiled.py",
    "volumes/address.py",
    "volumes/arrays.py",
    "volumes/cache.py",
    "volumes/faintness.py",
    "volumes/hdf5.py",
    "volumes/ngff.py",
    "volumes/npy.py",
    "volumes/replaceable.py",
    "volumes/stored.py",
    "volumes/tiff.py",
    "volumes/tiff_facts.py",
    "volumes/zarr_direct.py",
    "volumes/zarr_layout.py",
    "volumes/zarr_store.py",
)
"""Code that stages reach and that only carries, names, stores and warns of values; an edit does not rerun the stages."""


WORD = re.compile(r"[\w.+-]+")
"""What a number or truth value is made of."""


def use_own_commands() -> None:
    """Let rules find the command ``elektronn`` of the running environment, also when nobody activated it."""
    own = str(Path(sys.executable).parent)
    if own not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = own + os.pathsep + os.environ["PATH"]


def gpus(device: str) -> int:
    """How many GPUs a stage with this setting ``device`` asks for.

    Example:
        >>> gpus("auto"), gpus("cpu")
        (1, 0)
    """
    return int(device != "cpu")


def code_files(stage: str, root: Path) -> list[str]:
    """Source files of a stage relative to the project, sorted."""
    package = root / "elektronn"
    found = (package / entry for entry in CODE[stage])
    files = [f for entry in found for f in (entry.rglob("*.py") if entry.is_dir() else [entry])]
    return sorted(file.relative_to(root).as_posix() for file in files)


def merged(raw: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings, values of ``over`` first (``snakemake --config`` and ``--configfile``).

    Inside braces ``--config`` takes every value for text; what reads as a number or truth value becomes one here.

    Example:
        >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"b": "3"}})
        {'a': {'b': 3, 'c': 2}}
    """
    result = dict(raw)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else _typed(value)
    return result


def _typed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    if not isinstance(value, str):
        return value
    found = read_yaml(value) if WORD.fullmatch(value) else value
    return found if isinstance(found, int | float) else value


def volumes_of(
    name: str, experiment: Experiment, table: Mapping[str, Row], roles: Sequence[str] = ("train", "valid", "test")
) -> list[Row]:
    """The rows of an experiment's volumes with one of ``roles``, in the order of the table.

    Raises:
        ConfigError: a name that is not in the table, or nothing to train on.
        DataError: a file is not there and no rule makes it.
    """
    check_names(name, experiment, table)
    rows = [row for row in table.values() if not experiment.volumes or row.name in experiment.volumes]
    for role in ("train", "test"):
        if not any(row.role == role for row in rows):
            raise ConfigError(f"experiments.{name}: no volume of role {role} in the table; give one row that role")
    chosen = [row for row in rows if row.role in roles]
    for row in chosen:
        _check_file(row)
    return chosen


def check_names(name: str, experiment: Experiment, table: Mapping[str, Row]) -> None:
    """Whether the table has the volumes that an experiment names.

    Raises:
        ConfigError: it lacks one.
    """
    for wanted in experiment.volumes:
        if wanted not in table:
            raise ConfigError(
                f"experiments.{name}.volumes: '{wanted}' is not in the table of volumes: {nearest(wanted, table)}"
            )


def segmented(name: str, experiment: Experiment, table: Mapping[str, Row]) -> list[Row]:
    """The rows whose predictions an experiment wants to be divided into segments; of role ``predict`` all of the table."""
    rows = volumes_of(name, experiment, table, ("valid", "test"))
    rows += [row for row in table.values() if row.role == "predict"]
    return [row for row in rows if row.role in experiment.segment]


def _check_file(row: Row) -> None:
    for address in (row.image, row.labels):
        if address and not address.files and not address.path.match("data/raw/sample_*.h5"):
            raise DataError(
                f"volume {row.name}: {address.path}: no such file; put it there, correct the table of volumes, "
                f"or set {VARIABLE} to the folder that holds it"
            )


def input_files(*addresses: Address | None) -> list[str]:
    """Files that a rule reads for its volumes, each once; of a stack every section, of what is not made yet the name."""
    given = [address for address in addresses if address]
    return sorted({str(file) for address in given for file in address.files or [address.path]})


def there(files: Sequence[str]) -> list[str]:
    """The files that exist, or that the workflow can make.

    Example:
        >>> there(["data/raw/sample_7.h5", "/no/such/file.h5"])
        ['data/raw/sample_7.h5']
    """
    return [file for file in files if Path(file).exists() or re.fullmatch(r"data/raw/sample_\d+\.h5", file)]


def row_options(row: Row) -> str:
    """Options of ``elektronn volume`` for one row."""
    words = ["--image", str(row.image), "--role", row.role]
    words += ["--labels", str(row.labels)] if row.labels else []
    words += ["--voxel-nm", *(f"{n:g}" for n in row.voxel_nm)] if row.voxel_nm else []
    return shlex.join(words)


def volume_options(name: str, experiment: Experiment, table: Mapping[str, Row], labels: str) -> str:
    """Options of ``elektronn train``; ``labels`` is the pattern of the boundary maps."""
    rows = volumes_of(name, experiment, table, ("train", "valid"))
    words = [(f"--{row.role}", row.name, str(row.image), labels.format(volume=row.name)) for row in rows]
    return " ".join(shlex.join(group) for group in words)


def segment_options(rows: Sequence[Row], segmentation: str) -> str:
    """Options of ``elektronn evaluate --segmentation``; the pattern takes the volume's name."""
    words = [(f"--{row.role}", row.name, segmentation.format(volume=row.name), str(row.labels)) for row in rows]
    return " ".join(shlex.join(group) for group in words)


def pair_options(name: str, experiment: Experiment, table: Mapping[str, Row], prediction: str, labels: str) -> str:
    """Options of ``elektronn evaluate``; both patterns take the volume's name."""
    rows = volumes_of(name, experiment, table, ("valid", "test"))
    words = [
        (f"--{row.role}", row.name, prediction.format(volume=row.name), labels.format(volume=row.name)) for row in rows
    ]
    return " ".join(shlex.join(group) for group in words)
