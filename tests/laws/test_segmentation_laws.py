"""What must hold for every segmentation: equal to the obvious algorithm, whatever the blocks."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elektronn.axes import whole
from elektronn.segmentation.settings import AgglomerateSettings, SegmentSettings
from elektronn.segmentation.stage import segment
from elektronn.volumes.address import Address
from elektronn.volumes.arrays import create_volume, load

Voxel = tuple[float, float, float]


def slowly(p: np.ndarray, wish: SegmentSettings, voxel: Voxel) -> np.ndarray:
    """The definition, voxel by voxel: Kruskal over all edges of the whole volume, distances to every boundary voxel."""
    scale = np.iinfo(p.dtype).max if p.dtype.kind == "u" else 1
    boundary = p.astype(float) >= wish.boundary_threshold * scale
    depth = depths_slowly(boundary, voxel, wish)
    cost = [(-depth.flat[i], p.flat[i], i) for i in range(p.size)]
    flooded = [i for i in range(p.size) if wish.fill_boundaries or not boundary.flat[i]]
    edges = sorted(
        (max(cost[i], cost[j]), min(cost[i], cost[j]))
        for i in flooded
        for j in after(i, p.shape, wish.per_section)
        if wish.fill_boundaries or not boundary.flat[j]
    )
    parent = list(range(p.size))
    seeds = {i for i in flooded if depth.flat[i] >= wish.seed_nm and not boundary.flat[i]}
    for (minus, _, i), (_, _, j) in edges:
        if -minus > 0 or not boundary.flat[i]:
            join(parent, i, j, seeds, minus == -wish.seed_nm)
    inner: dict[int, int] = {}
    for i in flooded:
        if not boundary.flat[i]:
            inner[root(parent, i)] = inner.get(root(parent, i), 0) + 1
    kept = {i for i, n in inner.items() if n >= max(1, wish.min_voxels)}
    for (_, _, i), (_, _, j) in edges:
        join(parent, i, j, kept, False)
    ids: dict[int, int] = {}
    result = np.zeros(p.size, int)
    for i in flooded:
        if root(parent, i) in kept:
            result[i] = ids.setdefault(root(parent, i), len(ids) + 1)
    return result.reshape(p.shape)


def depths_slowly(boundary: np.ndarray, voxel: Voxel, wish: SegmentSettings) -> np.ndarray:
    """Distances as whole numbers squared where the voxel sizes are whole, cut off at the seed's."""
    places, depth = np.argwhere(boundary), np.full(boundary.shape, wish.seed_nm)
    for place in np.ndindex(boundary.shape):
        others = places[places[:, 0] == place[0]] if wish.per_section else places
        if len(others):
            squared = (((others - place) * np.array(voxel)) ** 2).sum(1).min()
            depth[place] = min(wish.seed_nm, round(float(np.sqrt(squared)), 9))
    return depth


def after(i: int, shape: tuple[int, ...], per_section: bool) -> list[int]:
    """Neighbours of a voxel that come later in the volume."""
    z, y, x = np.unravel_index(i, shape)
    steps = [(1, 0, 0)] * (not per_section) + [(0, 1, 0), (0, 0, 1)]
    places = [(z + a, y + b, x + c) for a, b, c in steps]
    return [int(np.ravel_multi_index(q, shape)) for q in places if all(n < m for n, m in zip(q, shape))]


def root(parent: list[int], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


def join(parent: list[int], i: int, j: int, rooted: set[int], always: bool) -> None:
    a, b = root(parent, i), root(parent, j)
    if a != b and (always or a not in rooted or b not in rooted):
        parent[max(a, b)] = min(a, b)
        if a in rooted or b in rooted:
            rooted.add(min(a, b))


def segmented(p: np.ndarray, wish: SegmentSettings, voxel: Voxel) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        source, out = Address(Path(folder) / "p.npy"), Address(Path(folder) / "ids.npy")
        with create_volume(source, p.shape, p.dtype) as sink:
            sink.write(whole(p.shape), p)
        count = segment(source, out, wish, voxel_nm=voxel)
        ids = load(out)
        assert count == ids.max()
        return ids


def probability(seed: int, size: tuple[int, int, int], dtype: str, steps: int) -> np.ndarray:
    """Cells with walls of many widths and gaps; few different values, so that ties are everywhere."""
    random = np.random.default_rng(seed)
    centres = random.random((random.integers(2, 9), 3)) * size
    places = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), -1)
    near = np.sort(np.sqrt(((places[..., None, :] - centres) ** 2).sum(-1)), -1)
    p = np.clip(1.2 - (near[..., 1] - near[..., 0]) / 2.5 + random.normal(0, 0.15, size), 0, 1)
    p = np.round(p * steps) / steps
    return p.astype(np.float32) if dtype == "float32" else np.round(p * np.iinfo(dtype).max).astype(dtype)


wishes = st.builds(
    SegmentSettings,
    boundary_threshold=st.sampled_from([0.3, 0.5, 0.8]),
    seed_nm=st.sampled_from([0.0, 1.0, 2.0, 2.5, 3.0]),
    min_voxels=st.sampled_from([0, 1, 5, 30]),
    per_section=st.booleans(),
    fill_boundaries=st.booleans(),
    block=st.tuples(*[st.integers(1, 9)] * 3),
)


@given(
    seed=st.integers(0, 2**32),
    size=st.tuples(st.integers(1, 6), st.integers(1, 12), st.integers(2, 12)),
    wish=wishes,
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    voxel=st.sampled_from([(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (0.7, 1.3, 0.9)]),
)
@settings(max_examples=150, deadline=None)
def test_segments_equal_those_of_the_definition_for_any_block(
    seed: int, size: tuple[int, int, int], wish: SegmentSettings, dtype: str, voxel: Voxel
) -> None:
    p = probability(seed, size, dtype, 6)
    expected = slowly(p, wish, voxel)
    if expected.any():
        assert np.array_equal(segmented(p, wish, voxel), expected)


@pytest.mark.parametrize("per_section", [False, True])
def test_a_volume_of_32_cubed_in_blocks_equals_the_definition(per_section: bool) -> None:
    p = probability(3, (32, 32, 32), "uint8", 255)
    wish = SegmentSettings(seed_nm=3.0, min_voxels=20, per_section=per_section)
    expected = slowly(p, wish, (1.5, 1.0, 1.0))
    assert len(np.unique(expected)) > 4
    for block in ((32, 32, 32), (7, 11, 13), (16, 8, 32)):
        cut = SegmentSettings(**{**wish.model_dump(), "block": block})
        assert np.array_equal(segmented(p, cut, (1.5, 1.0, 1.0)), expected), block


def test_seed_depth_0_gives_the_connected_components() -> None:
    from scipy.ndimage import label

    p: Any = probability(5, (8, 20, 20), "uint8", 255)
    wish = SegmentSettings(seed_nm=0.0, min_voxels=0, fill_boundaries=False, block=(3, 6, 7))
    assert np.array_equal(segmented(p, wish, (1.0, 1.0, 1.0)), label(p < 127.5)[0])


Contact = dict[frozenset[int], list[Fraction]]


def merged_slowly(ids: np.ndarray, p: np.ndarray, wish: SegmentSettings, voxel: Voxel) -> np.ndarray | None:
    """The definition, face by face and in fractions: always the pair with the least mean boundary, below the threshold.

    ``None`` where two means are equal: those may be merged in either order.
    """
    assert wish.agglomerate is not None
    scale = np.iinfo(p.dtype).max if p.dtype.kind == "u" else 65535
    whole = p.astype(int) if p.dtype.kind == "u" else np.rint(p.astype(float) * scale).astype(int)
    area = [Fraction(v).limit_denominator(10) for v in (voxel[1] * voxel[2], voxel[0] * voxel[2], voxel[0] * voxel[1])]
    contact: Contact = {}
    for i in range(p.size):
        for j in after(i, p.shape, wish.per_section):
            pair = frozenset((int(ids.flat[i]), int(ids.flat[j])))
            if len(pair) == 2 and 0 not in pair:
                face = area[[abs(a - b) for a, b in zip(*(np.unravel_index(n, p.shape) for n in (i, j)))].index(1)]
                total = contact.setdefault(pair, [Fraction(0), Fraction(0)])
                total[0] += face * Fraction(int(whole.flat[i] + whole.flat[j]), 2 * int(scale))
                total[1] += face
    threshold = Fraction(wish.agglomerate.threshold)
    names = {int(n): int(n) for n in np.unique(ids)}
    while contact:
        ranked = sorted((total[0] / total[1], sorted(pair)) for pair, total in contact.items())
        if ranked[0][0] >= threshold:
            break
        if len(ranked) > 1 and ranked[1][0] - ranked[0][0] < 1e-9:
            return None
        merge(contact, names, *ranked[0][1])
    _, first, group = np.unique([names[i] for i in range(1, ids.max() + 1)], return_index=True, return_inverse=True)
    return np.append(0, np.argsort(np.argsort(first))[group] + 1)[ids]


def merge(contact: Contact, names: dict[int, int], kept: int, gone: int) -> None:
    del contact[frozenset((kept, gone))]
    for pair in [pair for pair in contact if gone in pair]:
        (other,) = pair - {gone}
        amount, area = contact.pop(pair)
        total = contact.setdefault(frozenset((kept, other)), [Fraction(0), Fraction(0)])
        total[0] += amount
        total[1] += area
    names.update({name: kept for name, group in names.items() if group == gone})


def honeycomb(random: np.random.Generator, size: tuple[int, int, int], dtype: str) -> np.ndarray:
    """Many cells; the wall between each two has a strength of its own, so that some are merged and some are not."""
    centres = random.random((random.integers(6, 25), 3)) * size
    places = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), -1)
    distance = np.sqrt(((places[..., None, :] - centres) ** 2).sum(-1))
    one, other = np.moveaxis(np.sort(np.argsort(distance, -1)[..., :2], -1), -1, 0)
    near = np.sort(distance, -1)
    strength = random.uniform(0.3, 1.1, (len(centres),) * 2)[one, other]
    p = np.clip(strength * np.exp(-(((near[..., 1] - near[..., 0]) / 2) ** 2)) + random.normal(0, 0.05, size), 0, 1)
    return p.astype(np.float32) if dtype == "float32" else np.round(p * np.iinfo(dtype).max).astype(dtype)


def test_merged_segments_equal_those_of_the_definition_for_any_block() -> None:
    merges, compared = 0, 0
    for seed in range(25):
        random = np.random.default_rng(seed)
        p = honeycomb(
            random, (random.integers(1, 9), *random.integers(8, 18, 2)), ["uint8", "uint16", "float32"][seed % 3]
        )
        voxel = [(1.0, 1.0, 1.0), (4.0, 1.0, 1.0), (0.5, 1.5, 1.0)][random.integers(3)]
        wish = SegmentSettings(
            boundary_threshold=0.3,
            seed_nm=1.0,
            min_voxels=1,
            per_section=bool(seed % 4 == 0),
            block=tuple(random.integers(2, 10, 3).tolist()),
        )
        parts = segmented(p, wish, voxel)
        wish = wish.model_copy(update={"agglomerate": AgglomerateSettings(threshold=random.uniform(0.35, 0.7))})
        expected = merged_slowly(parts, p, wish, voxel)
        if expected is not None:
            assert np.array_equal(segmented(p, wish, voxel), expected), seed
            compared += 1
            merges += bool(1 < expected.max() < parts.max())
    assert compared > 18
    assert merges > 12


@pytest.mark.parametrize("per_section", [False, True])
def test_merged_segments_of_a_larger_volume_do_not_depend_on_blocks(per_section: bool) -> None:
    p = honeycomb(np.random.default_rng(1), (20, 32, 32), "uint8") // 40 * 40  # equal means in many places
    merging = AgglomerateSettings(threshold=0.4)
    wish = SegmentSettings(
        boundary_threshold=0.3, seed_nm=1.0, min_voxels=1, per_section=per_section, agglomerate=merging
    )
    whole_volume = segmented(p, wish, (3.0, 1.0, 1.0))
    plain = segmented(p, wish.model_copy(update={"agglomerate": None}), (3.0, 1.0, 1.0))
    assert 1 < whole_volume.max() < plain.max()
    for block in ((7, 9, 32), (1, 32, 5), (20, 11, 13)):
        assert np.array_equal(segmented(p, wish.model_copy(update={"block": block}), (3.0, 1.0, 1.0)), whole_volume)
