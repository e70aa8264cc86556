"""Laws of dense prediction that hold for every network and image: all routes give one result."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import settings as runs
from hypothesis import strategies as some

from elektronn.axes import Size, blocks
from elektronn.network.build import Network, build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.prediction.dense import Engine, by_fragments, by_shifting
from elektronn.prediction.lanes import LanesEngine, why_not

CPU = torch.device("cpu")
TOLERANCE = 1e-5


@some.composite
def networks(
    draw: some.DrawFn, features: tuple[int, ...], activations: tuple[str, ...], deepest: int = 4, pool: int = 3
) -> Network:
    """Small chains of any kernels and pools, flat ones among them, with biases that matter."""
    depth = draw(some.integers(1, deepest))
    flat = draw(some.booleans())

    def sizes(most: int) -> tuple[tuple[int, int, int], ...]:
        z, lateral = some.integers(1, 1 if flat else min(most, 2)), some.integers(1, most)
        return tuple(draw(some.tuples(z, lateral, lateral)) for _ in range(depth))

    def square(kernels: tuple[tuple[int, int, int], ...]) -> tuple[tuple[int, int, int], ...]:
        return tuple((z, y, y) for z, y, _ in kernels)

    kernels = sizes(4)
    pools = sizes(pool) if draw(some.booleans()) else ((1, 2, 2),) * depth
    pooled = draw(some.integers(0, depth))
    settings = NetworkSettings(
        kernels=square(kernels) if draw(some.booleans()) else kernels,
        pools=pools[:pooled] + ((1, 1, 1),) * (depth - pooled),
        features=tuple(draw(some.sampled_from(features)) for _ in range(depth)),
        activation=tuple(draw(some.sampled_from(activations)) for _ in range(depth)),
        classes=draw(some.sampled_from((2, 8))),
    )
    network = build(chain(settings, draw(some.sampled_from((1, 2)))), seed=draw(some.integers(0, 9)))
    with torch.no_grad():
        for name, values in network.named_parameters():
            if name.endswith("bias"):
                values.uniform_(-0.3, 0.3, generator=torch.Generator().manual_seed(3))
    return network.eval()


def image_for(network: Network, beyond: tuple[int, int, int]) -> np.ndarray:
    size = [f + n for f, n in zip(network.geometry.field, beyond)]
    assume(np.prod(size) < 100_000)
    return np.random.default_rng(1).integers(0, 256, (network.document.channels, *size), dtype=np.uint8)


def truth(network: Network, image: np.ndarray, kind: str) -> np.ndarray:
    """Dense outputs in float64."""
    exact = build(network.document)
    exact.load_state_dict(network.state_dict())
    with torch.inference_mode():
        scores = exact.double().eval().dense(torch.from_numpy(image / 255)[None])
    found: np.ndarray = (torch.softmax(scores, 1) if kind == "probabilities" else scores)[0].numpy()
    return found


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    """To 1e-5; of values above 1, relative to the largest."""
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE * max(1, np.abs(wanted).max()))


BEYOND = some.tuples(some.integers(0, 3), some.integers(0, 20), some.integers(0, 20))
KINDS = some.sampled_from(["probabilities", "values"])
ANY = networks((1, 3, 5), ("relu", "tanh", "abs", "linear", "sigmoid"))


@runs(deadline=None, max_examples=40)
@given(ANY, BEYOND, KINDS)
def test_shifting_fragments_and_dilation_are_one_result(
    network: Network, beyond: tuple[int, int, int], kind: str
) -> None:
    image = image_for(network, beyond)
    wanted = truth(network, image, kind)
    for found in (
        by_shifting(network, image, kind),  # type: ignore[arg-type]
        by_fragments(network, image, kind),  # type: ignore[arg-type]
        Engine(network, CPU, kind).block(image),  # type: ignore[arg-type]
    ):
        close(found, wanted)


# few numbers of features, so that few kernels need compiling
FITTING = networks((8, 16), ("relu", "relu", "tanh", "abs"), deepest=3, pool=2)
WIDELY = some.tuples(some.integers(0, 3), some.integers(0, 40), some.integers(0, 40)) | some.just((2, 39, 33))
with_lanes = pytest.mark.skipif(
    "AVX-512" in why_not(build(chain(NetworkSettings()))), reason="this CPU has no vectors of 16 floats"
)


@with_lanes
@runs(deadline=None, max_examples=60)
@given(FITTING, WIDELY, KINDS, some.integers(1, 3))
def test_lanes_are_the_same_result(network: Network, beyond: tuple[int, int, int], kind: str, threads: int) -> None:
    assume(not why_not(network))
    image = image_for(network, beyond)
    close(LanesEngine(network, threads, kind).block(image), truth(network, image, kind))  # type: ignore[arg-type]


@with_lanes
@runs(deadline=None, max_examples=25)
@given(FITTING, WIDELY, some.tuples(some.integers(1, 4), some.integers(3, 30), some.integers(3, 30)))
def test_tiles_and_workers_do_not_change_the_result(
    network: Network, beyond: tuple[int, int, int], tile: tuple[int, int, int]
) -> None:
    assume(not why_not(network))
    image = image_for(network, beyond)
    one, two = LanesEngine(network, 1), LanesEngine(network, 2)
    whole = one.block(image)
    np.testing.assert_array_equal(two.block(image), whole)
    wanted = truth(network, image, "probabilities")
    for engine in (Engine(network, CPU), two):
        stitched = np.empty_like(whole)
        for box in blocks(Size(*whole.shape[1:]), tile):
            part = image[(slice(None), *box.grown((0, 0, 0), [f - 1 for f in network.geometry.field]).slices)]
            stitched[(slice(None), *box.slices)] = engine.block(part)
        close(stitched, wanted)
