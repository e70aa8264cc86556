"""A training step on a CPU convolves planes with the taps stacked: equal to the plain convolution, gradients too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from elektronn.axes import Size
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.layers import convolve, convolve_plainly


@pytest.mark.parametrize(("taps", "dilation"), [(1, Size(1, 1, 1)), (3, Size(1, 1, 1)), (2, Size(2, 1, 2))])
def test_convolution_of_stacked_taps_equals_the_plain_one_gradients_too(taps: int, dilation: Size) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 3, 6, 9, 8), (5, 3, taps, 3, 2), (5,))
    given = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    x, weight, bias = given
    made, expected = convolve(x, weight, bias, dilation), convolve_plainly(x, weight, bias, dilation)
    upstream = torch.randn(expected.shape, generator=generator)
    pairs = zip(torch.autograd.grad(made, given, upstream), torch.autograd.grad(expected, given, upstream))
    for ours, plain in [(made, expected), *pairs]:
        assert _far(ours, plain) < 1e-6


def test_gradients_of_a_whole_network_equal_those_of_plain_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    patch = Size(7, 59, 59)
    network, image = build(chain(NetworkSettings(patch=(7, 59, 59))), seed=1), torch.rand(1, 1, *patch)

    def gradients() -> list[Tensor]:
        network.zero_grad()
        torch.nn.functional.log_softmax(network(image), 1).square().mean().backward()  # type: ignore[no-untyped-call]
        return [p.grad.clone() for p in network.parameters() if p.grad is not None]

    ours = gradients()
    monkeypatch.setattr("elektronn.network.layers.convolve", convolve_plainly)
    assert max(_far(a, b) for a, b in zip(ours, gradients(), strict=True)) < 2e-6


def _far(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())
