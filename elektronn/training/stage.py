"""The train stage: labelled volumes and settings in, model file, history and model card out."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from elektronn.artefacts import as_json, code_digest, digest, fingerprint, prepare, writing
from elektronn.axes import Size
from elektronn.errors import ConfigError, DataError, StorageError
from elektronn.network.adapt import adapt
from elektronn.network.build import build
from elektronn.network.chain import NetworkSettings
from elektronn.network.document import table
from elektronn.network.weights import load_tensors, save_model
from elektronn.sampling.augment import SamplingSettings
from elektronn.sampling.cubes import Labelled
from elektronn.sampling.data import DataSettings
from elektronn.settings import plain
from elektronn.training.board import board, require_board
from elektronn.training.checkpoint import Backups, locked
from elektronn.training.control import Event, Fitted, Listener, Mailbox, Noted, Warned, both
from elektronn.training.group import ALONE, Group, ReadOnly
from elektronn.training.history import as_csv
from elektronn.training.journal import FILE, Entry, Journal, entries
from elektronn.training.journal import made_by as journal_of
from elektronn.training.orders import Orders
from elektronn.training.previews import slabs_for
from elektronn.training.resetting import reset_commands
from elektronn.training.settings import TrainingSettings
from elektronn.training.task import Task
from elektronn.training.trainer import Trainer
from elektronn.training.world import World, of_class, of_volumes

CODE = (
    "axes",
    "geometry",
    "sampling",
    "network",
    "training",
    "volumes/downsample",
    "volumes/moments",
    "volumes/registration",
)
"""Rooms whose code has a numeric effect on training."""

WITHOUT_EFFECT = {
    "workers",
    "prefetch",
    "memory_gb",
    "backup_s",
    "preview_every",
    "preview_h",
    "preview_volumes",
    "preview_planes",
    "preview_classes",
    "snapshot_h",
    "keep_best",
    "on_full_disk",
    "tensorboard",
}
"""Settings that do not change the weights; they may differ between a run and its resume."""


@dataclass(frozen=True)
class Outputs:
    """Files of a finished training, and the directory of its backups."""

    model: Path
    history: Path
    card: Path
    state: Path


@dataclass(frozen=True)
class Start:
    """Weights that a network starts from.

    Attributes:
        name: of the file, for messages.
        tensors: by name.
        digest: sha256 of the file.
    """

    name: str
    tensors: Mapping[str, Tensor]
    digest: str

    @classmethod
    def of(cls, path: Path) -> Start:
        """The weights of a model file."""
        return cls(str(path), load_tensors(path)[0], digest(path))


def train(
    train: Sequence[Labelled],
    valid: Sequence[Labelled],
    network: NetworkSettings,
    sampling: SamplingSettings,
    training: TrainingSettings,
    outputs: Outputs,
    *,
    data: DataSettings | None = None,
    start: Start | None = None,
    ready: Callable[[str], None] = lambda fingerprint: None,
    mailbox: Mailbox | None = None,
    listen: Listener = lambda event: None,
    replay: Path | None = None,
    allow_python: bool = False,
    reset: Sequence[str] = (),
    group: Group = ALONE,
) -> None:
    """Train a network; the outputs appear at the end, all whole. Killed at any moment, call it again.

    Args:
        train, valid: labelled volumes; image and labels registered by their centres.
        network, sampling, training: settings sections.
        outputs: where the results and the backups go.
        data: a class that gives the batches instead of volumes.
        start: weights that the network starts from; see :func:`elektronn.network.adapt.adapt`.
        ready: called with the fingerprint of the run when all is checked and nothing is written yet.
        mailbox: commands for the running training.
        listen: is told of every event.
        replay: journal of a run whose commands are to be repeated at their steps.
        allow_python: whether commands may hold Python.
        reset: parts of the state that are not restored; see :func:`elektronn.training.resetting.reset_commands`.
        group: processes that train together; all are given the same, and the first one writes.

    Raises:
        DataError, GeometryError, ConfigError: before anything is written.
        Stopped: on command, with the state saved.
        ConfigError: the model file holds another run, which is never overwritten.
        BusyError: another trainer works in the same state directory.
    """
    if training.tensorboard:
        require_board()
    if data is None:
        world = of_volumes(train, valid, network, sampling, training)
    else:
        world = of_class(data, network, sampling, training)
    slabs = slabs_for(training, world.document)
    made_from = _fingerprint(world, network, sampling, training, start)
    task = Task(
        build(world.document, training.seed, network.initialisation),
        group.part_of(world.supply, sampling.batch_size),
        world.watch,
        world.preview,
        made_from,
        slabs,
    )
    mailbox = group.shared(mailbox or Mailbox())
    if not group.leads:
        _follow(task, training, sampling, outputs, start, mailbox, Orders(allow_python=allow_python), group)
        return
    listen(Fitted(world.document))
    ready(made_from)
    prepare(outputs.model, outputs.history, outputs.card)
    _refuse_other_run(outputs.model, made_from)
    with locked(outputs.state), board(outputs.state, training.tensorboard, listen) as draw:
        backups = Backups(outputs.state)
        _begin_from(start, task, listen)
        journal = Journal(outputs.state / FILE, made_from, _loss_of_events(training, listen))
        orders = Orders(journal, _repeated(replay, made_from, listen), allow_python=allow_python)
        hear = both(both(journal.hear, draw), listen)
        trainer = Trainer(task, training, sampling, backups, mailbox, hear, orders, group)
        # only now that nothing stands in the way of the new run
        _set_aside(backups, made_from)
        for command in reset_commands(reset, backups, made_from, outputs.model):
            mailbox.post(command, text=f"--reset {','.join(reset)}")
        group.wait()
        _look_at_labels(trainer, world)
        trainer.run()
        _judge(trainer, world)
        facts = {
            "fingerprint": made_from,
            "settings": _with_effect(network, sampling, training),
            "data": world.origin,
            "output": "values" if training.loss.kind == "regression" else "probabilities",
            "versions": versions(),
            "warnings": trainer.warnings,
            "changes": trainer.steering.changes,
            "steps": trainer.step,
        }
        _export(trainer, world.patch, facts, outputs)


def _begin_from(start: Start | None, task: Task, listen: Listener) -> None:
    if start is not None:
        for line in adapt(task.network, start.tensors):
            listen(Noted(f"{start.name}: {line}"))


def _follow(
    task: Task,
    training: TrainingSettings,
    sampling: SamplingSettings,
    outputs: Outputs,
    start: Start | None,
    mailbox: Mailbox,
    orders: Orders,
    group: Group,
) -> None:
    """What a process does that does not lead: the same steps; it tells and writes nothing."""

    def deaf(event: Event) -> None: ...

    _begin_from(start, task, deaf)
    no_files = {"keep_best": False, "snapshot_h": None, "preview_every": 0, "preview_h": None}
    settings, backups = training.model_copy(update=no_files), ReadOnly(outputs.state)
    trainer = Trainer(task, settings, sampling, backups, mailbox, deaf, orders, group)
    group.wait()
    trainer.run()


def _export(trainer: Trainer, patch: Size, facts: Mapping[str, Any], outputs: Outputs) -> None:
    """Write model, history and card. None takes its place before all are written: a full disk leaves the earlier
    ones, which fit together."""
    said = {**facts, **_shape(trainer, patch), "seconds": round(trainer.seconds, 1)}
    with writing(outputs.history) as history, writing(outputs.card) as card:
        history.write_text(as_csv(trainer.history), encoding="utf-8")
        card.write_text(as_json(said), encoding="utf-8")
        save_model(outputs.model, trainer.network, facts)


def versions() -> dict[str, str]:
    """Versions of what computes."""
    names = ("elektronn", "torch", "numpy", "numba", "h5py", "zarr")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _fingerprint(
    world: World,
    network: NetworkSettings,
    sampling: SamplingSettings,
    training: TrainingSettings,
    start: Start | None,
) -> str:
    inputs = world.inputs + ([f"start {start.digest}"] if start is not None else [])
    return fingerprint(_with_effect(network, sampling, training), inputs, code_digest(*CODE))


def _with_effect(
    network: NetworkSettings, sampling: SamplingSettings, training: TrainingSettings
) -> dict[str, dict[str, Any]]:
    """The settings that decide the weights."""
    sections = {"network": plain(network), "sampling": plain(sampling), "training": plain(training)}
    # a training may go on on another device; then its last bits depend on where it was when
    sections["training"].pop("device")
    return {name: {k: v for k, v in said.items() if k not in WITHOUT_EFFECT} for name, said in sections.items()}


def made_by(model: Path) -> str | None:
    """Fingerprint of the run that made a model file; ``unknown`` if it does not say, None if there is none."""
    if not model.exists():
        return None
    try:
        return str(load_tensors(model)[1]["card"]["fingerprint"])
    except (DataError, KeyError):
        return "unknown"


def _refuse_other_run(model: Path, made_from: str) -> None:
    """A model of other settings, data or code is never overwritten: it may be all that is left of a long training."""
    other = made_by(model)
    if other not in (None, made_from):
        raise ConfigError(
            f"{model}: holds the model of another run (fingerprint {other[:8]}, this one would be {made_from[:8]}); "
            "give another --model, or move that one away"
        )


def _set_aside(backups: Backups, made_from: str) -> None:
    """Move backups and journal of other settings, data or code away; they are never overwritten and never resumed."""
    others = {path: str(load_tensors(path)[1].get("fingerprint", "run")) for path in backups.strangers(made_from)}
    journal = backups.folder / FILE
    if journal.exists() and (other := journal_of(journal)) != made_from:
        others[journal] = other or "run"
    for path, other in others.items():
        place = backups.folder / f"other-{other[:8]}"
        place.mkdir(exist_ok=True)
        path.replace(place / path.name)


def _repeated(replay: Path | None, made_from: str, listen: Listener) -> list[Entry]:
    """The commands of another journal."""
    if replay is None:
        return []
    if journal_of(replay) != made_from:
        listen(Warned(f"{replay}: is of a run with other settings, data or code; this one will end with other weights"))
    return entries(replay)


def _loss_of_events(training: TrainingSettings, listen: Listener) -> Callable[[OSError | StorageError], None]:
    """What happens when the journal cannot keep an event: it is told once, or ends the training."""
    told: list[str] = []

    def lost(error: OSError | StorageError) -> None:
        if isinstance(error, StorageError) and training.on_full_disk == "stop":
            raise error
        if not told:
            told.append(str(error))
            listen(Warned(f"events are lost: {error}"))

    return lost


def _shape(trainer: Trainer, patch: Size) -> Mapping[str, Any]:
    reach = trainer.network.geometry
    rows = table(trainer.network.document, patch)
    return {
        "layers": rows,
        "parameters": sum(row["parameters"] for row in rows),
        "patch": list(patch),
        "field": list(reach.field),
        "stride": list(reach.stride),
        "offset": list(reach.offset),
        "device": str(trainer.device),
    }


def _look_at_labels(trainer: Trainer, world: World) -> None:
    share = world.share
    if share is not None and share > 0.97:
        trainer.warn(f"{share:.1%} of the training labels are of one class: check the conversion of the labels")
    if "valid" not in world.watch:
        trainer.warn("no validation volume: nothing guards against over-fitting, and the threshold cannot be chosen")


def _judge(trainer: Trainer, world: World) -> None:
    """Compare the end with the constant predictor."""
    if world.share is None:
        return
    last, baseline = trainer.history[-1], 1 - world.share
    error = last.get("valid_error", last["train_error"])
    if error >= baseline:
        trainer.warn(
            f"the final error of {error:.3f} is not below {baseline:.3f}, which a constant prediction reaches: "
            "train longer, change the learning rate, or check the labels"
        )
