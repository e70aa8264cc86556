"""Images with one label each: a stack of sections, made to fit the network's input."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Size
from elektronn.errors import DataError

Border = Literal["crop", "keep", "mirror", "zero", "mean", "reject"]
"""What happens to images of another size than the input: the middle is cut out; they stay, and patches are cut at random
places; they are continued as in a mirror, by zeros, or by the mean of their border; or an error."""

PADS = {"mirror": "symmetric", "zero": "constant", "mean": "constant"}


def fitted(name: str, image: NDArray[Any], patch: Size, border: Border) -> NDArray[Any]:
    """Images as large as the input, or larger for ``keep``.

    Args:
        name: for messages.
        image: ``(c, z, y, x)``, one image per section z.
        patch: input of the network, zyx.
        border: see :data:`Border`.

    Raises:
        DataError: too small to be cut, or of another size where that is not allowed.

    Example:
        >>> fitted("a", np.arange(5.0)[None, None, None], Size(1, 1, 8), "mirror")[0, 0, 0].tolist()
        [1.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 4.0]
    """
    size, wanted = image.shape[2:], patch[1:]
    if size == wanted:
        return image
    if border == "reject":
        raise DataError(
            f"{name}: images of {size[0]}×{size[1]} pixels, and the network takes {wanted[0]}×{wanted[1]}; choose another "
            "network.patch, or let sampling.border cut or continue them"
        )
    if border in PADS:
        return _padded(_cropped(image, wanted), wanted, border)
    if any(n < m for n, m in zip(size, wanted)):
        raise DataError(
            f"{name}: images of {size[0]}×{size[1]} pixels are smaller than the network's input of {wanted[0]}×{wanted[1]}; "
            "choose a smaller network.patch, or set sampling.border to mirror, zero or mean"
        )
    return image if border == "keep" else _cropped(image, wanted)


def _cropped(image: NDArray[Any], wanted: tuple[int, ...]) -> NDArray[Any]:
    """The middle, where an axis is too long."""
    for axis, extent in enumerate(wanted, 2):
        surplus = max(image.shape[axis] - extent, 0)
        image = image.take(range(surplus // 2, surplus // 2 + min(extent, image.shape[axis])), axis)
    return image


def _padded(image: NDArray[Any], wanted: tuple[int, ...], border: str) -> NDArray[Any]:
    missing = [max(extent - n, 0) for extent, n in zip(wanted, image.shape[2:])]
    around = [(0, 0), (0, 0), *((n - n // 2, n // 2) for n in missing)]
    if border == "mirror":
        return np.pad(image, around, mode="symmetric")
    padded = np.pad(image, around, mode="constant")
    if border == "mean":
        inside = tuple(slice(a, n - b) for (a, b), n in zip(around[2:], padded.shape[2:]))
        means = _border_means(image)
        outside = np.ones(padded.shape[2:], bool)
        outside[inside] = False
        padded[:, :, outside] = means[..., None].astype(padded.dtype)
    return padded


def _border_means(image: NDArray[Any]) -> NDArray[np.float64]:
    """Mean grey value along the four edges of each image, ``(c, z)``."""
    edge = np.ones(image.shape[2:], bool)
    edge[1:-1, 1:-1] = False
    means: NDArray[np.float64] = image[:, :, edge].mean(-1, dtype=np.float64)
    return means if image.dtype.kind == "f" else np.rint(means)


def section_labels(name: str, labels: NDArray[Any], sections: int) -> NDArray[Any]:
    """Labels of a stack as ``(z, k)``.

    Raises:
        DataError: not one label, or one row of labels, per section.
    """
    rows = labels[:, None] if labels.ndim == 1 else labels
    if rows.ndim != 2 or len(rows) != sections:
        raise DataError(
            f"{name}: labels of shape {labels.shape} for {sections} images along z; give one label per image, (z,) or (z, k)"
        )
    return rows
