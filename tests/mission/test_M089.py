"""M089: a CNN from a script, on synthetic digits."""

from __future__ import annotations

import numpy as np
import pytest

from elektronn.errors import CheckFailed
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings, chain
from elektronn.training.settings import Adam, Loss, Sgd
from elektronn.training.standalone import Learner

NETWORK = NetworkSettings(
    kernels=((1, 5, 5), (1, 5, 5)),
    pools=((1, 2, 2), (1, 2, 2)),
    features=(10, 8),
    perceptrons=(40,),
    activation="abs",
    classes=10,
    patch=(1, 28, 28),
)


def digits(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ten patterns, shifted a little and noisy: ``(n, 1, 28, 28)`` and ``(n,)``."""
    patterns = np.kron(np.random.default_rng(7).random((10, 6, 6)), np.ones((4, 4)))
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count)
    images = np.zeros((count, 1, 28, 28), np.float32)
    for image, label in zip(images, labels):
        top, left = random.integers(0, 5, 2)
        image[0, top : top + 24, left : left + 24] = patterns[label]
    return images + 0.1 * random.standard_normal(images.shape).astype(np.float32), labels


def test_M089_the_loss_of_a_standalone_cnn_falls_by_more_than_half() -> None:
    learner = Learner(build(chain(NETWORK), seed=1, scheme="elektronn1"), Sgd(rate=0.01, momentum=0.9))
    test = digits(100, 1)
    before, wrong_before, _ = learner.error(*test)
    for step in range(200):
        learner.step(*digits(20, 100 + step))
    loss, error, prediction = learner.error(*test)
    assert loss < before / 2
    assert error < wrong_before / 2
    assert prediction.shape == (100, 10, 1, 1, 1)
    np.testing.assert_allclose(prediction.sum(1), 1, rtol=1e-5)
    assert error == pytest.approx(float((prediction[:, :, 0, 0, 0].argmax(1) != test[1]).mean()))


def test_M089_measuring_changes_nothing_and_repeats_itself() -> None:
    settings = NETWORK.model_copy(update={"dropout": 0.5})
    learner = Learner(build(chain(settings), seed=1))
    one, two = learner.error(*digits(10, 1)), learner.error(*digits(10, 1))
    assert one[:2] == two[:2]


def test_M089_a_regression_has_no_probabilities() -> None:
    settings = NetworkSettings(kernels=(), pools=(), features=(), perceptrons=(6,), classes=1, patch=(1, 1, 1))
    learner = Learner(build(chain(settings, 3), seed=1), Adam(rate=0.02), Loss(kind="regression"))
    x = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    y = x[:, :1] - 2 * x[:, 1:2]
    before = learner.error(x, y)[0]
    for _ in range(300):
        learner.step(x, y)
    loss, error, prediction = learner.error(x, y)
    assert loss < before / 5
    assert error == pytest.approx(loss**0.5)
    assert prediction.shape == (50, 1, 1, 1, 1)


def test_M089_labels_of_images_may_come_without_z() -> None:
    settings = NetworkSettings(kernels=((1, 3, 3),), pools=((1, 1, 1),), features=(4,), patch=(1, 10, 10))
    learner = Learner(build(chain(settings), seed=1))
    labels = np.random.default_rng(0).integers(-1, 2, (2, 8, 8))
    image = np.random.default_rng(1).random((2, 1, 10, 10))
    assert learner.error(image, labels)[0] == learner.error(image[:, :, None], labels[:, None])[0]


def test_M089_divergence_is_said() -> None:
    learner = Learner(build(chain(NETWORK), seed=1), Sgd(rate=1e30))
    learner.step(*digits(5, 0))
    with pytest.raises(CheckFailed, match="diverged"):
        learner.step(*digits(5, 1))
