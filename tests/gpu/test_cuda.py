"""The same code on a CUDA device: trains, predicts the same as the CPU, reduced precision switches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.prediction.dense import Engine, by_shifting

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
