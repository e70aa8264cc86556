"""Mission rows M150 to M155: dense prediction, for every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from elektronn.network.build import Network, build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.network.weights import load_model, save_model
from elektronn.prediction.dense import Engine, by_fragments, by_shifting, mirrored
from elektronn.prediction.lanes import LanesEngine, why_not
from elektronn.prediction.result import Result

FLAT = NetworkSettings(kernels=((1, 4, 4), (1, 4, 4)), pools=((1, 2, 2), (1, 1, 1)), features=(8, 8))
DEEP = NetworkSettings(kernels=((1, 4, 4), (3, 4, 4)), pools=((1, 2, 2), (1, 1, 1)), features=(8, 8))
Route = Callable[[Network, np.ndarray], np.ndarray]
ROUTES: dict[str, Route] = {
    "shifting": by_shifting,
    "fragments": by_fragments,
    "portable": lambda network, image: Engine(network, torch.device("cpu")).block(image),
    "lanes": lambda network, image: LanesEngine(network, 2).block(image),
}


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest) -> Route:
    if request.param == "lanes" and why_not(build(chain(FLAT))):
        pytest.skip("this CPU has no vectors of 16 floats")
    return ROUTES[request.param]


def brute_force(settings: NetworkSettings, image: np.ndarray) -> np.ndarray:
    """The strided network in float64 on every window, one by one."""
    network = build(chain(settings), seed=5).double().eval()
    field = network.geometry.field
    windows = np.lib.stride_tricks.sliding_window_view(image / 255, field, (1, 2, 3))
    places = windows.shape[1:4]
    with torch.inference_mode():
        scores = network(torch.from_numpy(windows.reshape(-1, 1, *field).copy()))
    assert scores.shape[2:] == (1, 1, 1)
    found: np.ndarray = torch.softmax(scores, 1)[..., 0, 0, 0].T.reshape(2, *places).numpy()
    return found


def images(depth: int) -> Iterator[np.ndarray]:
    for size in range(11, 41):
        yield np.random.default_rng(size).integers(0, 256, (1, depth, size, 51 - size), dtype=np.uint8)


@pytest.mark.parametrize(("settings", "depth"), [(FLAT, 1), (DEEP, 4)])
def test_M150_every_route_equals_brute_force_for_every_size(
    route: Route, settings: NetworkSettings, depth: int
) -> None:
    network = build(chain(settings), seed=5).eval()
    assert network.geometry.field[1:] == (11, 11)
    for image in images(depth):
        np.testing.assert_allclose(route(network, image), brute_force(settings, image), rtol=0, atol=1e-5)


def test_M151_a_mirrored_image_gives_outputs_for_all_of_it_and_the_same_inside(route: Route) -> None:
    network = build(chain(DEEP), seed=5).eval()
    image = np.random.default_rng(0).integers(0, 256, (1, 6, 30, 25), dtype=np.uint8)
    padded = mirrored(image, network.geometry)
    np.testing.assert_array_equal(padded[0, 1:-1, 4, 5:-5], image[0, :, 0])  # the edge is repeated
    whole, plain = route(network, padded), route(network, image)
    assert whole.shape[1:] == image.shape[1:]
    o, n = network.geometry.offset, plain.shape[1:]
    inside = whole[:, o.z : o.z + n[0], o.y : o.y + n[1], o.x : o.x + n[2]]
    np.testing.assert_allclose(inside, plain, rtol=0, atol=1e-5)


def test_M152_uint8_is_the_nearest_step_where_the_ancestor_took_the_one_below(route: Route) -> None:
    network = build(chain(FLAT), seed=5).eval()
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 30, 25), dtype=np.uint8)
    p = route(network, image)
    stored = Result("probabilities", (1,), True, "uint8").stored(p)
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, np.floor(255 * p[1] + 0.5))
    assert set(np.unique(stored - np.floor(255 * p[1]))) == {0, 1}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_M153_integers_are_scaled_by_their_type(route: Route, dtype: type) -> None:
    network = build(chain(FLAT), seed=5).eval()
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (1, 1, 30, 25), dtype=dtype)
    scaled = (image / np.float32(np.iinfo(dtype).max)).astype(np.float32)
    np.testing.assert_array_equal(route(network, image), route(network, scaled))


def test_M154_a_network_made_again_with_another_input_predicts_the_same(route: Route, tmp_path: Path) -> None:
    trained = build(chain(DEEP.model_copy(update={"patch": (4, 15, 15)})), seed=5).eval()
    save_model(tmp_path / "m", trained, {"fingerprint": "f"})
    larger = build(chain(DEEP.model_copy(update={"patch": (6, 32, 32)})), seed=9).eval()
    larger.load_state_dict(load_model(tmp_path / "m").network.state_dict())
    image = np.random.default_rng(0).integers(0, 256, (1, 6, 32, 32), dtype=np.uint8)
    np.testing.assert_array_equal(route(larger, image), route(trained, image))
    with torch.inference_mode():
        fitting = torch.from_numpy(image / np.float32(255)).float()[None, :, :, :31, :31]
        strided = torch.softmax(larger(fitting), 1)[0].numpy()
    np.testing.assert_allclose(route(trained, image)[:, :, :21:2, :21:2], strided, rtol=0, atol=1e-5)


def test_M155_a_flat_network_predicts_a_volume_slice_by_slice(route: Route) -> None:
    network = build(chain(FLAT), seed=5).eval()
    image = np.random.default_rng(0).integers(0, 256, (1, 5, 30, 25), dtype=np.uint8)
    whole = route(network, image)
    assert whole.shape == (2, 5, 20, 15)
    for z in range(5):
        np.testing.assert_allclose(whole[:, z], route(network, image[:, z : z + 1])[:, 0], rtol=0, atol=1e-6)
