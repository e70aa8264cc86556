"""OME-NGFF metadata (versions 0.4 and 0.5): where a level of a multiscale image lies, and in which order of axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from elektronn.errors import DataError
from elektronn.volumes.stored import Facts

NANOMETRES = {
    "picometer": 1e-3,
    "angstrom": 0.1,
    "nanometer": 1.0,
    "micrometer": 1e3,
    "millimeter": 1e6,
    "centimeter": 1e7,
    "meter": 1e9,
    "inch": 25.4e6,
}
"""Unit of length → nanometres."""
_TYPES = {"channel": "c", "time": "t"}


def multiscale(attributes: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The first multiscale image that the attributes of a group describe (0.5: below ``ome``)."""
    images = attributes.get("ome", attributes).get("multiscales") or [None]
    found: Mapping[str, Any] | None = images[0]
    return found


def levels(image: Mapping[str, Any]) -> list[str]:
    """Names of the arrays of a multiscale image, the finest first."""
    return [level["path"] for level in image["datasets"]]


def level_facts(image: Mapping[str, Any], path: str) -> Facts:
    """Order of the axes, voxel size and position of the first voxel's centre of one level.

    Returns:
        ``axes`` (letters; ``t`` for time); ``voxel_nm`` and ``origin_nm`` (zyx) where the axes have a unit of length.

    Raises:
        DataError: an axis of space that is not z, y or x, or a scale that is no length.

    Source:
        https://ngff.openmicroscopy.org/0.5, sections "axes", "coordinateTransformations" and "multiscales".
    """
    axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in image["axes"]]
    letters = "".join(_letter(axis) for axis in axes)
    (level,) = (level for level in image["datasets"] if level["path"] == path)
    steps = [*level.get("coordinateTransformations", []), *image.get("coordinateTransformations", [])]
    scale, shift = _transform(steps, len(axes))
    unit = {letter: NANOMETRES.get(axis.get("unit", ""), math.nan) for letter, axis in zip(letters, axes)}
    place = {letter: (s * unit[letter], t * unit[letter]) for letter, s, t in zip(letters, scale, shift)}
    facts: dict[str, Any] = {"axes": letters}
    if all(math.isfinite(place.get(letter, (math.nan,))[0]) for letter in "zyx"):
        facts["voxel_nm"], facts["origin_nm"] = (tuple(place[letter][i] for letter in "zyx") for i in range(2))
    return facts


def _letter(axis: Mapping[str, Any]) -> str:
    letter = _TYPES.get(axis.get("type", ""), str(axis["name"]).lower())
    if len(letter) != 1 or letter not in "tczyx":
        raise DataError(f"axis '{axis['name']}' of its OME-NGFF metadata is none of t, c, z, y, x; name it so")
    return letter


def _transform(steps: Sequence[Mapping[str, Any]], ndim: int) -> tuple[list[float], list[float]]:
    """Scale and translation of one step after the other."""
    scale, shift = [1.0] * ndim, [0.0] * ndim
    for step in steps:
        factors = step.get("scale", [1.0] * ndim)
        scale = [a * float(b) for a, b in zip(scale, factors, strict=True)]
        more = step.get("translation", [0.0] * ndim)
        shift = [a * float(b) + float(c) for a, b, c in zip(shift, factors, more, strict=True)]
    return scale, shift


def ngff(facts: Facts, key: str, ndim: int, version: str) -> dict[str, Any]:
    """Multiscale metadata of one level, as attributes of its group.

    The translation is the physical position of the first voxel's centre: ``origin_nm`` where it is known, else
    offset × voxel size.
    """
    known = facts.get("voxel_nm")
    voxel, offset = known or [1.0] * 3, facts.get("offset_vox", [0, 0, 0])
    origin = facts.get("origin_nm", [float(o) * v for o, v in zip(offset, voxel)])
    channel = [{"name": "c", "type": "channel"}] if ndim == 4 else []
    unit = {"unit": "nanometer"} if known else {}
    lead = len(channel)
    steps = [
        {"type": "scale", "scale": [*[1.0] * lead, *map(float, voxel)]},
        {"type": "translation", "translation": [*[0.0] * lead, *map(float, origin)]},
    ]
    image = {
        "axes": [*channel, *({"name": a, "type": "space", **unit} for a in "zyx")],
        "datasets": [{"path": key, "coordinateTransformations": steps}],
    }
    if version == "0.4":
        return {"multiscales": [{"version": version, **image}]}
    return {"ome": {"version": version, "multiscales": [image]}}
