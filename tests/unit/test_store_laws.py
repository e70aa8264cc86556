"""A law of predictions from store to store: whatever the network, tiles, blocks and workers, they are those in memory."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, assume, given
from hypothesis import settings as runs
from hypothesis import strategies as some

from elektronn.axes import Size, whole
from elektronn.network.build import Network
from elektronn.network.weights import save_model
from elektronn.prediction import stage
from elektronn.prediction.dense import Engine, Kind, mirrored
from elektronn.prediction.settings import PredictSettings
from elektronn.prediction.tiles import bytes_of
from elektronn.volumes.address import parse_address
from elektronn.volumes.arrays import create_volume, load
from tests.laws.test_dense_laws import networks

CPU = torch.device("cpu")
NETWORKS = networks((1, 3, 5), ("relu", "tanh", "abs"), deepest=3)
BEYOND = some.tuples(some.integers(0, 6), some.integers(0, 30), some.integers(0, 40))
KINDS = some.sampled_from(["probabilities", "values"])


@runs(
    deadline=None,
    max_examples=12,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
@given(NETWORKS, BEYOND, KINDS, some.booleans(), some.integers(1, 3), some.floats(1.0, 8.0), some.data())
def test_any_prediction_equals_the_one_in_memory(
    network: Network,
    beyond: tuple[int, int, int],
    kind: Kind,
    padded: bool,
    workers: int,
    cut: float,
    data: some.DataObject,
) -> None:
    size = Size(*(f + n for f, n in zip(network.geometry.field, beyond)))
    assume(size.voxels < 60_000)
    image = np.random.default_rng(1).integers(0, 256, (network.document.channels, *size), np.uint8)
    wanted = Engine(network, CPU, kind).block(mirrored(image, network.geometry) if padded else image)
    count = network.document.classes
    classes = tuple(data.draw(some.permutations(range(count)))[: data.draw(some.integers(1, count))])
    source, out = (f"{name}{data.draw(some.sampled_from(('.zarr', '.h5')))}" for name in ("image", "out"))
    one, all_of_it = (
        bytes_of(network.document, network.geometry, tile) for tile in (Size(1, 1, 1), Size(*wanted.shape[1:]))
    )
    chosen = PredictSettings(
        output="float32",
        classes=classes,
        pad_raw=padded,
        threads=1,
        certificate=1,
        engine="portable",
        memory_gb=max(2 * one, all_of_it / cut) / 1e9,
    )
    small = [patch("elektronn.prediction.plan.SHARD", Size(8, 32, 32)), patch("elektronn.prediction.plan.LARGEST", 2)]
    with (
        tempfile.TemporaryDirectory() as name,
        small[0],
        small[1],
        patch("elektronn.prediction.work.CHUNKS", Size(2, 8, 8)),
    ):
        folder = Path(name)
        save_model(folder / "m", network, {"fingerprint": "f", "output": kind})
        addresses = [parse_address(f"{folder}/{file}") for file in (source, out)]
        with create_volume(addresses[0], image.shape, image.dtype) as sink:
            sink.write(whole(size), image)

        def work(_: int) -> None:
            stage.predict(folder / "m", *addresses, folder / "out.json", chosen, device=CPU)

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, range(workers)))
        found = load(addresses[1], order="czyx")
    truth = wanted[list(classes)]
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-5 * max(1, np.abs(truth).max()))
