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
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from scipy.stats import chi2_contingency, chisquare

from elektronn.axes import Size
from elektronn.geometry import Geometry, Reach
from elektronn.sampling.augment import Augmentation, SamplingSettings
from elektronn.sampling.batch import Batch, Sampler
from elektronn.sampling.cubes import Cube
from elektronn.sampling.defects import BlurredSection, FadedSection, MisalignedSection, MissingSection
from elektronn.sampling.draws import draws, key_of
from elektronn.sampling.grey import Blur, Grey, Noise
from elektronn.sampling.lazy import LazyVolume
from elektronn.sampling.philox import coin, fill, fraction
from elektronn.sampling.prefetch import Prefetch
from elektronn.sampling.spatial import Elastic, Flip, Projection, Warp
from elektronn.volumes.address import Address

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
    """Compiled for one with vectors of 4 floats and without fused multiply-adds, and for this one; so are libraries."""
    extras = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
    plain = {
        "NUMBA_CPU_NAME": "x86-64",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "NPY_DISABLE_CPU_FEATURES": " ".join(extras),
        "OPENBLAS_CORETYPE": "Nehalem",
    }
    said = {}
    for chosen in (plain, {}):
        command = [sys.executable, "-c", FINGERPRINT]
        done = subprocess.run(command, env={**os.environ, **chosen}, capture_output=True, text=True, check=True)
        made, processor = done.stdout.split()
        said[processor] = made
    assert "x86-64" in said
    assert len(said) == 2
    assert len(set(said.values())) == 1


def test_examples_of_one_batch_and_of_neighbouring_steps_differ(alone: list[tuple[Any, ...]]) -> None:
    made = sampler(())
    images = [made.batch(step).image[i].tobytes() for step in range(24) for i in range(3)]
    assert len(set(images)) > 65


PLAIN_CHAINS: dict[str, tuple[Augmentation, ...]] = {
    "nothing": (),
    "flip": (Flip(x=False, transpose=False),),
    "flip, warp, grey": (Flip(), Warp(), Grey(channels=(1, 0), probability=0.7)),
    "warp, flip, warp": (Warp(), Flip(y=False), Warp(amount=0.3), Grey(gamma=0)),
    "too strong for many places": (Flip(), Warp(probability=1.0, amount=3.0, too_large="shrink"), Grey()),
}


@pytest.mark.parametrize("name", PLAIN_CHAINS)
def test_the_direct_way_makes_what_the_long_one_makes(name: str) -> None:
    direct, long = sampler(PLAIN_CHAINS[name]), sampler(PLAIN_CHAINS[name])
    assert direct.recipe is not None
    object.__setattr__(long, "recipe", None)
    for step in (*range(40), 2**40):
        assert content(direct.batch(step)) == content(long.batch(step))


@pytest.mark.parametrize(
    ("chosen", "kind"),
    [
        ({"augment": (Flip(isotropic=True),)}, "uint8"),
        ({"augment": (Elastic(amplitude_vox=(0.0, 1.5, 1.5), spacing_vox=(8, 8, 8)),)}, "uint8"),
        ({"augment": (Grey(), Noise())}, "uint8"),
        ({"augment": (Grey(channels=(0, 0)),)}, "uint8"),
        ({"augment": (), "ignore_above": 0.5}, "uint8"),
        ({"augment": (), "interpolation": "nearest"}, "uint8"),
        ({"augment": ()}, "float32"),
    ],
)
def test_what_the_direct_way_cannot_make_goes_the_long_one(chosen: dict[str, Any], kind: str) -> None:
    made = sampler(kind=kind)
    assert Sampler(made.cubes, REACH, made.patch, SamplingSettings(**chosen), seed=5).recipe is None


@pytest.mark.parametrize(("seed", "step", "example"), [(0, 0, 0), (5, 77, 3), (2**64 - 1, 2**62, 1)])
def test_compiled_draws_are_those_of_numpy(seed: int, step: int, example: int) -> None:
    random, words = draws(seed, step, example, "train"), np.empty(25, np.uint64)
    fill(key_of(seed, "train"), example, step, words)
    assert random.random() == fraction(words[0])
    assert random.integers(0, 2, 6).tolist() == [coin(words[1:], toss) for toss in range(6)]
    assert random.random(21).tolist() == [fraction(word) for word in words[4:]]


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
    "flip": [None, Flip(transpose=False), Flip(), Flip(z=False, y=False, transpose=False), Flip(isotropic=True)],
    "warp": [None, Warp(probability=1.0, amount=0.0), Warp(probability=1.0, amount=0.0, too_large="shrink")],
    "elastic": [None, Elastic(probability=1.0, amplitude_vox=(0, 0, 0))],
    "slip": [None, MisalignedSection(probability=1.0, shift_vox=2, labels="move")],
    "values": [None, Grey(contrast=0, brightness=0, gamma=0), Blur(probability=1.0, sigma_vox=(0, 0))],
    "margin": [Size(0, 0, 0), Size(1, 4, 3)],
    "channels": [1, 2],
    "dtype": [np.uint8, np.uint16, np.float32],
    "labels": [np.int16, np.float32, "each section"],
    "weights": [False, True],
    "stored": ["memory", "disk"],
    "interpolation": ["linear", "nearest"],
    "workers": [0, 2],
}
Pair = tuple[str, int, str, int]


def pairs_of(case: dict[str, int]) -> set[Pair]:
    """Which values of which two options meet."""
    return {(a, case[a], b, case[b]) for a, b in combinations(OPTIONS, 2) if a in case and b in case}


def every_pair() -> set[Pair]:
    return {
        (a, i, b, j)
        for a, b in combinations(OPTIONS, 2)
        for i, j in product(range(len(OPTIONS[a])), range(len(OPTIONS[b])))
    }


def covering() -> list[dict[str, int]]:
    """Few cases, as numbers of values, in which any two values of any two options meet; greedy."""
    missing, cases = every_pair(), []
    while missing:
        a, i, b, j = min(missing)
        case = {a: i, b: j}
        for name in (name for name in OPTIONS if name not in case):
            values = range(len(OPTIONS[name]))
            case[name] = max(values, key=lambda value: len(pairs_of({**case, name: value}) & missing))
        missing -= pairs_of(case)
        cases.append(case)
    return cases


CASES = covering()


def test_any_two_values_of_any_two_options_meet() -> None:
    met = set().union(*(pairs_of(case) for case in CASES))
    assert met == every_pair()
    assert len(CASES) < 40


def coded_cube(case: dict[str, Any], size: Size, folder: Path) -> tuple[Cube, int]:
    """A cube whose voxels, labels and weights tell their position, and how many positions there are.

    Channel 1 tells it backwards.
    """
    scale = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[case["dtype"]]
    index = np.arange(size.voxels).reshape(size)
    # a byte cannot number all voxels; a prime repeats in no row, column or section alike
    code = index % 251 if case["dtype"] is np.uint8 else index
    limit = 255 if case["dtype"] is np.uint8 else size.voxels
    image = np.stack([code, limit - code][: case["channels"]])
    stored: Any = (image / limit).astype(np.float32) if case["dtype"] is np.float32 else image.astype(case["dtype"])
    margin = case["margin"]
    inner = tuple(slice(m, n - m) for m, n in zip(margin, size))
    if case["stored"] == "disk":
        np.save(folder / "image.npy", stored)
        stored = LazyVolume(Address(folder / "image.npy", axes="czyx"), 10**6, "czyx")
    if case["labels"] == "each section":
        return Cube("coded", stored, np.arange(size.z, dtype=np.int16)[:, None], Size(0, 0, 0), 1 / scale), limit
    labels = np.ascontiguousarray(code[inner], case["labels"])
    weights = labels.astype(np.float32) if case["weights"] else None
    return Cube("coded", stored, labels, margin, 1 / scale, weights), limit


@pytest.mark.parametrize("numbers", CASES, ids=lambda case: "".join(map(str, case.values())))
def test_any_two_options_together_keep_labels_on_their_voxels(numbers: dict[str, int], tmp_path: Path) -> None:
    case = {name: OPTIONS[name][number] for name, number in numbers.items()}
    size, geometry = Size(11, 17, 15), Geometry(Reach(1, 1), Reach(3, 2), Reach(3, 2))
    cube, limit = coded_cube(case, size, tmp_path)
    bends = [case[name] for name in ("warp", "elastic") if case[name] is not None]
    augment = [case[name] for name in ("flip", "warp", "elastic", "slip", "values") if case[name] is not None]
    chosen = SamplingSettings(augment=tuple(augment), batch_size=6, interpolation=case["interpolation"])
    made = Sampler([cube], geometry, case["patch"], chosen, seed=4)
    unit = limit if case["dtype"] is np.float32 else 1 / cube.scale
    with Prefetch(made.batch, first=0, workers=case["workers"], ahead=2) as batches:
        for _ in range(4):
            batch = batches.take()
            voxels = np.rint(batch.image.astype(np.float64) * unit).astype(int)
            under = voxels[:, 0, :, 1:-1:2, 1:-1:2]
            if cube.of_sections:
                if case["dtype"] is not np.uint8:
                    lowest = voxels[:, 0].reshape(6, -1).min(1) // (size.y * size.x)
                    assert np.array_equal(batch.labels.ravel(), lowest)
            else:
                np.testing.assert_allclose(under, batch.labels, atol=1e-3)
            if cube.weights is not None:
                np.testing.assert_allclose(batch.weights, batch.labels, atol=1e-3)
            backwards = limit - voxels[:, 0] if case["channels"] == 2 else voxels[:, 0]
            assert np.array_equal(voxels[:, -1], backwards)
            assert batch.warped == (6 if bends else 0)
            if case["dtype"] is not np.uint8 and case["slip"] is None:
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
        order = [strides.index(abs(step)) for step in steps]
        free, swapped = flip is not None and flip.isotropic, order == [0, 2, 1]
        # an axis of one voxel does not tell which it is
        assert free or order == [0, 1, 2] or (swapped and flip is not None and flip.transpose)
        if order == [0, 1, 2] and not free:
            allowed = [False] * 3 if flip is None else [flip.z, flip.y, flip.x]
            assert all(step > 0 or may for step, may in zip(steps, allowed))
