"""Dense prediction with fragments in the batch: its arithmetic on any machine, its recordings on a CUDA device."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from elektronn.network.build import Network, build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.document import Document, Node, conv_node
from elektronn.prediction.dense import Engine, by_shifting
from elektronn.prediction.engines import engine_for
from elektronn.prediction.fragments import FragmentsEngine, fits
from elektronn.prediction.settings import Precision
from elektronn.prediction.transfers import overlapped

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
    found = FragmentsEngine(network, CPU, precision="bf16").block(image)
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
    network, twin = network_of(name), network_of(name)
    engine = engine_for(network, "auto", network.geometry.field, device=torch.device("cuda"), kind="values", threads=1)
    assert isinstance(engine, FragmentsEngine)
    for beyond in ((3, 15, 15), (3, 15, 15), (2, 7, 10), (3, 15, 15)):
        image = image_for(network, beyond) // (1 + beyond[0])
        np.testing.assert_allclose(engine.block(image), Engine(twin, CPU, "values").block(image), rtol=0, atol=1e-5)


@pytest.mark.gpu
@with_gpu
@pytest.mark.parametrize(("precision", "off"), [("float32", 1e-5), ("tf32", 2e-3), ("fp16", 5e-3), ("bf16", 5e-2)])
def test_reduced_precision_on_cuda_is_near(precision: Precision, off: float) -> None:
    network, twin = network_of("neuro"), network_of("neuro")
    image = image_for(network, (3, 31, 31))
    found = FragmentsEngine(network, torch.device("cuda"), precision=precision).block(image)
    np.testing.assert_allclose(found, Engine(twin, CPU).block(image), rtol=0, atol=off)


def images_of(network: Network) -> list[np.ndarray]:
    """Blocks of different values and sizes."""
    sizes = ((3, 15, 15), (3, 15, 15), (2, 7, 10), (3, 15, 15), (3, 15, 15))
    return [image_for(network, beyond) // (1 + number) for number, beyond in enumerate(sizes)]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, with_gpu])])
def test_blocks_in_a_row_are_those_one_by_one(device: str) -> None:
    network, twin = network_of("neuro"), network_of("neuro")
    images = images_of(network)
    found = list(FragmentsEngine(network, torch.device(device), "values").blocks(images))
    wanted = [Engine(twin, CPU, "values").block(image) for image in images]
    assert len(found) == len(images)
    for one, other in zip(found, wanted):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_the_next_is_sent_before_the_last_is_fetched(count: int) -> None:
    log = list[str]()

    def values() -> Iterator[torch.Tensor]:
        for number in range(count):
            log.append(f"send {number}")
            yield torch.tensor(number)

    def compute(value: torch.Tensor) -> torch.Tensor:
        log.append(f"compute {int(value)}")
        return value * value

    for found in overlapped(compute, values(), CPU):
        log.append(f"have {int(found)}")
    assert [line for line in log if line.startswith("have")] == [f"have {n * n}" for n in range(count)]
    if count == 5:
        steps = (
            "send 0, compute 0, send 1, compute 1, send 2, have 0, compute 2, send 3, have 1, compute 3, send 4, have 4"
        )
        assert log[: len(steps.split(", "))] == steps.split(", ")


@pytest.mark.gpu
@with_gpu
def test_what_was_sent_arrives_while_much_is_under_way_on_cuda() -> None:
    device = torch.device("cuda")
    weight = torch.eye(2048, device=device)
    values = [torch.full((2048, 2048), float(number)) for number in range(20)]

    def compute(value: torch.Tensor) -> torch.Tensor:
        for _ in range(20):
            value = value @ weight
        return value

    for number, found in enumerate(overlapped(compute, values, device)):
        assert found.is_pinned()
        assert bool((found == number).all())
