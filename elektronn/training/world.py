"""What a training learns from, checked before anything is written: volumes, or a class of the user's."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.artefacts import digest
from elektronn.axes import Size
from elektronn.errors import DataError, GeometryError, at
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.device import choose_device
from elektronn.network.document import Document, geometry
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.batch import Batch, Sampler, Supply
from elektronn.sampling.cubes import Cube, Labelled, Wanted, load_cubes, pieces
from elektronn.sampling.data import DataSettings
from elektronn.sampling.processes import spread
from elektronn.sampling.standard import standard_of
from elektronn.sampling.user_data import UserBatches, open_user_data
from elektronn.training.settings import TrainingSettings
from elektronn.volumes.address import Address, parse_address


@dataclass(frozen=True)
class World:
    """Data that fit a network, and the network.

    Attributes:
        document: of the network.
        patch: input size zyx.
        supply: of the training batches.
        watch: of the monitor examples, by ``train`` and ``valid``.
        preview: cube that previews show; None for none.
        share: of the most frequent class among the labels: what a constant predictor gets right; None for values.
        origin: what the data are, for the model card.
        inputs: digests of the data.
    """

    document: Document
    patch: Size
    supply: Supply
    watch: Mapping[str, Supply]
    preview: Cube | None
    share: float | None
    origin: dict[str, Any]
    inputs: list[str]


def of_volumes(
    train: Sequence[Labelled],
    valid: Sequence[Labelled],
    network: NetworkSettings,
    sampling: SamplingSettings,
    training: TrainingSettings,
) -> World:
    """Labelled volumes.

    Raises:
        DataError, GeometryError, ConfigError: they do not fit each other or the settings.
    """
    of_classes = training.loss.kind in ("nll", "weak")
    with at("network"):
        reach = geometry(chain(network))
        patch = (reach.centred() if network.is_dense else reach).input_at_most(network.patch)
    sections = None if network.is_dense else patch
    wanted = Wanted(network.classes if training.loss.kind != "regression" else 0, sampling, sections)
    loaded = load_cubes([*train, *valid], _for_binary(wanted, training))
    cubes, checks = loaded[: len(train)], loaded[len(train) :]
    share = _share((piece for cube in cubes for piece in pieces(cube.labels)), network.classes) if of_classes else None
    if share == 1:
        files = ", ".join(str(labels) for _, _, labels in train)
        raise DataError(
            f"{files}: all training labels are of one class, so there is nothing to learn; check the labels"
        )
    standard = standard_of([image for _, image, _ in train]) if sampling.standardise else None
    document = chain(network, cubes[0].image.shape[0], standard)
    common = (reach, patch, sampling, training.seed)
    watch = {"train": Sampler(cubes, *common, purpose="watch", augmented=False)}
    if checks:
        watch["valid"] = Sampler(checks, *common, purpose="watch", augmented=False)
    inputs = [f"{role} {_origin(i, b)}" for role, rows in (("train", train), ("valid", valid)) for _, i, b in rows]
    inputs += [f"weights {name} {parse_address(text).digest}" for name, text in sampling.example_weights.items()]
    origin = {name: _origin(image, labels) for name, image, labels in (*train, *valid)}
    preview = (checks or cubes)[0] if network.is_dense else None
    return World(document, patch, _on_device(Sampler(cubes, *common)), watch, preview, share, origin, inputs)


def _on_device(sampler: Sampler) -> Supply:
    """The same examples, cut where the settings say."""
    if sampler.settings.device == "cpu":
        return sampler
    from elektronn.sampling.torch_route import TorchSampler

    with at("sampling"):
        device = choose_device(sampler.settings.device)
    return TorchSampler(sampler, device)


def of_class(
    data: DataSettings, network: NetworkSettings, sampling: SamplingSettings, training: TrainingSettings
) -> World:
    """A class that gives batches.

    Raises:
        DataError, GeometryError, ConfigError: its batches do not fit the settings.
    """
    opened = open_user_data(data)
    more = data.batch
    supply = spread(UserBatches(opened, data.name, "train", sampling.batch_size, training.seed, more), data)
    watch: dict[str, Supply] = {"train": UserBatches(opened, data.name, "train", sampling.batch_size, training.seed)}
    if len(getattr(opened, "valid_d", (True,))):
        watch["valid"] = UserBatches(opened, data.name, "valid", sampling.batch_size, training.seed)
    looks = {role: source.batch(0) for role, source in watch.items()}
    first = supply.batch(0)
    patch = Size(*first.image.shape[2:])
    with at("network"):
        document = chain(network, first.image.shape[1])
        reach = geometry(document)
        if network.features and reach.input_at_most(network.patch) != patch:
            raise GeometryError(
                f"data class '{data.name}' gives images of {patch} voxels (zyx), and the network takes "
                f"{reach.input_at_most(network.patch)}; write patch: {list(patch)} or give other images"
            )
    for role, batch in (*looks.items(), ("train", first)):
        _check_batch(batch, network, training, reach.outputs(patch) if network.is_dense else Size(1, 1, 1), role)
    of_classes = training.loss.kind in ("nll", "weak")
    share = _share((batch.labels for batch in looks.values()), network.classes) if of_classes else None
    source = Path(data.name.rpartition(":")[0] if ".py:" in data.name else inspect.getfile(type(opened))).expanduser()
    inputs = [f"{role} {_hash(batch)}" for role, batch in looks.items()]
    inputs += [f"class {data.name} {data.load} {data.batch} {digest(source) if source.is_file() else ''}"]
    return World(document, patch, supply, watch, None, share, {"class": data.name, "load": dict(data.load)}, inputs)


def _for_binary(wanted: Wanted, training: TrainingSettings) -> Wanted:
    """Answers are 0, 1 or −1, however many questions there are."""
    return replace(wanted, classes=2) if training.loss.kind == "binary" else wanted


def _check_batch(batch: Batch, network: NetworkSettings, training: TrainingSettings, outputs: Size, role: str) -> None:
    """Refuse labels that the loss cannot take."""
    labels, kind = batch.labels, training.loss.kind
    if kind in ("nll", "weak"):
        if labels.dtype.kind == "f":
            raise DataError(
                f"{role} labels are {labels.dtype}, and classes are whole numbers; or set training.loss.kind to regression"
            )
        wanted: tuple[int, ...] = (len(labels), *outputs)
        low, high = int(labels.min()), int(labels.max())
        if low < -1 or high >= network.classes:
            raise DataError(f"{role} labels reach from {low} to {high}, expected −1 (ignore) to {network.classes - 1}")
    else:
        wanted = (len(labels), network.classes, *outputs)
        labels = labels if labels.ndim == len(wanted) else labels[:, None]
    if labels.shape != wanted:
        raise DataError(
            f"{role} labels have the shape {labels.shape}, the loss '{kind}' of this network takes {wanted}"
        )


def _hash(batch: Batch) -> str:
    return hashlib.sha256(batch.image.tobytes() + batch.labels.tobytes()).hexdigest()


def _origin(image: Address, labels: Address) -> dict[str, str]:
    """What a volume is, whatever its path: contents of the files and the parts taken."""
    parts = (str(replace(address, path=Path("x" + address.path.suffix))) for address in (image, labels))
    return {"image": image.digest, "labels": labels.digest, "parts": " ".join(parts)}


def _share(labels: Iterable[NDArray[Any]], classes: int) -> float:
    """Share of the most frequent class among the labelled voxels."""
    counts = sum(np.bincount(values[values >= 0].ravel(), minlength=classes) for values in labels)
    return float(np.max(counts) / max(np.sum(counts), 1))
