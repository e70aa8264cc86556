"""The state of a training as a backup keeps it, and back."""

from __future__ import annotations

from pathlib import Path

from elektronn.training.checkpoint import State, weights_of
from elektronn.training.facade import Running


def state_of(trainer: Running) -> State:
    """Everything that a resume needs."""
    tensors = {f"weights.{name}": tensor for name, tensor in trainer.network.state_dict().items()}
    facts = {
        "fingerprint": trainer.task.fingerprint,
        "step": trainer.step,
        "history": trainer.history,
        "warnings": trainer.warnings,
        "seconds": trainer.seconds,
        "row_seconds": trainer.row_seconds,
        "wait": trainer.wait,
        "counts": trainer.counts,
        "label_mean": trainer.label_mean(),
        "loss_sum": float(trainer.loss_sum),
        "steering": trainer.steering.facts(),
        "orders": trainer.orders.facts(trainer),
        "kept": trainer.keeper.facts(),
    }
    return State({**tensors, **trainer.steering.optimisers.tensors()}, facts)


def resume(trainer: Running) -> Path | None:
    """Put the newest backup of the trainer's task back, on whatever device the trainer is; where it was, if there is one."""
    found = trainer.backups.load(trainer.task.fingerprint)
    if found is None:
        return None
    state: State = found[0]
    path: Path = found[1]
    facts = state.facts
    trainer.network.load_state_dict(weights_of(state.tensors))
    trainer.steering.restore(facts["steering"], state.tensors)
    trainer.step, trainer.history, trainer.warnings = facts["step"], list(facts["history"]), list(facts["warnings"])
    trainer.seconds, trainer.row_seconds, trainer.wait = facts["seconds"], facts["row_seconds"], facts["wait"]
    trainer.last_mean = facts["label_mean"]
    trainer.counts = dict(facts["counts"])
    trainer.loss_sum.fill_(facts["loss_sum"])
    trainer.orders.restore(facts["orders"], trainer)
    trainer.keeper.restore(facts["kept"])
    return path
