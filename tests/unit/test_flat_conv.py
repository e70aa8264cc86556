"""The convolution of our own: equal to torch's in double precision, gradients too, for any size and number of threads."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from elektronn.axes import Size
from elektronn.network import layers
from elektronn.network.build import Network, build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.flat_conv import convolve_flat, has_pairs, has_vectors, is_flat

pytestmark = pytest.mark.skipif(not has_vectors(), reason="this CPU has no vectors of 16 floats")

with_pairs = pytest.mark.skipif(not has_pairs(), reason="this CPU does not multiply pairs of bfloat16")

ONE, TWO = Size(1, 1, 1), Size(1, 2, 2)
SIZES = [
    ((1, 1, 3, 31, 29), 10, Size(1, 4, 4), TWO),
    ((2, 7, 5, 13, 17), 11, Size(3, 3, 2), ONE),
    ((3, 5, 2, 5, 8), 2, Size(2, 1, 1), Size(1, 2, 3)),
    ((1, 3, 4, 5, 9), 1, Size(2, 2, 1), ONE),
    ((2, 6, 3, 11, 8), 5, Size(3, 5, 3), Size(1, 3, 2)),
    ((1, 40, 3, 12, 12), 40, Size(1, 2, 2), ONE),
]
bf16 = torch.autocast("cpu", torch.bfloat16)


def _given(sizes: tuple[int, ...], maps: int, kernel: Size) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(sizes) + maps)
    shapes = (sizes, (maps, sizes[1], *kernel), (maps,))
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def _far(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


def _all(given: list[Tensor], pool: Size, relu: bool) -> list[Tensor]:
    """Result and gradients."""
    made = convolve_flat(*given, pool, relu)  # type: ignore[arg-type]
    return [made.detach(), *torch.autograd.grad(made.square().sum(), given)]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("sizes", "maps", "kernel", "pool"), SIZES)
def test_convolution_and_gradients_equal_those_of_double_precision(
    sizes: tuple[int, ...], maps: int, kernel: Size, pool: Size, relu: bool
) -> None:
    given = _given(sizes, maps, kernel)
    assert is_flat(given[0], given[1], pool)
    exact = [t.detach().double().requires_grad_() for t in given]
    expected = F.max_pool3d(F.conv3d(*exact), tuple(pool))
    expected = expected.relu() if relu else expected
    wanted = [expected, *torch.autograd.grad(expected.square().sum(), exact)]
    for found, right in zip(_all(given, pool, relu), wanted, strict=True):
        assert _far(found, right) < 1e-5


@with_pairs
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("sizes", "maps", "kernel", "pool"), SIZES)
def test_whole_numbers_in_bf16_are_rounded_only_where_results_are_stored(
    sizes: tuple[int, ...], maps: int, kernel: Size, pool: Size, relu: bool
) -> None:
    given = [(3 * t.detach()).round().requires_grad_() for t in _given(sizes, maps, kernel)]
    exact = [t.detach().double().requires_grad_() for t in given]
    sums = F.conv3d(*exact)
    expected = F.max_pool3d(sums + (sums.bfloat16() - sums).detach(), tuple(pool))
    expected = expected.relu() if relu else expected
    upstream = torch.arange(expected.numel()).view(expected.shape) % 7 - 3.0
    x, weight, bias = torch.autograd.grad(expected, exact, upstream.double())
    with bf16:
        assert is_flat(given[0], given[1], pool)
        found = convolve_flat(*given, pool, relu)  # type: ignore[arg-type]
    found_gradients = torch.autograd.grad(found, given, upstream.bfloat16())
    assert found.dtype == torch.bfloat16
    assert torch.equal(found.double(), expected)
    assert torch.equal(found_gradients[0], x.bfloat16().float())
    assert torch.equal(found_gradients[1], weight.float())
    assert torch.equal(found_gradients[2], bias.float())


@with_pairs
def test_gradients_of_a_network_in_bf16_are_as_good_as_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, image = NetworkSettings(patch=(7, 59, 59)), torch.rand(1, 1, 7, 59, 59)
    exact = _gradients(build(chain(settings), seed=1).double(), image.double())
    with bf16:
        ours = _gradients(build(chain(settings), seed=1), image)
        monkeypatch.setattr(layers, "is_flat", lambda *_: False)
        torchs = _gradients(build(chain(settings), seed=1), image)
    assert (ours - exact).norm() < 1.5 * (torchs - exact).norm()


def _gradients(network: Network, image: Tensor) -> Tensor:
    scores = network(image).double()
    return torch.cat([t.double().ravel() for t in torch.autograd.grad(scores.sin().sum(), [*network.parameters()])])


@pytest.mark.parametrize("is_reduced", [False, pytest.param(True, marks=with_pairs)])
def test_bits_do_not_depend_on_the_number_of_threads(is_reduced: bool) -> None:
    given, before = _given((2, 11, 5, 20, 21), 21, Size(3, 3, 3)), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with torch.autocast("cpu", torch.bfloat16, enabled=is_reduced):
                results.append(_all(given, TWO, True))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("is_reduced", [False, pytest.param(True, marks=with_pairs)])
def test_what_is_no_number_is_not_lost_in_pooling_and_relu(is_reduced: bool) -> None:
    x, weight, bias = _given((1, 2, 1, 9, 9), 3, Size(1, 3, 3))
    spoilt = x.detach().clone()
    spoilt[0, 1, 0, 4, 4] = float("nan")
    with torch.autocast("cpu", torch.bfloat16, enabled=is_reduced):
        assert convolve_flat(spoilt, weight, bias, TWO, True).isnan().any()


def test_a_remainder_that_pooling_cuts_off_has_no_gradient() -> None:
    given = _given((1, 1, 1, 8, 8), 1, ONE)
    gradient = _all(given, Size(1, 3, 3), False)[1]
    assert not gradient[..., 6:, :].any()
    assert not gradient[..., 6:].any()


def test_the_network_takes_this_way_in_float32_and_in_bf16_where_the_cpu_has_it_and_not_in_double_precision() -> None:
    network = build(chain(NetworkSettings(patch=(7, 59, 59))), seed=1)
    image = torch.rand(1, 1, 7, 59, 59)
    scores = network(image)
    names = {type(node).__name__ for node in _nodes(scores)}
    assert "_FlatBackward" in names
    assert "ConvolutionBackward0" not in names
    exact = build(chain(NetworkSettings(patch=(7, 59, 59))), seed=1).double()(image.double())
    assert _far(scores, exact) < 1e-5
    with bf16:
        assert ("_FlatBackward" in {type(node).__name__ for node in _nodes(network(image))}) == has_pairs()
    with torch.autocast("cpu", torch.float16):
        assert not is_flat(image, next(network.parameters()), TWO)


def _nodes(result: Tensor) -> list[object]:
    found, left = [], [result.grad_fn]
    while left:
        node = left.pop()
        if node is not None:
            found.append(node)
            left += [parent for parent, _ in node.next_functions]
    return found
