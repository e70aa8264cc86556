"""Previews: dense predictions while a training runs, of a section of a labelled cube or of planes of other volumes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from elektronn.axes import Box, Size
from elektronn.errors import ConfigError, StorageError, at
from elektronn.network.build import Network
from elektronn.network.document import Document, geometry
from elektronn.sampling.batch import Batch
from elektronn.sampling.cubes import Cube
from elektronn.sampling.shown import shown, summary
from elektronn.sampling.slabs import Slab, slabs_of
from elektronn.training.control import Examples, Planes, Preview, Warned
from elektronn.training.facade import Running
from elektronn.training.keeping import bearing
from elektronn.training.settings import TrainingSettings

SHOWN = 8
"""Most examples of the first step that are shown."""


def show(running: Running) -> None:
    """Tell everybody what the network predicts now. A preview that fails is told too, and ends nothing: the training is worth
    more.

    Raises:
        StorageError: the disk is full, and the settings say that this ends the training.
    """
    try:
        with bearing(running.settings, lambda reason: running.listen(Warned(f"no preview: {reason}"))):
            running.preview()
    except StorageError:
        raise
    except Exception as error:
        running.listen(Warned(f"no preview at step {running.step}: {type(error).__name__}: {error}"))


def show_examples(running: Running, first: Batch) -> None:
    """What this training learns from: the batch of the first step, and what the augmentations draw."""
    reach = running.network.geometry
    with bearing(running.settings, lambda reason: running.listen(Warned(reason))):
        running.listen(Examples(shown(running.supply_of(0), first, 0, SHOWN), reach.offset, reach.stride))
        if (drawn := summary(running.supply_of, running.sampling.batch_size)) is not None:
            running.listen(drawn)


def slabs_for(training: TrainingSettings, document: Document) -> tuple[Slab, ...]:
    """What previews show besides labelled cubes.

    Raises:
        ConfigError, GeometryError, DataError: a class that there is not, or a volume that does not fit or cannot be read.
    """
    if not training.preview_volumes:
        return ()
    if (last := max(classes_of(training, document), default=0)) >= document.classes:
        raise ConfigError(
            f"training.preview_classes: {last} is none of the {document.classes} classes, which count from 0"
        )
    with at("training.preview_volumes"):
        return slabs_of(training.preview_volumes, geometry(document), document.channels, training.preview_planes)


def classes_of(training: TrainingSettings, document: Document) -> Sequence[int]:
    """Classes whose probability is drawn."""
    return range(document.classes) if training.preview_classes == "all" else training.preview_classes


def planes_of(network: Network, slab: Slab, classes: Sequence[int], step: int, device: torch.device) -> Planes:
    """Dense prediction of the planes that a slab is for.

    Args:
        network: on ``device``; of two or more classes.
        slab: of a volume.
        classes: whose probability is wanted.
        step: updates so far.
        device: where to compute.
    """
    probability = _dense(network, slab.image, device)
    spans = tuple(slice(o, o + n) for o, n in zip(network.geometry.offset, probability.shape[1:]))
    return Planes(step, slab.name, slab.z, slab.image[0][spans], {index: probability[index] for index in classes})


def _dense(network: Network, image: NDArray[np.float32], device: torch.device) -> NDArray[np.float32]:
    """Probabilities ``(classes, z, y, x)`` of an image ``(c, z, y, x)``."""
    with torch.inference_mode():
        scores = network.eval().dense(torch.from_numpy(image)[None].to(device))
        found: NDArray[np.float32] = torch.softmax(scores, 1)[0].cpu().numpy()
    return found


def preview_of(network: Network, cube: Cube, step: int, device: torch.device) -> Preview:
    """Dense prediction of the middle labelled section of a cube.

    Args:
        network: on ``device``; of two or more classes.
        cube: with labels as a volume.
        step: updates so far.
        device: where to compute.
    """
    field, offset = network.geometry.field, network.geometry.offset
    z = cube.origin.z + cube.labels.shape[0] // 2
    first = min(max(z - offset.z, 0), cube.size.z - field.z)
    section = Box(Size(first, 0, 0), Size(first + field.z, *cube.size[1:]))
    block = cube.read(section).astype(np.float32) * np.float32(cube.scale)
    probability = _dense(network, block, device)[1, 0]
    spans = tuple(slice(o, o + n) for o, n in zip(offset[1:], probability.shape))
    labels = _window(cube, first + offset.z - cube.origin.z, offset, probability.shape)
    return Preview(step, block[0, offset.z][spans], probability, labels)


def _window(cube: Cube, section: int, offset: Size, shape: tuple[int, ...]) -> NDArray[np.int16]:
    """Labels under a dense prediction of one section, −1 where there are none."""
    window = np.full(shape, -1, np.int16)
    if not 0 <= section < cube.labels.shape[0]:
        return window
    starts = [o - c for o, c in zip(cube.origin[1:], offset[1:])]
    target = tuple(slice(max(a, 0), min(a + n, m)) for a, n, m in zip(starts, cube.labels.shape[1:], shape))
    source = tuple(slice(t.start - a, t.stop - a) for t, a in zip(target, starts))
    window[target] = cube.labels[(slice(section, section + 1), *source)][0]
    return window
