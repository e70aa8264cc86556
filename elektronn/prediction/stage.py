"""The predict stage: a model and an image volume in, an OME-NGFF volume of probabilities and its manifest out."""

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
from elektronn.errors import CheckFailed, ConfigError, DataError, at
from elektronn.network.build import Network
from elektronn.network.document import layers
from elektronn.network.weights import load_model
from elektronn.prediction.dense import Engine, at_voxel
from elektronn.prediction.settings import PredictSettings
from elektronn.prediction.tiles import choose_tile
from elektronn.settings import plain
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import Volume, create_volume, open_volume

CODE = ("axes", "geometry", "network", "prediction")
"""Rooms whose code has a numeric effect on prediction."""

TOLERANCE = {"uint8": 0.5 / 255 + 1e-4, "float32": 1e-4}
"""Largest allowed difference of a stored value from brute force in float64."""

SHARD = Size(128, 256, 256)
"""Tiles are cut inside blocks of this size, so that every write is of whole parts of the store."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Certificate:
    """What recomputing random voxels by brute force showed.

    Attributes:
        voxels: how many were recomputed.
        largest: largest absolute difference of a stored probability.
        tolerance: what was allowed; for uint8 half a step of storage plus rounding.
    """

    voxels: int
    largest: float
    tolerance: float


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

    Two classes give one ``zyx`` volume, the probability of the boundary; more give ``czyx``, all classes.
    The output begins at voxel ``offset_vox`` of the image and carries voxel size and translation, so that it
    overlays the image in a viewer.

    Raises:
        DataError: unreadable model or image; NaN; floats outside [0, 1].
        GeometryError: image smaller than the field of view.
        ConfigError: ``out`` is the image.
        CheckFailed: the certificate does not hold; nothing is written.
    """
    if out.path.resolve() == image.path.resolve():
        raise ConfigError(f"{out}: would replace the image it is made from; name another output file")
    prepare(manifest)
    trained = load_model(model)
    network = trained.network
    torch.set_num_threads(settings.threads)
    with open_volume(image, voxel_nm=voxel_nm) as volume:
        if volume.channels != network.document.channels:
            raise DataError(
                f"{image}: has {volume.channels} channels, the model {model} was trained on "
                f"{network.document.channels}; choose an image or a model that fits"
            )
        with at(str(image)):
            size = network.geometry.dense(volume.size)
        single = network.document.classes == 2
        shape = size if single else (network.document.classes, *size)
        said = _attributes(volume, network, settings, trained.card)
        engine = Engine(network, device)
        with create_volume(
            out,
            tuple(shape),
            settings.output,
            voxel_nm=volume.voxel_nm,
            offset_vox=network.geometry.offset,
            attributes=said,
        ) as sink:
            witness = _Witness(network, volume, size, settings)
            tiles = _tiles(network, size, settings)
            for done, box in enumerate(tiles):
                values = engine.block(_read(volume, box.grown((0, 0, 0), [f - 1 for f in network.geometry.field])))
                stored = _stored(values[1] if single else values, settings.output)
                witness.look(box, stored, single)
                sink.write(box, stored)
                progress(done + 1, len(tiles))
            certificate = witness.certificate()
    _write_manifest(manifest, model, image, out, settings, said, certificate)
    return certificate


def _tiles(network: Network, size: Size, settings: PredictSettings) -> list[Box]:
    within = Size(*map(min, size, SHARD))
    tile = choose_tile(layers(network.document), network.geometry, within, settings.memory_gb * 1e9)
    return [small.shifted(block.start) for block in blocks(size, SHARD) for small in blocks(block.size, tile)]


def _read(volume: Volume, box: Box) -> NDArray[np.generic]:
    block = volume.read(box, order="czyx")
    if np.issubdtype(block.dtype, np.floating) and not (block.min() >= 0 and block.max() <= 1):
        wrong = ~((block >= 0) & (block <= 1))
        place = tuple(map(int, np.argwhere(wrong)[0][1:] + np.array(box.start)))
        value = block[wrong][0]
        if not np.isfinite(value):
            raise DataError(f"{volume.address}: NaN or infinite value at zyx {place}; repair that part")
        raise DataError(
            f"{volume.address}: value {value:g} at zyx {place}, and a float image must lie in 0…1; "
            "scale it as in training, or store it as uint8"
        )
    return block


def _stored(values: NDArray[np.float32], kind: str) -> NDArray[Any]:
    return np.rint(values * 255).astype(np.uint8) if kind == "uint8" else values


def _attributes(volume: Volume, network: Network, settings: PredictSettings, card: Any) -> dict[str, Any]:
    return {
        "kind": "probabilities",
        "classes": ["boundary"] if network.document.classes == 2 else list(range(network.document.classes)),
        "value": "p * 255" if settings.output == "uint8" else "p",
        "image_size": list(volume.size),
        "field": list(network.geometry.field),
        "model_fingerprint": card["fingerprint"],
    }


class _Witness:
    """Recomputes random voxels of the output by brute force while the tiles pass by."""

    def __init__(self, network: Network, volume: Volume, size: Size, settings: PredictSettings) -> None:
        random = np.random.Generator(np.random.Philox(key=[len(layers(network.document)), size.voxels]))
        self.places = [Size(*(int(random.integers(n)) for n in size)) for _ in range(settings.certificate)]
        self.slow = copy.deepcopy(network).cpu().double()
        self.volume, self.kind, self.largest = volume, settings.output, 0.0

    def look(self, box: Box, stored: NDArray[Any], single: bool) -> None:
        """Compare the chosen voxels inside ``box``."""
        for place in self.places:
            inside = tuple(p - a for p, a in zip(place, box.start))
            if any(i < 0 or i >= n for i, n in zip(inside, box.size)):
                continue
            field = self.slow.geometry.field
            truth = at_voxel(self.slow, _read(self.volume, Box(place, Size(*map(sum, zip(place, field))))))
            found = stored[inside] if single else stored[:, inside[0], inside[1], inside[2]]
            value = np.asarray(found, np.float64) / (255 if self.kind == "uint8" else 1)
            self.largest = max(self.largest, float(np.abs(value - (truth[1] if single else truth)).max()))

    def certificate(self) -> Certificate:
        """The result.

        Raises:
            CheckFailed: a value is further off than storage and rounding explain.
        """
        allowed = TOLERANCE[self.kind]
        if self.largest > allowed:
            raise CheckFailed(
                f"certificate failed: a stored probability is {self.largest:.2e} away from brute force "
                f"(allowed {allowed:.2e}); the prediction was not kept: report this as a defect"
            )
        return Certificate(len(self.places), self.largest, allowed)


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
    inputs = [digest(model), digest(image.path), f"{image.key}{image.crop}"]
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
