"""The same code on a CUDA device: trains, predicts the same as the CPU, reduced precision switches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from elektronn.axes import Size
from elektronn.errors import Stopped
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.prediction.dense import Engine, by_shifting
from elektronn.sampling.augment import Elastic, Flip, SamplingSettings, Warp
from elektronn.sampling.batch import Sampler
from elektronn.sampling.cubes import Cube
from elektronn.sampling.defects import BlurredSection, FadedSection, MisalignedSection, MissingSection
from elektronn.sampling.grey import Blur, Grey, Noise
from elektronn.sampling.torch_route import TorchSampler
from elektronn.training.control import Stop
from tests.unit.small_training import trainer_in

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]

IMAGE = np.random.default_rng(0).integers(0, 256, (1, 9, 71, 67), dtype=np.uint8)


def test_dense_prediction_on_cuda_equals_the_cpu() -> None:
    on_cpu = by_shifting(build(chain(NetworkSettings()), seed=1), IMAGE)
    on_gpu = Engine(build(chain(NetworkSettings()), seed=1), torch.device("cuda")).block(IMAGE)
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_training_steps_lower_the_loss_in_each_precision(precision: str) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    network = build(chain(NetworkSettings()), seed=1).cuda()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    image = torch.rand(1, 1, 7, 127, 127, device="cuda")
    labels = (image[:, 0, 2:5, 15:112:4, 15:112:4] > 0.5).long()
    losses = []
    for _ in range(60):
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            scores = network(image)
        loss = torch.nn.functional.cross_entropy(scores.float(), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_examples_cut_on_cuda_are_those_of_the_cpu() -> None:
    random = np.random.default_rng(0)
    image = np.repeat(np.repeat(random.integers(0, 256, (1, 20, 26, 28), dtype=np.uint8), 8, 2), 8, 3)
    cube = Cube("a", image, (image[0] // 100).astype(np.int16), Size(0, 0, 0), 1 / 255)
    spatial = (Flip(), Warp(probability=1.0), Elastic(), MisalignedSection(probability=0.5))
    sure = (Noise(probability=1.0), Blur(probability=1.0), Grey(gamma=0.5))
    defects = (MissingSection(probability=0.5), FadedSection(probability=0.5), BlurredSection(probability=0.5))
    settings = SamplingSettings(augment=(*spatial, *sure, *defects), batch_size=8)
    sampler = Sampler([cube], build(chain(NetworkSettings())).geometry, Size(7, 127, 127), settings, seed=1)
    expected, found = sampler.batch(3), TorchSampler(sampler, torch.device("cuda")).batch(3)
    assert torch.as_tensor(found.image).is_cuda
    assert torch.as_tensor(found.labels).is_cuda
    np.testing.assert_allclose(torch.as_tensor(found.image).cpu().numpy(), expected.image, atol=2e-3)
    assert (torch.as_tensor(found.labels).cpu().numpy() != expected.labels).mean() < 2e-3


@pytest.mark.parametrize(
    "changes",
    [
        {"compile": "default"},
        {"compile": "reduce-overhead"},
        {"channels_last": True},
        {"precision": "tf32"},
        {"precision": "bf16", "channels_last": True, "compile": "reduce-overhead"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_training_with_each_setting_of_the_device_ends_near_the_plain_one(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    plain, faster = (
        trainer_in(tmp_path / name, {"device": "cuda", **more}, dropout=0.0)
        for name, more in (("plain", {}), ("faster", changes))
    )
    for trainer in (plain, faster):
        trainer.run()
    close = 1e-4 if changes.get("precision", "float32") == "float32" else 2e-2
    assert faster.history[-1]["train_loss"] == pytest.approx(plain.history[-1]["train_loss"], rel=close)


def test_what_was_trained_channels_last_is_resumed_on_the_cpu(tmp_path: Path) -> None:
    changes = {"device": "cuda", "channels_last": True}
    first = trainer_in(tmp_path, changes, commands={3: [Stop("test")]}, dropout=0.0)
    with pytest.raises(Stopped):
        first.run()
    second = trainer_in(tmp_path, {"device": "cpu"}, dropout=0.0)
    second.run()
    assert second.step == second.settings.steps
