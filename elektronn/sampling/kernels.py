"""The compiled loops of the sampler: one projective gather for the image, one for the labels, and plain twins.

All run without the interpreter's lock, so that threads are enough. Coordinates are checked by the caller: the
image of the patch under a projective map is convex, so it lies inside the cube when its eight corners do.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Image = NDArray[np.uint8] | NDArray[np.float32]


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def gather_image(source, matrix, scale, curve, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (z, y, x float32) with trilinear samples of ``source`` (z, y, x), then the grey curve.

    ``matrix`` (4×4 float64) takes patch voxels to source voxels, homogeneous; ``scale`` brings values to [0, 1];
    ``curve`` = (a, b, g) of :class:`~elektronn.sampling.augment.Grey`, or a < 0 for none.
    """
    depth, rows, columns = out.shape
    top, left, right = source.shape[0] - 2, source.shape[1] - 2, source.shape[2] - 2
    a, b, g = np.float32(curve[0]), np.float32(curve[1]), np.float32(curve[2])
    m = matrix
    plane, row = source.shape[1] * source.shape[2], source.shape[2]
    flat = source.reshape(-1)
    # along an axis of one voxel the second neighbour is the first
    up = plane if source.shape[0] > 1 else 0
    down = row if source.shape[1] > 1 else 0
    aside = 1 if source.shape[2] > 1 else 0
    for z in range(depth):
        for y in range(rows):
            h0 = m[0, 0] * z + m[0, 1] * y + m[0, 3]
            h1 = m[1, 0] * z + m[1, 1] * y + m[1, 3]
            h2 = m[2, 0] * z + m[2, 1] * y + m[2, 3]
            h3 = m[3, 0] * z + m[3, 1] * y + m[3, 3]
            line = out[z, y]
            for x in range(columns):
                w = 1.0 / (h3 + m[3, 2] * x)
                u, v, t = (h0 + m[0, 2] * x) * w, (h1 + m[1, 2] * x) * w, (h2 + m[2, 2] * x) * w
                # the last plane is reached from below with weight 1, so one step further is never read
                i = max(min(np.int32(u), top), 0)
                j = max(min(np.int32(v), left), 0)
                k = max(min(np.int32(t), right), 0)
                fu, fv, ft = np.float32(u - i), np.float32(v - j), np.float32(t - k)
                p = i * plane + j * row + k
                q = p + up
                a0 = np.float32(flat[p])
                a0 += ft * (np.float32(flat[p + aside]) - a0)
                a1 = np.float32(flat[p + down])
                a1 += ft * (np.float32(flat[p + down + aside]) - a1)
                b0 = np.float32(flat[q])
                b0 += ft * (np.float32(flat[q + aside]) - b0)
                b1 = np.float32(flat[q + down])
                b1 += ft * (np.float32(flat[q + down + aside]) - b1)
                a0 += fv * (a1 - a0)
                b0 += fv * (b1 - b0)
                line[x] = (a0 + fu * (b0 - a0)) * scale
            if a >= 0:
                for x in range(columns):
                    line[x] = min(max(a * line[x] + b, np.float32(0)), np.float32(1)) ** g


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def gather_labels(source, matrix, start, stride, origin, out):  # type: ignore[no-untyped-def]
    """Nearest labels at the network's outputs only: patch voxel ``start + i·stride`` for output ``i``.

    ``origin`` is the image voxel at which the label volume begins (zyx).
    """
    m = matrix
    for i in range(out.shape[0]):
        z = start[0] + i * stride[0]
        for j in range(out.shape[1]):
            y = start[1] + j * stride[1]
            for k in range(out.shape[2]):
                x = start[2] + k * stride[2]
                w = 1.0 / (m[3, 0] * z + m[3, 1] * y + m[3, 2] * x + m[3, 3])
                u = (m[0, 0] * z + m[0, 1] * y + m[0, 2] * x + m[0, 3]) * w - origin[0]
                v = (m[1, 0] * z + m[1, 1] * y + m[1, 2] * x + m[1, 3]) * w - origin[1]
                t = (m[2, 0] * z + m[2, 1] * y + m[2, 2] * x + m[2, 3]) * w - origin[2]
                out[i, j, k] = source[np.int32(u + 0.5), np.int32(v + 0.5), np.int32(t + 0.5)]


def gather_image_plainly(
    source: Image,
    matrix: NDArray[np.float64],
    scale: float,
    curve: tuple[float, float, float],
    out: NDArray[np.float32],
) -> None:
    """The slow, obvious twin of :func:`gather_image`: scipy at every coordinate."""
    from scipy.ndimage import map_coordinates

    at = _coordinates(matrix, [np.arange(n) for n in out.shape])
    values = map_coordinates(source.astype(np.float64), at, order=1, mode="nearest") * scale
    a, b, g = curve
    out[:] = np.clip(a * values + b, 0, 1) ** g if a >= 0 else values


def gather_labels_plainly(
    source: NDArray[np.int16],
    matrix: NDArray[np.float64],
    start: NDArray[np.int64],
    stride: NDArray[np.int64],
    origin: NDArray[np.int64],
    out: NDArray[np.int16],
) -> None:
    """The slow, obvious twin of :func:`gather_labels`."""
    at = _coordinates(matrix, [a + b * np.arange(n) for a, b, n in zip(start, stride, out.shape)])
    index = np.floor(at - origin[:, None, None, None] + 0.5).astype(np.int64)
    out[:] = source[tuple(index)]


def _coordinates(matrix: NDArray[np.float64], axes: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    grid = np.stack([*np.meshgrid(*axes, indexing="ij"), np.ones([len(a) for a in axes])])
    moved = np.tensordot(matrix, grid, 1)
    result: NDArray[np.float64] = moved[:3] / moved[3]
    return result
