"""The predict stage: a model and an image volume in, an OME-NGFF volume of probabilities (or values) and its manifest out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elektronn.artefacts import code_digest, digest, fingerprint, prepare, write_json
from elektronn.axes import Box, Size, blocks
from elektronn.errors import CheckFailed, ConfigError, at
from elektronn.network.build import Network
from elektronn.network.document import layers, require_dense
from elektronn.network.weights import Model, load_model
from elektronn.prediction.dense import Engine, at_voxel
from elektronn.prediction.images import Image, create_result, open_image
from elektronn.prediction.result import Result
from elektronn.prediction.settings import PredictSettings
from elektronn.prediction.tiles import choose_tile
from elektronn.settings import plain
from elektronn.volumes.address import Address

CODE = ("axes", "geometry", "network", "prediction")
"""Rooms whose code has a numeric effect on prediction."""

SHARD = Size(128, 256, 256)
"""Tiles are cut inside blocks of this size, so that every write is of whole parts of the store."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Certificate:
    """What recomputing random voxels by brute force showed.

    Attributes:
        voxels: how many were recomputed.
        largest: largest difference of a stored probability; of a value above 1, relative to it.
        tolerance: what was allowed; for uint8 half a step of storage plus rounding.
        kind: ``probabilities`` or ``values``.
    """

    voxels: int
    largest: float
    tolerance: float
    kind: str = "probabilities"


def predict(
    model: Path,
    image: Address,
    out: Address,
    manifest: Path,
    settings: PredictSettings,
    *,
    device: torch.device,
    voxel_nm: tuple[float, float, float] | None = None,
    progress: Progress = lambda done, total: None,
) -> Certificate:
    """Predict a whole volume, tile by tile; memory is bounded by the settings, not by the volume.

    Two classes give one ``zyx`` volume, the probability of the boundary, unless the settings ask for all; more give
    ``czyx``, all classes, and so does a model whose outputs are values. The output begins at voxel ``offset_vox`` of
    the image and carries voxel size and translation, so that it overlays the image in a viewer. A flat ``.npy`` image
    (yx or cyx) gives an ``.npy`` of the same axes; see :func:`elektronn.prediction.images.open_image`.

    Raises:
        DataError: unreadable model or image; NaN; floats outside [0, 1] unless the model takes them.
        GeometryError: image smaller than the field of view; a network without dense prediction.
        ConfigError: ``out`` is the image.
        CheckFailed: the certificate does not hold; nothing is written.
    """
    if out.path.resolve() == image.path.resolve():
        raise ConfigError(f"{out}: would replace the image it is made from; name another output file")
    prepare(manifest)
    trained = load_model(model)
    network, result = trained.network, Result.of(trained, settings)
    with at(str(model)):
        require_dense(network.document)
        geometry = network.geometry
    torch.set_num_threads(settings.threads)
    with open_image(image, network.document, any_floats=trained.takes_any_floats, voxel_nm=voxel_nm) as source:
        with at(str(image)):
            size = geometry.dense(source.volume.size)
        said = _attributes(source, trained, result)
        engine = Engine(network, device, result.kind)
        place = {
            "voxel_nm": source.volume.voxel_nm,
            "offset_vox": geometry.offset,
            "origin_nm": source.volume.position_nm(geometry.offset),
            "attributes": said,
        }
        with create_result(source, out, result.shape(size), result.dtype, **place) as sink:
            witness = _Witness(network, source, result, size, settings.certificate)
            tiles = _tiles(network, size, settings)
            for done, box in enumerate(tiles):
                block = source.read(box.grown((0, 0, 0), [f - 1 for f in geometry.field]))
                stored = result.stored(engine.block(block))
                witness.look(box, stored)
                sink.write(box, stored)
                progress(done + 1, len(tiles))
            certificate = witness.certificate()
    _write_manifest(manifest, model, image, out, settings, said, certificate)
    return certificate


def _tiles(network: Network, size: Size, settings: PredictSettings) -> list[Box]:
    within = Size(*map(min, size, SHARD))
    tile = choose_tile(network.document, network.geometry, within, settings.memory_gb * 1e9)
    return [small.shifted(block.start) for block in blocks(size, SHARD) for small in blocks(block.size, tile)]


def _attributes(image: Image, trained: Model, result: Result) -> dict[str, Any]:
    return {
        **result.said,
        "image_size": list(image.volume.size),
        "field": list(trained.network.geometry.field),
        "model_fingerprint": trained.card["fingerprint"],
    }


class _Witness:
    """Recomputes random voxels of the output by brute force while the tiles pass by."""

    def __init__(self, network: Network, image: Image, result: Result, size: Size, count: int) -> None:
        random = np.random.Generator(np.random.Philox(key=[len(layers(network.document)), size.voxels]))
        self.places = [Size(*(int(random.integers(n)) for n in size)) for _ in range(count)]
        self.slow = copy.deepcopy(network).cpu().double()
        self.image, self.result, self.largest = image, result, 0.0

    def look(self, box: Box, stored: NDArray[Any]) -> None:
        """Compare the chosen voxels inside ``box``."""
        for place in self.places:
            inside = tuple(p - a for p, a in zip(place, box.start))
            if any(i < 0 or i >= n for i, n in zip(inside, box.size)):
                continue
            patch = self.image.read(Box(place, Size(*map(sum, zip(place, self.slow.geometry.field)))))
            truth = at_voxel(self.slow, patch, self.result.kind)
            difference = self.result.difference(stored[..., inside[0], inside[1], inside[2]], truth)
            # a difference that is no number must not pass for a small one
            self.largest = max(self.largest, difference) if difference == difference else float("inf")

    def certificate(self) -> Certificate:
        """The result.

        Raises:
            CheckFailed: a value is further off than storage and rounding explain.
        """
        allowed = self.result.tolerance
        if self.largest > allowed:
            raise CheckFailed(
                f"certificate failed: a stored number is {self.largest:.2e} away from brute force "
                f"(allowed {allowed:.2e}); the prediction was not kept: report this as a defect"
            )
        return Certificate(len(self.places), self.largest, allowed, self.result.kind)


def _write_manifest(
    manifest: Path,
    model: Path,
    image: Address,
    out: Address,
    settings: PredictSettings,
    said: dict[str, Any],
    certificate: Certificate,
) -> None:
    """The small file beside the store that says what it holds and what made it."""
    inputs = [digest(model), image.digest, f"{image.key}{image.crop}{image.axes}"]
    write_json(
        manifest,
        {
            "store": out.path.name,
            "sha256": digest(out.path),
            "fingerprint": fingerprint(plain(settings), inputs, code_digest(*CODE)),
            "settings": plain(settings),
            "attributes": said,
            "certificate": {
                "voxels": certificate.voxels,
                "largest_difference": certificate.largest,
                "tolerance": certificate.tolerance,
            },
        },
    )
