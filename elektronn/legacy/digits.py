"""MNIST as ELEKTRONN 1 gave it: a data class for configs that name ``MNISTData``."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from elektronn.errors import DataError
from elektronn.legacy.unpickle import unpickle

PLACE = Path("~/.ELEKTRONN/mnist.pkl.gz")
"""Where the original kept the file."""

SHEAR_DEG, TURN_DEG, SCALE, STRETCH = 7.0, 5.0, 0.15, 0.25
"""Ranges of the warp: ± shear, ± turn, magnification up to 1 + scale, ± stretch."""

SOURCES = ("train", "valid", "test")


class MNISTData:
    """Digits with their numbers: 50000 for training, 10000 for validation, 10000 for tests in the official file.

    Batches are a pure function of step and seed, and in each epoch every example comes once.

    Args:
        path: ``.npz`` with ``train_images``, ``train_labels`` … (uint8), or the pickled file of old, gzipped or not:
            three pairs of vectors in [0, 1] and numbers. None: where the original kept it.
        convert2image: images ``(b, 1, y, x)``; else vectors.
        warp_on: warp the training images, and only these.
        shift_augment: training images are cut to two rows and columns less at four places, others in the middle.
        center: subtract the mean of the training images.

    Raises:
        DataError: no such file, or something else in it.
    """

    axes = "bcyx"
    n_lab = 10

    def __init__(
        self,
        path: str | None = None,
        convert2image: bool = True,
        warp_on: bool = False,
        shift_augment: bool = True,
        center: bool = True,
    ) -> None:
        self.images, self.labels = _read(Path(path or PLACE).expanduser())
        mean = float(self.images["train"].mean()) if center else 0.0
        # where a warp looks beyond an image, there is paper
        self.paper = -mean
        self.images = {source: values - np.float32(mean) for source, values in self.images.items()}
        self.warp_on, self.shift_augment = warp_on, shift_augment
        if not convert2image:
            self.axes = "bc"
        self.is_image = convert2image

    @property
    def side(self) -> int:
        """Rows and columns of an example."""
        return int(self.images["train"].shape[1]) - 2 * self.shift_augment

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return (1, self.side, self.side) if self.is_image else (self.side**2,)

    def count(self, source: str) -> int:
        """Examples of a source; every cut of a training image is one."""
        cuts = 4 if source == "train" and self.shift_augment else 1
        return cuts * len(self.labels[source])

    def getbatch(
        self, batch_size: int, source: str = "train", step: int = 0, seed: int = 0
    ) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        """Examples and their numbers: ``(b, 1, y, x)`` or ``(b, y·x)``, and ``(b,)``."""
        count = self.count(source)
        places = np.arange(step * batch_size, (step + 1) * batch_size)
        epochs, indices = np.divmod(places, count)
        if source == "train":
            indices = np.array([_order(seed, int(e), count)[i] for e, i in zip(epochs, indices)])
        cuts = 4 if source == "train" and self.shift_augment else 1
        images = np.stack([self._cut(source, int(i) // cuts, int(i) % cuts) for i in indices])
        if source == "train" and self.warp_on:
            random = np.random.default_rng([seed, step])
            images = np.stack([_warped(image, random, self.paper) for image in images])
        labels = self.labels[source][indices // cuts]
        return (images[:, None] if self.is_image else images.reshape(batch_size, -1)), labels

    def _cut(self, source: str, index: int, cut: int) -> NDArray[np.float32]:
        image: NDArray[np.float32] = self.images[source][index]
        if not self.shift_augment:
            return image
        top, left = (1, 1) if source != "train" else (cut // 2, cut % 2)
        found: NDArray[np.float32] = image[top : top + self.side, left : left + self.side]
        return found


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of the examples in one epoch."""
    order: NDArray[np.int64] = np.random.default_rng([seed, epoch, count]).permutation(count)
    return order


def _warped(image: NDArray[np.float32], random: np.random.Generator, paper: float) -> NDArray[np.float32]:
    """Turned, sheared, magnified and stretched about the centre, linear interpolation."""
    turn, shear = np.deg2rad(random.uniform(-1, 1, 2) * (TURN_DEG, SHEAR_DEG))
    zoom = 1 / (1 + random.uniform(0, SCALE, 2))
    stretch = 1 + random.uniform(-STRETCH, STRETCH, 2) / 2
    matrix = np.array(
        [[math.cos(turn + shear), math.sin(turn - shear)], [-math.sin(turn + shear), math.cos(turn - shear)]]
    ) @ np.diag(zoom * stretch)
    middle = (np.array(image.shape) - 1) / 2
    found: NDArray[np.float32] = affine_transform(image, matrix, middle - matrix @ middle, order=1, cval=paper)
    return found


def _read(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.int16]]]:
    if not path.is_file():
        raise DataError(
            f"{path}: no such file; put the digits there (mnist.pkl.gz or an .npz), or name them in "
            "data_load_kwargs = {'path': …}"
        )
    pairs = _from_npz(path) if path.suffix == ".npz" else _from_pickle(path)
    images = {}
    for source, (values, labels) in zip(SOURCES, pairs):
        values = np.asarray(values)
        scaled = values.astype(np.float32) / np.float32(255 if values.dtype.kind in "ui" else 1)
        side = math.isqrt(scaled[0].size)
        if side**2 != scaled[0].size or len(labels) != len(scaled):
            raise DataError(f"{path}: {source}: {values.shape} are no square images with one label each; give MNIST")
        images[source] = scaled.reshape(len(scaled), side, side)
    return images, {source: np.asarray(labels, np.int16) for source, (_, labels) in zip(SOURCES, pairs)}


def _from_npz(path: Path) -> list[tuple[Any, Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return [(file[f"{source}_images"], file[f"{source}_labels"]) for source in SOURCES]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(
            f"{path}: no digits in it ({error}); it needs train_images, train_labels, valid_…, test_…"
        ) from error


def _from_pickle(path: Path) -> list[tuple[Any, Any]]:
    match unpickle(path):
        case [[[a, b], [c, d], [e, f]]]:
            return [(a, b), (c, d), (e, f)]
    raise DataError(f"{path}: holds no three pairs of images and labels; give mnist.pkl.gz")
