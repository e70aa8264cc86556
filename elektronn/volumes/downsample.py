"""Coarser sections: means of blocks for images, the vote of blocks for labels."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.errors import ConfigError
from elektronn.volumes.moments import scale_of
from elektronn.volumes.registration import centre

Array = NDArray[Any]


def downsample(image: Array, labels: Array, factor: int) -> tuple[NDArray[np.float32], Array]:
    """Image and labels with blocks of ``factor`` × ``factor`` voxels of a section as new voxels; z stays.

    Both are trimmed along y and x so that they fall into the same blocks: the first label begins one, and what the
    smaller of the two has left behind its last whole block is lost. They are concentric again afterwards.

    Args:
        image: ``czyx``.
        labels: ``zyx``, whole numbers of any width, negative = ignore; concentric with the image.
        factor: voxels of a section, along y and x, that become one; 1 changes nothing but the type of the image.

    Returns:
        The image as float32 scaled to 0 … 1 (integers by the largest value of their type), and the labels.

    Raises:
        DataError: the surplus of one over the other is odd.
        ConfigError: ``factor`` is below 1, or larger than a section.

    Source:
        ELEKTRONN 1, ``downsample_xy``; its labels are the floor of the mean, so that a block is 1 only where all of
        it is. Here a block has the label that most of it has.

    Example:
        >>> image = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
        >>> coarse, labels = downsample(image, image[0], 2)
        >>> (coarse * 255).tolist()
        [[[[2.5, 4.5], [10.5, 12.5]]]]
    """
    size, inner = Size(*image.shape[1:]), Size(*labels.shape)
    smallest = min(*size[1:], *inner[1:])
    if not 1 <= factor <= smallest:
        raise ConfigError(f"blocks of {factor} voxels: write a factor from 1 to {smallest}, the size of a section")
    centre(size, inner)
    spans = [_spans(a, b, factor) for a, b in zip(size[1:], inner[1:])]
    in_image, in_labels = ((slice(None), *(pair[i] for pair in spans)) for i in range(2))
    return block_means(image[(slice(None), *in_image)], factor), block_votes(labels[in_labels], factor)


def _spans(image: int, labels: int, factor: int) -> tuple[slice, slice]:
    """Voxels that are kept of image and labels along one axis."""
    small, margin = min(image, labels) // factor, abs(image - labels) // 2
    whole = margin // factor
    inner = slice(0, small * factor)
    outer = slice(margin - whole * factor, margin + (small + whole) * factor)
    return (outer, inner) if image >= labels else (inner, outer)


def block_means(image: Array, factor: int) -> NDArray[np.float32]:
    """Means of blocks along the last two axes, scaled to 0 … 1; the rest behind the last whole block is left out."""
    sums = _blocks(image, factor).sum(axis=(-3, -1), dtype=np.float64 if image.dtype.kind == "f" else None)
    means: NDArray[np.float32] = (sums * (float(scale_of(image.dtype)) / factor**2)).astype(np.float32)
    return means


def block_votes(labels: Array, factor: int) -> Array:
    """The label that most of a block has, in the type of ``labels``; the smaller one where two are equal.

    A block with a negative label is ignored: it gets the smallest of its labels.

    Example:
        >>> block_votes(np.array([[1, 1, 0, -1], [1, 0, 0, 0]]), 2).tolist()
        [[1, -1]]
    """
    cells = np.moveaxis(_blocks(labels, factor), -3, -2)
    cells = np.sort(cells.reshape(*cells.shape[:-2], factor**2), axis=-1)
    # sorted, equal labels stand side by side: the longest run wins, of equal ones the first
    run = np.ones(cells.shape[:-1], np.int32)
    longest, winner = run.copy(), cells[..., 0].copy()
    for before, now in pairwise(np.moveaxis(cells, -1, 0)):
        run = np.where(now == before, run + 1, 1)
        wins = run > longest
        longest[wins], winner[wins] = run[wins], now[wins]
    return np.where(cells[..., 0] < 0, cells[..., 0], winner)


def _blocks(values: Array, factor: int) -> Array:
    """``(…, y, x)`` as ``(…, y / factor, factor, x / factor, factor)``."""
    y, x = (n // factor for n in values.shape[-2:])
    return values[..., : y * factor, : x * factor].reshape(*values.shape[:-2], y, factor, x, factor)
