"""Places of a test volume, best, median and worst: image | label | prediction | error."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elektronn.axes import Box, Size, blocks
from elektronn.errors import DataError
from elektronn.report.content import Panel, Picture, ReportVolume
from elektronn.volumes.arrays import Volume, open_volume
from elektronn.volumes.classes import boundary_channel

Bytes = NDArray[np.uint8]
BOUNDARY = (214, 34, 126)
FALSE_POSITIVE = (230, 140, 0)
FALSE_NEGATIVE = (30, 110, 220)
CAPTIONS = {"image": "image", "label": "label", "prediction": "prediction, white = boundary", "error": "error"}
_DEEP = 32  # planes that are read together: reading single planes would decode every chunk many times


class Spot(NamedTuple):
    """A window of one plane: its error and its first voxel inside the judged box (zyx, voxels)."""

    error: float
    start: Size


def panels_of(volume: ReportVolume, judged: Mapping[str, Any], edge_vox: int) -> tuple[Panel, ...]:
    """The panels of one volume.

    Args:
        volume: with labels and prediction.
        judged: the volume's entry in ``metrics.json``: ``threshold`` and ``place``.
        edge_vox: edge of a window along y and x.

    Raises:
        DataError: a file is unreadable, or ``metrics.json`` does not say what was judged.
    """
    if volume.labels is None or volume.prediction is None:
        raise DataError(f"volume {volume.name}: labels and a prediction are needed for pictures")
    try:
        place, threshold = judged["place"], float(judged["threshold"])
        size, prediction_at, labels_at = (Size(*place[key]) for key in ("size", "prediction", "labels"))
        image_at = None if place["image"] is None else Size(*place["image"])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"volume {volume.name}: metrics.json does not say which place was judged") from None
    with open_volume(volume.prediction) as prediction, open_volume(volume.labels, volume.label_axes) as labels:
        sight = _Sight(prediction, prediction_at, labels, labels_at, threshold)
        window = Size(1, min(edge_vox, size.y), min(edge_vox, size.x))
        spots = ranked(sight, size, window)
        with open_volume(volume.image, volume.image_axes) as image:
            return tuple(
                Panel(
                    volume.name,
                    rank,
                    _where(spot, window, image_at),
                    spot.error,
                    _pictures(sight, Box(spot.start, spot.start).grown((0, 0, 0), window), image, image_at),
                    _middle(spot, window, image_at),
                )
                for rank, spot in chosen(spots).items()
            )


class _Sight(NamedTuple):
    """Prediction and labels of the judged box under common coordinates."""

    prediction: Volume
    prediction_at: Size
    labels: Volume
    labels_at: Size
    threshold: float

    def scores(self, box: Box) -> NDArray[np.float64]:
        """Probability of boundary, zyx."""
        values = self.prediction.read(box.shifted(self.prediction_at), "czyx")
        chosen = values[boundary_channel(self.prediction)]
        scale = np.iinfo(chosen.dtype).max if np.issubdtype(chosen.dtype, np.integer) else 1
        scores: NDArray[np.float64] = chosen / scale
        return scores

    def marks(self, box: Box) -> NDArray[Any]:
        """Labels, zyx."""
        marks: NDArray[Any] = self.labels.read(box.shifted(self.labels_at))
        return marks


def ranked(sight: _Sight, size: Size, window: Size) -> list[Spot]:
    """All whole windows that hold labels, best first; windows with boundary and mostly labelled if there are any."""
    telling: list[Spot] = []
    others: list[Spot] = []
    for box in blocks(size, (_DEEP, window.y, window.x)):
        if box.size[1:] != window[1:]:
            continue
        marks = sight.marks(box)
        wrong = ((sight.scores(box) >= sight.threshold) != (marks == 1)) & (marks >= 0)
        known = (marks >= 0).sum(axis=(1, 2))
        for z in np.flatnonzero(known):
            spot = Spot(float(wrong[z].sum() / known[z]), Size(box.start.z + int(z), box.start.y, box.start.x))
            full = known[z] * 2 >= window.voxels and (marks[z] == 1).any()
            (telling if full else others).append(spot)
    return sorted(telling or others)


def chosen(spots: list[Spot]) -> dict[str, Spot]:
    """Best, median and worst of the ranked spots; fewer where these are the same.

    Example:
        >>> list(chosen([Spot(0.1, Size(0, 0, 0)), Spot(0.2, Size(1, 0, 0))]))
        ['best', 'worst']
    """
    if not spots:
        return {}
    places = {"best": 0, "worst": len(spots) - 1, "median": (len(spots) - 1) // 2}
    kept = {place: rank for rank, place in reversed(places.items())}
    return {kept[place]: spots[place] for place in sorted(kept)}


def _where(spot: Spot, window: Size, image_at: Size | None) -> str:
    start = spot.start if image_at is None else Size(*map(sum, zip(spot.start, image_at)))
    frame = "in the judged box" if image_at is None else "in the image"
    return f"z {start.z}, y {start.y}–{start.y + window.y - 1}, x {start.x}–{start.x + window.x - 1} {frame}"


def _middle(spot: Spot, window: Size, image_at: Size | None) -> Size | None:
    """Voxel of the image in the middle of a window."""
    if image_at is None:
        return None
    return Size(*(s + n // 2 + i for s, n, i in zip(spot.start, window, image_at)))


def _pictures(sight: _Sight, box: Box, image: Volume, image_at: Size | None) -> tuple[Picture, ...]:
    scores, marks = sight.scores(box)[0], sight.marks(box)[0]
    seen = None if image_at is None else box.shifted(image_at)
    inside = seen is not None and seen.within(image.size) == seen
    grey = contrast(image.read(seen, "czyx")[0, 0]) if inside else np.full(marks.shape, 128, np.uint8)
    called = (scores >= sight.threshold) & (marks >= 0)
    label = painted(grey, marks == 1, BOUNDARY)
    error = painted(painted(grey, called & (marks == 0), FALSE_POSITIVE), ~called & (marks == 1), FALSE_NEGATIVE)
    shown = {"image": grey, "label": label, "prediction": np.rint(scores * 255).astype(np.uint8), "error": error}
    if not inside:
        del shown["image"]
    return tuple(Picture(encoded(pixels), "image/webp", name, CAPTIONS[name]) for name, pixels in shown.items())


def contrast(values: NDArray[Any]) -> Bytes:
    """Grey values stretched between the 1st and the 99th percentile."""
    low, high = np.percentile(values, (1, 99))
    grey: Bytes = np.rint(np.clip((values - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8)
    return grey


def painted(pixels: Bytes, where: NDArray[np.bool_], colour: tuple[int, int, int]) -> Bytes:
    """Grey (yx) or coloured (yxc) pixels with ``colour`` laid over the marked ones, the image still shining through."""
    result = np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels.copy()
    result[where] = np.rint(0.3 * result[where] + 0.7 * np.array(colour)).astype(np.uint8)
    return result


def encoded(pixels: Bytes) -> bytes:
    """Pixels as lossless WebP: half of a PNG, and single voxels keep their colour."""
    from matplotlib.image import imsave

    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(pixels), format="webp", pil_kwargs={"lossless": True, "method": 6})
    return buffer.getvalue()
