"""Convolutions of three planes by Winograd's method, against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from elektronn.axes import Size
from elektronn.network import winograd, winograd_kernels, winograd_plan
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.layers import convolve_plainly
from elektronn.network.nodes import ONE
from elektronn.network.winograd import convolve_by_fours, suits
from elektronn.network.winograd_plan import Plane, in_fours, starts
from elektronn.prediction import tiles
from elektronn.prediction.dense import Engine, by_shifting

KERNEL = Size(3, 3, 3)
DEEP = chain(
    NetworkSettings(
        kernels=((1, 2, 2), (3, 3, 3), (3, 2, 2)), pools=((1, 2, 2), (1,) * 3, (1,) * 3), features=(8, 40, 40)
    )
)


def world(size: tuple[int, ...], kernel: tuple[int, ...], maps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Whole numbers with which every step of either way is exact."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randint(-8, 9, size, generator=draw).float()
    weight = 24.0 * torch.randint(-4, 5, (maps, size[1], *kernel), generator=draw)
    return x, weight, torch.randint(-99, 99, (maps,), generator=draw).float()


@pytest.mark.parametrize("most", [winograd_plan.MOST, 20_000])
@pytest.mark.parametrize(
    ("size", "kernel", "maps", "dilation"),
    [
        ((1, 3, 6, 5, 7), (3, 3, 3), 5, ONE),
        ((2, 4, 7, 6, 9), (3, 1, 2), 16, ONE),
        ((1, 8, 9, 30, 20), (3, 4, 3), 17, Size(1, 4, 2)),
        ((2, 2, 15, 9, 8), (3, 2, 2), 3, Size(2, 3, 1)),
        ((1, 1, 21, 4, 4), (3, 1, 1), 1, Size(3, 1, 1)),
    ],
)
def test_it_is_torchs_convolution_bit_by_bit_on_whole_numbers(
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    maps: int,
    dilation: Size,
    most: int,
) -> None:
    monkeypatch.setattr(winograd_plan, "MOST", most)
    x, weight, bias = world(size, kernel, maps)
    wanted = convolve_plainly(x.double(), weight.double(), bias.double(), dilation)
    assert wanted.abs().max() < 2**20
    for given in (x, x.contiguous(memory_format=torch.channels_last_3d)):
        found = convolve_by_fours(given, weight, bias, dilation)
        assert found.is_contiguous(memory_format=torch.channels_last_3d)
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_groups_cover_every_plane_and_no_other(step: int) -> None:
    for planes in range(4 * step, 40):
        groups = [range(first, first + 4 * step, step) for first in starts(planes, step)]
        assert sorted({plane for group in groups for plane in group}) == list(range(planes))
        assert len(groups) == sum(-(-len(range(phase, planes, step)) // 4) for phase in range(step))


def test_only_what_pays_is_computed_by_fours() -> None:
    x, weight = torch.zeros(1, 16, 6, 4, 4), torch.zeros(16, 16, 3, 3, 3)
    with torch.inference_mode():
        assert suits(x, weight, ONE)
        assert not suits(x[:, :, 1:], weight, ONE)
        assert not suits(x, weight, Size(2, 1, 1))
        assert not suits(x, weight[:, :, 1:], ONE)
        assert not suits(x[:, :2], weight[:, :2], ONE)
        assert not suits(x.double(), weight.double(), ONE)
        assert not suits(x.to("meta"), weight, ONE)
        with torch.autocast("cpu", torch.bfloat16):
            assert not suits(x, weight, ONE)
    assert not suits(x, weight, ONE)
    assert not in_fours(40, 2, KERNEL, 4, 1)
    assert in_fours(40, 40, KERNEL, 8, 2)


def test_networks_predict_the_same_by_fours(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(DEEP, seed=1).eval()
    for layer in network.layers.values():
        layer.bias.data.uniform_(-0.3, 0.3, generator=torch.Generator().manual_seed(2))
    field, kernels = network.geometry.field, []
    image = np.random.default_rng(0).integers(0, 256, (1, *(n + f - 1 for n, f in zip((5, 9, 12), field))), np.uint8)
    product = winograd._product

    def spied(mixed: Tensor, kernel: Tensor, bias: Tensor | None, dilation: Size) -> object:
        kernels.append(tuple(kernel.shape[1:]))
        return product(mixed, kernel, bias, dilation)

    monkeypatch.setattr(winograd, "_product", spied)
    found = Engine(network, torch.device("cpu")).block(image)
    assert set(kernels) == {(8, 3, 3), (40, 2, 2)}
    np.testing.assert_allclose(found, by_shifting(network, image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("most", [winograd_plan.MOST, 30_000])
def test_memory_of_the_buffers_is_counted(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(winograd_plan, "MOST", most)
    combine, taken = winograd_kernels.combine, []
    mix = winograd_kernels.mix
    monkeypatch.setattr(winograd_kernels, "mix", lambda *given: taken.append(given[-1].size) or mix(*given))
    monkeypatch.setattr(
        winograd_kernels, "combine", lambda made, *more: taken.append(sum(p.size for p in made)) or combine(made, *more)
    )
    x, weight, bias = world((1, 12, 8, 40, 30), KERNEL, 24)
    convolve_by_fours(x, weight, bias, ONE)
    counted = Plane(12, 24, 40, 30, 38, 28).numbers
    assert counted < most + 6 * 3 * 30 * 12
    assert 0.8 * counted < max(np.add(taken[::2], taken[1::2])) <= counted


def test_a_tile_takes_more_memory_by_fours(monkeypatch: pytest.MonkeyPatch) -> None:
    network, tile = build(DEEP), Size(4, 80, 80)
    monkeypatch.setattr(tiles, "misfit", lambda _: "any")
    by_fours = tiles.bytes_of(DEEP, network.geometry, tile)
    monkeypatch.setattr(tiles, "in_fours", lambda *_: False)
    monkeypatch.setattr(tiles, "SMALL", 0)
    assert tiles.bytes_of(DEEP, network.geometry, tile) < by_fours
