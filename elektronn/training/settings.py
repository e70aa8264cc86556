"""Settings of the training room."""

from __future__ import annotations

from typing import Annotated, Literal

from elektronn.settings import Field, Fraction, NotNegative, Positive, Settings, checked

Rate = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class Sgd(Settings):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    rate: Rate = 0.01
    """Learning rate at the start."""
    momentum: Fraction = 0.9
    weight_decay: NonNegative = 0.0
    """L2 penalty, relative to the gradient."""


class Adam(Settings):
    """Adam (Kingma and Ba 2015)."""

    kind: Literal["adam"] = "adam"
    rate: Rate = 0.001
    """Learning rate at the start."""
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    weight_decay: NonNegative = 0.0
    """L2 penalty, added to the gradient."""


class Exponential(Settings):
    """Learning rate × ``decay`` every 1000 steps, smoothly."""

    kind: Literal["exponential"] = "exponential"
    decay: Rate = 0.993


class Cosine(Settings):
    """Learning rate along half a cosine from its start to ``floor`` × start at the last step."""

    kind: Literal["cosine"] = "cosine"
    floor: Fraction = 0.01


class Loss(Settings):
    """What is made small."""

    kind: Literal["nll", "weak", "regression", "binary"] = "nll"
    """``nll``: negative log-likelihood of class labels; ``weak``: the same with half of the target being the network's
    own opinion, for labels that are partly wrong; ``regression``: mean squared difference to values; ``binary``: each
    output answers a yes-or-no question of its own."""
    class_weights: tuple[NonNegative, ...] | None = None
    """Importance of each class; multiplies the loss, so it changes the effective learning rate."""
    propagate: Annotated[float, Field(gt=0.5, lt=1)] | None = None
    """Where there is no label and a class is more likely than this, take it as the label; for trained networks only."""
    epsilon: Annotated[float, Field(ge=0, le=0.01)] = 0.0
    """Added to probabilities inside the logarithm; ELEKTRONN 1 used 1.0e-6."""

    @checked
    def _fits(self) -> Loss:
        if self.propagate is not None and self.kind != "nll":
            raise ValueError(f"propagate: works with kind nll only, not with {self.kind}; leave it out")
        if self.class_weights is not None and self.kind == "regression":
            raise ValueError("class_weights: a regression has no classes; leave them out")
        if self.class_weights is not None and self.kind == "binary" and len(self.class_weights) != 2:
            raise ValueError("class_weights: kind binary takes two weights, of no and of yes")
        return self


class TrainingSettings(Settings):
    """How a network is trained."""

    seed: NotNegative = 1
    """Of the weights and of all draws."""
    steps: Positive = 5000
    """Update steps."""
    max_seconds: Rate | None = None
    """Stop after this time even if steps are left; such a run is not reproducible."""
    optimiser: Annotated[Sgd | Adam, Field(discriminator="kind")] = Adam()
    schedule: Annotated[Exponential | Cosine, Field(discriminator="kind")] = Cosine()
    loss: Loss = Loss()
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """Arithmetic of the step; tf32 and bf16 are faster on GPUs that have them, weights stay float32."""
    device: str = "auto"
    """``auto`` (CUDA if there is one), ``cpu``, ``cuda`` or ``cuda:N``."""
    threads: Positive = 1
    """CPU threads of the arithmetic. Part of the result: sums are split by thread, rounding follows."""
    history_every: Positive = 250
    """Steps between rows of the history."""
    monitor_examples: Positive = 24
    """Plain patches, always the same, on which training and validation error are measured."""
    preview_every: NotNegative = 1000
    """Steps between preview predictions of a validation slice; 0 for none."""
    backup_s: Rate = 60.0
    """Seconds between backups."""
