"""Laws of the sampler: a batch is a function of its step, draws are independent and uniform, options do not interfere."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from elektronn.axes import Size
from elektronn.geometry import Geometry, Reach
from elektronn.sampling.augment import Augmentation, SamplingSettings
from elektronn.sampling.batch import Batch, Sampler
from elektronn.sampling.cubes import Cube
from elektronn.sampling.defects import BlurredSection, FadedSection, MisalignedSection, MissingSection
from elektronn.sampling.grey import Blur, Grey, Noise
from elektronn.sampling.prefetch import Prefetch
from elektronn.sampling.spatial import Elastic, Flip, Projection, Warp

REACH = Geometry(Reach(3, 1), Reach(5, 2), Reach(5, 2))
POINT = Geometry(Reach(1, 1), Reach(1, 1), Reach(1, 1))
EVERYTHING: tuple[Augmentation, ...] = (
    Flip(),
    Warp(probability=0.8, too_large="shrink"),
    Elastic(amplitude_vox=(0.0, 1.5, 1.5), spacing_vox=(8, 8, 8)),
    MisalignedSection(probability=0.5),
    Grey(channels=(0, 1)),
    Noise(probability=0.5),
    Blur(probability=0.5),
    MissingSection(probability=0.5),
    FadedSection(probability=0.5),
    BlurredSection(probability=0.5),
)


def sampler(augment: tuple[Augmentation, ...] = EVERYTHING, kind: str = "uint8") -> Sampler:
    random = np.random.default_rng(0)
    cubes = [
        Cube(
            name,
            (random.integers(0, 256, (2, *size)) / (1 if kind == "uint8" else 255)).astype(kind),
            random.integers(-1, 3, size).astype(np.int16),
            Size(0, 0, 0),
            1 / 255 if kind == "uint8" else 1.0,
        )
        for name, size in (("one", (9, 30, 30)), ("two", (8, 26, 40)))
    ]
    return Sampler(cubes, REACH, Size(5, 15, 15), SamplingSettings(augment=augment, batch_size=3), seed=5)


def content(batch: Batch) -> tuple[Any, ...]:
    return batch.image.tobytes(), batch.labels.tobytes(), batch.warped, batch.plain, batch.shrunk


@pytest.fixture(scope="module")
def alone() -> list[tuple[Any, ...]]:
    """The batches of the first steps, each made by a sampler that makes no other."""
    return [content(sampler().batch(step)) for step in range(24)]


@pytest.mark.parametrize(("workers", "ahead"), list(product([0, 1, 2, 4], [1, 8])))
def test_workers_and_prefetch_change_no_byte(workers: int, ahead: int, alone: list[tuple[Any, ...]]) -> None:
    with Prefetch(sampler().batch, first=0, workers=workers, ahead=ahead) as batches:
        assert [content(batches.take()) for _ in range(16)] == alone[:16]


@settings(max_examples=12, deadline=None)
@given(first=st.integers(0, 20), workers=st.integers(0, 4), ahead=st.sampled_from([1, 8]))
def test_a_restart_at_any_step_goes_on_as_if_nothing_had_happened(first: int, workers: int, ahead: int) -> None:
    whole = sampler()
    with Prefetch(sampler().batch, first=first, workers=workers, ahead=ahead) as batches:
        for step in range(first, first + 3):
            assert content(batches.take()) == content(whole.batch(step))


FINGERPRINT = """
import hashlib
from numba.core.registry import cpu_target
from tests.laws.test_sampling_laws import content, sampler
made = [sampler(kind=kind).batch(step) for kind in ("uint8", "float32") for step in range(6)]
print(hashlib.sha256(b"".join(part for batch in made for part in content(batch)[:2])).hexdigest())
print(cpu_target.target_context.codegen()._get_host_cpu_name())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="names processors of this kind")
def test_every_processor_makes_the_same_bytes(tmp_path: Path) -> None:
    """Compiled for one with vectors of 4 floats and without fused multiply-adds, and for this one."""
    said = {}
    for name in ("x86-64", ""):
        chosen = (
            {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path / name)} if name else {}
        )
        command = [sys.executable, "-c", FINGERPRINT]
        done = subprocess.run(command, env={**os.environ, **chosen}, capture_output=True, text=True, check=True)
        said[name], cpu = done.stdout.split()
        assert not name or cpu == name
    assert len(set(said.values())) == 1


def test_examples_of_one_batch_and_of_neighbouring_steps_differ(alone: list[tuple[Any, ...]]) -> None:
    made = sampler(())
    images = [made.batch(step).image[i].tobytes() for step in range(24) for i in range(3)]
    assert len(set(images)) > 65


DRAWS = 4000
BINS = 6


def uniform(values: np.ndarray, low: float, high: float) -> float:
    """p of a chi-square test that the values are uniform."""
    return float(chisquare(np.histogram(values, BINS * 4, (low, high))[0]).pvalue)


def independent(a: np.ndarray, b: np.ndarray) -> float:
    """p of a chi-square test that two uniform quantities are independent."""
    ranks = [np.argsort(np.argsort(values)) * BINS // len(values) for values in (a, b)]
    return float(chi2_contingency(np.histogram2d(*ranks, bins=BINS)[0]).pvalue)


@pytest.fixture(scope="module")
def parameters() -> np.ndarray:
    """Warp parameters and places, ``(draws, 13)`` in −1…1: 2 examples of 2000 steps, one after the other."""
    from elektronn.sampling.draws import draws

    made, rows = sampler((Warp(probability=1.0),)), []
    for step, example in product(range(DRAWS // 2), range(2)):
        random = draws(made.seed, step, example, made.purpose)
        cube = random.random()
        (drawn,) = made.chain.parts(random)
        assert isinstance(drawn, Projection)
        zoom = [2 * value - 1 for value in drawn.zoom]
        place = 2 * random.random(3) - 1
        rows.append([2 * cube - 1, *drawn.angles, *zoom, *drawn.stretch, *drawn.lean, *place])
    return np.array(rows)


def test_parameters_are_uniform(parameters: np.ndarray) -> None:
    assert min(uniform(column, -1, 1) for column in parameters.T) > 1e-3


def test_parameters_of_one_example_are_independent(parameters: np.ndarray) -> None:
    pairs = [independent(a, b) for a, b in combinations(parameters.T, 2)]
    assert min(pairs) > 1e-3 / len(pairs)
    assert chisquare(np.histogram(pairs, 5, (0, 1))[0]).pvalue > 1e-3


@pytest.mark.parametrize("distance", [1, 2, 3], ids=["same step or next", "next step", "further"])
def test_parameters_of_different_examples_are_independent(parameters: np.ndarray, distance: int) -> None:
    """The workers of ELEKTRONN 1 all drew the same warps; every number is compared with every other one."""
    later, earlier = parameters[distance:].T, parameters[:-distance].T
    pairs = [independent(a, b) for a, b in product(later, earlier)]
    assert min(pairs) > 1e-3 / len(pairs)


def test_places_are_uniform_over_cubes_and_positions() -> None:
    size, patch = Size(8, 12, 13), Size(2, 5, 5)
    index = (np.arange(size.voxels) / size.voxels).astype(np.float32).reshape(1, *size)
    cube = Cube("coded", index, np.zeros(size, np.int16), Size(0, 0, 0), 1.0)
    made = Sampler([cube], POINT, patch, SamplingSettings(augment=(), batch_size=DRAWS), seed=2).batch(0)
    first = np.rint(made.image[:, 0, 0, 0, 0].astype(np.float64) * size.voxels).astype(int)
    places = np.stack(np.unravel_index(first, size))
    counts = [n - m + 1 for n, m in zip(size, patch)]
    assert [int(axis.max()) + 1 for axis in places] == counts
    flat = np.ravel_multi_index(tuple(places), counts)
    assert chisquare(np.bincount(flat, minlength=int(np.prod(counts)))).pvalue > 1e-3


OPTIONS: dict[str, list[Any]] = {
    "patch": [Size(1, 9, 9), Size(4, 9, 9)],
    "flip": [None, Flip(transpose=False), Flip(), Flip(z=False, y=False, transpose=False)],
    "warp": [None, Warp(probability=1.0, amount=0.0)],
    "margin": [Size(0, 0, 0), Size(1, 4, 3)],
    "channels": [1, 2],
    "dtype": [np.uint8, np.uint16, np.float32],
    "interpolation": ["linear", "nearest"],
    "workers": [0, 2],
}


def pairwise(options: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Few cases in which any two values of any two options meet; greedy."""
    names = list(options)
    everything = [dict(zip(names, values)) for values in product(*options.values())]
    missing = {
        (a, i, b, j)
        for a, b in combinations(names, 2)
        for i, j in product(range(len(options[a])), range(len(options[b])))
    }

    def covered(case: dict[str, Any]) -> set[tuple[str, int, str, int]]:
        at = {name: next(i for i, v in enumerate(options[name]) if v is case[name]) for name in names}
        return {(a, at[a], b, at[b]) for a, b in combinations(names, 2)} & missing

    cases = []
    while missing:
        best = max(everything, key=lambda case: len(covered(case)))
        missing -= covered(best)
        cases.append(best)
    return cases


@pytest.mark.parametrize("case", pairwise(OPTIONS), ids=lambda case: "-".join(str(v) for v in case.values())[:60])
def test_any_two_options_together_keep_labels_on_their_voxels(case: dict[str, Any]) -> None:
    """Each voxel of image and labels tells its position; channel 1 tells it backwards."""
    size, geometry = Size(7, 17, 15), Geometry(Reach(1, 1), Reach(3, 2), Reach(3, 2))
    scale = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[case["dtype"]]
    index = np.arange(size.voxels).reshape(size)
    # a byte cannot number all voxels; a prime repeats in no row, column or section alike
    code = index % 251 if case["dtype"] is np.uint8 else index
    limit = 255 if case["dtype"] is np.uint8 else size.voxels
    image = np.stack([code, limit - code][: case["channels"]])
    stored = (image / limit).astype(np.float32) if case["dtype"] is np.float32 else image.astype(case["dtype"])
    margin = case["margin"]
    inner = tuple(slice(m, n - m) for m, n in zip(margin, size))
    cube = Cube("coded", stored, np.ascontiguousarray(code[inner], np.int16), margin, 1 / scale)
    augment = tuple(c for c in (case["flip"], case["warp"]) if c is not None)
    chosen = SamplingSettings(augment=augment, batch_size=6, interpolation=case["interpolation"])
    made = Sampler([cube], geometry, case["patch"], chosen, seed=4)
    with Prefetch(made.batch, first=0, workers=case["workers"], ahead=2) as batches:
        for _ in range(5):
            batch = batches.take()
            unit = limit if case["dtype"] is np.float32 else scale
            voxels = np.rint(batch.image.astype(np.float64) * unit).astype(int)
            under = voxels[:, :, :, 1:-1:2, 1:-1:2]
            assert np.array_equal(under[:, 0], batch.labels)
            assert np.array_equal(voxels[:, -1], limit - voxels[:, 0] if case["channels"] == 2 else voxels[:, 0])
            assert batch.warped == (6 if case["warp"] else 0)
            if case["dtype"] is not np.uint8:
                _is_a_window(voxels[:, 0], size, case["flip"])


def _is_a_window(patches: np.ndarray, size: Size, flip: Flip | None) -> None:
    """Neighbours in the patch are neighbours in the cube, and only the allowed axes are turned."""
    strides = (size.y * size.x, size.x, 1)
    for patch in patches:
        steps = [
            int(np.diff(patch, axis=axis).flat[0]) if patch.shape[axis] > 1 else strides[axis] for axis in range(3)
        ]
        for axis, step in enumerate(steps):
            if patch.shape[axis] > 1:
                assert (np.diff(patch, axis=axis) == step).all()
        swapped = abs(steps[1]) == 1
        assert [abs(step) for step in steps] == ([strides[0], 1, size.x] if swapped else list(strides))
        assert not swapped or (flip is not None and flip.transpose)
        if not swapped:
            allowed = [False] * 3 if flip is None else [flip.z, flip.y, flip.x]
            assert all(step > 0 or may for step, may in zip(steps, allowed))
