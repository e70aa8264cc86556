"""Crops, symmetries and label offsets equal those of ELEKTRONN 1, but for its recorded defects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elektronn.axes import Size
from elektronn.errors import DataError
from elektronn.geometry import Geometry, Reach
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.batch import Sampler
from elektronn.sampling.cubes import Cube
from elektronn.sampling.sections import fitted
from elektronn.sampling.spatial import Flip
from elektronn.volumes.registration import centre

NAMES = (
    "d_2d_aniso",
    "d_3d_exact_size",
    "d_3d_noflip_2ch_zchxy",
    "d_labels_larger_than_needed",
    "d_labels_smaller_than_needed_even_surplus",
    "d_two_cubes_valid",
)
MANY, ENOUGH = 6000, 1200
"""Draws after which every crop has come: of 600, and of fewer than 40."""


@pytest.fixture(scope="module")
def cases(spec_data: Path) -> dict[str, dict[str, Any]]:
    said = json.loads((spec_data / "oracle" / "cases.json").read_text())["cases"]
    return {case["id"]: case for case in said if case["kind"] == "elektronn1_data"}


def coded(number: int, image: list[int], labels: list[int], channels: int) -> Cube:
    """A cube whose values tell their place; sizes x, y, z."""
    x, y, z = np.indices(image)
    grey = ((x * image[1] + y) * image[2] + z + 20000 * number).astype(np.float32).transpose(2, 1, 0)
    u, v, w = np.indices(labels)
    classes = ((u * labels[1] + v) * labels[2] + w + 3000 * number).astype(np.int16).transpose(2, 1, 0)
    size, inner = Size(*grey.shape), Size(*classes.shape)
    centre(size, inner)
    origin = Size(*((a - b) // 2 for a, b in zip(size, inner)))
    return Cube(str(number), np.stack([grey + 100000 * c for c in range(channels)]), classes, origin, 1.0)


def per_axis(case: dict[str, Any], key: str) -> list[Any]:
    """z, y, x from the original's (x, y) or (z, x, y)."""
    values = case[key]
    z, x, y = values if case["n_dim"] == 3 else (1 if key != "offset" else 0.5, *values)
    return [z, y, x]


def world(case: dict[str, Any], role: str) -> tuple[Sampler, list[Cube], Geometry]:
    cubes = [coded(i, image, labels, case.get("n_ch", 1)) for i, (image, labels) in enumerate(case["cubes"])]
    valid = case.get("valid", [])
    chosen = [cube for i, cube in enumerate(cubes) if (i in valid) == (role == "valid")]
    strides, fields = per_axis(case, "stride"), [round(2 * o) for o in per_axis(case, "offset")]
    geometry = Geometry(*(Reach(f, s) for f, s in zip(fields, strides)))
    flips = case.get("flip", True)
    augment = (Flip(z=case["n_dim"] == 3),) if flips else ()
    weights = dict(zip((cube.name for cube in chosen), map(float, case.get("prios", [])))) if role == "train" else {}
    settings = SamplingSettings(
        batch_size=MANY if flips and case["n_dim"] == 2 else ENOUGH, augment=augment, weights=weights
    )
    return Sampler(chosen, geometry, Size(*per_axis(case, "patch")), settings, 1), cubes, geometry


def place(value: float, sizes: list[list[int]]) -> tuple[int, int, int, int]:
    """Cube and z, x, y that an image value tells."""
    number, rest = divmod(int(value) % 100000, 20000)
    xy, z = divmod(rest, sizes[number][2])
    x, y = divmod(xy, sizes[number][1])
    return number, z, x, y


def row_of(patch: np.ndarray, case: dict[str, Any]) -> tuple[int, ...]:
    """As the record writes it: cube and z, x, y of the first element, then along which axis and way each axis runs."""
    sizes = [image for image, _ in case["cubes"]]
    first = place(patch[0, 0, 0], sizes)
    row = list(first)
    for axis in "zxy" if case["n_dim"] == 3 else "xy":
        step = [0, 0, 0]
        step["zyx".index(axis)] = 1
        there = place(patch[tuple(step)], sizes)
        moved = np.subtract(there[1:], first[1:])
        row += [int(np.flatnonzero(moved)[0]), int(moved.sum())]
    return tuple(row)


def lowest(row: tuple[int, ...], case: dict[str, Any]) -> list[int]:
    """Corner of the patch in the cube, z, x, y."""
    corner = list(row[1:4])
    extents = case["patch"]
    for i, extent in enumerate(extents):
        axis, sign = row[4 + 2 * i : 6 + 2 * i]
        if sign < 0:
            corner[axis] -= extent - 1
    return corner


@pytest.mark.parametrize("name", NAMES)
def test_the_same_crops_and_symmetries(cases: dict[str, dict[str, Any]], spec_data: Path, name: str) -> None:
    case = cases[name]
    stored = np.load(spec_data / "oracle" / "data" / case["npz_file"])
    for role in ("train", "valid") if case.get("valid") else ("train",):
        sampler, cubes, _ = world(case, role)
        theirs = {tuple(map(int, row)) for row in stored[f"set.{role}"]}
        ours = {row_of(image[0], case) for image in sampler.batch(0).image}
        assert theirs - ours == set()
        tops = {tuple(lowest(row, case)) for row in theirs}
        highest = {row[0]: np.max([lowest(r, case) for r in theirs if r[0] == row[0]], 0) for row in theirs}
        for row in ours - theirs:
            # the original never drew the last corner along an axis
            assert (np.array(lowest(row, case)) > highest[row[0]]).any(), row
        assert len(tops) <= len({tuple(lowest(row, case)) for row in ours})
        turns = {row[4:] for row in theirs}
        assert {(*row[4::2], *row[5::2]) for row in ours} == {(*turn[::2], *turn[1::2]) for turn in turns}
        if case.get("prios") and role == "train":
            drawn = [row_of(image[0], case)[0] for image in sampler.batch(1).image]
            shares = np.array(case["prios"]) / sum(case["prios"])
            found = [drawn.count(int(cube.name)) / len(drawn) for cube in sampler.cubes]
            np.testing.assert_allclose(found, shares, atol=0.04)
        assert len(cubes) == len(case["cubes"])


@pytest.mark.parametrize("name", NAMES)
def test_the_same_label_offsets(cases: dict[str, dict[str, Any]], name: str) -> None:
    case = cases[name]
    sizes = [image for image, _ in case["cubes"]]
    for role, said in case["results"].items():
        sampler, _, geometry = world(case, role)
        offsets = {row[0]: row[1:] for row in said["image_minus_label_coordinate"]}
        batch = sampler.batch(0)
        for image, labels in zip(batch.image[:300], batch.labels[:300]):
            for index in np.ndindex(labels.shape):
                at = tuple(o + s * j for o, s, j in zip(geometry.offset, geometry.stride, index))
                number, *here = place(image[0][at], sizes)
                extent = case["cubes"][number][1]
                xy, z = divmod(int(labels[index]) - 3000 * number, extent[2])
                assert [a - b for a, b in zip(here, (z, *divmod(xy, extent[1])))] == offsets[number]


def test_an_odd_surplus_is_an_error_with_words(cases: dict[str, dict[str, Any]]) -> None:
    image, labels = cases["d_odd_surplus"]["cubes"][0]
    with pytest.raises(DataError, match="surplus"):
        coded(0, image, labels, 1)


def test_images_continued_as_in_a_mirror(cases: dict[str, dict[str, Any]], spec_data: Path) -> None:
    case = cases["d_scalar_mirror"]
    stored = np.load(spec_data / "oracle" / "data" / case["npz_file"])
    (x, y, z), _ = case["cubes"][0]
    image = np.arange(x * y * z, dtype=np.float32).reshape(x, y, z).transpose(2, 1, 0)[None]
    found = fitted("a", image, Size(1, case["patch"][1], case["patch"][0]), "mirror")
    np.testing.assert_array_equal(found[0].swapaxes(1, 2), stored["images.train"])
