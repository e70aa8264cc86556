"""A section of a segmentation: image | true cells | segments in the colours of the cells they lie in | error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, Size, whole
from elektronn.errors import DataError
from elektronn.report.content import Panel, Picture, ReportVolume
from elektronn.report.panels import FALSE_POSITIVE, Bytes, contrast, encoded, painted
from elektronn.report.split import span
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import Volume, open_volume

Ids = NDArray[np.integer]
GOLDEN = 0.618034
"""Steps of the hue by which neighbouring numbers get colours far apart."""
CAPTIONS = {
    "image": "image",
    "cells": "true cells",
    "segments": "segments, each in the colour of the cell it is most of",
    "error": "in a segment that is mostly another cell",
}


def cells_of(volume: ReportVolume, segments: Address, edge_vox: int) -> Panel:
    """The middle section of what cells and segments have in common.

    Args:
        volume: with ``ids``, the true cells, in the centre of its image.
        segments: says its place in the image, as ``elektronn segment`` writes it; else it is concentric.
        edge_vox: edge of the window along y and x, at most.

    Raises:
        DataError: there are no true cells, or nothing in common, or a file is unreadable.
    """
    if volume.ids is None:
        raise DataError(f"volume {volume.name}: has no cells to compare segments with")
    with (
        open_volume(volume.image, volume.image_axes) as image,
        open_volume(volume.ids) as cells,
        open_volume(segments) as found,
    ):
        starts = [_centred(image.size, cells.size), _start(image.size, found)]
        common = whole(image.size)
        for start, size in zip(starts, (cells.size, found.size)):
            common = _both(common, whole(size).shifted(start))
        if min(common.size) < 1:
            raise DataError(f"{segments} and {volume.ids} do not overlap; check that they belong to the same image")
        box = _middle(common, edge_vox)
        grey = contrast(image.read(box, "czyx")[0, 0])
        true, seen = (v.read(box.shifted(-n for n in start))[0] for v, start in zip((cells, found), starts))
    return _panel(volume.name, box, grey, true, seen)


def _panel(name: str, box: Box, grey: Bytes, true: Ids, seen: Ids) -> Panel:
    owner = owners(true, seen)
    wrong = (true != 0) & (owner != true)
    shown = {
        "image": grey,
        "cells": coloured(grey, true, true),
        "segments": coloured(grey, owner, seen),
        "error": painted(grey, wrong, FALSE_POSITIVE),
    }
    pictures = tuple(Picture(encoded(tile), "image/webp", kind, CAPTIONS[kind]) for kind, tile in shown.items())
    share = float(wrong.sum() / max((true != 0).sum(), 1))
    middle = Size(*((a + b) // 2 for a, b in zip(box.start, box.stop)))
    return Panel(name, "cells of the middle section", f"{span(box)} in the image", share, pictures, middle)


def owners(true: Ids, seen: Ids) -> Ids:
    """For each pixel the true cell that most of its segment lies in; 0 where there is no segment.

    Example:
        >>> owners(np.array([[7, 7, 9, 0]]), np.array([[1, 1, 1, 2]])).tolist()
        [[7, 7, 7, 0]]
    """
    cells, cell = np.unique(true, return_inverse=True)
    segments, segment = np.unique(seen, return_inverse=True)
    counts = np.zeros((len(segments), len(cells)), np.int64)
    np.add.at(counts, (segment.ravel(), cell.ravel()), 1)
    counts[:, cells == 0] = 0
    best = np.where((counts.max(axis=1) > 0) & (segments != 0), cells[counts.argmax(axis=1)], 0)
    result: Ids = best[segment.reshape(seen.shape)]
    return result


def coloured(grey: Bytes, colours: Ids, outlines: Ids) -> Bytes:
    """Grey pixels with a colour for each number but 0, and dark lines between different numbers of ``outlines``."""
    from matplotlib.colors import hsv_to_rgb

    hue = colours.astype(np.float64) * GOLDEN % 1
    tint = 255 * hsv_to_rgb(np.stack([hue, np.full(hue.shape, 0.75), np.full(hue.shape, 0.95)], -1))
    base = np.repeat(grey[..., None], 3, axis=-1)
    result: Bytes = np.where((colours != 0)[..., None], np.rint(0.5 * base + 0.5 * tint), base).astype(np.uint8)
    edge = np.zeros(outlines.shape, bool)
    edge[1:] |= outlines[1:] != outlines[:-1]
    edge[:, 1:] |= outlines[:, 1:] != outlines[:, :-1]
    result[edge] = (20, 20, 20)
    return result


def _start(frame: Size, volume: Volume) -> Size:
    said = volume.attributes.get("offset_vox")
    if said is None:
        return _centred(frame, volume.size)
    return Size(*(int(a) + b for a, b in zip(said, volume.part.start)))


def _centred(frame: Size, size: Size) -> Size:
    return Size(*((n - m) // 2 for n, m in zip(frame, size)))


def _both(one: Box, other: Box) -> Box:
    return Box(Size(*map(max, zip(one.start, other.start))), Size(*map(min, zip(one.stop, other.stop))))


def _middle(box: Box, edge: int) -> Box:
    size = Size(1, min(edge, box.size.y), min(edge, box.size.x))
    start = Size(*(a + (n - m) // 2 for a, n, m in zip(box.start, box.size, size)))
    return whole(size).shifted(start)
