"""A network and what trains it, for scripts that bring their own loop and their own arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elektronn.errors import CheckFailed
from elektronn.network.build import Network
from elektronn.training.losses import Criterion
from elektronn.training.optimisers import make_optimiser
from elektronn.training.settings import Adam, Loss, Optimiser

Array = NDArray[Any] | Tensor


class Learner:
    """Trains a network on batches that the caller makes; no files, no threads, no schedules.

    Args:
        network: with weights; changed in place.
        optimiser: settings of one of the trainer's optimisers; Adam by default.
        loss: settings of one of the trainer's losses; the negative log-likelihood by default.

    Example:
        >>> from elektronn.network.build import build
        >>> from elektronn.network.chain import NetworkSettings, chain
        >>> settings = NetworkSettings(kernels=(), pools=(), features=(), perceptrons=(8,), patch=(1, 1, 1))
        >>> learner = Learner(build(chain(settings, channels=2), seed=1), Adam(rate=0.05))
        >>> x = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")
        >>> labels = (x[:, 0] > x[:, 1]).astype(int)
        >>> before = learner.error(x, labels)[0]
        >>> for _ in range(50):
        ...     _ = learner.step(x, labels)
        >>> learner.error(x, labels)[0] < before / 2
        True
    """

    def __init__(self, network: Network, optimiser: Optimiser | None = None, loss: Loss | None = None) -> None:
        self.network, loss = network, loss or Loss()
        weights = None if loss.class_weights is None else torch.tensor(loss.class_weights)
        self.criterion = Criterion(loss, weights)
        self.optimiser = make_optimiser(optimiser or Adam(), dict(network.named_parameters()))

    def step(self, data: Array, labels: Array) -> float:
        """One update; returns the loss, of before the update where the optimiser evaluates once.

        Args:
            data: ``(b, features)``, ``(b, c, y, x)`` or ``(b, c, z, y, x)``; as for ``error``.
            labels: ``(b,)``, or the shape of the outputs; classes, −1 = ignore, or values for a regression.

        Raises:
            CheckFailed: the loss is no longer a number.
        """
        image, targets = _image(data), self._targets(labels)

        def evaluate() -> Tensor:
            loss = self.criterion.loss(self.network.train()(image), targets)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()

        loss = float(self.optimiser.step(evaluate))  # type: ignore[arg-type]
        if not np.isfinite(loss):
            raise CheckFailed(f"training diverged: the loss is {loss}; lower the learning rate")
        return loss

    def error(self, data: Array, labels: Array) -> tuple[float, float, NDArray[np.float32]]:
        """Loss, error and prediction, without dropout and without learning.

        Returns:
            The loss; the share of wrong outputs (root of the mean square for a regression); probabilities (values for a
            regression), ``(b, n, z, y, x)``.
        """
        targets = self._targets(labels)
        with torch.inference_mode():
            scores = self.network.eval()(_image(data))
            loss = float(self.criterion.loss(scores, targets))
            error = self.criterion.error(*self.criterion.mistakes(scores, targets))
            found = torch.softmax(scores, 1) if self.criterion.of_classes else scores
        prediction: NDArray[np.float32] = found.numpy()
        return loss, error, prediction

    def _targets(self, labels: Array) -> Tensor:
        values = torch.as_tensor(labels)
        is_class = self.criterion.of_classes
        while values.ndim < (4 if is_class else 5):
            # a batch of flat images has no z; a batch of single labels has no space at all
            values = values.unsqueeze(1 if values.ndim == (3 if is_class else 4) else -1)
        return values.to(torch.float32 if self.criterion.said.kind == "regression" else torch.int64)


def _image(data: Array) -> Tensor:
    """``(b, c, z, y, x)`` float32."""
    image = torch.as_tensor(data, dtype=torch.float32)
    if image.ndim == 4:
        return image[:, :, None]
    return image[..., None, None, None] if image.ndim == 2 else image
