"""Previews: the dense prediction of one section while a training runs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from elektronn.axes import Box, Size
from elektronn.network.build import Network
from elektronn.sampling.cubes import Cube
from elektronn.training.control import Preview


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
    with torch.inference_mode():
        scores = network.eval().dense(torch.from_numpy(block)[None].to(device))
    probability = torch.softmax(scores, 1)[0, 1, 0].cpu().numpy()
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
