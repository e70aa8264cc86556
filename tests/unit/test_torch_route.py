"""Examples cut by torch are those of the sampler: the same code runs here on tensors of the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from elektronn.axes import Size
from elektronn.errors import ConfigError
from elektronn.geometry import Geometry, Reach
from elektronn.network.chain import NetworkSettings
from elektronn.sampling.augment import Augmentation, Elastic, Flip, Grey, SamplingSettings, Values, Warp
from elektronn.sampling.batch import Sampler
from elektronn.sampling.cubes import Cube
from elektronn.sampling.defects import BlurredSection, FadedSection, MisalignedSection, MissingSection
from elektronn.sampling.elektronn1 import Elektronn1Warp
from elektronn.sampling.extras import Lazy
from elektronn.sampling.grey import Blur, Noise
from elektronn.sampling.lazy import LazyVolume
from elektronn.sampling.shown import debug_batch, shown, summary
from elektronn.sampling.torch_route import APPLIED, TorchSampler, blur_matrix
from elektronn.training.settings import TrainingSettings
from elektronn.training.world import of_volumes
from elektronn.volumes.address import parse_address
from tests.unit.small_training import trainer_in, weights

CPU = torch.device("cpu")
REACH = Geometry(Reach(3, 1), Reach(7, 2), Reach(7, 2))
PATCH, SIZE = Size(5, 21, 21), Size(14, 50, 54)
RANDOM = np.random.default_rng(0)
SMOOTH = np.clip(gaussian_filter1d(gaussian_filter1d(RANDOM.random((2, *SIZE)), 2.0, 2), 2.0, 3) * 4 - 1.5, 0, 1)


def cube(kind: str = "uint8", labels: str = "int16", **more: Any) -> Cube:
    image = (SMOOTH * 255).astype(np.uint8) if kind == "uint8" else SMOOTH.astype(np.float32)
    inner = RANDOM.integers(-1, 3, (10, 44, 48)) if labels == "int16" else RANDOM.integers(0, 3, (10, 44, 48))
    told = inner.astype(labels)
    if labels == "float32":
        told[:, ::7] = np.nan
    return Cube("a", image, told, Size(2, 3, 3), 1 / 255 if kind == "uint8" else 1.0, **more)


def both(cubes: list[Cube], *augment: Augmentation, patch: Size = PATCH, **said: Any) -> tuple[Sampler, TorchSampler]:
    settings = SamplingSettings(augment=augment, **{"batch_size": 12, **said})
    sampler = Sampler(cubes, REACH, patch, settings, seed=3)
    return sampler, TorchSampler(sampler, CPU)


def assert_equal(one: Sampler, other: TorchSampler, step: int, image: float, labels: float = 0.002) -> None:
    """``labels``: largest share of class labels that may lie half-way between two."""
    a, b = one.batch(step), other.batch(step)
    values, told = np.asarray(b.image), np.asarray(b.labels)
    assert (values.dtype, told.dtype) == (np.float32, a.labels.dtype)
    np.testing.assert_allclose(values, a.image, atol=image, rtol=0)
    assert told.shape == a.labels.shape
    if a.labels.dtype.kind == "f":
        np.testing.assert_array_equal(np.isnan(told), np.isnan(a.labels))
        np.testing.assert_allclose(told, a.labels, atol=1e-5)
    else:
        assert (told != a.labels).mean() <= labels
    assert (a.warped, a.plain, a.shrunk) == (b.warped, b.plain, b.shrunk)


CHAINS: dict[str, tuple[Augmentation, ...]] = {
    "nothing": (),
    "flip": (Flip(), Grey(channels=(0, 1))),
    "isotropic": (Flip(isotropic=True),),
    "warp": (Flip(), Warp(probability=1.0)),
    "shrunk": (Warp(probability=1.0, amount=4.0, too_large="shrink"),),
    "elastic": (Warp(), Elastic(probability=1.0, amplitude_vox=(1, 2, 2))),
    "elektronn1": (Elektronn1Warp(probability=1.0),),
    "slips": (Flip(), MisalignedSection(probability=1.0)),
    "slips, labels stay": (Warp(), MisalignedSection(probability=1.0, step=0.0, labels="stay")),
    "values": (
        Noise(probability=1.0),
        Blur(probability=1.0, channels=(1,)),
        Grey(),
        MissingSection(probability=0.5, value=(0.1, 0.3)),
        FadedSection(probability=0.5, sections=(1, 2)),
        BlurredSection(probability=0.5),
    ),
}


@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("name", CHAINS)
def test_both_routes_cut_the_same_examples(name: str, kind: str) -> None:
    one, other = both([cube(kind), cube(kind)], *CHAINS[name])
    # without interpolation, to the last bit but for the scale; a gamma below 1 is steep at 0
    close = {"nothing": 1e-7, "flip": 5e-4, "isotropic": 1e-7, "values": 2e-3}
    assert_equal(one, other, 5, close.get(name, 3e-5))


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_both_routes_interpolate_as_told(interpolation: str) -> None:
    one, other = both([cube()], Warp(probability=1.0), interpolation=interpolation, batch_size=4)
    a, b = one.batch(0).image, np.asarray(other.batch(0).image)
    assert (np.abs(a - b) > 3e-5).mean() < 1e-3
    assert (np.isin((b * 255).round(3) % 1, (0, 1)).mean() == 1) == (interpolation == "nearest")


@pytest.mark.parametrize("labels", ["uint8", "int16", "float32"])
def test_labels_of_every_kind_are_the_same(labels: str) -> None:
    assert_equal(*both([cube("uint8", labels)], Flip(), Warp(probability=1.0)), 0, 3e-5)


def test_what_data_add_is_the_same() -> None:
    counted = RANDOM.random((10, 44, 48)).astype(np.float32)
    lazy = Lazy(np.array([1, 1, 0], np.int16), np.array([0, 0, 1], np.int16))
    one, other = both([cube(weights=counted, lazy=lazy), cube(lazy=lazy)], Warp(probability=1.0))
    a, b = one.batch(0), other.batch(0)
    assert a.weights is not None
    np.testing.assert_allclose(np.asarray(b.weights), a.weights, atol=1e-5)
    assert {bool((w == 1).all()) for w in a.weights} == {True, False}
    np.testing.assert_array_equal(np.asarray(b.labelled), np.asarray(a.labelled))
    np.testing.assert_array_equal(np.asarray(b.absent), np.asarray(a.absent))


@pytest.mark.parametrize("answers", [1, 3])
def test_one_label_per_image_is_the_same(answers: int) -> None:
    rows = RANDOM.integers(0, 2, (SIZE.z, answers)).astype(np.int16)
    sections = Cube("s", (SMOOTH * 255).astype(np.uint8), rows, Size(0, 0, 0), 1 / 255)
    assert_equal(*both([sections], Flip(z=False), Warp(), patch=Size(1, 21, 21)), 0, 3e-5, labels=0)


def test_draws_that_do_not_count_are_the_same() -> None:
    hollow = cube()
    hollow.labels[:, :, :30] = -1
    assert_equal(*both([hollow], Warp(probability=1.0), ignore_above=0.5), 0, 3e-5)


def test_pictures_and_schedules_take_either_route() -> None:
    one, other = both([cube()], Warp(probability=1.0), Grey())
    assert [c for *_, c in shown(other, other.batch(1), 1, 4)] == [c for *_, c in shown(one, one.batch(1), 1, 4)]
    assert all(isinstance(values, np.ndarray) for values in debug_batch(other, 1)[:2])
    assert summary(lambda step: other, 12) == summary(lambda step: one, 12)
    weaker = one.settings.model_copy(update={"augment": (Warp(probability=1.0, amount=0.2), Grey())})
    changed = other.changed(weaker)
    assert changed.uploaded is other.uploaded
    assert_equal(one.changed(weaker), changed, 1, 5e-4)


def test_a_training_learns_the_same_from_either_route(tmp_path: Path) -> None:
    ends = []
    for name in ("cpu", "torch"):
        trainer = trainer_in(tmp_path / name, {"preview_every": 3})
        assert isinstance(trainer.task.supply, Sampler)
        if name == "torch":
            trainer.task = replace(trainer.task, supply=TorchSampler(trainer.task.supply, CPU))
        trainer.run()
        ends.append(weights(trainer))
    torch.testing.assert_close(ends[0], ends[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 1.5, 4.0])
@pytest.mark.parametrize("size", [1, 5, 30])
def test_a_blur_as_a_matrix_is_that_of_scipy(size: int, sigma: float) -> None:
    values = RANDOM.random(size)
    expected = gaussian_filter1d(values, sigma, truncate=3.0)
    np.testing.assert_allclose(blur_matrix(size, sigma) @ values, expected, atol=1e-12)


def test_every_change_of_values_has_its_torch_twin() -> None:
    made = set()
    for component in (kind() for kind in Values.__args__):  # type: ignore[attr-defined]
        sure = component.model_copy(update={"probability": 1.0})
        made |= {type(change) for _, change in sure.draw(RANDOM, PATCH, 1)}
    assert made == set(APPLIED)


def test_a_volume_on_disk_or_a_missing_device_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "i.npy", (SMOOTH[0] * 255).astype(np.uint8))
    np.save(tmp_path / "l.npy", (SMOOTH[0] > 0.5).astype(np.uint8))
    address = parse_address(f"{tmp_path}/i.npy")
    lazy = replace(cube(), image=LazyVolume(address, 10**6, "czyx"))
    with pytest.raises(ConfigError, match=r"sampling\.device: volume a stays on disk"):
        both([lazy])
    row = ("a", address, parse_address(f"{tmp_path}/l.npy"))
    small = NetworkSettings(kernels=((1, 3, 3),), pools=((1, 1, 1),), features=(2,), patch=(1, 16, 16))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"sampling: device 'cuda': this machine has 0 usable"):
            of_volumes([row], [], small, SamplingSettings(device="cuda"), TrainingSettings())
