"""Laws of the boundary map that hold for every volume of IDs."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as runs
from hypothesis import strategies as some
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries

from elektronn.volumes.address import Address
from elektronn.volumes.arrays import load
from elektronn.volumes.barriers import barriers, barriers_by_numpy
from elektronn.volumes.boundaries import BoundarySettings
from elektronn.volumes.convert import convert

TYPES = [np.uint8, np.uint16, np.uint32, np.uint64, np.int32, np.int64]
FLAGS = some.tuples(some.booleans(), some.booleans(), some.booleans())
SETTINGS = some.builds(
    BoundarySettings,
    connectivity=FLAGS,
    dilate=FLAGS,
    extracellular=some.sampled_from(["boundary", "class", "interior"]),
    smooth=some.booleans(),
)


def volumes(longest: int = 9, ids: int = 3) -> some.SearchStrategy[NDArray[Any]]:
    """Few IDs on small volumes, axes of length 1 among them; the largest value of each type takes part."""

    def of(dtype: Any) -> some.SearchStrategy[NDArray[Any]]:
        values = some.sampled_from([*range(ids), int(np.iinfo(dtype).max)])
        return arrays(dtype, array_shapes(min_dims=3, max_dims=3, max_side=longest), elements=values)

    return some.sampled_from(TYPES).flatmap(of)


@runs(deadline=None, max_examples=300)
@given(volumes(), SETTINGS, some.integers(1, 4))
def test_kernel_equals_the_obvious_twin(ids: NDArray[Any], settings: BoundarySettings, threads: int) -> None:
    np.testing.assert_array_equal(barriers(ids, settings, threads), barriers_by_numpy(ids, settings))


@pytest.mark.parametrize("dtype", TYPES)
def test_kernel_equals_the_obvious_twin_for_every_setting(dtype: Any) -> None:
    random = np.random.default_rng(0)
    ids = np.repeat(random.integers(0, 3, (6, 7, 11)).astype(dtype), 3, axis=2)
    for flags in product([False, True], repeat=7):
        for extracellular in ("boundary", "class", "interior"):
            settings = BoundarySettings(
                connectivity=flags[:3], dilate=flags[3:6], smooth=flags[6], extracellular=extracellular
            )
            np.testing.assert_array_equal(barriers(ids, settings), barriers_by_numpy(ids, settings), str(settings))


@runs(deadline=None)
@given(volumes())
def test_undilated_map_equals_thick_boundaries_of_skimage(ids: NDArray[Any]) -> None:
    settings = BoundarySettings(dilate=(False, False, False), extracellular="interior")
    # skimage drops axes of length 1 and takes large uint64 through doubles: give it edges and small numbers
    small = np.unique(ids, return_inverse=True)[1].reshape(ids.shape)
    grown = np.pad(small, 1, mode="edge")
    expected = find_boundaries(grown, connectivity=1, mode="thick")[1:-1, 1:-1, 1:-1]
    np.testing.assert_array_equal(barriers(ids, settings), expected)


@runs(deadline=None)
@given(volumes(), SETTINGS, some.permutations([0, 1, 2]), FLAGS)
def test_map_turns_with_the_volume(
    ids: NDArray[Any], settings: BoundarySettings, order: list[int], mirrored: tuple[bool, bool, bool]
) -> None:
    settings = settings.model_copy(update={"smooth": False})  # its weights know which axis is z

    def turned(volume: NDArray[Any]) -> NDArray[Any]:
        return np.flip(volume.transpose(order), [axis for axis in range(3) if mirrored[axis]])

    flags = {name: tuple(getattr(settings, name)[axis] for axis in order) for name in ("connectivity", "dilate")}
    expected = turned(barriers(ids, settings))
    np.testing.assert_array_equal(barriers(turned(ids), settings.model_copy(update=flags)), expected)


@runs(deadline=None, max_examples=40)
@given(
    volumes(longest=10).filter(lambda ids: ids.min() != ids.max()),
    SETTINGS,
    some.tuples(some.integers(1, 7), some.integers(2, 7), some.integers(3, 7)),
)
def test_streamed_map_is_the_same_for_every_block(
    ids: NDArray[Any], settings: BoundarySettings, block: tuple[int, int, int]
) -> None:
    with TemporaryDirectory() as folder:
        source, target = Address(Path(folder, "ids.npy")), Address(Path(folder, "boundaries.npy"))
        np.save(source.path, ids)
        convert(source, target, settings, block=block)
        np.testing.assert_array_equal(load(target), barriers(ids, settings))
