"""The lanes engine: every path of it, on small networks, against float64; what does not fit says why."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elektronn.axes import Size
from elektronn.errors import ConfigError
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.document import Document, Node, conv_node
from elektronn.prediction import lanes
from elektronn.prediction.dense import at_voxel, by_shifting
from elektronn.prediction.lanes import LanesEngine, why_not
from elektronn.prediction.lanes_layer import LARGE, LINE, floats
from elektronn.prediction.lanes_plan import Lanes, Layout, misfit

if "AVX-512" in why_not(build(chain(NetworkSettings()))):
    pytest.skip("this CPU has no vectors of 16 floats", allow_module_level=True)

Triples = tuple[tuple[int, int, int], ...]


def one(z: int, lateral: int) -> tuple[int, int, int]:
    return (z, lateral, lateral)


WINOGRAD = (one(2, 3), one(1, 3), one(1, 2), one(2, 4))
NETWORKS: dict[str, tuple[Triples, Triples]] = {
    "16 phases": ((one(1, 4), one(1, 3), *WINOGRAD), (one(1, 2), one(1, 2))),
    "16 phases, depth before the lanes": ((one(2, 4), one(1, 3), *WINOGRAD), (one(1, 2), one(1, 2))),
    "4 phases": ((one(1, 4), *WINOGRAD), (one(1, 2),)),
    "9 phases": ((one(1, 2), *WINOGRAD), (one(1, 3),)),
    "8 phases, z among them": ((one(2, 3), *WINOGRAD), (one(2, 2),)),
    "36 phases": ((one(1, 3), one(1, 2), *WINOGRAD), (one(1, 3), one(1, 2))),
    "no pooling": ((one(1, 3), *WINOGRAD), ()),
    "flat": ((one(1, 3), one(1, 3), one(1, 4)), (one(1, 2),)),
    "large and oblong kernels": ((one(1, 3), (1, 5, 5), (2, 3, 2)), (one(1, 2), one(1, 2))),
}


@pytest.fixture(autouse=True)
def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buffers full of NaN: a value that is read before it was written shows."""
    right = lanes.floats

    def floats(count: int) -> np.ndarray:
        found = right(count)
        found[:] = np.nan
        return found

    monkeypatch.setattr(lanes, "floats", floats)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("lateral", [(0, 0), (30, 41), (58, 35)])
def test_lanes_equal_the_strided_network_in_float64(name: str, lateral: tuple[int, int]) -> None:
    kernels, pools = NETWORKS[name]
    pools += (one(1, 1),) * (len(kernels) - len(pools))
    document = chain(NetworkSettings(kernels=kernels, pools=pools, features=(8,) * len(kernels)))
    network = build(document, seed=2).eval()
    field = network.geometry.field
    size = Size(field.z + 4, field.y + lateral[0], field.x + lateral[1])
    image = np.random.default_rng(0).integers(0, 256, (1, *size), dtype=np.uint8)
    found = LanesEngine(network, 1).block(image)
    assert found.shape == (2, *network.geometry.dense(size))
    with torch.inference_mode():
        exact = build(document, seed=2).double().eval().dense(torch.from_numpy(image / 255)[None])
    np.testing.assert_allclose(found, torch.softmax(exact, 1)[0].numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[:, 0, 0, 0], by_shifting(network, image)[:, 0, 0, 0], rtol=0, atol=1e-5)
    for threads in (2, 3):
        np.testing.assert_array_equal(LanesEngine(network, threads).block(image), found)


@pytest.mark.parametrize("planes", [1, 2, 3, 4, 6, 7])
def test_kernels_of_three_planes_for_any_number_of_planes(planes: int) -> None:
    kernels = (one(1, 3), one(3, 3), one(3, 4), one(1, 2))
    pools = (one(1, 4), *(one(1, 1),) * 3)
    document = chain(NetworkSettings(kernels=kernels, pools=pools, features=(8, 8, 9, 8)))
    network = build(document, seed=2).eval()
    field = network.geometry.field
    image = np.random.default_rng(0).integers(0, 256, (1, field.z - 1 + planes, field.y + 40, field.x + 30), np.uint8)
    found = LanesEngine(network, 1).block(image)
    with torch.inference_mode():
        exact = build(document, seed=2).double().eval().dense(torch.from_numpy(image / 255)[None])
    np.testing.assert_allclose(found, torch.softmax(exact, 1)[0].numpy(), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(LanesEngine(network, 2).block(image), found)


def test_blocks_of_many_sizes_in_turn_leave_nothing_behind() -> None:
    kernels, pools = NETWORKS["16 phases"]
    settings = NetworkSettings(kernels=kernels, pools=(*pools, *(one(1, 1),) * 4), features=(8,) * 6)
    network = build(chain(settings), seed=2)
    slow = build(chain(settings), seed=2).double()
    engine, field = LanesEngine(network, 2), network.geometry.field
    image = np.random.default_rng(0).random((1, field.z + 5, field.y + 50, field.x + 50), dtype=np.float32)
    for extent in ((6, 51, 51), (1, 1, 1), (5, 17, 50), (2, 50, 3), (6, 51, 51)):
        part = image[:, : extent[0] + field.z - 1, : extent[1] + field.y - 1, : extent[2] + field.x - 1]
        found = engine.block(part)
        assert found.shape[1:] == extent
        last = part[:, -field.z :, -field.y :, -field.x :]
        np.testing.assert_allclose(found[:, -1, -1, -1], at_voxel(slow, last), rtol=0, atol=1e-5)
        np.testing.assert_array_equal(found, LanesEngine(network, 1).block(part))


def test_a_standardised_image_and_many_classes_of_values() -> None:
    settings = NetworkSettings(kernels=(one(1, 3), one(1, 3)), pools=(one(1, 2), one(1, 1)), features=(8, 8), classes=8)
    document = chain(settings, 2, standard=((0.4, 0.5), (0.2, 0.1)))
    network = build(document, seed=2).eval()
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 30, 31), dtype=np.uint8)
    with torch.inference_mode():
        exact = build(document, seed=2).double().eval().dense(torch.from_numpy(image / 255)[None])[0].numpy()
    found = LanesEngine(network, 1, "values").block(image)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"activation": "maxout 2"}, "layer 'conv1' has activation maxout 2"),
        ({"pooling": "maxabs"}, "layer 'conv1' pools by maxabs"),
        ({"perceptrons": (4,), "patch": (1, 9, 9)}, r"node 'perceptron2' \(perceptron\) is no convolution"),
    ],
)
def test_what_does_not_fit_says_why(changed: dict[str, object], reason: str) -> None:
    plain = NetworkSettings(kernels=(one(1, 3),), pools=(one(1, 2),), features=(8,))
    network = build(chain(plain.model_copy(update=changed)), seed=1)
    with pytest.raises(ConfigError, match=f"predict.engine: lanes does not fit: {reason}; write auto or portable"):
        LanesEngine(network)


def test_branches_and_a_pooling_at_the_end_do_not_fit() -> None:
    nodes = [Node(kind="input", name="input", arguments={"channels": 1})]
    nodes += [
        conv_node("a", "input", one(1, 3), one(1, 1), 4, "relu"),
        conv_node("b", "a", one(1, 1), one(1, 2), 2, "relu"),
    ]
    assert misfit(Document(nodes=tuple(nodes))) == "layer 'b' pools behind the last convolution"
    assert misfit(Document(nodes=tuple(nodes[:2]))) == "it has fewer than two layers"
    nodes[2] = conv_node("b", "input", one(1, 1), one(1, 1), 2, "relu")
    assert misfit(Document(nodes=tuple(nodes))) == "node 'b' makes it more than a chain"


def test_a_cpu_without_wide_vectors_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", dict)
    with pytest.raises(ConfigError, match="this CPU has no vectors of 16 floats"):
        LanesEngine(build(chain(NetworkSettings()), seed=1))


@pytest.mark.parametrize("stride", [(1, 4, 4), (1, 2, 2), (1, 3, 3), (2, 2, 2), (1, 1, 1), (1, 6, 6)])
def test_every_voxel_lies_in_exactly_one_lane(stride: tuple[int, int, int]) -> None:
    wanted = Size(5, 23, 18)
    division = Lanes.of(Size(*stride), wanted, Size(2, 6, 6))
    seen = np.zeros(wanted, int)
    for z, y, x in division.origins:
        block = tuple(slice(o, o + s * e, s) for o, s, e in zip((z, y, x), stride, division.extent))
        seen[block] += 1
    assert (seen == 1).all()


def test_a_layout_keeps_planes_apart_by_whole_pairs_of_vectors() -> None:
    layout = Layout(Size(3, 5, 7), 2)
    assert layout.pitches() == (16, 36 * 32, 7 * 32, 32)
    assert layout.span(Size(3, 4, 5)) == (3 * 7 + 5) * 32
    offsets = layout.offsets(2, Size(2, 1, 2), Size(1, 4, 4))
    np.testing.assert_array_equal(offsets, [0, 128, 1152, 1280, 16, 144, 1168, 1296])


def test_a_layout_of_voxels_is_that_of_the_image_but_for_whole_pairs_of_vectors() -> None:
    layout = Layout(Size(3, 5, 7), 2, in_lanes=False)
    assert layout.pitches() == (192, 64, 7, 1)
    assert layout.span(Size(3, 4, 5)) == 3 * 7 + 5
    np.testing.assert_array_equal(layout.offsets(2, Size(2, 1, 1), Size(1, 4, 4)), [0, 64, 192, 256])


@pytest.mark.parametrize(("count", "unit"), [(100, LINE), (LARGE, LARGE)])
def test_buffers_begin_with_a_line_of_the_cache_or_a_large_page(count: int, unit: int) -> None:
    found = floats(count)
    assert found.size == count
    assert found.ctypes.data % (4 * unit) == 0
