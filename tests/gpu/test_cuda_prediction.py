"""Dense prediction with fragments in the batch: its arithmetic on any machine, its recordings on a CUDA device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elektronn.network.build import Network, build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.document import Document, Node, conv_node
from elektronn.prediction.dense import Engine, by_shifting
from elektronn.prediction.engines import engine_for
from elektronn.prediction.fragments import FragmentsEngine, fits

CPU = torch.device("cpu")
with_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")

CASES = {
    "neuro": NetworkSettings(),
    "odd pools": NetworkSettings(
        kernels=((2, 3, 3), (1, 3, 2), (2, 2, 2)), pools=((2, 1, 3), (1, 2, 2), (1, 1, 1)), features=(4, 5, 6)
    ),
    "largest magnitude": NetworkSettings(
        kernels=((1, 3, 3), (1, 2, 2)), pools=((1, 2, 2), (1, 1, 1)), features=(4, 5), pooling="maxabs"
    ),
}


def network_of(name: str) -> Network:
    settings = CASES[name]
    standard = ((0.4,), (0.2,)) if name == "odd pools" else None
    return build(chain(settings, 1, standard=standard), seed=1).eval()


def image_for(network: Network, beyond: tuple[int, int, int]) -> np.ndarray:
    size = [f + n for f, n in zip(network.geometry.field, beyond)]
    return np.random.default_rng(0).integers(0, 256, (1, *size), dtype=np.uint8)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("beyond", [(0, 0, 0), (3, 15, 15), (2, 7, 10)])
def test_fragments_in_the_batch_are_the_strided_network_at_every_shift(name: str, beyond: tuple[int, int, int]) -> None:
    network = network_of(name)
    image = image_for(network, beyond)
    found = FragmentsEngine(network, CPU, "values").block(image)
    np.testing.assert_allclose(found, by_shifting(network, image, "values"), rtol=0, atol=1e-5)


def test_half_precision_is_near_on_request() -> None:
    network = network_of("neuro")
    image = image_for(network, (1, 9, 9))
    found = FragmentsEngine(network, CPU, precision=torch.bfloat16).block(image)
    exact = by_shifting(network, image)
    assert found.dtype == np.float32
    assert 1e-5 < np.abs(found - exact).max() < 5e-2


def test_only_chains_of_convolutions_fit() -> None:
    nodes = [Node(kind="input", name="input", arguments={"channels": 1})]
    nodes += [conv_node(name, "input", (1, 1, 1), (1, 1, 1), 2, "relu") for name in ("a", "b")]
    assert fits(Document(nodes=tuple(nodes[:2])))
    assert not fits(Document(nodes=tuple(nodes)))


@pytest.mark.gpu
@with_gpu
@pytest.mark.parametrize("name", CASES)
def test_recordings_on_cuda_equal_the_cpu_for_blocks_of_several_sizes(name: str) -> None:
    torch.backends.cudnn.allow_tf32 = False
    network, twin = network_of(name), network_of(name)
    engine = engine_for(network, "auto", network.geometry.field, device=torch.device("cuda"), kind="values", threads=1)
    assert isinstance(engine, FragmentsEngine)
    for beyond in ((3, 15, 15), (3, 15, 15), (2, 7, 10), (3, 15, 15)):
        image = image_for(network, beyond) // (1 + beyond[0])
        np.testing.assert_allclose(engine.block(image), Engine(twin, CPU, "values").block(image), rtol=0, atol=1e-5)


@pytest.mark.gpu
@with_gpu
@pytest.mark.parametrize(("precision", "off"), [("tf32", 2e-3), ("float16", 5e-3)])
def test_reduced_precision_on_cuda_is_near(precision: str, off: float) -> None:
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    network, twin = network_of("neuro"), network_of("neuro")
    image = image_for(network, (3, 31, 31))
    kind = torch.float16 if precision == "float16" else torch.float32
    found = FragmentsEngine(network, torch.device("cuda"), precision=kind).block(image)
    np.testing.assert_allclose(found, Engine(twin, CPU).block(image), rtol=0, atol=off)
