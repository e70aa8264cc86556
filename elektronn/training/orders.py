"""What each command does to a running training."""

from __future__ import annotations

import contextlib
import io
import shutil
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elektronn.artefacts import digest, writing
from elektronn.errors import ConfigError, DataError, ElektronnError, Stopped, StorageError
from elektronn.network.adapt import adapt
from elektronn.network.weights import load_tensors, save_model
from elektronn.registry import nearest
from elektronn.settings import parse, plain
from elektronn.training import commands as said
from elektronn.training.checkpoint import weights_of
from elektronn.training.control import Answered, BatchPicture, FilterPicture, Letter, Noted, Obeyed, Refused
from elektronn.training.facade import Running, shown, value_of
from elektronn.training.journal import Entry, Journal, entries, outstanding
from elektronn.training.statistics import activations_table, gradients_table, parameters_table


class Orders:
    """Carries commands out, each after it stands in the journal.

    Args:
        journal: None keeps none.
        replay: commands of another journal that are to be repeated.
        allow_python: whether Python is run.
    """

    def __init__(
        self, journal: Journal | None = None, replay: Sequence[Entry] = (), *, allow_python: bool = False
    ) -> None:
        self.journal, self.replay, self.allow_python = journal, replay, allow_python
        self._done = (0, 0)
        self._attributes: dict[str, Any] = {}
        self._names: dict[str, Any] = {}

    def carry_out(self, letters: Sequence[Letter], running: Running) -> bool:
        """Obey in order; whether the training goes on, with the batches that were made ahead.

        Raises:
            Stopped: that was asked for.
        """
        samples, stale = running.steering.sampling_at(running.step), False
        for letter in letters:
            if running.ended:
                break
            self._one(letter, running)
            stale |= isinstance(letter.command, said.SetData | said.Execute)
        return not running.ended and not stale and running.steering.sampling_at(running.step) == samples

    def _one(self, letter: Letter, running: Running) -> None:
        number = 0
        try:
            letter = self._ready(letter, running)
            if self.journal is not None and not letter.known:
                number = self.journal.command(running.step, letter)
            answer = self._obey(letter.command, running)
        except (ConfigError, DataError, StorageError) as error:
            if isinstance(letter.command, said.Stop):
                raise
            if number and self.journal is not None:
                self.journal.refused(number, str(error))
            self._refuse(letter, str(error), running)
            return
        except Exception as error:
            if letter.command.lasts or isinstance(error, ElektronnError):
                raise
            # a question may fail, for instance for lack of memory, and the training goes on
            self._refuse(letter, f"{type(error).__name__}: {error}", running)
            return
        if letter.command.lasts:
            self._done = (running.step, self.count_at(running.step) + 1)
            running.steering.changes.append(f"step {running.step}: {letter.command}")
            running.listen(Noted(running.steering.changes[-1]))
        if answer:
            running.listen(Answered(running.step, letter, answer))
        running.listen(Obeyed(running.step, letter))

    def _refuse(self, letter: Letter, reason: str, running: Running) -> None:
        running.listen(Refused(running.step, letter, reason))
        if letter.command.lasts:
            running.listen(Noted(f"not changed: {reason}"))

    def count_at(self, step: int) -> int:
        """How many lasting commands were carried out when ``step`` updates had been made."""
        return self._done[1] if self._done[0] == step else 0

    def facts(self, running: Running) -> dict[str, Any]:
        """Plain data that a resume needs."""
        return {
            # without the end: a run that was ended by hand ends there again
            "done": self.count_at(running.step) - int(running.ended),
            "attributes": self._attributes,
            "history_every": running.settings.history_every,
        }

    def restore(self, facts: Mapping[str, Any], running: Running) -> None:
        """Put back what :meth:`facts` gave."""
        self._done = (running.step, facts["done"])
        self._restore_data(facts, running)

    def _restore_data(self, facts: Mapping[str, Any], running: Running) -> None:
        self._set_history(facts["history_every"], running)
        for name, value in facts["attributes"].items():
            self._set_data(said.SetData(name, value), running)

    def plan(self, running: Running) -> None:
        """Put into the mailbox what is still to be done again: by this run after a crash, and of another journal."""
        path = None if self.journal is None else self.journal.path
        own = entries(path) if path is not None and path.exists() else []
        running.mailbox.plan(outstanding(own, self.replay, running.step, self.count_at(running.step)))

    def _ready(self, letter: Letter, running: Running) -> Letter:
        """The letter as the journal keeps it: weights are copied, so that they can be loaded again in any case."""
        command = letter.command
        if isinstance(command, said.Execute) and not self.allow_python:
            raise ConfigError(
                f"'{command.text}': is Python, which this training does not run; start it with --allow-python"
            )
        if not isinstance(command, said.LoadWeights | said.TakeOver):
            return letter
        folder = running.backups.folder
        source = folder / command.path
        load_tensors(source)
        found = digest(source)
        if command.digest not in ("", found):
            raise ConfigError(
                f"{source}: is not the file that was loaded before (sha256 {found[:8]}, not {command.digest[:8]})"
            )
        copy = folder / f"loaded_{found[:12]}.safetensors"
        if not copy.exists():
            with writing(copy) as part:
                shutil.copyfile(source, part)
        return replace(letter, command=type(command)(Path(copy.name), found))

    def _obey(self, command: said.Command, running: Running) -> str:
        """Carry one out; the answer, if there is one."""
        match command:
            case said.Stop():
                running.save(final=True)
                raise Stopped(f"stopped at step {running.step} ({command.reason}); the same command resumes there")
            case said.Kill():
                raise Stopped(
                    f"killed at step {running.step}, nothing was saved; the same command resumes at the last backup"
                )
            case said.Abort():
                running.ended = True
                if not running.history or running.history[-1]["step"] != running.step:
                    running.record()
            case said.SetValue() | said.SetOptimiser() | said.UseOptimiser():
                running.steering.obey(command, running.step)
            case said.Reset():
                running.steering.reset(command.parts)
            case said.TakeOver():
                self._take_over(command, running)
            case said.SetData():
                self._set_data(command, running)
            case said.SetHistory():
                self._set_history(command.every, running)
            case said.LoadWeights():
                return self._load(command, running)
            case said.RecordNow():
                running.record()
            case said.Execute():
                return self._execute(command.text, running)
            case said.Ask():
                return self._ask(command.text, running)
            case _:
                return _answer(command, running)
        return ""

    def _set_data(self, command: said.SetData, running: Running) -> None:
        user = getattr(running.task.supply, "data", None)
        if user is None:
            running.steering.obey(command, running.step)
            return
        known = [name for name in vars(user) if not name.startswith("_")]
        if command.name not in known:
            raise ConfigError(f"data.{command.name}: no attribute of the data class: {nearest(command.name, known)}")
        setattr(user, command.name, command.value)
        self._attributes[command.name] = command.value

    def _set_history(self, every: int, running: Running) -> None:
        section = {**plain(running.settings), "history_every": every}
        running.settings = parse(type(running.settings), section, "training")

    def _load(self, command: said.LoadWeights, running: Running) -> str:
        tensors = load_tensors(running.backups.folder / command.path)[0]
        lines = adapt(running.network, weights_of(tensors) or tensors)
        running.steering.forget_momenta()
        running.loss_sum.zero_()
        running.is_sound = True
        return "\n".join(lines)

    def _take_over(self, command: said.TakeOver, running: Running) -> None:
        tensors, facts = load_tensors(running.backups.folder / command.path)
        running.network.load_state_dict(weights_of(tensors))
        running.steering.restore(facts["steering"], tensors)
        running.steering.count_from(running.step)
        self._restore_data(facts["orders"], running)
        # the first row was of a network that is gone
        running.record()

    def _ask(self, text: str, running: Running) -> str:
        try:
            return shown(value_of(text, running))
        except ConfigError:
            if self.allow_python:
                return self._execute(text, running)
            raise

    def _execute(self, text: str, running: Running) -> str:
        """Run Python in one namespace that lives as long as the training; failures of it are its answer."""
        names = {"self": running, "cnn": running.network, "config": running.settings, "batch": running.batch}
        data = getattr(running.task.supply, "data", running.task.supply)
        self._names |= {**names, "data": data, "i": running.step}
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                try:
                    code = compile(text, "<console>", "eval")
                except SyntaxError:
                    exec(compile(text, "<console>", "exec"), self._names)
                else:
                    value = eval(code, self._names)
                    if value is not None:
                        print(repr(value))
            except (Exception, SystemExit):
                # without our own frames
                print(traceback.format_exc(limit=-1))
        return printed.getvalue().rstrip()


def _answer(command: said.Command, running: Running) -> str:
    """Commands that change nothing."""
    match command:
        case said.Measure():
            loss, error = _measured(command.source, running)
            return f"({loss:.6g}, {error:.6g})"
        case said.Describe():
            return _described(command.what, running)
        case said.SaveNow():
            path = running.backups.folder / command.path
            save_model(path, running.network, {"step": running.step, "fingerprint": running.task.fingerprint})
            return f"saved to {path}"
        case said.PreviewNow():
            if not running.has_previews:
                raise ConfigError("there is nothing to preview: no volume, or no dense prediction of class 1")
            running.preview()
            return f"preview of step {running.step} in {running.backups.folder / 'previews'}"
        case said.ShowBatch():
            return _drawn(_batch_picture(running), running)
        case said.ShowFilters():
            return _drawn(_filter_picture(command.layer, running), running)
    raise ConfigError(f"{command}: cannot be carried out here")


def _measured(source: str, running: Running) -> tuple[float, float]:
    watch = running.task.watch
    if source == "valid" and source not in watch:
        return float("nan"), float("nan")
    if source not in watch and source != "test":
        raise ConfigError(f"'{source}': write train, valid or test")
    return running.measure(source)


def _described(what: str, running: Running) -> str:
    network = running.network
    match what:
        case "parameters":
            return parameters_table(network)
        case "gradients":
            batch = _batch(running)
            return gradients_table(network, lambda: running.loss_of(batch))
        case "activations":
            batch = _batch(running)
            return activations_table(network, lambda: running.loss_of(batch))
    return status(running)


def status(running: Running) -> str:
    """Step, losses, errors, numbers and time, in one line."""
    row = running.history[-1] if running.history else {}
    numbers = running.steering.plan.values_at(running.step)
    parts = [f"step {running.step} of {running.settings.steps}"]
    for key in ("loss", "train_loss", "valid_loss", "train_error", "valid_error", "steps_per_s"):
        parts += [f"{key} {row[key]:.4g}"] if key in row else []
    parts += [f"{name} {numbers[name]:.4g}" for name in ("rate", "momentum", "weight_decay") if name in numbers]
    return "  ".join([*parts, f"{running.seconds:.0f} s"])


def _batch(running: Running) -> Any:
    """The last batch; before the first step, the first one."""
    if running.batch is None:
        if not running.task.supply.is_pure:
            raise ConfigError("no batch yet, and an early one would change the order; ask again after the first step")
        return running.task.supply.batch(running.step)
    return running.batch


def _drawn(picture: BatchPicture | FilterPicture, running: Running) -> str:
    running.listen(picture)
    return f"drawn to {picture.path}"


def _batch_picture(running: Running) -> BatchPicture:
    batch, document = _batch(running), running.network.document
    if batch.image.ndim != 5 or batch.image.shape[-1] * batch.image.shape[-2] == 1:
        raise ConfigError("the examples are no images, so there is nothing to draw")
    # on a GPU a batch is made of tensors
    image, labels = (np.asarray(torch.as_tensor(v[0]).cpu(), np.float32) for v in (batch.image, batch.labels))
    labels = labels if labels.ndim == 3 else labels[0]
    offset, stride = (0, 0), (1, 1)
    plane = 0
    if document.is_dense_capable:
        reach = running.network.geometry
        offset, stride, plane = tuple(reach.offset[1:]), tuple(reach.stride[1:]), reach.offset.z
    path = running.backups.folder / "debugGetCNNBatch.png"
    return BatchPicture(image[0, plane], labels[0], offset, stride, path)


def _filter_picture(name: str, running: Running) -> FilterPicture:
    weights = {
        n: layer.weight for n, layer in running.network.layers.items() if getattr(layer, "weight", None) is not None
    }
    drawable = {n: w.detach().float().cpu() for n, w in weights.items() if w.ndim in (2, 5)}
    chosen = name or next(iter(drawable), "")
    if chosen not in drawable:
        raise ConfigError(f"layer '{chosen}': has no filters: {nearest(chosen, drawable)}")
    values = drawable[chosen]
    values = values if values.ndim == 5 else values[:, :, None, None, None]
    return FilterPicture(chosen, values.numpy(), running.backups.folder / f"filters_{chosen}.png")
