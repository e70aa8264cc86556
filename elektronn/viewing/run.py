"""Which volumes belong to a run: from its name, one of its folders, or one of its predictions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elektronn.errors import ConfigError, DataError
from elektronn.registry import nearest
from elektronn.viewing.scene import Kind, Source
from elektronn.volumes.address import FORMATS, Address, parse_address
from elektronn.volumes.table import Row

FOLDERS = ("predictions", "segmentations", "models", "state", "reports")
"""Of the folder ``data`` of a project; in each an experiment has a folder of its name."""
ROLES = ("test", "valid", "predict", "train")
"""In this order volumes are shown."""
_GIVEN: tuple[Kind, ...] = ("image", "labels")


@dataclass(frozen=True)
class Run:
    """Where the files of an experiment are.

    Attributes:
        data: the folder ``data`` of the project; paths in its files begin beside it.
        name: of the experiment.
        only: the one volume that was asked for; empty: all.
    """

    data: Path
    name: str
    only: str = ""

    @property
    def root(self) -> Path:
        """Folder of the project."""
        return self.data.parent


def run_of(text: str) -> Run | Address:
    """The run that a text means, or the volume, if it is the address of one that belongs to no run.

    Args:
        text: name of an experiment, one of its folders (``data/models/neuro``, its ``state``, ``data/reports/neuro`` …)
            or of its files, or a prediction.

    Raises:
        ConfigError: nothing of this name.
    """
    if (address := _address(text)) is not None:
        inside = _inside(address.path.absolute())
        if inside is not None and inside.data / "predictions" in address.path.absolute().parents:
            return replace(inside, only=address.path.stem)
        return address
    path = Path(text).expanduser()
    if path.exists() and (inside := _inside(path.absolute())) is not None:
        return inside
    data = Path("data").absolute()
    known = sorted({p.name for folder in FOLDERS if (data / folder).is_dir() for p in (data / folder).iterdir()})
    if text in known:
        return Run(data, text)
    raise ConfigError(
        f"{text}: no run of this name (looked in data/{{{','.join(FOLDERS)}}}): {nearest(text, known)}; or give one of "
        "its folders, or a prediction (.zarr, .h5, .npy)"
    )


def _address(text: str) -> Address | None:
    """The volume of this address, if it is one.

    Raises:
        ConfigError: it is not there.
    """
    try:
        address = parse_address(text)
    except ConfigError:
        return None
    if address.is_stack:
        return None
    if not address.files:
        raise ConfigError(f"{text}: no such file; check the path, or name an experiment")
    return address


def _inside(path: Path) -> Run | None:
    """The run that a folder or file belongs to."""
    for place in (path, *path.parents):
        if place.parent.name in FOLDERS and place.parent.parent.name == "data":
            return Run(place.parent.parent, place.name)
    return None


def sources_of(run: Run, rows: Mapping[str, Row]) -> dict[str, list[Source]]:
    """The volumes of a run by name, those to test on first.

    Names are those of the predictions and of the volumes that the network learnt from. Images are told by the cards of
    ``elektronn volume``, else by the table.

    Args:
        run: the run.
        rows: of the table of volumes, by name.

    Raises:
        DataError: there is none; a card cannot be read.
    """
    told = {name: _told(run, name, rows) for name in _names(run)}
    order = {name: ROLES.index(said.role) for name, said in told.items()}
    names = [name for name in sorted(told, key=lambda name: (order[name], name)) if run.only in ("", name)]
    found = {name: [*told[name].sources, *_made(run, name)] for name in names}
    found = {name: sources for name, sources in found.items() if sources}
    if not found:
        raise DataError(
            f"{run.data}: experiment {run.name} has no volumes to show yet; train and predict first, or give a prediction"
        )
    return found


@dataclass(frozen=True)
class _Told:
    """What a card or a row says of a volume."""

    role: str
    sources: tuple[Source, ...] = ()


def _names(run: Run) -> set[str]:
    folders = [run.data / folder / run.name for folder in ("predictions", "segmentations")]
    made = {file.stem for folder in folders if folder.is_dir() for file in _volumes_in(folder)}
    card = run.data / "models" / run.name / "model.json"
    learnt = _json(card).get("data") if card.is_file() else None
    return made | set(learnt if isinstance(learnt, dict) else ())


def _volumes_in(folder: Path) -> Iterable[Path]:
    return (path for path in folder.iterdir() if path.suffix in FORMATS and not path.name.startswith("."))


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); make it again") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds no JSON object; make it again")
    return value


def _told(run: Run, name: str, rows: Mapping[str, Row]) -> _Told:
    """What is known of the image and the labels of a volume."""
    pairs: list[tuple[Kind, Address]]
    card = run.data / "interim" / "volumes" / f"{name}.json"
    if card.is_file():
        said = _json(card)
        voxel = said.get("voxel_nm")
        try:
            pairs = [(kind, parse_address(said[kind]["address"])) for kind in _GIVEN if kind in said]
            sources = _sources(run, pairs, tuple(voxel) if voxel else None)
            return _Told(str(said["role"]) if said["role"] in ROLES else "predict", sources)
        except (KeyError, TypeError) as error:
            raise DataError(f"{card}: is no card of `elektronn volume` ({error}); make it again") from error
    if name in rows:
        row = rows[name]
        pairs = [("image", row.image)]
        if row.labels:
            pairs.append(("labels", row.labels))
        return _Told(row.role, _sources(run, pairs, row.voxel_nm))
    return _Told("predict")


def _sources(
    run: Run, pairs: Sequence[tuple[Kind, Address]], voxel: tuple[float, float, float] | None
) -> tuple[Source, ...]:
    return tuple(Source(kind, replace(a, path=run.root / a.path), voxel) for kind, a in pairs)


def _made(run: Run, name: str) -> list[Source]:
    """What the stages have made of a volume."""
    places: list[tuple[Kind, Path]] = [
        ("boundaries", run.data / "interim" / "labels"),
        ("prediction", run.data / "predictions" / run.name),
        ("segmentation", run.data / "segmentations" / run.name),
    ]
    found = []
    for kind, folder in places:
        files = [path for path in _volumes_in(folder) if path.stem == name] if folder.is_dir() else []
        found += [Source(kind, Address(path)) for path in sorted(files)[:1]]
    return found
