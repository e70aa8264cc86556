"""A prediction that is there, held against its model and its image once more."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from elektronn.artefacts import digest
from elektronn.axes import Box, Size
from elektronn.errors import CheckFailed, DataError, at
from elektronn.geometry import Geometry
from elektronn.network.weights import load_model
from elektronn.prediction.certificate import Certificate, Read, Witness, certify
from elektronn.prediction.images import Image, open_image
from elektronn.prediction.plan import Plan, block_for
from elektronn.prediction.result import Result
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import open_volume


def recheck(prediction: Address, model: Path, image: Address, manifest: Path, voxels: int = 64) -> Certificate:
    """Recompute random voxels of a prediction by brute force, where it says that it lies, and compare its hashes.

    Args:
        prediction: of ``elektronn predict``.
        model: that it is said to be of.
        image: as well.
        manifest: of the prediction; may be missing, but an ``.npy`` says nothing about itself.
        voxels: how many at least; each block of the prediction has one or more, up to this number.

    Raises:
        CheckFailed: a number is further off than storage and rounding explain, or a hash is another.
        DataError: unreadable, or no prediction of ours.
    """
    trained = load_model(model)
    said = _manifest(manifest)
    with (
        open_image(image, trained.network.document, any_floats=trained.takes_any_floats, model=str(model)) as opened,
        _opened(prediction, said.get("attributes", {})) as (read, facts, size, dtype),
    ):
        source = opened.padded(trained.network.geometry) if facts.get("padded") else opened
        with at(str(prediction)):
            result = Result.read(facts, dtype)
            start = _start(facts, trained.network.geometry, size, source)
        _compare(prediction, {**facts, **_hashes(said)}, model, image)
        plan = Plan(size, block_for(trained.network.geometry, size), size, {})
        witness = Witness(trained.network, result)
        found, wrong = certify(plan, voxels, witness, lambda box: source.read(box.shifted(start)), read)
        if wrong:
            places = ", ".join(str(tuple(plan.boxes[index].start)) for index in wrong[:3])
            raise CheckFailed(
                f"{prediction}: a stored number is {found.largest:.2e} away from brute force (allowed "
                f"{found.tolerance:.2e}); {len(wrong)} blocks are wrong, from zyx {places}: predict again"
            )
    if said and digest(prediction.path) != said.get("sha256"):
        raise CheckFailed(f"{prediction}: is not what {manifest} was written for; predict again")
    return found


def _manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: is no manifest ({error}); copy it again, or remove it") from error
    return found


@contextmanager
def _opened(prediction: Address, said: Mapping[str, Any]) -> Iterator[tuple[Read, Mapping[str, Any], Size, str]]:
    """What reads boxes as ``czyx``, what the prediction says about itself, its size and type."""
    if prediction.format == "npy" and prediction.path.is_file():
        array = np.load(prediction.path, mmap_mode="r", allow_pickle=False)
        # flat images have no z, one class has no axis
        flat = array.reshape(len(said.get("classes", "-")), -1, *array.shape[-2:])
        yield lambda box: np.asarray(flat[(slice(None), *box.slices)]), said, Size(*flat.shape[1:]), str(array.dtype)
        return
    with open_volume(prediction) as volume:
        yield lambda box: volume.read(box, "czyx"), {**said, **volume.attributes}, volume.size, volume.dtype.name


def _start(facts: Mapping[str, Any], geometry: Geometry, size: Size, image: Image) -> Size:
    """Where in the image the fields of view of the prediction's first voxel begin."""
    first = [a - b for a, b in zip(geometry.offset, image.before)]
    offset = [int(n) for n in facts.get("offset_vox", first)]
    start = Size(*(a - b for a, b in zip(offset, first)))
    reach = Box(start, Size(*(a + n + f - 1 for a, n, f in zip(start, size, geometry.field))))
    if reach.within(image.size) != reach:
        raise CheckFailed(
            f"{size} voxels at {tuple(offset)} reach outside what the model can say of an image of "
            f"{image.volume.size} voxels; it is of another image or model"
        )
    return start


def _hashes(said: Mapping[str, Any]) -> dict[str, str]:
    return {f"{name}_sha256": value for name, value in said.get("inputs", {}).items()}


def _compare(prediction: Address, facts: Mapping[str, Any], model: Path, image: Address) -> None:
    for name, found in (("model_sha256", digest(model)), ("image_sha256", image.digest)):
        if name in facts and facts[name] != found:
            given = model if name == "model_sha256" else image
            raise CheckFailed(f"{prediction}: was not made of {given} as it is now; give what it was made of")
