"""Losses on the scores of a network, and the share of wrong outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from elektronn.training.settings import Loss

EPSILON = 1e-6
"""Added to probabilities inside logarithms, as ELEKTRONN 1 did: bounds the loss of one output at 13.8."""


def nll(
    scores: Tensor,
    labels: Tensor,
    *,
    class_weights: Tensor | None = None,
    example_weights: Tensor | None = None,
    labelled: Tensor | None = None,
    absent: Tensor | None = None,
    propagate: float | None = None,
    epsilon: float = EPSILON,
) -> Tensor:
    """Mean negative log-likelihood over labelled outputs; 0 where none is labelled.

    Weights multiply the summands and not the count, so they change the effective learning rate.

    Args:
        scores: ``(b, classes, z, y, x)``, before softmax.
        labels: ``(b, z, y, x)`` int64; −1 = ignore.
        class_weights: ``(classes,)``.
        example_weights: ``(b, z, y, x)``.
        labelled: ``(b, classes)``, 1 where the example's labels tell this class (lazy labels); others are not learnt.
        absent: ``(b, classes)``, 1 where the example does not hold this class at all: its probability is pushed down
            everywhere by ``−log(1 − p)``.
        propagate: where there is no label and the largest probability exceeds this, its class is taken as the label.
        epsilon: added inside the logarithm.

    Source:
        ELEKTRONN 1, formulas 7.1 to 7.6; label propagation as its documentation describes it.

    Example:
        >>> round(float(nll(torch.zeros(1, 2, 1, 1, 2), torch.tensor([[[[1, -1]]]]), epsilon=0)), 4)
        0.6931
    """
    extras = (class_weights, example_weights, labelled, absent, propagate)
    if epsilon == 0 and all(extra is None for extra in extras):
        total = F.cross_entropy(scores.float(), labels, ignore_index=-1, reduction="sum")
        return total / (labels >= 0).sum().clamp(min=1)
    probability = torch.softmax(scores.float(), 1)
    if propagate is not None:
        labels = _propagated(probability, labels, propagate)
    chosen = _chosen(labels, scores.shape[1], labelled)
    weight = torch.ones((), device=scores.device)
    if class_weights is not None:
        weight = class_weights.to(probability)[:, None, None, None]
    if example_weights is not None:
        weight = weight * example_weights[:, None]
    total = -(torch.log(probability + epsilon) * chosen * weight).sum()
    count = chosen.sum()
    if absent is not None:
        gone = (absent > 0)[..., None, None, None].expand_as(probability)
        total = total - torch.log(1 - probability * gone * weight + epsilon).sum()
        count = count + gone.sum()
    return total / count.clamp(min=1)


def _propagated(probability: Tensor, labels: Tensor, above: float) -> Tensor:
    best, winner = probability.detach().max(1)
    return torch.where((labels < 0) & (best > above), winner, labels)


def _chosen(labels: Tensor, count: int, labelled: Tensor | None) -> Tensor:
    """``(b, classes, z, y, x)``, where which class is learnt."""
    classes = torch.arange(count, device=labels.device)
    chosen = labels[:, None] == classes[:, None, None, None]
    return chosen if labelled is None else chosen & (labelled > 0)[..., None, None, None]


def nll_weak(
    scores: Tensor, labels: Tensor, *, class_weights: Tensor | None = None, epsilon: float = EPSILON
) -> Tensor:
    """As :func:`nll`, with half of the target being the network's own opinion: ½ label + ½ p.

    For labels that are known to be partly wrong. Outputs without a label count with the opinion alone.
    """
    probability = torch.softmax(scores.float(), 1)
    classes = torch.arange(scores.shape[1], device=scores.device)
    chosen = labels[:, None] == classes[:, None, None, None]
    weight = 1.0 if class_weights is None else class_weights.to(probability)[:, None, None, None]
    target = 0.5 * chosen + 0.5 * probability
    return -(target * torch.log(probability + epsilon) * weight).sum() / (labels >= 0).sum().clamp(min=1)


def regression(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared difference.

    Args:
        outputs, targets: ``(b, features, z, y, x)``.
    """
    return F.mse_loss(outputs.float(), targets.float())


def binary(scores: Tensor, labels: Tensor, *, class_weights: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy of outputs that each answer their own question; −1 = ignore.

    As in ELEKTRONN 1 the sigmoid of an output is the probability of *no* (label 0).

    Args:
        scores: ``(b, questions, z, y, x)``.
        labels: the same shape; 1 = yes, 0 = no, −1 = not known.
        class_weights: of no and of yes.
    """
    known = labels >= 0
    weight = known.to(torch.float32)
    if class_weights is not None:
        weight = weight * class_weights.to(weight)[labels.clamp(min=0).long()]
    each = F.binary_cross_entropy_with_logits(-scores.float(), labels.clamp(min=0).float(), reduction="none")
    return (each * weight).sum() / known.sum().clamp(min=1)


@dataclass(frozen=True)
class Extras:
    """What some data add to the labels; all may be missing.

    Attributes:
        weights: ``(b, z, y, x)``, importance of each output.
        labelled: ``(b, classes)``, 1 where the example's labels tell this class.
        absent: ``(b, classes)``, 1 where the example does not hold this class at all.
    """

    weights: Tensor | None = None
    labelled: Tensor | None = None
    absent: Tensor | None = None


@dataclass(frozen=True)
class Criterion:
    """The loss of a training, and the error that its history shows.

    Attributes:
        said: settings.
        class_weights: on the device, or None.
    """

    said: Loss
    class_weights: Tensor | None = None

    @property
    def of_classes(self) -> bool:
        """Whether labels are class numbers."""
        return self.said.kind in ("nll", "weak")

    def loss(self, scores: Tensor, labels: Tensor, extras: Extras = Extras()) -> Tensor:
        """Loss of a batch.

        Args:
            scores: ``(b, n, z, y, x)``.
            labels: classes ``(b, z, y, x)`` int64; for regression and binary the shape of ``scores``.
            extras: used by ``nll`` only.
        """
        match self.said.kind:
            case "regression":
                return regression(scores, labels)
            case "binary":
                return binary(scores, labels, class_weights=self.class_weights)
            case "weak":
                # a logarithm of 0 times 0 is no number, and here every class counts
                epsilon = max(self.said.epsilon, EPSILON)
                return nll_weak(scores, labels, class_weights=self.class_weights, epsilon=epsilon)
        return nll(
            scores,
            labels,
            class_weights=self.class_weights,
            example_weights=extras.weights,
            labelled=extras.labelled,
            absent=extras.absent,
            propagate=self.said.propagate,
            epsilon=self.said.epsilon,
        )

    def count(self, scores: Tensor, labels: Tensor, extras: Extras = Extras()) -> Tensor:
        """How many summands :meth:`loss` is the mean of, as a tensor of no axes."""
        if self.said.kind == "regression":
            return torch.tensor(labels.numel(), device=labels.device)
        if self.said.kind != "nll":
            return (labels >= 0).sum()
        if self.said.propagate is not None:
            labels = _propagated(torch.softmax(scores.float(), 1), labels, self.said.propagate)
        count = _chosen(labels, scores.shape[1], extras.labelled).sum()
        if extras.absent is not None:
            count = count + (extras.absent > 0).sum() * labels[0].numel()
        return count

    def mistakes(self, scores: Tensor, labels: Tensor) -> tuple[float, float]:
        """What went wrong and among how many: wrong and labelled outputs, or the sum of squares and its terms."""
        if self.said.kind == "regression":
            return float(((scores - labels) ** 2).sum()), float(labels.numel())
        found = (scores < 0).long() if self.said.kind == "binary" else scores.argmax(1)
        known = labels >= 0
        return float(((found != labels) & known).sum()), float(known.sum())

    def error(self, wrong: float, count: float) -> float:
        """The error of the history: share of wrong outputs; for a regression the root of the mean square."""
        share = wrong / max(count, 1)
        return math.sqrt(share) if self.said.kind == "regression" else share


def error(scores: Tensor, labels: Tensor) -> float:
    """Share of labelled outputs whose most likely class is another; NaN where none is labelled."""
    known = labels >= 0
    wrong = (scores.argmax(1) != labels) & known
    return float(wrong.sum()) / float(known.sum()) if known.any() else float("nan")
