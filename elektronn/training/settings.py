"""Settings of the training room."""

from __future__ import annotations

from typing import Annotated, Literal

from elektronn.settings import Field, Fraction, NotNegative, Positive, Settings, checked

Rate = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Below = Annotated[float, Field(ge=0, lt=1)]


class Sgd(Settings):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    rule: Literal["torch", "elektronn1", "elektronn2"] = "torch"
    """Where the weight decay goes: into the momentum (torch), beside it (elektronn1), ditto but not on biases (elektronn2)."""
    rate: Rate = 0.01
    """Learning rate at the start."""
    momentum: Fraction = 0.9
    weight_decay: NonNegative = 0.0
    """L2 penalty, relative to the gradient."""


class Adam(Settings):
    """Adam (Kingma and Ba 2015)."""

    kind: Literal["adam"] = "adam"
    rule: Literal["torch", "elektronn1", "elektronn2"] = "torch"
    """Where epsilon stands: beside the corrected root (torch), beside the uncorrected one (elektronn1), under it (elektronn2)."""
    rate: Rate = 0.001
    """Learning rate at the start."""
    beta1: Below = 0.9
    beta2: Below = 0.999
    epsilon: Rate | None = None
    """Left out: 1.0e-8, under the root 1.0e-5."""
    weight_decay: NonNegative = 0.0
    """L2 penalty, added to the gradient; with rule elektronn2 beside it and not on biases."""

    @checked
    def _knows_decay(self) -> Adam:
        if self.rule == "elektronn1" and self.weight_decay > 0:
            raise ValueError("weight_decay: Adam of ELEKTRONN 1 had none; write 0.0, or another rule")
        return self


class AdamW(Settings):
    """Adam with the weight decay beside the gradient (Loshchilov and Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    rate: Rate = 0.001
    """Learning rate at the start."""
    beta1: Below = 0.9
    beta2: Below = 0.999
    weight_decay: NonNegative = 0.01
    """Share of a weight that is taken off per step, times the rate."""


class AdaGrad(Settings):
    """AdaGrad (Duchi et al. 2011): steps shrink with the sum of the squared gradients."""

    kind: Literal["adagrad"] = "adagrad"
    rule: Literal["torch", "elektronn2"] = "torch"
    """elektronn2: the first squared gradient counts twice, weight decay is divided by the root and spares biases."""
    rate: Rate = 0.01
    """Learning rate at the start."""
    weight_decay: NonNegative = 0.0
    """L2 penalty, added to the gradient."""


class AdaDelta(Settings):
    """AdaDelta (Zeiler 2012): steps of the size of the recent steps."""

    kind: Literal["adadelta"] = "adadelta"
    rule: Literal["torch", "elektronn2"] = "torch"
    """elektronn2: scales by the sums before this gradient, 1.0e-5 under the roots, weight decay beside it, not on biases."""
    rate: Rate = 1.0
    """Factor on the steps at the start."""
    rho: Fraction = 0.9
    """Share of the running means that is kept per step."""
    weight_decay: NonNegative = 0.0
    """L2 penalty, added to the gradient."""


class Rprop(Settings):
    """Resilient propagation as in ELEKTRONN 1: only the signs of the gradients count; for large batches."""

    kind: Literal["rprop"] = "rprop"
    initial: Rate = 1e-4
    """First step of every weight."""
    gain: NonNegative = 0.2
    """Steps grow by this share while the sign of the gradient stays."""
    penalty: Fraction = 0.35
    """Steps shrink by this share when it changes."""
    smallest: Rate = 1e-7
    largest: Rate = 2e-3
    weight_decay: NonNegative = 0.0
    """Share of a weight that is taken off per step; not multiplied by any rate."""


class ConjugateGradient(Settings):
    """Non-linear conjugate gradient (Polak and Ribière 1969) with line search, afresh on every batch; for large batches."""

    kind: Literal["cg"] = "cg"
    searches: Positive = 4
    """Line searches per batch."""
    alpha: Fraction = 0.35
    """A trial is taken if the loss falls by at least this share of what the slope promises (Armijo 1966)."""
    beta: Annotated[float, Field(gt=0, lt=1)] = 0.75
    """Each next trial is shorter by this factor."""
    max_step: Rate = 0.02
    """First trial of a line search."""
    min_step: Rate = 8e-5
    """No trial is shorter than about this."""

    @checked
    def _in_order(self) -> ConjugateGradient:
        if self.min_step > self.max_step:
            raise ValueError(f"min_step {self.min_step} is above max_step {self.max_step}; exchange them")
        return self


class Lbfgs(Settings):
    """L-BFGS-B of scipy (Byrd et al. 1995), afresh on every batch; for large batches."""

    kind: Literal["lbfgs"] = "lbfgs"
    iterations: Positive = 4
    """Per batch."""
    evaluations: Positive = 40
    """Of the network, per batch, at most (about)."""
    memory: Positive = 10
    """Pairs of steps and gradient changes that stand for the curvature."""
    reduction: NonNegative = 100.0
    """Stop when an iteration lowers the loss by less than this × 2.2e-16, relatively."""
    gradient: NonNegative = 1e-9
    """Stop when no gradient is larger."""


class ScheduleFree(Settings):
    """AdamW on the way between two points, whose average needs no schedule (Defazio et al. 2024)."""

    kind: Literal["schedule_free"] = "schedule_free"
    rate: Rate = 0.0025
    """Learning rate after the warm-up."""
    warmup: NotNegative = 0
    """Steps over which the rate rises from 0."""
    beta1: Below = 0.9
    """How near to the average the gradient is taken."""
    beta2: Below = 0.999
    weight_decay: NonNegative = 0.0
    """Share of a weight that is taken off per step, times the rate."""


Optimiser = Annotated[
    Sgd | Adam | AdamW | AdaGrad | AdaDelta | Rprop | ConjugateGradient | Lbfgs | ScheduleFree,
    Field(discriminator="kind"),
]


class Exponential(Settings):
    """The start × ``decay`` every ``every`` steps."""

    kind: Literal["exponential"] = "exponential"
    decay: Rate = 0.993
    every: Positive = 1000
    jumps: Literal["none", "after", "before"] = "none"
    """``none``: smoothly, a little at each step. ``after``: at once, after each ``every`` steps. ``before``: ditto and also
    after the first step, as ELEKTRONN 1 did by mistake."""


class Cosine(Settings):
    """Along half a cosine from the start to ``floor`` × start at the last step."""

    kind: Literal["cosine"] = "cosine"
    floor: Fraction = 0.01


class Constant(Settings):
    """The start, always."""

    kind: Literal["constant"] = "constant"


class Steps(Settings):
    """Given values from given steps on; until the first of them, the start."""

    kind: Literal["steps"] = "steps"
    values: tuple[tuple[NotNegative, float | tuple[float, ...]], ...]
    """Pairs [step, value] in any order; a value may be a list where the start is one."""
    decay: Rate = 1.0
    """Factor after every 1000 steps, on the start and on the given values."""

    @checked
    def _each_step_once(self) -> Steps:
        steps = [step for step, _ in self.values]
        twice = [step for step in steps if steps.count(step) > 1]
        if not steps:
            raise ValueError("values: empty; write pairs [step, value]")
        if twice:
            raise ValueError(f"values: step {twice[0]} stands twice; keep one")
        return self


class Linear(Settings):
    """Along a straight line from the start to 0."""

    kind: Literal["linear"] = "linear"
    until: Positive | None = None
    """Step at which 0 is reached; left out: the last step."""
    every: Positive = 1
    """Steps between two changes; ELEKTRONN2 had 1000."""


class OneCycle(Settings):
    """Up along half a cosine and down along another (Smith and Topin 2018); the start is the peak."""

    kind: Literal["one_cycle"] = "one_cycle"
    rise: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of the steps on the way up."""
    first: Fraction = 0.04
    """Share of the peak at the first step."""
    last: Fraction = 4e-6
    """Share of the peak at the last step."""


Schedule = Annotated[
    Exponential | Cosine | Constant | Steps | Linear | OneCycle,
    Field(discriminator="kind"),
]


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
    optimiser: Optimiser = Adam()
    schedule: Schedule = Cosine()
    """Of the learning rate, where the optimiser has one."""
    schedules: dict[str, Schedule] = {}
    """Of other numbers, by name: those of the optimiser (``momentum``, ``weight_decay`` …), of the loss
    (``loss.class_weights`` …), of the augmentations (``warp.amount`` …), and ``dropout``."""
    loss: Loss = Loss()
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """Arithmetic of the step; tf32 and bf16 are faster on GPUs that have them, weights stay float32."""
    compile: Literal["off", "default", "reduce-overhead"] = "off"
    """Let torch compile the network: ``default`` fuses operations, ``reduce-overhead`` also records them as CUDA graphs.
    Meant for GPUs; on a CPU it takes the place of our own convolutions."""
    channels_last: bool = False
    """On a GPU, keep activations with the features innermost, as its matrix units read them; on a CPU they always are."""
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
    preview_h: tuple[NonNegative, Rate] | None = None
    """Hours of training until the first preview by time, and between the later ones."""
    preview_volumes: tuple[str, ...] = ()
    """Volumes without labels that previews show instead, as grey pictures voxel by voxel; an HDF5 file without a key stands for
    all its volumes."""
    preview_planes: Positive = 5
    """Central planes that are predicted of each of them."""
    preview_classes: Literal["all"] | tuple[NotNegative, ...] = (1,)
    """Classes whose probability is drawn there."""
    snapshot_h: Rate | None = None
    """Hours of training between models that are kept for good, in ``snapshots`` of the state directory."""
    keep_best: bool = True
    """Keep the model with the lowest validation error so far, ``best.safetensors`` in the state directory."""
    tensorboard: bool = False
    """Write the history as curves for TensorBoard too, into ``tensorboard`` of the state directory; needs the extra
    ``elektronn[tensorboard]``."""
    backup_s: Rate = 60.0
    """Seconds between backups."""
    on_full_disk: Literal["continue", "stop"] = "continue"
    """When a backup, a snapshot, a preview or the journal cannot be written: say so and go on, or stop there. The earlier
    backups stay in either case."""

    @checked
    def _one_plan_of_the_rate(self) -> TrainingSettings:
        if "rate" in self.schedules:
            raise ValueError("schedules.rate: the learning rate has a place of its own; write it as schedule")
        if isinstance(self.optimiser, ScheduleFree) and not isinstance(self.schedule, Constant):
            raise ValueError("schedule: schedule_free needs a steady rate; write schedule: {kind: constant}")
        return self
